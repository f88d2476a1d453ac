"""A KL price that moves: both laws by hand and in a closed loop, what is measured, and the KL as what is left over."""

import math

import pytest
import torch

from guerdon.recipe import RecipeError, load
from guerdon.shaping import ConstrainedRewards, ConstrainedTokenRewards, ControlledKlInReward, kl_in_reward
from guerdon.shaping.controlled_kl import mean_divergence, proportional_step
from guerdon.training import Stopped, build, train

NAN = float("nan")
OLD = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, -1.0, -1.0]])
REF = torch.tensor([[-1.5, -2.1, -1.0], [-1.2, NAN, -2.0]])
MASK = torch.tensor([[True, True, False], [True, False, True]])
ZERO = torch.zeros(2, 3)


def test_the_proportional_law_by_hand():
    assert proportional_step(0.2, 0.55, 0.5) == pytest.approx(0.2 * 1.01)
    assert proportional_step(0.2, 9.0, 0.5) == pytest.approx(0.2 * 1.02)  # cut at .2
    assert proportional_step(0.2, -3.0, 0.5) == pytest.approx(0.2 * 0.98)
    assert proportional_step(0.2, NAN, 0.5) == 0.2


def test_what_is_measured():
    """Differences .5 and .1 in the first row, .2 and 1 in the second; the NaN stands where the policy chose nothing."""
    assert float(mean_divergence(ZERO, OLD, REF, MASK)) == pytest.approx(1.8 / 4)
    assert float(mean_divergence(ZERO, OLD, REF, MASK, per="row")) == pytest.approx(1.8 / 2)
    unscored = ZERO.clone()
    unscored[1, 2] = NAN
    assert float(mean_divergence(unscored, OLD, REF, MASK)) == pytest.approx(0.6 / 2)
    assert math.isnan(float(mean_divergence(ZERO + NAN, OLD, REF, MASK)))


def test_a_multiplier_rises_while_there_is_too_much_and_lets_go():
    stage = ControlledKlInReward(target=0.4, law="multiplier", coefficient=0.01, rate=0.1)
    stage.update(ZERO, OLD, REF, MASK)  # .45
    assert stage.metrics == pytest.approx({"coefficient": 0.015, "target": 0.4, "kl": 0.45})
    for _ in range(3):
        stage.update(ZERO, OLD, OLD, MASK)  # none at all: excess -.4, cut at .2
    assert stage.beta == 0.0
    stage.update(ZERO + NAN, OLD, REF, MASK)  # nothing to measure
    assert stage.beta == 0.0


def test_calling_is_kl_in_reward_at_the_coefficient():
    stage = ControlledKlInReward(target=0.1, estimator="k3")
    torch.testing.assert_close(
        stage(ZERO + 1, OLD, REF, MASK), kl_in_reward(ZERO + 1, OLD, REF, MASK, coefficient=0.2, estimator="k3")
    )


@pytest.mark.parametrize(("law", "rate"), [("proportional", 1.0), ("multiplier", 0.5)])
def test_the_divergence_comes_to_its_target(law, rate):
    """Policies that are best at each price, pi ~ ref exp(r / beta), and draws of them."""
    g = torch.Generator().manual_seed(0)
    rewards, ref = torch.linspace(0, 1, 6), torch.full((6,), 1 / 6).log()
    stage = ControlledKlInReward(target=0.3, law=law, rate=rate)
    seen = []
    for _ in range(150):
        policy = (ref + rewards / max(stage.beta, 1e-3)).log_softmax(0)
        drawn = torch.multinomial(policy.exp(), 4000, replacement=True, generator=g)[:, None]
        stage.update(torch.zeros(4000, 1), policy[drawn], ref[drawn], torch.ones(4000, 1, dtype=torch.bool))
        seen.append(stage.divergence)
    assert abs(seen[0] - 0.3) > 0.1
    assert sum(seen[-30:]) / 30 == pytest.approx(0.3, abs=0.03)


