"""A right answer that is unlikely is worth more than one that the policy would have given anyway."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import bin_sums, group_count, group_rank
from guerdon.method import method, paper

UNLIKELY = "arXiv:2506.02355"


@method(makes="rewards", paper=UNLIKELY, scale_equivariant="rewards")
def unlikeliness(
    rewards: Float[Tensor, " B"],
    old_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    group: Int64[Tensor, " B"],
    *,
    beta: float = 0.25,
    per: Literal["token", "sequence"] = "token",
    ties: Literal["mean", "first"] = "mean",
    negative: Literal["keep", "scale"] = "keep",
) -> Float[Tensor, " B"]:
    """A right answer earns less, the likelier it was among the answers to its prompt.

        r' = r * (1 - beta * rank / n)    where r > 0, rank from 0 for the least likely to n - 1 among all n answers

    Group statistics of right and wrong answers push up what is likely already; pass@1 grows and pass@N falls. Here the
    unlikely right answer has the largest advantage. Rewards that are not positive stay, or a likely mistake would cost
    less; the released code, which has no negative ones, scales all (``negative="scale"``).

    ``per="token"`` ranks by the mean log-probability of the chosen positions, as the released code does, ``"sequence"``
    by their sum, as the text has it: with answers of different lengths another order. Ties share the mean of their
    ranks, or as in the code stand in the order of the rows (``ties="first"``).

    A group that is all right has a spread afterwards and would be taught its ranks: put `drop-flat-groups` above.

    Shapes: [B] in and out. NaN rewards stay NaN and have no rank.

    Reference: He et al., Rewarding the Unlikely, 2025, https://arxiv.org/abs/2506.02355.

    Raises:
        ValueError: ``per``, ``ties`` or ``negative`` is neither of its two.
    """
    for name, value, known in (("ties", ties, ("mean", "first")), ("negative", negative, ("keep", "scale"))):
        if value not in known:
            raise ValueError(f"expected {name} to be {known[0]} or {known[1]}, got {value!r}")
    rank = _likelihood_rank(rewards, old_logp, mask, group, per, ties)
    factor = 1 - beta * rank / group_count(rank, group)
    return torch.where((rewards > 0) | (negative == "scale"), rewards * factor, rewards)


@paper(UNLIKELY)
def uplift_by_rank(
    before: Float[Tensor, " B"], after: Float[Tensor, " B"], correct: Float[Tensor, " B"], group: Int64[Tensor, " B"]
) -> Float[Tensor, " R"]:
    """Mean change of the log-probability of right answers, by their rank in their group before the update.

    Entry 0 is the least likely answer of a group. A slope that rises is the rank bias that sharpens a policy. R is the
    size of the largest group; a rank that no right answer has is NaN, ties count for the rank below their mean.
    """
    rank = group_rank(before, group)
    right = (correct > 0.5) & ~rank.isnan()
    ranks = int(group_count(before, group).max()) if len(before) else 0
    change = (after - before)[right]
    total, count = (bin_sums(x, rank[right].long(), ranks) for x in (change, torch.ones_like(change)))
    return total / count


def _likelihood_rank(
    rewards: Tensor, old_logp: Tensor, mask: Tensor, group: Tensor, per: str, ties: Literal["mean", "first"]
) -> Tensor:
    if per not in ("token", "sequence"):
        raise ValueError(f"expected per to be token or sequence, got {per!r}")
    logp = torch.where(mask, old_logp, 0.0).sum(-1)
    if per == "token":
        logp = logp / mask.sum(-1).clamp(min=1)
    return group_rank(torch.where(rewards.isnan(), torch.nan, logp), group, ties)
