"""G-RA (arXiv:2508.10548): dense rewards count only where the long-term one clears its gate."""

import pytest
import torch

from guerdon.credit import group_centre
from guerdon.shaping import gate_steps, gated_sum, gated_total

NAN = float("nan")
OUTCOME = torch.tensor([-1.0, 0.0])
STEPS = torch.tensor([[0.1, 0.1, 0.1], [0.1, 0.1, 0.0]])
ALL = torch.ones(2, 3, dtype=torch.bool)


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=0, atol=1e-6)


def test_worked_example():
    close(gated_total(OUTCOME, STEPS, ALL, threshold=-0.25), [-1.0, 0.2])
    close(gated_total(OUTCOME, STEPS, ALL, threshold=float("-inf")), [-0.7, 0.2])
    close(gate_steps(STEPS, OUTCOME, threshold=-0.25), [[0.0, 0.0, 0.0], [0.1, 0.1, 0.0]])


def test_three_levels():
    parts = {"outcome": torch.tensor([0.6]), "format": torch.tensor([0.2]), "style": torch.tensor([0.1])}
    weights, gates = dict.fromkeys(parts, 1.0), (0.5, 0.3)
    close(gated_sum(parts, weights, gates=gates), [0.8])
    close(gated_sum(parts, {**weights, "format": 2.0}, gates=gates), [1.0])  # gates read the raw part
    close(gated_sum({**parts, "outcome": torch.tensor([0.5])}, weights, gates=gates), [0.5])  # a gate is to be passed
    close(gated_sum({**parts, "style": torch.tensor([NAN])}, weights, gates=gates), [0.8])  # not looked at
    close(gated_sum({**parts, "format": torch.tensor([NAN])}, weights, gates=gates), [NAN])
    close(gated_sum({"outcome": parts["outcome"]}, weights), [0.6])
    close(gated_sum(parts, weights), [0.9])


def test_gates_that_do_not_fit():
    parts = {"a": torch.ones(1), "b": torch.ones(1)}
    with pytest.raises(ValueError, match="expected one gate for each of the parts"):
        gated_sum(parts, {"a": 1.0, "b": 1.0}, gates=())
    with pytest.raises(ValueError, match="expected one gate for each of the parts"):
        gated_sum({}, {}, gates=())
    with pytest.raises(ValueError, match="expected a weight for each part"):
        gated_sum(parts, {"a": 1.0}, gates=(0.0,))


def test_a_gate_behind_the_norm_opens_for_the_better_half_of_the_poor():
    """Order: gate the raw outcome, then normalise."""
    outcome, group = torch.tensor([-1.0, -0.5]), torch.tensor([0, 0])  # neither is worth a step reward
    steps = torch.full((2, 3), 0.1)
    close(gated_total(outcome, steps, ALL, threshold=-0.25), outcome)
    assert gated_total(group_centre(outcome, group), steps, ALL, threshold=0.0)[1] == pytest.approx(0.55)


def test_penalties_may_stay_and_missing_steps_stay_missing():
    steps = torch.tensor([[0.2, -0.3, NAN]])
    close(gate_steps(steps, torch.tensor([0.0])), [[0.0, 0.0, NAN]])
    close(gate_steps(steps, torch.tensor([0.0]), penalties="keep"), [[0.0, -0.3, NAN]])
    close(gate_steps(steps, torch.tensor([NAN])), [[NAN, NAN, NAN]])
    lacks = torch.tensor([[True, True, False]])
    close(gated_total(torch.tensor([1.0]), steps, lacks), [0.9])
    close(gated_total(torch.tensor([1.0]), steps, lacks | True), [NAN])
