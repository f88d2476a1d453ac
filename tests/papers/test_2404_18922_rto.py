"""RTO (arXiv:2404.18922): the worked example in the order of the released code, and the placements compared."""

import torch

from guerdon.credit import (
    discounted_returns,
    implicit_step_reward,
    implicit_token_reward,
    place_step_rewards,
    rto_reward,
)
from guerdon.shaping import kl_in_reward
from tests.running import bits, run

DPO = torch.tensor([[-1.0, -2.0, -0.5]])
REF = torch.tensor([[-1.5, -1.8, -3.5]])
OLD = torch.tensor([[-1.2, -2.0, -1.0]])
MASK = bits("111")


def close(x, y, tolerance=1e-6):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    dense = implicit_token_reward(DPO, REF, MASK, beta=0.05, clip=0.05)
    close(dense, [[0.025, -0.010, 0.050]])  # the last is cut from 0.150
    made = kl_in_reward(rto_reward(dense, torch.tensor([2.0]), MASK), OLD, REF, MASK, coefficient=0.01)
    close(made, [[0.022, -0.008, 2.025]])
    close(discounted_returns(made, MASK), [[2.039, 2.017, 2.025]])


def test_scaled_first_clipped_second_and_the_price_of_divergence_never():
    far = implicit_token_reward(DPO * 100, REF * 100, MASK, clip=0.05)
    close(far, [[0.05, -0.05, 0.05]])
    close(rto_reward(far, torch.tensor([25.0]), MASK), [[0.05, -0.05, 10.05]])
    made = kl_in_reward(rto_reward(far, torch.tensor([25.0]), MASK), OLD * 100, REF * 100, MASK, coefficient=1.0)
    close(made[0, 2], 10.05 - 250.0, tolerance=1e-4)


def test_where_the_dense_reward_stands():
    """Per token, per step (Semi-RTO), and at the end (DDPO): the same total; as shaping, none."""
    ids, score = torch.tensor([[0, 0, 1]]), torch.tensor([2.0])
    token = implicit_token_reward(DPO, REF, MASK)
    end = implicit_token_reward(DPO, REF, MASK, level="sequence")
    steps = implicit_step_reward(DPO, REF, ids, MASK, bits("11"))
    step = place_step_rewards(steps, torch.tensor([[1, 2]]), bits("11"), MASK)
    close(end, [[0.0, 0.0, 0.165]])
    close(step, [[0.0, 0.015, 0.15]])
    close(torch.stack([token.sum(), step.sum()]), [0.165, 0.165])
    close(rto_reward(token, score, MASK).sum(), 2.165)
    close(rto_reward(token, score, MASK, shaping=True).sum(), 2.0)


def test_the_recipe():
    _, made = run(
        [
            "weighted-sum",
            {"use": "implicit-token-reward", "clip": 0.05},
            "rto-reward",
            {"use": "kl-in-reward", "coefficient": 0.01},
            {"use": "discounted-returns", "make": "token_advantages"},
        ],
        [1],
        MASK,
        loss="clipped-surrogate",
        models={"dpo": ["logp"]},
        model_logp={"dpo": DPO},
        ref_logp=REF,
        old_logp=OLD,
    )
    close(made["token_advantages"], [[1.039, 1.017, 1.025]])
