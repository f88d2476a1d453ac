"""Baselines that are not the group."""

import math

import pytest
import torch

from guerdon.credit import MovingAverageBaseline, greedy_baseline, greedy_baseline_discounted, moving_average

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_greedy_baseline_clips_the_difference():
    rewards, greedy = torch.tensor([2.0, 9.0, -9.0, NAN, 1.0, 3.0]), torch.tensor([1.2, 0.0, 0.0, 0.0, NAN, 3.0])
    close(greedy_baseline(rewards, greedy), [0.8, 9.0, -9.0, NAN, NAN, 0.0])
    close(greedy_baseline(rewards, greedy, clip=5.0), [0.8, 5.0, -5.0, NAN, NAN, 0.0])


def test_greedy_baseline_discounted_skips_unchosen_positions():
    # two chosen positions around a tool's output, which holds rubbish
    mask = torch.tensor([[True, False, True, False]])
    old = torch.tensor([[-1.0, NAN, -2.0, math.inf]])
    ref = torch.tensor([[-1.5, math.inf, -2.0, NAN]])
    made = greedy_baseline_discounted(torch.tensor([3.0]), torch.tensor([1.0]), old, ref, mask, gamma=0.5)
    close(made, [[0.25 * 2 - 0.05 * 0.5, 0.0, 0.5 * 2, 0.0]])


def test_greedy_baseline_discounted_spreads_nan_over_its_own_row_only():
    zeros, mask = torch.zeros(2, 3), torch.tensor([[True, True, False], [True, True, True]])
    made = greedy_baseline_discounted(torch.tensor([NAN, 1.0]), torch.zeros(2), zeros, zeros, mask, gamma=1.0)
    close(made, [[NAN, NAN, 0.0], [1.0, 1.0, 1.0]])


def test_moving_average_starts_at_the_first_batch_and_passes_over_nan():
    nothing = torch.tensor(NAN)
    close(moving_average(nothing, torch.tensor([1.0, NAN, 3.0]), decay=0.9), 2.0)
    close(moving_average(torch.tensor(1.0), torch.tensor([1.0, NAN, 3.0]), decay=0.9), 1.1)
    close(moving_average(torch.tensor(1.0), torch.tensor([NAN]), decay=0.9), 1.0)
    close(moving_average(nothing, torch.tensor([NAN]), decay=0.9), NAN)


def test_moving_average_baseline_reads_and_moves_apart():
    baseline = MovingAverageBaseline(decay=0.5)
    rewards = torch.tensor([1.0, NAN, 3.0])
    close(baseline(rewards), [-1.0, NAN, 1.0])  # cold: the mean of this batch
    close(baseline(torch.tensor([7.0])), [0.0])  # calling moved nothing
    baseline.update(rewards)
    close(baseline(rewards), [-1.0, NAN, 1.0])
    baseline.update(torch.tensor([6.0]))
    close(baseline(torch.tensor([5.0, 4.0])), [1.0, 0.0])  # 0.5 * 2 + 0.5 * 6 = 4


@pytest.mark.parametrize("updates", [0, 2])
def test_moving_average_baseline_state_round_trip(updates):
    first, second = MovingAverageBaseline(decay=0.5), MovingAverageBaseline(decay=0.5)
    for _ in range(updates):
        first.update(torch.tensor([1.0, 4.0]))
    second.load_state_dict(first.state_dict())
    first.update(torch.tensor([9.0]))
    second.update(torch.tensor([9.0]))
    close(second(torch.tensor([1.0, 2.0])), first(torch.tensor([1.0, 2.0])))
