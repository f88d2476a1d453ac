"""Xu et al., EPO (2025): a band around the history of each turn's entropy, and the weight of it."""

import pytest
import torch

from guerdon.objectives import EntropyBand, band_penalty, phase_weight


def test_worked_example():
    entropy, usual, on = torch.tensor([[0.3, 0.55, 0.7]]), torch.full((1, 3), 0.5), torch.ones(1, 3, dtype=torch.bool)
    for outside in ("indicator", "hinge"):
        said = band_penalty(entropy, usual, on, low=0.8, high=1.2, outside=outside)
        torch.testing.assert_close(said, torch.tensor([[0.1, 0.0, 0.1]]))
    assert [phase_weight(e, 150) for e in (0, 75, 76, 150)] == pytest.approx([1, 0.827, 0.769, 0.0398], abs=5e-4)


def test_episodes_that_end_early_leave_later_turns_alone():
    band, on = EntropyBand(), torch.ones(1, 2, dtype=torch.bool)
    band.update(torch.tensor([[1.0, 3.0]]), torch.tensor([[0, 1]]), on)
    band.update(torch.tensor([[2.0, 2.0]]), torch.tensor([[0, 0]]), on)
    assert (band.total / band.count).tolist() == [1.5, 3.0]
