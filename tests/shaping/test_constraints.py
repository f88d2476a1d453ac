"""Lagrange multipliers by hand, and where they lead."""

import pytest
import torch

from guerdon.credit import group_normalise
from guerdon.shaping import ConstrainedAdvantages, ConstrainedRewards, SearchedConstraints, clip_rewards
from guerdon.shaping.constraints import mix, multiplier_step, multipliers

NAN = float("nan")
FIXED = {"rate": 0.1, "momentum": 0.1, "clip": 0.5}


def close(x, y, atol=1e-4):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=0, atol=atol)


def test_mix_by_hand():
    m = multipliers(torch.tensor([0.5, -0.2]), "tanh")
    close(m, [0.4621, -0.1974])
    close(mix(torch.tensor([1.0, -0.5]), m, torch.tensor(0.3)), 1.0814)
    close(mix(torch.tensor([1.0, -0.5]), m), 0.4621 + 0.0987)


@pytest.mark.parametrize("squash", ["tanh", "sigmoid", "clamp"])
def test_above_the_threshold_a_weight_falls_and_below_it_rises(squash):
    raw = torch.tensor([0.5, 0.4])
    moved, _ = multiplier_step(raw, torch.zeros(2), torch.tensor([0.1, -0.05]), squash=squash, **FIXED)
    assert moved[0] < raw[0]
    assert moved[1] > raw[1]


@pytest.mark.parametrize("squash", ["tanh", "sigmoid"])
def test_steps_are_those_of_torch_with_momentum_and_clipping(squash):
    raw, velocity = torch.tensor([0.5, -0.2]), torch.zeros(2)
    theirs = torch.tensor([0.5, -0.2], requires_grad=True)
    optimiser = torch.optim.SGD([theirs], lr=0.1, momentum=0.1)
    for excess in ([0.1, -0.05], [3.0, -4.0], [-0.2, 0.0]):
        raw, velocity = multiplier_step(raw, velocity, torch.tensor(excess), squash=squash, **FIXED)
        optimiser.zero_grad()
        (getattr(theirs, squash)() * torch.tensor(excess)).sum().backward()
        torch.nn.utils.clip_grad_norm_([theirs], 0.5)
        optimiser.step()
    close(raw, theirs.detach(), atol=1e-6)


def test_only_the_xi_form_pushes_a_part_down():
    """Trap: an equality may turn a weight negative, an inequality may not."""
    for squash, lowest in (("tanh", -0.9), ("sigmoid", 0.0), ("clamp", 0.0)):
        raw, velocity = torch.zeros(1), torch.zeros(1)
        for _ in range(400):
            raw, velocity = multiplier_step(raw, velocity, torch.tensor([1.0]), squash=squash, **FIXED)
        m = multipliers(raw, squash)
        assert (m < lowest) if squash == "tanh" else (m >= lowest)
        assert m < 0.2


def test_without_a_squash_the_objective_keeps_its_weight():
    """The plain Lagrangian, A_0 + sum m A: 0.3 + 1.5 * 1 + 0.7 * -0.5; squashed weights would give (2 - 2.2) * 0.3."""
    parts = {"a": torch.tensor([1.0]), "b": torch.tensor([-0.5]), "kl": torch.tensor([0.3])}
    stage = ConstrainedRewards(thresholds={"a": 0.0, "b": 0.0}, objective="kl", squash="clamp")
    stage.raw = torch.tensor([1.5, 0.7])
    close(stage(parts), [1.45])
    free = ConstrainedRewards(thresholds={"a": 0.0, "b": 0.0}, objective="kl", squash="none", start=-0.1)
    close(free(parts), [0.3 - 0.1 + 0.05])


def test_an_equality_without_a_squash_goes_below_zero_and_an_inequality_stops_there():
    for squash, lowest in (("none", -0.3), ("clamp", 0.0)):
        raw, velocity = torch.full((1,), 0.1), torch.zeros(1)
        for _ in range(10):
            raw, velocity = multiplier_step(raw, velocity, torch.tensor([1.0]), squash=squash, **FIXED)
        close(multipliers(raw, squash), [lowest], atol=0.2)
        assert (multipliers(raw, squash) < 0) == (squash == "none")


def test_a_part_that_nobody_scored_does_not_move():
    raw, velocity = torch.tensor([0.5, 0.5]), torch.tensor([1.0, 1.0])
    moved, moving = multiplier_step(raw, velocity, torch.tensor([NAN, 0.1]), squash="tanh", **FIXED)
    assert (moved[0], moving[0]) == (0.5, 1.0)
    assert moved[1] != 0.5


def test_rewards_and_what_is_not_read():
    stage = ConstrainedRewards(thresholds={"a": 0.5}, objective="kl", squash="sigmoid")
    parts = {"a": torch.tensor([1.0, 2.0, NAN]), "kl": torch.tensor([-1.0, 0.0, 0.0]), "gold": torch.tensor([NAN] * 3)}
    close(stage(parts), [0.5 - 0.5, 1.0, NAN])
    stage.update(parts)
    assert stage.metrics["mean/a"] == 1.5
    assert stage.metrics["threshold/a"] == 0.5
    # excess 1, slope 1/4, rate .1
    close(torch.tensor(stage.metrics["multiplier/a"]), torch.sigmoid(torch.tensor(-0.025)))


