"""Placing and broadcasting."""

import torch

from guerdon.batch import Rollouts
from guerdon.credit import add_levels, place_rewards, place_step_rewards, step_credit

NAN = float("nan")
IDS = torch.tensor([[0, 0, -1, 1, -1], [0, 1, 2, 2, -1], [0, 0, 0, -1, -1]])
MASK = torch.tensor([[True, True, False, True, True], [True, True, True, True, False], [False] * 5])


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_place_rewards_on_the_last_chosen_position():
    close(place_rewards(torch.tensor([3.0, NAN, 5.0]), MASK), [[0, 0, 0, 0, 3.0], [0, 0, 0, NAN, 0], [0.0] * 5])


def test_place_step_rewards_at_the_end_of_each_step():
    batch = Rollouts({"step_ids": IDS, "mask": MASK})
    steps = torch.tensor([[1.0, 2.0, NAN], [1.0, NAN, 3.0], [NAN, NAN, NAN]])
    made = place_step_rewards(steps, batch["step_end"], batch["step_mask"], MASK)
    close(made, [[0, 1.0, 0, 2.0, 0], [1.0, NAN, 0, 3.0, 0], [0.0] * 5])


def test_step_credit_on_the_tokens_of_the_step():
    steps = torch.tensor([[1.0, 2.0, NAN], [1.0, NAN, 3.0], [4.0, NAN, NAN]])
    close(step_credit(steps, IDS, MASK), [[1.0, 1, 0, 2, 0], [1.0, NAN, 3, 3, 0], [0.0] * 5])


def test_add_levels():
    steps = torch.tensor([[1.0, 2.0, NAN], [1.0, NAN, 3.0], [4.0, NAN, NAN]])
    rows = torch.tensor([10.0, 20.0, 30.0])
    close(add_levels(rows, steps, IDS, MASK), [[11.0, 11, 0, 12, 10], [21.0, NAN, 23, 23, 0], [0.0] * 5])
    close(add_levels(rows, steps, IDS, MASK, step_weight=2.0)[0], [12.0, 12, 0, 14, 10])
    close(add_levels(rows, steps, IDS, MASK, weight=0.8, step_weight=0.2)[0], [8.2, 8.2, 0, 8.4, 8.0])  # SPARK's blend
    close(add_levels(torch.tensor([NAN, 20.0, 30.0]), steps, IDS, MASK)[0], [NAN, NAN, 0, NAN, NAN])
