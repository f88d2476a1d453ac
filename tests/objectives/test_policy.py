"""The policy losses by hand, and their gradients where rubbish stands beside them."""

import math

import pytest
import torch

from guerdon.objectives import (
    clipped_surrogate,
    geometric_ratio,
    reinforce,
    sequence_ratio,
    surrogate,
    token_ratio,
    weighted_likelihood,
)

NAN, INF = float("nan"), float("inf")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def clipped(logp, old, advantages, mask, ratio=token_ratio, **options):
    return clipped_surrogate(ratio(logp, old, mask), advantages, mask, **options)


def one(ratio, advantage, **options):
    """Loss, and its gradient in logp, of a single token whose probability went up by ``ratio``."""
    logp = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss = clipped(logp, torch.zeros(1, 1), torch.tensor([[advantage]]), torch.ones(1, 1, dtype=torch.bool), **options)
    loss.sum().backward()
    return loss.item(), logp.grad.item()


def test_reinforce():
    logp = torch.tensor([[-1.0, -2.0, -3.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    loss = reinforce(logp, torch.tensor([[2.0, -0.5, 9.0]]), mask)
    close(loss, [[2.0, -1.0, 0.0]])
    loss.sum().backward()
    close(logp.grad, [[-2.0, 0.5, 0.0]])


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "gradient"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),  # far enough up
        (0.5, 2.0, -1.0, -1.0),  # wrong way: pushed back
        (0.5, -2.0, 1.6, 0.0),  # far enough down
        (1.5, -2.0, 3.0, 3.0),  # wrong way: pushed back
        (1.5, 0.0, 0.0, 0.0),
    ],
)
def test_clipped_surrogate(ratio, advantage, loss, gradient):
    assert one(ratio, advantage) == pytest.approx((loss, gradient), abs=1e-6)


def test_clips_are_separate():
    assert one(1.25, 1.0, clip_high=0.28) == pytest.approx((-1.25, -1.25))
    assert one(1.5, 1.0, clip_high=0.28) == pytest.approx((-1.28, 0.0))
    assert one(0.5, -1.0, clip_low=0.1, clip_high=0.28) == pytest.approx((0.9, 0.0))


def test_dual_clip_bounds_bad_tokens_only():
    assert one(10.0, -1.0) == pytest.approx((10.0, 10.0))
    assert one(10.0, -1.0, dual_clip=3.0) == pytest.approx((3.0, 0.0))
    assert one(2.0, -1.0, dual_clip=3.0) == pytest.approx((2.0, 2.0))
    assert one(10.0, 1.0, dual_clip=3.0) == pytest.approx((-1.2, 0.0))


def test_the_geometric_ratio_is_one_per_row_with_gradient_through_all_tokens():
    steps = torch.tensor([[0.1, 5.0, -0.04], [0.5, 0.5, 0.5], [0.0, 0.0, 0.0]])
    logp = steps.clone().requires_grad_()
    mask = torch.tensor([[True, False, True], [True, True, True], [False, False, False]])
    advantages = torch.tensor([[2.0] * 3, [2.0] * 3, [2.0] * 3])
    loss = clipped(logp, torch.zeros(3, 3), advantages, mask, geometric_ratio)
    r = math.exp(0.03)
    close(loss, [[-2 * r, 0, -2 * r], [-2.4, -2.4, -2.4], [0.0, 0.0, 0.0]])
    (loss.sum(-1) / mask.sum(-1).clamp(min=1)).sum().backward()
    close(logp.grad, [[-r, 0.0, -r], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # A * r / length on each token


def test_gradient_at_the_old_policy_is_that_of_reinforce():
    torch.manual_seed(0)
    old, advantages = -torch.rand(3, 4), torch.randn(3, 4)
    mask = torch.rand(3, 4) > 0.3
    grads = []
    for loss in (lambda x: reinforce(x, advantages, mask), lambda x: clipped(x, old, advantages, mask)):
        logp = old.clone().requires_grad_()
        loss(logp).sum().backward()
        grads.append(logp.grad)
    close(grads[0], grads[1])


LOSSES = {
    "reinforce": lambda logp, old, adv, mask: reinforce(logp, adv, mask),
    "token": clipped,
    "dual": lambda *a: clipped(*a, dual_clip=3.0),
    "geometric": lambda *a: clipped(*a, ratio=geometric_ratio),
    "sequence": lambda *a: clipped(*a, ratio=sequence_ratio),
    "plain": lambda logp, old, adv, mask: surrogate(token_ratio(logp, old, mask), adv, mask),
    "weighted": lambda logp, old, adv, mask: weighted_likelihood(sequence_ratio(logp, old, mask), logp, adv, mask),
}


@pytest.mark.parametrize("rubbish", [NAN, INF, -INF, 1e30])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_unchosen_positions_change_nothing(loss, rubbish):
    mask = torch.tensor([[True, False, True, False]])
    clean = torch.tensor([[-1.0, 0.0, -0.5, 0.0]])
    dirty = torch.where(mask, clean, rubbish)
    made = []
    for x in (clean, dirty):
        logp = x.clone().requires_grad_()
        value = loss(logp, 0.9 * x, torch.where(mask, 0.7, x), mask)
        value.sum().backward()
        made.append((value.detach(), logp.grad))
    close(made[1][0], made[0][0])
    close(made[1][1], made[0][1])
    assert (made[1][0][~mask] == 0).all()
    assert (made[1][1][~mask] == 0).all()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_an_unscored_position_shows_but_passes_no_gradient(loss):
    logp = torch.tensor([[-1.0, -2.0], [-1.0, -2.0]], requires_grad=True)
    value = loss(
        logp, torch.full((2, 2), -1.5), torch.tensor([[NAN, NAN], [1.0, 1.0]]), torch.ones(2, 2, dtype=torch.bool)
    )
    assert value[0].isnan().all()
    torch.where(value.isnan(), 0.0, value).sum().backward()
    assert (logp.grad[0] == 0).all()
    assert logp.grad.isfinite().all()


@pytest.mark.parametrize("advantage", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("jump", [-1e4, -90.0, 90.0, 1e4])
@pytest.mark.parametrize("ratio", [token_ratio, sequence_ratio, geometric_ratio])
def test_a_huge_ratio_stays_finite(jump, advantage, ratio):
    logp = torch.tensor([[jump]], requires_grad=True)
    loss = clipped(logp, torch.zeros(1, 1), torch.tensor([[advantage]]), torch.tensor([[True]]), ratio)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert logp.grad.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [({"clip_low": -0.1}, "at least 0"), ({"clip_high": -0.1}, "at least 0"), ({"dual_clip": 1.0}, "above 1")],
)
def test_impossible_clips_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        one(1.0, 1.0, **options)
