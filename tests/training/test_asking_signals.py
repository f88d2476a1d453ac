"""What a recipe says of how its signals are asked: side by side, some rows, from the cache, in processes, in chunks."""

import math
import threading
import time

import pytest
import torch

from guerdon.batch import Rollouts
from guerdon.pipeline import compile_recipe
from guerdon.recipe import RecipeError, load
from guerdon.training import train
from guerdon.training.cast import Cast
from guerdon.training.offline import score_table
from guerdon.training.parts import build
from guerdon.training.rollouts import collect

HERE = __name__ if __name__.startswith("tests.") else "tests.training.test_asking_signals"
ASKED: list[str] = []


def nap(prompts, completions, *, seconds: float = 0.3, **columns):
    time.sleep(seconds)
    return [1.0] * len(completions)


def meet(prompts, completions, **columns):
    TOGETHER.wait(120)  # all eight are here, or it raises
    return [1.0] * len(completions)


TOGETHER = threading.Barrier(8)


def note(prompts, completions, **columns):
    ASKED.extend(completions)
    return [float(len(c)) for c in completions]


def first_letter(prompts, completions, **columns):
    return [None if not c else float(c[0] == "a") for c in completions]


def fails(prompts, completions, **columns):
    raise OSError("gone")


def reward(name, **settings):
    return {"use": f"{HERE}:{name}", "name": name.replace("_", "-"), **settings}


def score(*rewards, completions=("a", "b", "", "ab")):
    table = {"completions": list(completions), "prompts": ["?"] * len(completions)}
    recipe = load({"reward": list(rewards), "pipeline": [{"use": "weighted-sum"}]})
    pipeline = compile_recipe(recipe, columns=set(), objective=False)
    return pipeline.run(Rollouts({**table, "group": torch.zeros(len(completions), dtype=torch.int64)}))


def part(outcome, name):
    return [None if math.isnan(v) else v for v in outcome.batch["parts"][name].tolist()]


def refused(match, *rewards):
    with pytest.raises(RecipeError, match=match):
        score(*rewards)


def test_signals_run_side_by_side():
    TOGETHER.reset()
    outcome = score(*[reward("meet") | {"name": f"meet{i}"} for i in range(8)])
    assert outcome.batch["rewards"].tolist() == [8.0] * 4
    assert [r.quantity for r in outcome.lineage] == [*[f"parts.meet{i}" for i in range(8)], "rewards"]


def test_a_signal_waits_for_what_it_reads():
    outcome = score(reward("nap"), reward("note", when={"true": ["parts.nap"]}))
    assert part(outcome, "note") == [1, 1, 0, 2]


@pytest.mark.parametrize(
    ("when", "rows"),
    [
        ({"true": ["parts.first-letter"]}, "a,ab"),
        ({"false": ["parts.first-letter"]}, "b"),
        ({"unscored": ["parts.first-letter"]}, ""),
        ({"differ": ["parts.first-letter", "parts.nap"]}, "b"),
        ({"true": ["parts.first-letter"], "differ": ["parts.first-letter", "parts.note"]}, "ab"),
    ],
)
def test_only_rows_of_which_it_holds_are_asked(when, rows):
    cheap = [reward("first_letter"), reward("nap", seconds=0.0), reward("note")]
    ASKED.clear()
    outcome = score(*cheap, reward("note", when=when) | {"name": "judge"})
    assert ASKED[4:] == rows.split(",")
    wanted = [c in rows.split(",") for c in ("a", "b", "", "ab")]
    assert [v is not None for v in part(outcome, "judge")] == wanted
    assert [r is None for r in outcome.batch["reasons"]["judge"]] == wanted
    assert outcome.failed["judge"] == 0
    assert outcome.batch["latencies"]["judge"].isnan().tolist() == [not w for w in wanted]


def test_rows_that_are_not_asked_may_have_a_score(tmp_path):
    outcome = score(reward("first_letter"), reward("note", when={"true": ["parts.first-letter"], "otherwise": 0.5}))
    assert part(outcome, "note") == [1, 0.5, 0.5, 2]
    assert outcome.batch["reasons"]["note"] == [None] * 4
    assert outcome.batch["latencies"]["note"].isnan().tolist() == [False, True, True, False]
    broken = score(reward("first_letter"), reward("fails", when={"true": ["parts.first-letter"], "otherwise": 0.5}))
    assert part(broken, "fails") == [None, 0.5, 0.5, None]


def test_a_cached_signal_is_asked_once(tmp_path, monkeypatch):
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    ASKED.clear()
    first = score(reward("note", cache=True))
    second = score(reward("note", cache=True), completions=("a", "new"))
    assert part(first, "note") == [1, 1, 0, 2]
    assert part(second, "note") == [1, 3]
    assert sorted(ASKED) == ["", "a", "ab", "b", "new"]
    assert second.said["note"].cached == 1


