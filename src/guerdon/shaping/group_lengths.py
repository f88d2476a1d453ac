"""Shorter right answers are paid more, as measured against the other answers to the same prompt."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import groups
from guerdon.method import method


@method(makes="rewards", paper="arXiv:2505.12432")
def shortest_correct_bonus(
    rewards: Float[Tensor, " B"],
    correct: Float[Tensor, " B"],
    lengths: Int64[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    bonus: float = 0.2,
    minimum: int = 100,
    ties: Literal["all", "first"] = "all",
) -> Float[Tensor, " B"]:
    """Observe-R1: the shortest right answer of a group earns a bonus, if it is not too short.

        r + bonus   for the right answer of the fewest tokens n, where n > minimum;   r for all others

    Where the shortest right answer is not longer than ``minimum`` tokens (of the whole response, tags and end token
    included), nobody gets it, even if another right answer is. Place it before `group-normalise`, and
    `difficulty-weight` after that.

    Shapes: [B] in and out. NaN stays NaN, and takes no part; an answer of unknown correctness is not right. Right
    answers of the same least length all get it, or with ``ties="first"`` only the one that stands first, as in the
    released code. In a group without a right answer nobody does: the released code pays
    the first answer there, whatever it is, which its weight of 0 for such groups hides.

    Raises:
        ValueError: ``ties`` is neither of the two.

    Reference: Observe-R1, 2025, https://arxiv.org/abs/2505.12432.
    """
    if ties not in ("all", "first"):
        raise ValueError(f"expected ties to be all or first, got {ties!r}")
    right = _right(rewards, correct)
    n = _of(right, lengths)
    least = n == groups.group_min(n, group) if ties == "all" else groups.group_rank(n, group, "first") == 0
    wins = right & least & (n > minimum)
    return torch.where(wins, rewards + bonus, rewards)


@method(makes="rewards", paper="arXiv:2502.04463", scale_equivariant="rewards")
def relative_length(
    rewards: Float[Tensor, " B"],
    correct: Float[Tensor, " B"],
    lengths: Int64[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    alpha: float = 0.2,
    ddof: int = 0,
    eps: float = 1e-6,
) -> Float[Tensor, " B"]:
    """Every right answer pays for being longer than the other right answers of its group.

        r (1 - alpha sigmoid((n - m) / (s + eps)))    for right answers;   r for wrong ones

    m and s are mean and standard deviation (``ddof``) of the lengths of the group's right answers. With alpha below 1
    a right answer stays above a wrong one worth 0. Where right answers are equally long, or there is one, the factor
    is 1 - alpha / 2. Dividing by the spread of a group afterwards (`group-normalise`) blows the differences within an
    all-right group up to full size, whatever alpha is: this is what shortens answers until they are wrong.
    `switched_length` keeps the penalty to some of the groups.

    Shapes: [B] in and out. NaN rewards and rows of unknown correctness are NaN and in no statistic.

    Reference: Arora and Zanette, 2025, https://arxiv.org/abs/2502.04463.
    """
    right = _right(rewards, correct)
    z = groups.standardise(_of(right, lengths), group, ddof=ddof, eps=eps)
    shaped = torch.where(right, rewards * (1 - alpha * torch.sigmoid(z)), rewards)
    return shaped.masked_fill(correct.isnan(), torch.nan)


@method(makes="rewards", paper="arXiv:2505.18086", scale_equivariant="rewards")
def switched_length(
    rewards: Float[Tensor, " B"],
    correct: Float[Tensor, " B"],
    lengths: Int64[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    share: float = 0.2,
    least: float = 0.0,
    alpha: float = 0.2,
    ddof: int = 0,
    eps: float = 1e-6,
) -> Float[Tensor, " B"]:
    """GRPO-lambda: only the groups that are right most often pay for length, the others learn to be right first.

        r as `relative_length` makes it     in the ceil(share * G) groups of the batch with the highest correctness ratio
        r                                   elsewhere

    ``least`` is a floor: no group with a smaller ratio pays (early in training the best groups may still be poor);
    ``share = 1`` with a floor is a fixed threshold. Groups of the same ratio are taken in the order of their ids.
    Count a truncated answer as wrong, or its length is that of the limit. It needs the whole batch of an iteration at
    once, all ranks included, because groups are ranked against each other.

    Shapes: [B] in and out. NaN rewards and rows of unknown correctness are NaN and in no statistic. A wrong answer
    keeps its reward in both branches. The paper's share is 0.2; its alpha and ``ddof`` are not stated, and 0.2 is that of
    `relative_length`'s source.

    Reference: Stable Reinforcement Learning for Efficient Reasoning, 2025, https://arxiv.org/abs/2505.18086.
    """
    known = ~(rewards.isnan() | correct.isnan())
    verdict = torch.where(known, (correct > 0.5).to(rewards.dtype), torch.nan)
    pays = groups.top_groups(verdict, group, share) & (groups.group_mean(verdict, group) >= least)
    shorter = relative_length(rewards, correct, lengths, group, alpha=alpha, ddof=ddof, eps=eps)
    return torch.where(pays, shorter, rewards).masked_fill(correct.isnan(), torch.nan)


def _right(rewards: Tensor, correct: Tensor) -> Bool[Tensor, " B"]:
    return (correct > 0.5) & ~rewards.isnan()


def _of(rows: Tensor, lengths: Tensor) -> Float[Tensor, " B"]:
    return torch.where(rows, lengths.to(torch.float32), torch.nan)
