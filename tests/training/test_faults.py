"""Signals that fail and losses that are not finite: counted, excluded, and stopped past the limit, with nothing lost."""

import math
import time

import pyarrow.parquet as pq
import pytest
import torch

from guerdon.reward_models.language import ImplicitPRM
from guerdon.training import Stopped, train

BEHAVIOUR = {"kind": "ok"}


def flaky(prompts, completions, **columns):
    """A reward with TRL's signature that behaves as the test says."""
    kind, scores = BEHAVIOUR["kind"], [float(len(c)) for c in completions]
    if kind == "raises":
        raise OSError("no route to the judge")
    if kind == "hangs":
        time.sleep(30)
    if kind == "short":
        return scores[:-1]
    if kind == "nan":
        return [float("nan")] * len(scores)
    if kind == "some":
        return [float("nan") if i % 8 == 0 else s for i, s in enumerate(scores)]
    if kind == "unasked":
        return [None if i % 2 else s for i, s in enumerate(scores)]
    return scores


def with_flaky(recipe, **reward):
    recipe["reward"] = [{"use": "tests.training.test_faults:flaky", "name": "flaky", **reward}]
    return recipe


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("raises", "OSError: no route to the judge"),
        ("hangs", "timed out after 0.2 s"),
        ("short", "23"),
        ("nan", "NaN"),
    ],
)
def test_past_the_limit_the_run_stops_with_the_signals_name(recipe, tmp_path, monkeypatch, kind, why):
    monkeypatch.setitem(BEHAVIOUR, "kind", kind)
    with pytest.raises(Stopped, match="the signal 'flaky'") as caught:
        train(with_flaky(recipe, timeout=0.2), tmp_path / "run")
    assert caught.value.reason == "signal"
    assert why in str(caught.value)
    table = pq.read_table(tmp_path / "run/rollouts/000000.parquet")
    assert table.num_rows == 24
    assert all(r.startswith("failed") for r in table["reasons.flaky"].to_pylist())
    assert (tmp_path / "run/checkpoints/000000/state.json").exists()


@pytest.mark.parametrize("kind", ["some", "unasked"])
def test_unscored_rows_stay_out_of_statistics_and_loss(recipe, tmp_path, monkeypatch, kind):
    monkeypatch.setitem(BEHAVIOUR, "kind", kind)
    events = []
    recipe["loss"] = [{"use": "reinforce"}]
    recipe["pipeline"] = [{"use": "weighted-sum"}, {"use": "leave-one-out"}]
    recipe["training"] |= {"epochs": 1, "minibatches": 1}
    train(with_flaky(recipe), tmp_path / "run", observe=lambda e, d: events.append((e, d)))
    iterations = [d for e, d in events if e == "iteration"]
    assert all(math.isfinite(d["loss"]) for d in iterations)
    assert all(d["trained_rows"] <= (21 if kind == "some" else 12) for d in iterations)
    assert ("failed/flaky" in iterations[0]) == (kind == "some")  # not asked is not failed


def test_three_steps_in_a_row_that_are_not_finite_stop_the_run(recipe, tmp_path):
    recipe["reward"] = [{"use": "tests.training.test_faults:enormous", "name": "enormous"}]
    recipe["pipeline"] = [{"use": "weighted-sum"}, {"use": "moving-average-baseline"}]
    recipe["loss"] = [{"use": "reinforce", "weight": 1e38}]
    with pytest.raises(Stopped, match="three steps in a row") as caught:
        train(recipe, tmp_path / "run")
    assert caught.value.reason == "non-finite"
    assert "the loss of reinforce is not finite" in str(caught.value) or "gradient" in str(caught.value)
    assert list((tmp_path / "run/checkpoints").glob("0*"))


@pytest.mark.parametrize("update", ["before", "after"])
def test_a_model_whose_updates_are_not_finite_stops_the_run(recipe, tmp_path, update, monkeypatch):
    recipe |= {
        "preset": "prime",
        "set": {"prm.update": update},
        "reward": [{"use": "final-answer"}],
        "pipeline": [],
        "loss": [],
    }
    recipe["training"] |= {"iterations": 6}
    whole = ImplicitPRM.loss
    monkeypatch.setattr(ImplicitPRM, "loss", lambda self, outputs, batch: whole(self, outputs, batch) * math.inf)
    with pytest.raises(Stopped, match=r"model \(prm\).*three updates in a row") as caught:
        train(recipe, tmp_path / "run")
    assert caught.value.reason == "non-finite"
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").glob("0*"))[-1] == (
        "000002" if update == "before" else "000003"
    )
    monkeypatch.undo()
    assert train(None, tmp_path / "run", resume=True).final is not None


def enormous(prompts, completions, **columns):
    """Finite scores whose loss overflows."""
    return [1e30 * (i % 3) for i, _ in enumerate(completions)]


SPIKES = {"left": 0}


def spiking(prompts, completions, **columns):
    """Overflows once, then behaves."""
    if SPIKES["left"]:
        SPIKES["left"] -= 1
        return [1e38 * (i % 2) for i, _ in enumerate(completions)]
    return [float(i % 2) for i, _ in enumerate(completions)]


def test_a_single_step_that_is_not_finite_is_skipped_and_counted(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(SPIKES, "left", 1)
    recipe["reward"] = [{"use": "tests.training.test_faults:spiking", "name": "spiking"}]
    recipe["pipeline"] = [{"use": "weighted-sum"}, {"use": "leave-one-out"}]
    recipe["loss"] = [{"use": "reinforce", "aggregate": "sequence-sum", "constant": 1e-3}]
    recipe["training"] |= {"epochs": 1, "minibatches": 1}
    events = []
    result = train(recipe, tmp_path / "run", observe=lambda e, d: events.append((e, d)))
    last = [d for e, d in events if e == "iteration"][-1]
    assert last["skipped"] == 1
    assert last["steps"] == 7
    assert all(torch.isfinite(w).all() for w in result.policy.state().values())
