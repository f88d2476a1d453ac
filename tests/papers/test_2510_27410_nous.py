"""Nous (arXiv:2510.27410): bits of a belief over attributes."""

import pytest
import torch

from guerdon.credit import Belief, entropy_reduction, group_normalise


def flags(*values):
    return torch.tensor(values, dtype=torch.bool)


def test_bits_of_questions():
    start = Belief.uniform([4, 2])
    assert start.entropy == pytest.approx(3)
    second = start.keep(1, flags(1, 0))
    first = second.keep(0, flags(0, 0, 1, 0))
    assert [start.gain(second), second.gain(first)] == pytest.approx([1, 2])
    assert start.gain(start.exclude(0, flags(1, 1, 0, 0))) == pytest.approx(1)
    uneven = Belief((torch.tensor([0.5, 0.25, 0.125, 0.125]),))
    assert uneven.entropy == pytest.approx(1.75)
    assert uneven.gain(uneven.exclude(0, flags(1, 0, 0, 0))) == pytest.approx(0.25)
    potentials = -torch.tensor([[start.entropy, second.entropy, first.entropy]])
    made = entropy_reduction(potentials, torch.ones(1, 2, dtype=torch.bool))
    torch.testing.assert_close(made, torch.tensor([[1.0, 2.0]]))


def test_hard_exclusion_may_cost_bits():
    belief = Belief((torch.tensor([0.9, 0.05, 0.05]),))
    assert belief.entropy == pytest.approx(0.569, abs=1e-3)
    assert belief.exclude(0, flags(1, 0, 0)).entropy == pytest.approx(1)
    assert belief.expected_gain(0, torch.tensor([0, 1, 1])) > 0


def test_candidate_questions_compared():
    made = group_normalise(torch.tensor([2.0, 1, 0, 0]), torch.zeros(4, dtype=torch.int64), ddof=0, eps=0.0)
    torch.testing.assert_close(made, torch.tensor([1.5076, 0.3015, -0.9045, -0.9045]), atol=1e-4, rtol=0)
