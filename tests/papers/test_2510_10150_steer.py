"""Hao et al., STEER (2025): the change of entropy that a token is estimated to make, and the weights from it."""

import math

import pytest
import torch

from guerdon.objectives import (
    change_weights,
    clipped_surrogate,
    entropy_change,
    entropy_change_weights,
    token_mean,
    token_ratio,
)


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


LOGP = torch.tensor([[-0.1, -2.0, -0.3, -1.5, -0.7], [-1.2, -0.4, -2.5, -0.2, -0.9]])
OLD = torch.tensor([[-0.3, -1.6, -0.3, -1.9, -0.5], [-1.0, -1.4, -2.4, -0.6, -0.9]])
CREDIT = torch.tensor([[1.5, 1.5, 1.5, 0.0, 0.0], [-0.5, -2.0, -2.0, -0.5, 9.0]])
ENTROPY = torch.tensor([[0.2, 1.4, 0.6, 1.1, 0.8], [1.0, 0.5, 1.9, 0.3, 0.7]])
MASK = torch.tensor([[True] * 5, [True] * 4 + [False]])


@pytest.mark.parametrize(
    ("shape", "high", "weights", "loss"),
    [
        (
            "linear",
            1.2,
            [[1.193003, 0.990648, 1.153192, 1.2, 1.2], [1.177038, 1.128068, 0.8, 1.194574, 0.0]],
            0.4490966,
        ),
        (
            "exponential",
            1.0,
            [[0.996104, 0.889773, 0.974226, 1.0, 1.0], [0.987272, 0.960667, 0.8, 0.996977, 0.0]],
            0.4041470,
        ),
    ],
)
def test_weights_and_loss_as_released(shape, high, weights, loss):
    made = entropy_change_weights(LOGP, OLD, ENTROPY, CREDIT, MASK, low=0.8, high=high, shape=shape)
    torch.testing.assert_close(made, torch.tensor(weights), atol=2e-6, rtol=0)
    options = {"clip_low": 0.2, "clip_high": 0.28, "dual_clip": 10.0}
    surrogate = clipped_surrogate(token_ratio(LOGP, OLD, MASK), CREDIT, MASK, **options)
    assert token_mean(surrogate, MASK, token_weights=made).item() == pytest.approx(loss, abs=1e-6)
