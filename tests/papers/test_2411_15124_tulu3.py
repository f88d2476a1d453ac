"""Tulu 3 (arXiv:2411.15124), reinforcement learning with verifiable rewards: how the reward is put together."""

import pytest
import torch

from guerdon.credit import gae, place_rewards, whiten
from guerdon.shaping import kl_in_reward, missing_end_penalty, weighted_sum

MASK = torch.tensor([[True, True, True, True, False]])
# four tokens with k = log old - log ref of 1.0 each: a KL of 4.0 over the sequence
OLD, REF = torch.full((1, 5), -0.5), torch.full((1, 5), -1.5)


def assemble(score, ended, weights=None):
    rewards = weighted_sum({"verifier": torch.tensor([score])}, weights or {"verifier": 10.0})
    rewards = missing_end_penalty(rewards, torch.tensor([ended]))
    return kl_in_reward(place_rewards(rewards, MASK), OLD, REF, MASK, coefficient=0.05)


@pytest.mark.parametrize(
    ("score", "ended", "total"),
    [
        (1.0, True, 10 - 0.2),
        (0.0, True, -0.2),
        (0.5, True, 5 - 0.2),  # a fraction of the constraints
        (1.0, False, -10 - 0.2),  # right, but it never stopped: replaced, not added
        (0.0, False, -10 - 0.2),
    ],
)
def test_total_reward(score, ended, total):
    assert assemble(score, ended).sum().item() == pytest.approx(total, abs=1e-5)


def test_the_verifier_speaks_at_the_last_token():
    expected = torch.tensor([[-0.05, -0.05, -0.05, 9.95, 0.0]])
    torch.testing.assert_close(assemble(1.0, True), expected)


def test_several_verifiers_add_and_the_reward_model_is_off():
    parts = {"gsm8k": torch.tensor([1.0]), "ifeval": torch.tensor([0.5]), "model": torch.tensor([float("nan")])}
    made = weighted_sum(parts, {"gsm8k": 10.0, "ifeval": 10.0, "model": 0.0})
    torch.testing.assert_close(made, torch.tensor([15.0]))


def test_an_unscored_answer_stays_unscored():
    assert assemble(float("nan"), False)[0, 3].isnan()


def test_advantages_of_the_recipe():
    """GAE with gamma 1 and lambda 0.95, values 1 before every token, then one scale over the batch."""
    rewards = assemble(1.0, True)
    true, false = torch.tensor([True]), torch.tensor([False])
    advantages, returns = gae(rewards, torch.ones(1, 5), MASK, true, false, torch.zeros(1), gamma=1.0, lam=0.95)
    last = 9.95 - 1
    third = -0.05 + 0.95 * last
    second = -0.05 + 0.95 * third
    first = -0.05 + 0.95 * second
    torch.testing.assert_close(advantages, torch.tensor([[first, second, third, last, 0.0]]))
    torch.testing.assert_close(returns, torch.where(MASK, advantages + 1, 0.0))
    scaled = whiten(advantages, MASK)[MASK]
    torch.testing.assert_close(scaled.mean(), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(scaled.std(), torch.tensor(1.0))
