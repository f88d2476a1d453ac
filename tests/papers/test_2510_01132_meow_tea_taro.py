"""meow-tea-taro (arXiv:2510.01132): turn rewards of a text game."""

import torch

from guerdon.credit import group_normalise, leave_one_out, turn_rewards


def test_increments_of_a_won_and_a_lost_game():
    scores, mask = torch.tensor([[1.0, 0, 2], [1, 0, 2]]), torch.ones(2, 3, dtype=torch.bool)
    made = turn_rewards(scores, mask, torch.tensor([1.0, 0]), maximum=4.0)
    torch.testing.assert_close(made, torch.tensor([[0.5, 0, 1], [0.25, 0, 0.5]]))


def test_episode_sums_compared():
    sums, group = torch.tensor([1.5, 0.75, 0, 0]), torch.zeros(4, dtype=torch.int64)
    torch.testing.assert_close(leave_one_out(sums, group), torch.tensor([1.25, 0.25, -0.75, -0.75]))
    expected = torch.tensor([1.3056, 0.2611, -0.7833, -0.7833])
    torch.testing.assert_close(group_normalise(sums, group, eps=0.0), expected, atol=1e-4, rtol=0)
