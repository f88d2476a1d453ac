"""Counted from here on: a choice answers for what came after it, not for what came before.

Positions that the policy did not choose (observations, tool output) are stepped over: the position after a chosen one
is the next *chosen* one, so neither discounts nor values pass through text that nobody decided on.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import pointwise, scan
from guerdon.method import method


@method(makes="token_returns", scale_equivariant="token_rewards")
def discounted_returns(
    token_rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, gamma: float = 1.0
) -> Float[Tensor, "B T"]:
    """Discounted sum of the rewards from each position on.

        G_t = r_t + gamma * G_next(t)

    ``next(t)`` is the next chosen position; after the last one G is 0. Unchosen positions give 0 and their rewards are
    never read (`place-rewards` and `place-step-rewards` put none there). A NaN reward makes its own return and every
    earlier one of the row NaN.
    """
    return scan.discounted_sum(token_rewards, mask, gamma)


@method(makes="step_returns", scale_equivariant="step_rewards")
def returns_to_go(
    step_rewards: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"], *, gamma: float = 1.0
) -> Float[Tensor, "B S"]:
    """Discounted sum of the step rewards from each step on.

        G_s = r_s + gamma * G_next(s)

    Steps that the row lacks (padding, or ids that were skipped) give NaN and are stepped over. A NaN reward of a step
    that the row has makes the return of that step and of every earlier one NaN.
    """
    returns = scan.discounted_sum(torch.where(step_mask, step_rewards, 0.0), step_mask, gamma)
    return torch.where(step_mask, returns, torch.nan)


@method(
    makes=("token_advantages", "token_returns"),
    paper="arXiv:1506.02438",
    scale_equivariant=("token_rewards", "old_values", "bootstrap_values"),
)
def gae(
    token_rewards: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    terminated: Bool[Tensor, " B"],
    truncated: Bool[Tensor, " B"],
    bootstrap_values: Float[Tensor, " B"],
    *,
    gamma: float = 1.0,
    lam: float = 0.95,
) -> tuple[Float[Tensor, "B T"], Float[Tensor, "B T"]]:
    """Generalised advantage estimation, and the returns that the value function should learn.

        delta_t = r_t + gamma * V_next(t) - V_t
        A_t     = delta_t + gamma * lam * A_next(t)
        R_t     = A_t + V_t

    ``old_values[t]`` is the value *before* position t; ``next(t)`` the next chosen position. After the last one stands
    ``bootstrap_values`` where the row was truncated and 0 otherwise: an answer that ended has no future, one that was
    cut off has one that we did not see (set its bootstrap to 0 to treat the length limit as part of the task, as most
    trainers of language models do). ``lam=1`` gives returns minus values, ``lam=0`` the one-step error.

    Both results are 0 at unchosen positions; values there are never read. A NaN reward makes its own and every
    earlier position of the row NaN. Standardise with `whiten` afterwards.

    Reference: Schulman et al., 2015, https://arxiv.org/abs/1506.02438.
    """
    after = torch.where(truncated & ~terminated, bootstrap_values, 0.0)
    advantages = scan.gae(token_rewards, old_values, mask, gamma=gamma, lam=lam, bootstrap=after)
    return advantages, pointwise.added(advantages, old_values, mask)
