"""A judge of steps over real HTTP: what it is asked of each step, what is read, and what stays unscored."""

import math
import re

import pytest
import torch

from guerdon.recipe import load
from guerdon.signals.judges import judge_steps, principle_score
from guerdon.training import train


def ask(judge_server, texts, model="judge", hidden=(), **options):
    """Steps end with a semicolon, one token is a character; characters in ``hidden`` were not chosen by the policy."""
    width = max(map(len, texts))
    ids = torch.full((len(texts), width), -1)
    for row, text in enumerate(texts):
        for t in range(len(text)):
            ids[row, t] = text[:t].count(";")
    chosen = torch.tensor([[t < len(x) and x[t] not in hidden for t in range(width)] for x in texts])
    steps = max(text.rstrip(";").count(";") + 1 for text in texts)
    there = torch.stack([((ids == s) & chosen).any(-1) for s in range(steps)], 1)
    place = torch.arange(width)
    spans = torch.stack([place, place + 1], -1).expand(len(texts), width, 2)
    options = {"tries": 1, **options}
    return judge_steps(
        ["Who?"] * len(texts), texts, ids, there, spans, chosen, model=model, url=judge_server.url, **options
    )


def same(scores, expected):
    torch.testing.assert_close(scores.values, torch.tensor(expected), equal_nan=True)


NAN = math.nan


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("<final_score>4,6</final_score>", 4 / 6),
        ("Principles ... <final_score>1,6</final_score> no: <final_score> 6, 6 </final_score>", 1.0),
        ("<final_score>0,3</final_score>", 0.0),
        ("<final_score>4</final_score>", None),
        ("<final_score>4.5,6</final_score>", None),
        ("<final_score>7,6</final_score>", None),
        ("<final_score>-1,6</final_score>", None),
        ("<final_score>0,0</final_score>", None),
        ("<final_score>four,six</final_score>", None),
        ("4,6", None),
        ("", None),
    ],
)
def test_a_verdict_is_read_by_the_papers_rules(reply, score):
    assert principle_score(reply) == (score if score is None else pytest.approx(score))


def test_in_a_tag_of_ones_own_verdicts_must_agree():
    assert principle_score("<v>1,2</v> <v>1,2</v>", "v") == 0.5
    assert principle_score("<v>1,2</v> <v>2,2</v>", "v") is None


@pytest.mark.parametrize("released", [False, True])
def test_each_step_but_the_last_has_its_share_of_points(judge_server, released):
    same(ask(judge_server, ["xx_;____;xxx", "xxx;x"], released=released), [[0.5, 0.0, NAN], [0.75, NAN, NAN]])
    same(ask(judge_server, ["xx_;xx"], last=True, released=released), [[0.5, 1.0]])


def test_what_the_judge_sees_of_a_step(judge_server):
    judge_server.seen.clear()
    ask(judge_server, ["ab;cd;ef"], max_tokens=77)
    assert [body["max_tokens"] for body in judge_server.seen] == [77, 77]
    first, second = sorted(
        (body["messages"][-1]["content"] for body in judge_server.seen), key=lambda text: "cd;" in text
    )
    assert re.search(r"Before:\n<(text-\w+)>\n\n</\1>\n\nStep:\n<\1>\nab;\n</\1>", first)
    assert re.search(r"Before:\n<(text-\w+)>\nab;\n</\1>\n\nStep:\n<\1>\ncd;\n</\1>", second)
    assert "principles" in first


def test_what_the_environment_said_is_history_and_no_step(judge_server):
    judge_server.seen.clear()
    same(ask(judge_server, ["xx;OOx_;x"], hidden="O"), [[2 / 3, 1 / 3, NAN]])
    assert any("\nxx;OO\n" in body["messages"][-1]["content"] for body in judge_server.seen)


def test_steps_without_a_verdict_are_unscored_and_their_row_only_if_none_has_one(judge_server):
    scores = ask(judge_server, ["xx; ;xxx", " ;x", "x"])
    same(scores, [[2 / 3, NAN, NAN], [NAN] * 3, [NAN] * 3])
    assert scores.reasons[0] is None
    assert scores.reasons[1].startswith("failed: no verdict")
    assert scores.reasons[2] == "not asked"
    assert scores.cost == [220.0, 110.0, 0.0]


def test_a_server_that_is_down_leaves_rows_unscored(judge_server):
    scores = ask(judge_server, ["x;x"], model="down")
    assert "InternalServerError" in scores.reasons[0]
    assert ask(judge_server, ["x;x"], model="torn").reasons[0].startswith("failed: no verdict")


def test_votes_are_put_together(judge_server):
    judge_server.seen.clear()
    same(ask(judge_server, ["x_;x"], votes=3, aggregate="median"), [[1 / 3, NAN]])
    assert len(judge_server.seen) == 3
    with pytest.raises(ValueError, match="at least one vote"):
        ask(judge_server, ["x;x"], votes=0)


def test_the_preset_judges_steps_and_renorms_them(judge_server, tmp_path):
    recipe = {
        "preset": "ppr",
        "task": {"use": "arithmetic"},
        "reward": [{"use": "final-answer"}, {"use": "judge-steps", "model": "judge", "url": judge_server.url}],
        "training": {"iterations": 2, "prompts": 4, "samples": 2, "evaluate_prompts": 0, "learning_rate": 1e-4},
    }
    assert len(list(train(load(recipe), tmp_path / "run").run.events())) == 2
