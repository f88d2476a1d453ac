"""Jiang et al., SIREN (2025): entropy of the nucleus, at the peaks, pulled to its first value."""

import pytest
import torch

from guerdon.kernels.distribution import nucleus_entropy
from guerdon.objectives import anchor_weights, peak_entropy, peak_mask


def test_worked_example():
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    said = [round(nucleus_entropy(logits, mass=m, crossing=False).item(), 4) for m in (0.79, 0.81, 0.96)]
    assert said == [0.0, 0.6616, 0.9933]
    assert [round(nucleus_entropy(logits, mass=m).item(), 4) for m in (0.79, 0.81)] == [0.6616, 0.9933]
    entropy, on = torch.arange(1, 11)[None] / 10, torch.ones(1, 10, dtype=torch.bool)
    assert peak_mask(entropy, on).nonzero()[:, 1].tolist() == [8, 9]
    peak = peak_entropy(entropy, on)
    assert peak.item() == pytest.approx(0.95)
    assert (0.005 * (peak - 0.5) ** 2).item() == pytest.approx(0.005 * 0.2025)
    # an entropy bonus with these weights: 10 / 2 times 2 (0.5 - 0.95) at the peaks
    torch.testing.assert_close(anchor_weights(entropy, on, torch.tensor(0.5)), torch.tensor([[0.0] * 8 + [-4.5] * 2]))


def test_a_sure_token_has_no_gradient_as_released():
    logits = torch.tensor([[0.9, 0.06, 0.04]]).log().requires_grad_()
    for crossing in (False, True):
        (gradient,) = torch.autograd.grad(nucleus_entropy(logits, crossing=crossing).sum(), logits)
        assert (gradient == 0).all()
