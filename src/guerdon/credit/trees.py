"""Compared at the fork: rollouts that branch, so that a step is judged by all that grew from it.

Rows of a tree share their beginnings. ``node_ids`` names the node of each step: rows of a group with the same node at a
step share everything up to its end. The parent of a step's node is the node of the step before it, and the parent of a
first step is the prompt. A step that has no node (-1) is a node of its own, which no other row shares.
"""

from itertools import chain
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import groups, placement
from guerdon.method import method

PORTOOL = "arXiv:2510.26020"


@method(makes="step_rewards", paper=PORTOOL)
def tree_step_reward(
    rewards: Float[Tensor, " B"],
    node_ids: Int64[Tensor, "B S"],
    step_mask: Bool[Tensor, "B S"],
    group: Int64[Tensor, " B"],
    step_rewards: Float[Tensor, "B S"] | None = None,
    *,
    gamma: float = 0.95,
    aggregate: Literal["mean", "max"] = "mean",
) -> Float[Tensor, "B S"]:
    """PORTool: a step's reward from the outcomes of all rollouts that pass through it.

        R(s) = G over rows k through the node of s of  gamma^(T_k - t) * r_k + f_k(s)

    T_k is the number of steps of row k and t the number of this one, so that a step far from the end is worth less and
    short ways to an answer more. G is the mean, or the maximum with ``aggregate="max"``. The step term f is optional:
    take ``step_rewards`` for it (the paper's marks for form and working tool calls, scaled to at most
    ``gamma^T_max / 2`` so that they never outweigh the outcome). Every row through a node reads the same number.

    Shapes: [B] and [B, S] in, [B, S] out. NaN at steps that the row lacks, and in a row without a reward, which counts
    for no node; a NaN step term takes the row out of that node only. A node of one row has that row's own value. The
    paper does not say which G it uses; the mean is the plain reading.

    The paper's outcome is -1 for a wrong answer. Discounted, it is less bad the later it comes, so a policy that is wrong
    more often than right learns to put its answer off until there is none. With 0 for a wrong answer it does not.

    Reference: PORTool, 2025, https://arxiv.org/abs/2510.26020.
    """
    left = step_mask.flip(-1).cumsum(-1).flip(-1) - 1  # steps after this one
    value = rewards[:, None] * gamma ** left.to(rewards.dtype)
    if step_rewards is not None:
        value = value + step_rewards
    value = torch.where(step_mask, value, torch.nan)
    node = groups.joint_ids(*chain(*_keys(node_ids, step_mask, group)))
    pool = groups.group_mean if aggregate == "mean" else groups.group_max
    pooled = pool(value.reshape(-1), node.reshape(-1)).reshape(value.shape)
    return torch.where(torch.isnan(value), torch.nan, pooled)


@method(
    makes="step_advantages",
    paper=PORTOOL,
    shift_invariant="step_rewards",
    scale_invariant="step_rewards",
)
def fork_relative(
    step_rewards: Float[Tensor, "B S"],
    node_ids: Int64[Tensor, "B S"],
    step_mask: Bool[Tensor, "B S"],
    group: Int64[Tensor, " B"],
    *,
    scale: bool = True,
    ddof: int = 1,
    eps: float = 1e-6,
) -> Float[Tensor, "B S"]:
    """PORTool: a step compared with the other steps that were tried at the same point.

        A(s) = (R(s) - mean over siblings of R) / (std over siblings of R + eps)

    Siblings are the distinct children of one parent (of the prompt, for first steps), the step itself included. Each
    counts once, however many rows pass through it; its R is the mean of ``step_rewards`` over those rows, which
    `tree-step-reward` has made equal. Without siblings, or where all are equal, A is 0: a chain has no fork advantage.

    With two siblings, which is the common case, dividing by the spread leaves only the sign (+-0.707):
    ``scale=False`` keeps the distance. Blend with the advantage of the whole row by `add-levels`. A step that n rows
    share is trained n times; `node-weights` undoes that.

    Shapes: [B, S] in and out. NaN where the row lacks the step or its reward is NaN, which then counts for no node.

    Reference: PORTool, 2025, https://arxiv.org/abs/2510.26020.
    """
    value = torch.where(step_mask, step_rewards, torch.nan).reshape(-1)
    node, siblings = (ids.reshape(-1) for ids in _tree(node_ids, step_mask, group))
    pooled = groups.group_mean(value, node)
    number = torch.arange(value.numel(), device=value.device).to(torch.float64)  # exact: group_min keeps the dtype
    first = groups.group_min(torch.where(torch.isnan(value), torch.nan, number), node) == number
    once = torch.where(first, pooled, torch.nan)  # one entry speaks for its node
    compared = groups.standardise(once, siblings, scale=scale, ddof=ddof, eps=eps)
    spread = groups.group_max(compared, node)  # and the others read what it got
    return torch.where(torch.isnan(value), torch.nan, spread).reshape(step_rewards.shape)


@method(makes="token_weights", paper=PORTOOL)
def node_weights(
    node_ids: Int64[Tensor, "B S"],
    step_ids: Int64[Tensor, "B T"],
    step_mask: Bool[Tensor, "B S"],
    group: Int64[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """PORTool: each token weighs 1 over the number of rows that share its step, so that a shared step counts once.

        w_t = 1 / |rows through the node of step(t)|

    Rows without a reward are counted too, for the weights do not know of it. Chosen positions of no step weigh 1,
    unchosen positions 0.

    Reference: PORTool, 2025, https://arxiv.org/abs/2510.26020.
    """
    node = groups.joint_ids(*chain(*_keys(node_ids, step_mask, group)))
    one = torch.where(step_mask, 1.0, torch.nan).reshape(-1)
    weight = (1 / groups.group_count(one, node.reshape(-1))).reshape(node.shape)
    return placement.broadcast_to_tokens(weight, step_ids, mask, outside=1.0)


def _tree(node_ids: Tensor, step_mask: Tensor, group: Tensor) -> tuple[Tensor, Tensor]:
    """Ids of the node of each step and of the siblings that it belongs to, each apart from those of other groups."""
    siblings, own = _keys(node_ids, step_mask, group)
    together = groups.joint_ids(*siblings)
    return groups.joint_ids(together, *own), together


def _keys(node_ids: Tensor, step_mask: Tensor, group: Tensor) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """What siblings have in common, and what tells them apart."""
    rows, steps = node_ids.shape
    row = torch.arange(rows, device=node_ids.device)[:, None]
    own = torch.where(node_ids < 0, -1 - row, node_ids)
    column = torch.arange(1, steps + 1, device=node_ids.device).expand(rows, steps)
    reached = torch.where(step_mask, column, 0).cummax(-1).values
    before = torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], dim=1)  # the step before it; 0: the prompt
    parent = torch.where(before > 0, own.gather(1, (before - 1).clamp(min=0)), 0)
    return (group[:, None].expand(rows, steps), before, parent), (column, own)