def test_a_signal_in_a_process_is_killed_when_it_hangs():
    outcome = score(reward("nap", process=True, seconds=0.0, timeout=30.0))
    assert part(outcome, "nap") == [1, 1, 1, 1]
    outcome = score(reward("nap", process=True, seconds=60.0, timeout=1.0) | {"name": "hangs"}, reward("note"))
    assert outcome.failed == {"hangs": 1.0, "note": 0.0}
    assert "its process was killed" in outcome.example("hangs")


@pytest.mark.parametrize(
    ("match", "settings"),
    [
        (r"expected when to name numbers of rows .* got 'parts.other'", {"when": {"true": ["parts.other"]}}),
        (r"expected when to name numbers of rows .* got 'completions'", {"when": {"true": ["completions"]}}),
        (
            r"reward\[0\].when.ture: expected a known setting, got 'ture'; did you mean 'true'",
            {"when": {"ture": ["correct"]}},
        ),
        (r"reward\[0\].batch: expected a number greater than or equal to 1, got 0", {"batch": 0}),
        (r"expected options among \['seconds'\], got 'bach'; did you mean 'batch'", {"bach": 3}),
    ],
)
def test_mistakes_are_named(match, settings):
    refused(match, reward("nap", **settings))


@pytest.mark.parametrize("setting", ["cache", "process"])
def test_a_signal_that_reads_positions_is_neither_cached_nor_sent_away(setting):
    recipe = load({"reward": [{"use": "environment-steps", setting: True}]})
    with pytest.raises(RecipeError, match=f"expected a signal that looks at the text .* for {setting}, .* turn_scores"):
        compile_recipe(recipe, objective=False, structure={"turn_scores"})


# in training -------------------------------------------------------------------------------------------------------


def small(tmp_path, **more):
    training = {"iterations": 2, "prompts": 5, "samples": 2, "evaluate_prompts": 0, "threads": 1}
    return load(
        {
            "preset": "grpo",
            "task": {"use": "arithmetic"},
            "reward": [{"use": "final-answer"}],
            "training": training,
            **more,
        }
    )


def busy(prompts, completions, **columns):
    BUSY.append((threading.current_thread(), time.perf_counter()))
    time.sleep(0.2)
    return [0.0] * len(completions)


BUSY: list = []


def test_chunks_are_scored_while_the_next_is_sampled(tmp_path):
    recipe = small(
        tmp_path,
        rollouts={"chunks": 3},
        reward=[{"use": "final-answer"}, {"use": f"{HERE}:busy", "name": "busy"}],
    )
    parts = build(recipe)
    BUSY.clear()
    outcome, _ = collect(parts, Cast.of(parts), 0)
    assert len(BUSY) == 3
    assert outcome.batch["group"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert sorted(outcome.said) == ["busy", "final-answer"]
    again, _ = collect(parts, Cast.of(parts), 0)
    for name in ("tokens", "rewards", "correct"):
        assert torch.equal(outcome.batch[name].nan_to_num(-9), again.batch[name].nan_to_num(-9))
    alone = parts.pipeline.run(
        outcome.batch.without("parts", "correct", "rewards", "advantages", "reasons", "latencies")
    )
    assert torch.equal(alone.batch["parts"]["final-answer"], outcome.batch["parts"]["final-answer"])


def test_chunks_and_branches_exclude_each_other(tmp_path):
    with pytest.raises(RecipeError, match=r"rollouts.chunks: expected 1 where completions branch"):
        build(small(tmp_path, rollouts={"chunks": 2, "forks": 2}))


def test_a_run_tells_how_long_rows_waited(tmp_path):
    import json

    train(small(tmp_path), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    event = next(e for e in lines if e["event"] == "iteration")
    assert event["seconds_per_row/final-answer/p50"] <= event["seconds_per_row/final-answer/p95"]
    assert event["seconds/signal/final-answer"] <= event["seconds"]


def test_a_file_is_scored_with_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    path = tmp_path / "samples.jsonl"
    path.write_text('{"prompts": "?", "completions": "abc"}\n{"prompts": "?", "completions": "b"}\n')
    recipe = load(
        {
            "reward": [
                reward("first_letter"),
                reward("note", cache=True, batch=1, when={"true": ["parts.first-letter"]}),
            ],
            "pipeline": [{"use": "weighted-sum"}],
        }
    )
    summary, outcome = score_table(str(path), recipe)
    assert part(outcome, "note") == [3, None]
    assert summary["reasons"] == {"note": {"not asked": 1}}