def test_what_multipliers_leave_over_is_the_weight_of_the_divergence():
    """m = tanh(.5), tanh(-.2): .2647 of 2 are claimed; the row's reward is .4621 - 2 * .1974."""
    stage = ConstrainedTokenRewards(thresholds={"a": 0.5, "b": 0.5}, coefficient=0.1)
    stage.raw = torch.tensor([0.5, -0.2])
    parts = {"a": torch.tensor([1.0, NAN]), "b": torch.tensor([2.0, 0.0]), "gold": torch.tensor([NAN, NAN])}
    left = 0.1 * (2 - 0.2647)
    expected = torch.tensor([[-left * 0.5, 0.4621 - 2 * 0.1974 - left * 0.1, 0.0], [-left * 0.2, 0.0, NAN]])
    torch.testing.assert_close(stage(parts, OLD, REF, MASK), expected, atol=1e-4, rtol=0, equal_nan=True)
    nothing = stage(parts, OLD, REF, torch.zeros_like(MASK))
    assert torch.equal(nothing, ZERO)


def test_its_multipliers_are_those_of_constrained_rewards():
    rows, tokens = ConstrainedRewards(thresholds={"a": 0.5}), ConstrainedTokenRewards(thresholds={"a": 0.5}, target=0.1)
    parts = {"a": torch.tensor([1.0, 0.8])}
    for _ in range(3):
        rows.update(parts)
        tokens.update(parts, ZERO, OLD, REF, MASK)
    assert torch.equal(rows.raw, tokens.raw)
    assert tokens.price.beta == pytest.approx(0.2 * 1.02**3)
    fixed = ConstrainedTokenRewards(thresholds={"a": 0.5})
    fixed.update(parts, ZERO, OLD, REF, MASK)
    assert fixed.metrics["coefficient"] == 0.2


BASE = {
    "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
    "policy": {"use": "tiny", "width": 24, "heads": 2, "layers": 1},
    "reward": [{"use": "final-answer"}, {"use": "length"}],
    "loss": [{"use": "reinforce"}],
    "training": {
        "iterations": 4, "prompts": 4, "samples": 4, "learning_rate": 1e-2, "checkpoint_every": 2, "keep_checkpoints": 9,
        "evaluate_prompts": 0, "save_rollouts_every": 0, "threads": 1,
    },
}  # fmt: skip
CREDIT = [{"use": "discounted-returns", "make": "token_advantages"}, {"use": "whiten"}]
CONTROLLED = {"use": "controlled-kl-in-reward", "target": 0.05}
CONSTRAINED = {"use": "constrained-token-rewards", "thresholds": {"final-answer": 0.9, "length": 0.5}, "target": 0.05}


@pytest.mark.parametrize(
    ("stages", "label"),
    [
        ([{"use": "weighted-sum"}, {"use": "place-rewards"}, CONTROLLED], "controlled-kl-in-reward"),
        ([CONSTRAINED], "constrained-token-rewards"),
    ],
)
def test_in_a_run_it_moves_and_is_resumed(tmp_path, stages, label):
    recipe = {**BASE, "pipeline": [*stages, *CREDIT]}
    whole = train(recipe, tmp_path / "whole")

    def told(run):
        return [e[f"state/{label}/coefficient"] for e in run.run.events() if e["event"] == "iteration"]

    coefficients = told(whole)
    assert len(set(coefficients)) == 4
    assert coefficients[0] < 0.2  # nothing has moved yet: no divergence

    def stop(event, data):
        if event == "iteration" and data["iteration"] == 2:
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, Stopped)):
        train(recipe, tmp_path / "part", observe=stop)
    assert told(train(None, tmp_path / "part", resume=True)) == coefficients


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ({**CONTROLLED, "target": 0.0}, r"\(controlled-kl-in-reward\): expected a target above 0, got 0"),
        ({**CONSTRAINED, "thresholds": {"nobody": 0.5}}, "expected thresholds to name an entry of parts among"),
        ({**CONSTRAINED, "squash": "clamp"}, "expected squash"),
    ],
)
def test_what_cannot_run_is_refused(stage, said):
    above = [{"use": "weighted-sum"}, {"use": "place-rewards"}] if stage["use"].startswith("controlled") else []
    with pytest.raises(RecipeError, match=said):
        build(load({**BASE, "pipeline": [*above, stage, *CREDIT]}))
