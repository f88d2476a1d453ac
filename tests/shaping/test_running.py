"""Pools and running moments by hand."""

import math

import numpy as np
import pytest
import torch

from guerdon.shaping import RunningScale, RunningScaleByPool, scale_rewards, z_score_by_pool

NAN = float("nan")


def close(x, y, atol=1e-4):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=0, atol=atol)


def test_z_score_by_hand():
    made = z_score_by_pool(torch.tensor([1.0, 2.0, 3.0, 6.0]), ["x"] * 4)
    close(made, [-1.068988, -0.534494, 0.0, 1.603482], atol=1e-4)


def test_the_pool_is_the_input_and_not_the_batch():
    """Trap: over the whole batch, the worst answer to an easy input beats the best answer to a hard one."""
    rewards, inputs = torch.tensor([90.0, 92.0, 1.0, 3.0]), ["easy", "easy", "hard", "hard"]
    close(z_score_by_pool(rewards, inputs, eps=0.0), [-1.0, 1.0, -1.0, 1.0])
    over_all = z_score_by_pool(rewards, [""] * 4)
    assert over_all[0] > over_all[3]


def test_flat_and_lonely_pools_and_unscored_rows():
    rewards = torch.tensor([2.0, 2.0, 5.0, NAN, 1.0, 3.0])
    made = z_score_by_pool(rewards, ["flat", "flat", "alone", "b", "b", "b"], eps=0.0)
    close(made, [0.0, 0.0, 0.0, NAN, -1.0, 1.0])


def test_scaling_stands_below_the_z_score():
    """Trap: z of a scaled reward forgets the scale; scaled z has the range that the paper learns from."""
    rewards, pool = torch.tensor([0.0, 1.0]), ["x", "x"]
    z = z_score_by_pool(rewards, pool, eps=0.0)
    close(z_score_by_pool(scale_rewards(rewards, scale=100.0, shift=-20.0), pool, eps=0.0), z)
    close(scale_rewards(z, scale=100.0, shift=-20.0), [-120.0, 80.0])


def test_pools_may_be_groups_or_any_column():
    rewards = torch.tensor([1.0, 3.0, 5.0, 9.0])
    by_group = z_score_by_pool(rewards, torch.tensor([7, 7, 900, 900]))
    close(by_group, z_score_by_pool(rewards, [None, None, ("a", 1), ("a", 1)]))


@pytest.mark.parametrize("scale", ["mean-std", "clip", "min-max"])
def test_running_scale_is_that_of_everything_so_far(scale):
    """Against one pass over all rewards at once, as numpy has it."""
    rng = np.random.default_rng(0)
    batches = [rng.normal(1000.0, 2.0, n) for n in (5, 1, 8)]
    method = RunningScale(scale=scale)
    for i, batch in enumerate(batches):
        made = method(torch.tensor(batch, dtype=torch.float32))
        seen = np.concatenate(batches[: i + 1])
        mean, std = seen.mean(), seen.std()
        expected = {
            "mean-std": (batch - mean) / std,
            "clip": np.clip(batch, mean - std, mean + std),
            "min-max": (batch - seen.min()) / np.ptp(seen),
        }[scale]
        close(made, expected, atol=2e-3)
        method.update(torch.tensor(batch, dtype=torch.float32))


def test_cold_start_and_equal_rewards():
    close(RunningScale()(torch.tensor([2.0, 2.0, NAN])), [0.0, 0.0, NAN])
    close(RunningScale(scale="min-max")(torch.tensor([2.0, 2.0, NAN])), [0.0, 0.0, NAN])
    close(RunningScale()(torch.tensor([NAN])), [NAN])


def test_calling_changes_nothing_and_unscored_rows_move_nothing():
    method = RunningScale()
    method.update(torch.tensor([0.0, 2.0, NAN]))
    before = method.state_dict()
    method(torch.tensor([50.0]))
    method.update(torch.tensor([NAN]))
    assert torch.equal(before["moments"], method.state_dict()["moments"])
    assert method.metrics == {"mean": 1.0, "std": 1.0}


def test_each_pool_keeps_its_own_past():
    method = RunningScaleByPool()
    method.update(torch.tensor([0.0, 2.0, 100.0, 104.0]), ["a", "a", "b", "b"])
    method.update(torch.tensor([1.0]), ["a"])
    made = method(torch.tensor([1.0, 102.0, 5.0]), ["a", "b", "new"])
    close(made, [0.0, 0.0, 0.0])
    # b: 100, 104 and 110 have mean 104.667 and population deviation 4.1096
    close(method(torch.tensor([110.0]), ["b"]), [(110 - 314 / 3) / 4.109609])
    assert method.metrics == {"pools": 2.0, "mean/low": 1.0, "mean/high": 102.0}


def test_state_by_pool_survives_a_round_trip():
    first, second = RunningScaleByPool(scale="min-max"), RunningScaleByPool(scale="min-max")
    first.update(torch.tensor([0.0, 2.0, 7.0]), [3, 3, "x"])
    second.load_state_dict(first.state_dict())
    assert first.seen == second.seen
    assert not RunningScaleByPool().state_dict()["pools"]


def test_a_running_scale_does_not_bound_what_a_hacked_score_earns():
    method = RunningScale()
    method.update(torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    assert method(torch.tensor([30.0] + [0.0] * 9))[0] > 20
    assert math.isfinite(float(method(torch.tensor([1e6]))[0]))
