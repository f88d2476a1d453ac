"""Losses of reward models: numbers worked by hand (of the papers' cards too), NaN rows, and empty batches."""

import math

import pytest
import torch

from guerdon.reward_models import losses
from guerdon.reward_models.flow import flow_matching_loss

NAN = float("nan")


def ratios(rows: list[list[float]], width: int = 4):
    logp = torch.tensor([row + [99.0] * (width - len(row)) for row in rows])
    mask = torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])
    return logp, torch.where(mask, 0.0, -99.0), mask


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


def test_prime_cross_entropy():
    given = ratios([[0.2, -0.1, 0.3], [-0.4, 0.1]])
    loss = losses.implicit_prm_ce(*given, torch.tensor([1.0, 0.0]), beta=0.05)
    assert float(loss) == pytest.approx(0.68444, abs=1e-5)
    assert float(losses.implicit_prm_ce(*given, torch.tensor([1.0, 0.0]), beta=1.0)) == pytest.approx(
        (softplus(-0.4) + softplus(-0.3)) / 2, abs=1e-6
    )


def test_detached_dpo_compares_with_the_mates_of_the_other_outcome():
    logp, ref, mask = ratios([[0.6], [0.2], [-0.4], [0.1]])
    leaf = logp.clone().requires_grad_()
    loss = losses.detached_dpo(
        leaf, ref, mask, torch.tensor([1.0, 0.0, 0.0, 1.0]), torch.tensor([1, 1, 1, 7]), beta=1.0
    )
    # row 0 against mean(0.2, -0.4); rows 1 and 2 against 0.6; row 3 has no mate of the other outcome: against 0
    wanted = (softplus(-(0.6 + 0.1)) + softplus(0.2 - 0.6) + softplus(-0.4 - 0.6) + softplus(-0.1)) / 4
    assert float(loss.detach()) == pytest.approx(wanted, abs=1e-6)
    loss.backward()
    assert leaf.grad is not None
    assert float(leaf.grad[0, 0]) == pytest.approx(-1 / (1 + math.exp(0.7)) / 4, abs=1e-6)  # its own term only


def test_detached_dpo_weighed_by_the_chance_to_be_the_best_of_the_group():
    """By outcome the right one of three weighs 3, a wrong one 3 (2/3)^2; by score 3, 3 (2/3)^2 and 3 (1/3)^2; alone 1."""
    ratio, group = ratios([[0.6], [0.2], [-0.4], [0.1]]), torch.tensor([1, 1, 1, 7])
    correct = torch.tensor([1.0, 0.0, 0.0, 1.0])
    each = [softplus(-(0.6 + 0.1)), softplus(0.2 - 0.6), softplus(-0.4 - 0.6), softplus(-0.1)]
    for how, weights in (("correct", [3, 4 / 3, 4 / 3, 1]), ("score", [3, 4 / 3, 1 / 3, 1])):
        made = losses.detached_dpo(*ratio, correct, group, beta=1.0, best_of_n=how)
        assert float(made) == pytest.approx(sum(w * x for w, x in zip(weights, each, strict=True)), abs=1e-5)
    lost = losses.detached_dpo(*ratio, torch.tensor([1.0, 0.0, NAN, 1.0]), group, beta=1.0, best_of_n="score")
    # the group is of two now: weights 2 and 2 (1/2)
    assert float(lost) == pytest.approx(2 * softplus(-0.4) + softplus(-0.4) + softplus(-0.1), abs=1e-5)


def test_nca_and_kto_by_hand():
    ratio, group = ratios([[0.6], [0.2], [-0.4], [0.1]]), torch.tensor([1, 1, 1, 7])
    correct = torch.tensor([1.0, 0.0, NAN, 1.0])
    pair = softplus(-0.6) + 0.5 * (softplus(0.6) + softplus(0.2))  # row 0 over row 1 is the only pair
    assert float(losses.implicit_prm_nca(*ratio, correct, group, beta=1.0)) == pytest.approx(pair, abs=1e-6)
    point = (0.6 + 0.2 + 0.1) / 3
    each = [1 / (1 + math.exp(x)) for x in (0.6 - point, -(0.2 - point), 0.1 - point)]
    assert float(losses.implicit_prm_kto(*ratio, correct, beta=1.0)) == pytest.approx(sum(each) / 3, abs=1e-6)
    negative = losses.implicit_prm_kto(*ratios([[-0.6]]), torch.ones(1), beta=1.0)
    assert float(negative) == pytest.approx(1 / (1 + math.exp(-0.6)), abs=1e-6)  # the reference point is not below 0