def test_names_are_checked():
    with pytest.raises(ValueError, match=r"a part named 'b', got \['a'\]; correct thresholds or objective"):
        ConstrainedRewards(thresholds={"b": 0.5})({"a": torch.zeros(1)})
    with pytest.raises(ValueError, match="a threshold for at least one part, got none"):
        ConstrainedRewards(thresholds={})({"a": torch.zeros(1)})


def test_advantages_are_mixed_and_raw_parts_are_measured():
    stage = ConstrainedAdvantages(thresholds={"a": 5.0}, squash="sigmoid")
    advantages = {"a": torch.tensor([1.0, -1.0])}
    close(stage(advantages), [0.5, -0.5])
    stage.update({"a": torch.tensor([9.0, 9.0])})
    assert (stage(advantages).abs() < 0.5).all()


def test_the_mix_of_rewards_carries_the_scale_of_each_part_and_that_of_advantages_does_not():
    """Trap: normalise each part before the multipliers."""
    group = torch.zeros(4, dtype=torch.int64)
    parts = {"a": torch.tensor([0.0, 1.0, 0.0, 1.0]), "b": torch.tensor([100.0, 0.0, 0.0, 100.0])}
    thresholds = {"a": 0.0, "b": 0.0}
    raw = ConstrainedRewards(thresholds=thresholds, squash="sigmoid")(parts)
    assert raw[0] > 10 * raw[1]
    each = {k: group_normalise(x, group) for k, x in parts.items()}
    mixed = ConstrainedAdvantages(thresholds=thresholds, squash="sigmoid")(each)
    close(mixed[0], mixed[1], atol=1e-3)


def test_normalising_after_the_mix_undoes_the_multipliers():
    """Trap: below the mix, a z-score makes the weight of a lone part meaningless, but not its sign."""
    group, part = torch.zeros(3, dtype=torch.int64), torch.tensor([0.0, 1.0, 2.0])
    strong, weak, below = (
        group_normalise(ConstrainedRewards(thresholds={"a": 0.0}, start=s)({"a": part}), group, eps=0.0)
        for s in (2.0, 0.1, -0.1)
    )
    close(strong, weak)
    close(below, -weak)


def test_saturation_is_a_ceiling_on_each_part():
    """The PPO-SAT arm: min(r, threshold), which stops paying but never pushes down."""
    close(clip_rewards(torch.tensor([0.1, 0.9]), low=-torch.inf, high=0.44), [0.1, 0.44])


def test_multipliers_hold_two_rewards_at_the_peak_of_what_is_wanted():
    """A policy over 50 items that learns by exact natural gradient; what is wanted peaks where the scores are 0.6, 0.4."""
    scores = torch.rand(50, 2, generator=torch.Generator().manual_seed(0))
    peak = torch.tensor([0.6, 0.4])
    wish = 1 - (scores - peak).square().sum(-1)
    stage = ConstrainedAdvantages(thresholds={"a": 0.6, "b": 0.4}, objective="kl")

    def learn(weigh):
        logits = torch.zeros(50)
        for _ in range(2000):
            p = logits.softmax(-1)
            logits = logits + 0.1 * weigh(p, -0.1 * (50 * p).log())
        return logits.softmax(-1)

    def constrained(p, kl):
        excess = p @ scores - peak  # the exact means of the raw parts
        stage.raw, stage.velocity = multiplier_step(stage.raw, stage.velocity, excess, squash="tanh", **FIXED)
        return stage({"a": scores[:, 0], "b": scores[:, 1], "kl": kl})

    held, plain = learn(constrained), learn(lambda p, kl: 2 * kl + scores.sum(-1))
    assert (held @ scores - peak).abs().max() < 0.03
    assert (plain @ scores > peak + 0.1).all()
    assert held @ wish > plain @ wish + 0.05


def test_state_survives_a_round_trip_and_the_search_goes_on_where_it_was():
    options = {"thresholds": {"a": 0.0, "b": 1.0}, "steps": {"a": 0.5, "b": 0.5}, "evaluation": "gold", "period": 2}
    first, second = SearchedConstraints(**options), SearchedConstraints(**options)
    generator = torch.Generator().manual_seed(0)

    def batch():
        return {name: torch.rand(4, generator=generator) for name in ("a", "b", "gold")}

    for _ in range(7):
        first.update(batch())
    second.load_state_dict(first.state_dict())
    for _ in range(20):
        more = batch()
        first.update(more)
        second.update(more)
        assert first.metrics == second.metrics
    assert len(first.search.told) > 5


def test_an_evaluation_ends_when_every_mean_is_near_its_threshold():
    stage = SearchedConstraints(thresholds={"a": 1.0}, steps={"a": 1.0}, evaluation="gold", period=100)
    stage.update({"a": torch.tensor([0.5]), "gold": torch.tensor([0.0])})
    assert stage.thresholds == {"a": 1.0}
    stage.update({"a": torch.tensor([1.04]), "gold": torch.tensor([3.0])})
    assert stage.search.told == [-3.0]
    assert stage.thresholds == {"a": 2.0}
