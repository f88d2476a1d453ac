"""Returns and GAE by hand, with text in between that the policy did not choose."""

import pytest
import torch

from guerdon.credit import discounted_returns, gae, returns_to_go

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_discounted_returns_step_over_unchosen_positions():
    rewards = torch.tensor([[1.0, NAN, 2.0, 4.0, 9.0], [0.0, 0.0, 8.0, 9.0, 9.0]])
    mask = torch.tensor([[True, False, True, True, False], [True, True, True, False, False]])
    close(discounted_returns(rewards, mask), [[7.0, 0, 6, 4, 0], [8.0, 8, 8, 0, 0]])
    close(discounted_returns(rewards, mask, gamma=0.5), [[3.0, 0, 4, 4, 0], [2.0, 4, 8, 0, 0]])


def test_a_nan_reward_reaches_back_but_not_on():
    mask = torch.ones(2, 3, dtype=torch.bool)
    rewards = torch.tensor([[1.0, NAN, 2.0], [1.0, 1.0, 1.0]])
    close(discounted_returns(rewards, mask), [[NAN, NAN, 2.0], [3.0, 2.0, 1.0]])


def test_returns_to_go():
    rewards = torch.tensor([[1.0, 2.0, 4.0], [3.0, NAN, NAN], [1.0, NAN, 5.0], [NAN, 1.0, NAN]])
    steps = torch.tensor([[True, True, True], [True, False, False], [True, False, True], [True, True, False]])
    close(returns_to_go(rewards, steps), [[7.0, 6, 4], [3.0, NAN, NAN], [6.0, NAN, 5], [NAN, 1.0, NAN]])
    close(returns_to_go(rewards, steps, gamma=0.5), [[3.0, 4, 4], [3.0, NAN, NAN], [3.5, NAN, 5], [NAN, 1.0, NAN]])


def arguments(terminated, truncated):
    return {
        "token_rewards": torch.tensor([[0.0, 7.0, 1.0]]),
        "old_values": torch.tensor([[0.5, NAN, 0.25]]),
        "mask": torch.tensor([[True, False, True]]),
        "terminated": torch.tensor([terminated]),
        "truncated": torch.tensor([truncated]),
        "bootstrap_values": torch.tensor([2.0]),
    }


@pytest.mark.parametrize(
    ("terminated", "truncated", "after"), [(True, False, 0.0), (False, True, 2.0), (False, False, 0.0)]
)
def test_gae_bootstraps_where_the_row_was_cut_off(terminated, truncated, after):
    advantages, returns = gae(**arguments(terminated, truncated), gamma=0.9, lam=0.5)
    last = 1.0 + 0.9 * after - 0.25
    first = 0.0 + 0.9 * 0.25 - 0.5 + 0.45 * last
    close(advantages, [[first, 0.0, last]])
    close(returns, [[first + 0.5, 0.0, last + 0.25]])


def test_gae_ends_are_returns_minus_values_and_one_step_errors():
    given = arguments(True, False)
    close(gae(**given, lam=1.0)[0], [[1.0 - 0.5, 0.0, 1.0 - 0.25]])
    close(gae(**given, lam=0.0)[0], [[0.25 - 0.5, 0.0, 1.0 - 0.25]])


def test_gae_of_an_unscored_row_is_unscored_and_alone_in_it():
    given = arguments(True, False)
    doubled = {k: v.repeat(2, *[1] * (v.ndim - 1)) for k, v in given.items()}
    doubled["token_rewards"][0, 2] = NAN
    advantages, _ = gae(**doubled)
    close(advantages[0], [NAN, 0.0, NAN])
    close(advantages[1:], gae(**given)[0])
