"""The price of leaving the reference."""

import math

import pytest
import torch

from guerdon.shaping import kl_in_reward

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("estimator", "price"), [("k1", 0.5), ("k2", 0.125), ("k3", math.exp(-0.5) - 0.5)], ids=["k1", "k2", "k3"]
)
def test_each_token_pays_for_itself(estimator, price):
    rewards = torch.tensor([[0.0, 7.0, 3.0], [NAN, 0.0, 7.0]])
    old = torch.tensor([[-1.0, -INF, -2.0], [-1.0, -1.0, NAN]])
    ref = torch.tensor([[-1.5, NAN, -2.0], [-1.0, -1.5, INF]])
    mask = torch.tensor([[True, False, True], [True, True, False]])
    made = kl_in_reward(rewards, old, ref, mask, coefficient=0.1, estimator=estimator)
    expected = torch.tensor([[-0.1 * price, 0.0, 3.0], [NAN, -0.1 * price, 0.0]])
    torch.testing.assert_close(made, expected, equal_nan=True)
