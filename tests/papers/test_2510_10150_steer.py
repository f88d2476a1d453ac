"""Hao et al., STEER (2025): the change of entropy that a token is estimated to make, and the weights from it."""

import math

import pytest
import torch

from guerdon.objectives import change_weights, entropy_change


def change(p, old, entropy, advantage=1.0):
    given = [torch.tensor([[x]]) for x in (math.log(p), math.log(old), entropy, advantage)]
    return entropy_change(*given, torch.ones(1, 1, dtype=torch.bool)).item()


def test_worked_example():
    assert change(0.5, 0.5, 0.6) == pytest.approx(-0.04657, abs=1e-5)
    assert change(0.9, 0.5, 0.6) == pytest.approx(0.08904, abs=1e-3)
    assert change(math.exp(-0.6), 0.5, 0.6) == pytest.approx(0.0, abs=1e-6)
    size, on = torch.tensor([[0.0, 0.1, 0.4]]), torch.ones(1, 3, dtype=torch.bool)
    linear = change_weights(size, on, low=0.8, high=1.2, shape="linear")
    torch.testing.assert_close(linear, torch.tensor([[1.2, 1.1, 0.8]]))
    exponential = change_weights(size, on, low=0.8, high=1.2, shape="exponential")
    torch.testing.assert_close(exponential, torch.tensor([[1.0, 0.9457, 0.8]]), atol=1e-4, rtol=0)


def test_likely_and_rewarded_lowers_it():
    assert change(0.9, 0.9, 0.6) > 0 > change(0.1, 0.1, 0.6)
    assert change(0.9, 0.9, 0.6, -1.0) < 0 < change(0.1, 0.1, 0.6, -1.0)


def test_impossible_tokens_stay_finite():
    assert change(1e-30, 1e-30, 3.0) == pytest.approx(0.0, abs=20.0)
    assert math.isfinite(change(1.0, 1e-30, 0.0))
