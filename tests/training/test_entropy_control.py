"""The presets that control the entropy train, resume to the last bit, and say how much their samples are worth."""

import pytest
import torch

from guerdon.adapters.fitting import compile_for
from guerdon.adapters.hosts import HOSTS
from guerdon.method import methods
from guerdon.recipe import RecipeError, load
from guerdon.training import build, train
from guerdon.training.optimise import effective_sample_size, importance
from tests.training.resuming import same_policy, without_the_latest

TRAINING = {
    "iterations": 3,
    "prompts": 4,
    "samples": 4,
    "minibatches": 2,
    "learning_rate": 1e-3,
    "evaluate_prompts": 0,
    "save_rollouts_every": 0,
}


def recipe(**changes):
    return {
        "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
        "reward": [{"use": "final-answer"}],
        "sampling": {"temperature": 1.3},
        **changes,
        "training": {**TRAINING, **changes.get("training", {})},
    }


ARMS = {
    "clip-cov": recipe(preset="clip-cov", set={"clip-cov.share": 0.2, "clip-cov.low": 0.0}),
    "kl-cov": recipe(preset="kl-cov", set={"kl-cov.share": 0.1}),
    "steer": recipe(preset="steer"),
    "siren": recipe(preset="siren", set={"entropy-bonus.weight": 1.0}),
    "siren, top": recipe(preset="siren", policy={"use": "tiny", "nucleus": {"mass": 0.9, "top": 5, "crossing": False}}),
    "exact": recipe(
        pipeline=[{"use": "weighted-sum"}, {"use": "group-normalise"}, {"use": "exact-entropy-change-weights"}],
        loss=[{"use": "clipped-surrogate"}],
    ),
    "per micro-batch": recipe(preset="steer", training={"statistics": "micro-batch", "micro_tokens": 200}),
    "windows": recipe(
        policy={"use": "tiny", "top": 3},
        pipeline=[
            {"use": "weighted-sum"},
            {"use": "group-normalise"},
            {
                "use": "windowed-entropy",
                "name": "old",
                "take": {"entropy": "old_top_entropy"},
                "make": "old_windowed_entropy",
            },
            {"use": "windowed-entropy", "take": {"entropy": "top_entropy"}, "width": 2},
            {
                "use": "entropy-anchor",
                "take": {"nucleus_entropy": "windowed_entropy", "old_nucleus_entropy": "old_windowed_entropy"},
            },
        ],
        loss=[
            {"use": "clipped-surrogate", "weighted": False},
            {"use": "entropy-bonus", "take": {"entropy": "windowed_entropy"}, "aggregate": "sequence-mean"},
        ],
    ),
    "epo": {
        **recipe(preset="epo", set={"entropy-band.high": 0.5, "entropy-bonus.weight": 0.0}),
        "task": {"use": "text-game", "size": 3, "holes": 0.3, "max_turns": 4},
        "reward": [{"use": "environment-score"}],
        "policy": {"use": "tiny", "width": 16, "heads": 2, "layers": 1, "vocabulary": "AFHGS/>LDRU\n"},
    },
}


@pytest.mark.parametrize("arm", ARMS)
def test_every_preset_trains(tmp_path, arm):
    events = [e for e in train(ARMS[arm], tmp_path / "run").run.events() if e["event"] == "iteration"]
    assert len(events) == 3
    assert events[-1]["skipped"] == 0
    assert all(0 < e["effective_sample_size"] <= 1 + 1e-6 for e in events if e["trained_rows"])
    if arm == "kl-cov":  # from the second mini-batch on, tokens pay for having moved
        assert max(e["loss/kl-loss"] for e in events) > 0


@pytest.mark.parametrize("arm", ["siren", "epo", "clip-cov", "kl-cov"])
def test_state_and_draws_survive_an_interruption(tmp_path, arm):
    whole = train(ARMS[arm], tmp_path / "whole")
    short = {**ARMS[arm], "training": {**ARMS[arm]["training"], "checkpoint_every": 1, "keep_checkpoints": 9}}
    train(short, tmp_path / "short")
    same_policy(whole, without_the_latest(tmp_path / "short", "000002", "000003"))


def test_recipes_ask_for_what_they_need_and_no_more_than_a_host_has():
    assert {"nucleus_entropy", "old_nucleus_entropy"} <= build(load(ARMS["siren"])).pipeline.needs
    assert "old_entropy" in build(load(ARMS["epo"])).pipeline.needs
    with pytest.raises(RecipeError, match="logits"):
        compile_for(HOSTS["verl"], ARMS["siren"], columns=("answer",))


SURROGATE, BONUS = {"use": "clipped-surrogate"}, {"use": "entropy-bonus", "weight": 10.0}
ASIDE = {**SURROGATE, "weighted": False}
ACROSS = {
    "entropy-change-weights": ({}, [SURROGATE]),
    "exact-entropy-change-weights": ({}, [SURROGATE]),
    "clip-cov": ({"share": 1.0, "low": 0.0}, [SURROGATE]),
    "surprise-selection": ({"ratio": 0.3}, [{"use": "reinforce"}]),
    "tea-coefficients": ({}, [ASIDE, BONUS]),
    "kl-cov": ({"share": 0.1}, [ASIDE, {**BONUS, "weighted": ["kl-cov"]}]),
    "entropy-anchor": ({"anchor": 0.1}, [ASIDE, {**BONUS, "take": {"entropy": "nucleus_entropy"}}]),
}


def test_every_stage_with_statistics_is_tried():
    assert set(ACROSS) == {m.name for m in methods().values() if m.across}


@pytest.mark.parametrize("stage", ACROSS)
def test_the_statistics_of_micro_batches_are_a_choice(tmp_path, stage):
    """Cut into forward passes, weights of the mini-batch stay the same; those of micro-batches do not."""
    options, losses = ACROSS[stage]
    said = {}
    for how, size in (("mini-batch", 150), ("mini-batch", 10**6), ("micro-batch", 150), ("micro-batch", 10**6)):
        training = {"statistics": how, "micro_tokens": size, "iterations": 1, "minibatches": 1, "prompts": 24}
        stages = [{"use": "weighted-sum"}, {"use": "group-normalise"}, {"use": stage, **options}]
        run = train(recipe(pipeline=stages, loss=losses, training=training), tmp_path / f"{how}{size}").run
        said[how, size] = next(e["gradient_norm"] for e in run.events() if e["event"] == "iteration")
    whole = said["mini-batch", 10**6]
    assert whole > 0
    assert said["mini-batch", 150] == pytest.approx(whole, rel=1e-4)
    assert said["micro-batch", 10**6] == pytest.approx(whole, rel=1e-4)
    assert said["micro-batch", 150] != pytest.approx(whole, rel=1e-3)


def test_effective_sample_size_by_hand():
    mask = torch.tensor([[True, True, False]])
    sums = importance(torch.tensor([[3.0, 1.0, 9.0]]).log(), torch.zeros(1, 3), mask)
    assert effective_sample_size(sums) == pytest.approx(16 / 20)
    assert effective_sample_size({k: 2 * v for k, v in sums.items()}) == pytest.approx(16 / 20)
    assert effective_sample_size(importance(torch.zeros(1, 3), torch.zeros(1, 3), mask & False)) == 1