def test_istar_pairs_sum_and_mean():
    # successful trajectory with step ratios 0.3 and 0.1, failed one with -0.2
    given = (*ratios([[0.3, 0.1], [-0.2]]), torch.tensor([1.0, 0.0]), torch.tensor([3, 3]))
    assert float(losses.trajectory_dpo(*given, beta=1.0)) == pytest.approx(0.43749, abs=1e-5)
    steps = torch.tensor([2.0, 1.0])
    assert float(losses.trajectory_dpo(*given, beta=1.0, reduce="mean", steps=steps)) == pytest.approx(
        0.51302, abs=1e-5
    )
    with pytest.raises(ValueError, match="number of steps"):
        losses.trajectory_dpo(*given, reduce="mean")


def test_pairs_stay_inside_their_group_and_need_both_outcomes():
    logp, ref, mask = ratios([[0.3], [0.1], [0.5]])
    leaf = logp.clone().requires_grad_()
    loss = losses.trajectory_dpo(leaf, ref, mask, torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1, 2, 2]), beta=1.0)
    assert float(loss.detach()) == pytest.approx(softplus(-0.4), abs=1e-6)
    loss.backward()
    assert leaf.grad is not None
    assert not leaf.grad[0].any()
    alone = losses.trajectory_dpo(logp, ref, mask, torch.ones(3), torch.tensor([1, 2, 2]))
    assert float(alone) == 0


def test_oreal_token_model():
    scores = torch.tensor([[2.0, -1.0, 0.5, 77.0]])
    mask = torch.tensor([[True, True, True, False]])
    assert float(losses.running_mean_bce(scores, mask, torch.ones(1))) == pytest.approx(0.4741, abs=1e-4)


def test_spa_contributions():
    scores, mask = torch.tensor([[0.2, 0.3, 0.5], [0.1, NAN, NAN]]), torch.tensor([[True] * 3, [True, False, False]])
    assert float(losses.contribution_mse(scores, mask, torch.tensor([1.0, 0.1]))) == pytest.approx(0, abs=1e-12)
    assert float(losses.contribution_mse(scores, mask, torch.tensor([0.0, 0.6]))) == pytest.approx((1 + 0.25) / 2)
    assert float(losses.contribution_mse(scores, mask, torch.tensor([1.0, 0.1]), l2=2.0)) == pytest.approx(
        2 * (0.04 + 0.09 + 0.25 + 0.01) / 4
    )


def test_drawn_steps_are_steps_that_the_row_has():
    scores = torch.tensor([[1.0, NAN, 3.0], [2.0, NAN, NAN]])
    mask = ~scores.isnan()
    given = (scores, mask, torch.tensor([4.0, 5.0]))
    for seed in range(5):
        g = torch.Generator().manual_seed(seed)
        two = losses.randomised_return_decomposition(*given, draws=2, generator=g)
        assert float(two) == pytest.approx(float(losses.return_decomposition(*given)))
        one = losses.randomised_return_decomposition(*given, draws=1, unbiased=True, generator=g)
        assert float(one) == pytest.approx(((1 - 2) ** 2 + 9) / 2) or float(one) == pytest.approx(
            ((3 - 2) ** 2 + 9) / 2
        )


@pytest.mark.parametrize("name", ["implicit_prm_ce", "detached_dpo", "trajectory_dpo", "running_mean_bce", "flow"])
def test_a_row_without_outcome_equals_a_deleted_row(name):
    g = torch.Generator().manual_seed(3)
    logp, ref, mask = (
        torch.randn(5, 4, generator=g),
        torch.randn(5, 4, generator=g),
        torch.rand(5, 4, generator=g) < 0.8,
    )
    mask[:, :2] = True
    correct, group = torch.tensor([1.0, 0.0, NAN, 1.0, 0.0]), torch.tensor([1, 1, 1, 2, 2])
    rest = torch.tensor([0, 1, 3, 4])
    call = {
        "implicit_prm_ce": lambda r: losses.implicit_prm_ce(logp[r], ref[r], mask[r], correct[r]),
        "detached_dpo": lambda r: losses.detached_dpo(logp[r], ref[r], mask[r], correct[r], group[r]),
        "trajectory_dpo": lambda r: losses.trajectory_dpo(logp[r], ref[r], mask[r], correct[r], group[r]),
        "running_mean_bce": lambda r: losses.running_mean_bce(logp[r], mask[r], correct[r]),
        "flow": lambda r: flow_matching_loss(logp[r], mask[r], correct[r]),
    }[name]
    torch.testing.assert_close(call(torch.arange(5)), call(rest))
    none = call(torch.tensor([2]))
    assert float(none) == 0


def test_unscored_rewards_are_in_no_regression():
    scores, mask = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(2, 2, dtype=torch.bool)
    rewards = torch.tensor([1.0, NAN])
    for loss in (losses.contribution_mse, losses.return_decomposition):
        torch.testing.assert_close(loss(scores, mask, rewards), loss(scores[:1], mask[:1], rewards[:1]))
