"""Cui et al., The Entropy Mechanism (2025): Clip-Cov, KL-Cov, and the covariance that the entropy falls by."""

import math

import pytest
import torch

from guerdon.kernels import kl_estimate
from guerdon.objectives import clip_cov, clipped_surrogate, covariance, kl_cov, kl_loss, token_mean, token_ratio

A = torch.tensor([[1.0, 1.0, -1.0, -1.0]])
LOGP = torch.tensor([[-0.1, -2.0, -0.3, -1.5]])
ON = torch.ones(1, 4, dtype=torch.bool)


def test_worked_example():
    cov = covariance(A, LOGP, ON)
    torch.testing.assert_close(cov, torch.tensor([[0.875, -1.025, -0.675, 0.525]]))
    assert cov.mean().item() == pytest.approx(-0.075)
    assert kl_cov(LOGP, A, ON).tolist() == [[1, 0, 0, 0]]  # one token at least, the largest
    kept = clip_cov(LOGP, LOGP, A, ON, share=1.0, low=0.5, high=5.0, generator=torch.Generator())
    assert kept.tolist() == [[0, 1, 1, 0]]


def test_clip_cov_stays_an_average_over_all_tokens():
    kept = clip_cov(LOGP, LOGP, A, ON, share=1.0, low=0.5, high=5.0, generator=torch.Generator())
    loss = token_mean(
        clipped_surrogate(token_ratio(LOGP, LOGP, ON), A, ON, clip_low=1.0, clip_high=1.0), ON, token_weights=kept
    )
    assert loss.item() == pytest.approx((-1 + 1) / 4)


def test_the_price_of_kl_cov_has_no_gradient_before_the_first_step():
    for moved, slope in ((0.0, 0.0), (0.2, 0.25), (-0.2, -0.25)):
        logp = (LOGP + moved).requires_grad_()
        price = token_mean(kl_loss(logp, LOGP, ON, estimator="absolute"), ON, token_weights=kl_cov(LOGP, A, ON))
        price.backward()
        assert logp.grad.tolist() == [[slope, 0, 0, 0]]
    assert kl_estimate(torch.tensor(-1.0), torch.tensor(-3.0), "absolute") == 2


def test_the_entropy_falls_by_the_covariance():
    """One step of natural policy gradient, logits + eta * A, on one softmax state: dH = -eta Cov(log p, A)."""
    g = torch.Generator().manual_seed(0)
    z, advantages = (torch.randn(9, generator=g, dtype=torch.float64) for _ in range(2))

    def entropy(logits):
        return -(logits.softmax(-1) * logits.log_softmax(-1)).sum()

    p, log_p = z.softmax(-1), z.log_softmax(-1)
    covariance_of_policy = (p * log_p * advantages).sum() - (p * log_p).sum() * (p * advantages).sum()
    step = 1e-6
    assert float((entropy(z + step * advantages) - entropy(z)) / step) == pytest.approx(
        -float(covariance_of_policy), rel=1e-4
    )


LATER = torch.tensor([[-0.1, -2.0, -0.3, -1.5, -0.7], [-1.2, -0.4, -2.5, -0.2, -0.9]])
BEFORE = torch.tensor([[-0.3, -1.6, -0.3, -1.9, -0.5], [-1.0, -1.4, -2.4, -0.6, -0.9]])
CREDIT = torch.tensor([[1.5, 1.5, 1.5, 0.0, 0.0], [-0.5, -2.0, -2.0, -0.5, 9.0]])
CHOSEN = torch.tensor([[True] * 5, [True] * 4 + [False]])


@pytest.mark.parametrize(("share", "loss"), [(0.0002, 0.462659), (0.4, 0.484881), (0.7, 0.57377)])
def test_kl_cov_gives_the_released_loss(share, loss):
    ratio = token_ratio(LATER, BEFORE, CHOSEN)
    paid = kl_loss(LATER, BEFORE, CHOSEN, estimator="absolute")
    made = token_mean(clipped_surrogate(ratio, CREDIT, CHOSEN, clip_low=1.0, clip_high=math.inf), CHOSEN)
    made = made + token_mean(paid, CHOSEN, token_weights=kl_cov(LATER, CREDIT, CHOSEN, share=share))
    assert made.item() == pytest.approx(loss, abs=1e-6)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (0.2, 0.28)])
def test_clip_cov_gives_the_released_loss(low, high):
    """All candidates are drawn: which ones go first depends on the generator."""
    options = {"clip_low": low, "clip_high": high}
    surrogate = clipped_surrogate(token_ratio(LATER, BEFORE, CHOSEN), CREDIT, CHOSEN, **options)
    kept = clip_cov(LATER, BEFORE, CREDIT, CHOSEN, share=1.0, low=0.3, high=5.0, generator=torch.Generator(), **options)
    assert token_mean(surrogate, CHOSEN, token_weights=kept).item() == pytest.approx(0.6207068, abs=1e-6)


def test_a_token_without_advantage_is_never_clipped():
    """Its two losses are equal, so it stays among the candidates, however far it has moved."""
    advantages, on = torch.tensor([[0.0, -1.0, -1.0]]), torch.ones(1, 3, dtype=torch.bool)
    logp, old = torch.tensor([[-0.1, -2.0, -2.0]]), torch.tensor([[3.0, -2.0, -2.0]])
    options = {"share": 1.0, "low": 0.5, "high": 5.0, "clip_low": 0.2, "clip_high": 0.28}
    assert clip_cov(logp, old, advantages, on, generator=torch.Generator(), **options).tolist() == [[0, 1, 1]]


def test_kl_cov_never_chooses_more_than_its_share():
    """A mini-batch whose advantages are all equal has no covariance; as released, n tokens pay all the same."""
    ones, on = torch.ones(3, 40), torch.ones(3, 40, dtype=torch.bool)
    assert kl_cov(-torch.rand(3, 40), ones, on, share=0.05).sum() == 6
    assert kl_cov(-torch.rand(3, 40), ones, on).nonzero().tolist() == [[0, 0]]
    some = on.clone()
    some[0] = False
    assert kl_cov(-torch.rand(3, 40), ones, some, share=0.05).sum(-1).tolist() == [0, 4, 0]
