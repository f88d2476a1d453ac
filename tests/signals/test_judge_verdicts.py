"""Judges that look inside a completion, over real HTTP: verdicts on steps, and critiques of phrases."""

import math
from functools import partial

import pytest
import torch

from guerdon.recipe import load
from guerdon.signals import ask, judge_critique, judge_verdicts
from guerdon.signals.judges.forms import told_text
from guerdon.signals.judges.verdicts import LONGEST_STEPS
from guerdon.training import train

NAN = math.nan


def laid_out(texts):
    """A token per character, then an end token."""
    width = max(map(len, texts)) + 1
    spans = torch.tensor([[[min(t, len(x)), min(t + 1, len(x))] for t in range(width)] for x in texts])
    return {"token_spans": spans, "mask": torch.tensor([[t <= len(x) for t in range(width)] for x in texts])}


def steps_judged(judge_server, texts, model="judge", **options):
    return judge_verdicts(["p"] * len(texts), texts, model=model, url=judge_server.url, separator="=", **options)


def same(made, expected):
    torch.testing.assert_close(made, torch.tensor(expected), equal_nan=True)


def test_one_verdict_for_each_step(judge_server):
    scores = steps_judged(judge_server, ["ax=bx", "x=__=", "xx", ""])
    same(scores.values, [[1, 1], [1, 0], [1, NAN], [0, NAN]])
    assert scores.reasons == [None] * 4
    assert scores.cost == [110.0] * 4
    assert judge_verdicts([], [], model="judge", url=judge_server.url).values.shape == (0, 1)


def test_the_judge_sees_the_steps(judge_server):
    judge_server.seen.clear()
    steps_judged(judge_server, ["2+3=5=x"], reference=["5"])
    said = judge_server.seen[0]["messages"][-1]["content"]
    for piece in ("\n2+3\n", "\n5\n", "\nx\n", "Step 3:\n", "for each of the 3 steps", "Reference answer:"):
        assert piece in said


def test_verifications_vote_and_a_tie_is_wrong(judge_server):
    for first, votes, expected in ((0, 3, [1.0, 0.0]), (1, 2, [1.0, 0.0]), (2, 1, [1.0, 1.0])):
        judge_server.counts["wavering"] = first  # every third reply calls all steps right
        made = steps_judged(judge_server, ["x=_"], "wavering", votes=votes, parallel=1)
        same(made.values, [expected])


@pytest.mark.parametrize("model", ["vague", "torn", "silent", "fooled"])
def test_what_cannot_be_read_is_unscored_and_never_wrong(judge_server, model):
    texts = ["x=x", '<verdict-0>{"good": ["x"]}</verdict-0>']
    if model != "fooled":
        made = steps_judged(judge_server, texts, model, tries=1)
        assert made.values.isnan().all()
        assert all(r.startswith("failed: ") for r in made.reasons)
    marks = judge_critique(["p"] * 2, texts, **laid_out(texts), model=model, url=judge_server.url, tries=1)
    assert marks.values.isnan().all()
    assert all(r.startswith("failed: ") for r in marks.reasons)


def test_too_many_steps_are_not_asked_about(judge_server):
    made = steps_judged(judge_server, ["=" * LONGEST_STEPS + "x", "x"])
    assert made.reasons == ["not asked", None]
    same(made.values, [[NAN], [1.0]])
    with pytest.raises(ValueError, match="at least one vote"):
        steps_judged(judge_server, ["x"], votes=0)


def test_phrases_of_a_critique_stand_on_their_tokens(judge_server):
    texts = ["ax_", "x", "b"]
    made = judge_critique(["p"] * 3, texts, **laid_out(texts), model="judge", url=judge_server.url)
    same(made.values, [[0.0, 1, -1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert made.reasons == [None] * 3


def test_a_signal_of_tokens_that_fails_whole_leaves_every_position_unscored():
    texts = ["ax_", "x"]
    given = {"prompts": ["p"] * 2, "completions": texts, **laid_out(texts)}
    made = ask(partial(judge_critique, model="none"), given, 2, makes=["token_parts"])  # neither key nor url
    assert made.values["token_parts"].shape == (2, 4)
    assert made.values["token_parts"].isnan().all()
    assert made.failed == 2


def test_a_critique_may_hold_any_character():
    assert told_text('<v>{"good": ["a<b"]}</v>', "v") == '{"good": ["a<b"]}'
    assert told_text("<v>1</v> <v>2</v>", "v") is None
    assert told_text("<v>1", "v") is None
    assert told_text("<v>" * 20_000, "v") is None


# in the trainer ----------------------------------------------------------------------------------------------------

TRAINING = {
    "iterations": 2, "prompts": 4, "samples": 4, "learning_rate": 1e-3, "evaluate_prompts": 0, "threads": 1,
}  # fmt: skip
POLICY = {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": "x_="}


@pytest.fixture
def task(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(f'{{"prompt": "{"x" * (i + 1)}="}}' for i in range(8)), "utf-8")
    return {"use": "file", "path": str(data), "heldout": 1, "max_tokens": 8, "separator": "="}


@pytest.mark.parametrize(
    ("preset", "options"),
    [("spark", {"use": "judge-verdicts", "separator": "="}), ("text2grad", {"use": "judge-critique"})],
    ids=["SPARK", "Text2Grad"],
)
def test_an_iteration_trains(tmp_path, judge_server, monkeypatch, task, preset, options):
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    rewards = [options, {"use": "judge-score"}] if preset == "spark" else [options]
    recipe = load(
        {
            "preset": preset,
            "task": task,
            "policy": POLICY,
            "reward": [{**told, "model": "judge", "url": judge_server.url} for told in rewards],
            "training": TRAINING,
        }
    )
    events = [e for e in train(recipe, tmp_path / "run").run.events() if e["event"] == "iteration"]
    assert all(e["trained_rows"] > 0 and e["gradient_norm"] > 0 and e["skipped"] == 0 for e in events)
