"""VERL (arXiv:2509.23808): growth of the effective rank, and the bounded bonus."""

import torch

from guerdon.credit import bounded_bonus
from guerdon.credit.rank import rank_dynamics_of


def test_velocity_and_acceleration():
    velocity, acceleration = rank_dynamics_of(torch.tensor([[2.5555, 3.7, 3.6805, 3.7024]]))
    torch.testing.assert_close(velocity, torch.tensor([0.6958]), atol=1e-4, rtol=0)
    torch.testing.assert_close(acceleration, torch.tensor([-0.3771]), atol=1e-4, rtol=0)


def test_bounded_bonus():
    made = bounded_bonus(torch.tensor([-0.8, -0.8]), torch.tensor([0.9, -1.0]))
    torch.testing.assert_close(made, torch.tensor([-0.4, -0.8]))
