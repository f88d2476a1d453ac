"""Learned shares of the final reward, joined with what the environment says of each action."""

import math

from jaxtyping import Float
from torch import Tensor

from guerdon.method import method


@method(makes="step_rewards", paper="arXiv:2505.20732", scale_equivariant=("step_rewards", "turn_accepted"))
def fuse_contributions(
    step_rewards: Float[Tensor, "B S"],
    turn_accepted: Float[Tensor, "B S"],
    *,
    alpha: float = 1.0,
    beta: float = 0.5,
    cap: float = math.inf,
) -> Float[Tensor, "B S"]:
    """SPA: a step's share of the final reward, and a bonus where the environment carried the action out.

        r_s = alpha * c_s + b * g_s,    b = beta, or cap / (number of accepted steps) where that is less

    ``step_rewards`` are the contributions c that a progress estimator gives (``take = {step_rewards =
    "NAME.step_scores"}``), whose sum over a row approaches its final reward; g is 1 where the action was executed and 0
    where it was refused. The bonus is paid per step: with the paper's half a point, twenty accepted steps outweigh a final
    reward of 1 tenfold, and long executable loops pay. Choose beta by the number of steps, or set ``cap``, which is no part
    of the paper: the most that the bonuses of a row add up to.

    NaN in either, as at steps that the row lacks, is NaN. The released scripts differ: they overwrite the contributions
    of every step by the leave-one-out advantage of the final reward, and scale the s-th step by the number of steps
    after it, so that the last receives nothing.

    Reference: Wang et al., SPA-RL, 2025, https://arxiv.org/abs/2505.20732.
    """
    if cap < math.inf:
        accepted = turn_accepted.nan_to_num(nan=0.0).sum(-1, keepdim=True)
        return alpha * step_rewards + (cap / accepted).clamp(max=beta) * turn_accepted
    return alpha * step_rewards + beta * turn_accepted
