"""Losses on several answers to one prompt that a reward puts in order."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from guerdon.method import paper


@paper("arXiv:2312.05657")
def rrhf_loss(
    logp: Float[Tensor, "N T"],
    mask: Bool[Tensor, "N T"],
    rewards: Float[Tensor, " N"],
    group: Int[Tensor, " N"],
    *,
    length_power: float = 1.0,
    weight: float = 1.0,
    padded: bool = False,
) -> Float[Tensor, ""]:
    """RRHF: every answer less likely than each better one of its group, and the best one imitated.

        p_i    = (sum_t logp_it) / length_i^length_power
        L_rank = sum over i, j of one group with r_i < r_j of max(0, p_i - p_j)
        L_ft   = mean over the positions of the best answer of -logp, averaged over groups
        L      = weight * L_rank / groups + L_ft

    The best answer is the first of those with the largest reward. No margin: pairs in the right order have no gradient,
    and so have ties. L_ft is over the answer's own length; with ``padded`` over all T positions, as in the released code of
    RRHF and PerfRL, where a short answer is imitated less. ``weight`` is PerfRL's 1; RRHF names 1 and 100. Rows with a NaN
    reward or no position are left out; no row at all gives 0.

    References: Yuan et al., RRHF, 2023, https://arxiv.org/abs/2304.05302; Duan et al., PerfRL, 2023,
    https://arxiv.org/abs/2312.05657.
    """
    kept = rewards.isfinite() & mask.any(-1)
    logp, mask, rewards, group = logp[kept], mask[kept], rewards[kept], group[kept]
    if not len(rewards):
        return logp.sum()
    total, length = torch.where(mask, logp, 0.0).sum(-1), mask.sum(-1)
    p = total / length**length_power
    worse = (group[:, None] == group) & (rewards[:, None] < rewards)
    rank = torch.where(worse, (p[:, None] - p).clamp(min=0), 0.0).sum()
    names = group.unique()
    own = torch.where(group == names[:, None], rewards, -torch.inf)
    best = own.argmax(-1)
    imitated = total / (mask.shape[-1] if padded else length)
    return (weight * rank - imitated[best].sum()) / len(names)
