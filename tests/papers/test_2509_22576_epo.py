"""Xu et al., EPO (2025): a band around the history of each turn's entropy, and the weight of it."""

import math

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


@pytest.mark.parametrize(
    ("epoch", "total", "weight"),
    [
        (62, 125, 0.827067),
        (63, 125, 0.762798),
        (125, 125, 0.03983),
        (200, 125, 0.03983),
        (-1, 125, 1.0),
        (0, 1, 1.0),
        (1, 1, 0.03983),
        (3, 0, 1.0),
    ],
)
def test_the_weight_as_released_at_odd_totals_and_past_the_ends(epoch, total, weight):
    assert phase_weight(epoch, total) == pytest.approx(weight, abs=1e-6)


def test_a_turn_pays_as_a_whole():
    """The released mode "seq", in which a row is a turn: 0.6 is in the band around 0.5, 0.7 is not."""
    entropy = torch.tensor([[0.3, 0.79, 0.2, 1.2, 9.0]], requires_grad=True)
    turns, mask = torch.tensor([[0, 0, 1, 1, 1]]), torch.tensor([[True, True, True, True, False]])
    for outside, price in (("indicator", 0.1), ("hinge", 0.1)):
        band = EntropyBand(low=0.8, high=1.2, outside=outside, over="turn")
        band.update(torch.full((1, 2), 0.5), torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool))
        said = band(entropy, turns, mask)
        torch.testing.assert_close(said, torch.tensor([[0.0, 0.0, price, price, 0.0]]))
    (slope,) = torch.autograd.grad(said.sum(), entropy)
    assert slope.tolist() == [[0.0, 0.0, 1.0, 1.0, 0.0]]


def test_a_turn_of_unknown_entropy_is_unscored_and_does_not_pay_as_one_of_zero():
    band = EntropyBand(low=0.8, high=1.2, over="turn")
    band.update(torch.full((1, 2), 0.5), torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool))
    said = band(
        torch.tensor([[0.5, math.nan, math.nan]]), torch.tensor([[0, 0, 1]]), torch.ones(1, 3, dtype=torch.bool)
    )
    assert said[0, :2].tolist() == [0.0, 0.0]
    assert said[0, 2].isnan()
