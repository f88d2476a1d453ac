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


@pytest.mark.parametrize(
    ("top", "mass", "entropy"), [(4, 0.8, 1.090269), (3, 0.8, 1.090269), (2, 0.9, 0.692553), (3, 0.75, 0.692553)]
)
def test_the_nucleus_among_the_likeliest_is_of_the_whole_mass(top, mass, entropy):
    """The released function: the probabilities that are added up are not renormalised among the ``top``."""
    logits = torch.tensor([[0.3, 0.28, 0.22, 0.2]]).log()
    assert nucleus_entropy(logits, mass=mass, top=top, crossing=False).item() == pytest.approx(entropy, abs=1e-6)


def test_rows_without_peaks_and_padding_as_released():
    """Third row: one position, no peak, counts as 0. Fourth: all alike."""
    entropy = torch.tensor([[0.2, 1.4, 0.6, 9.0], [1.0, 0.5, 1.9, 0.3], [0.7, 9.0, 9.0, 9.0], [0.4, 0.4, 0.4, 9.0]])
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0], [1, 1, 1, 0]]).bool()
    assert peak_entropy(entropy, mask).item() == pytest.approx(0.825)
