"""Advantages scaled by how hard the answer and the prompt are: far from a demonstration, and far below its reward."""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guerdon.kernels import group_mean
from guerdon.method import PartName, method

DR_IRL = "arXiv:2503.18991"


@method(makes="advantages", paper=DR_IRL, scale_equivariant="advantages")
def scale_by_similarity(
    advantages: Float[Tensor, " B"],
    parts: Mapping[str, Float[Tensor, " B"]],
    group: Int64[Tensor, " B"],
    *,
    part: PartName = "demonstration-similarity",
    larger: Literal["unlike", "like"] = "unlike",
) -> Float[Tensor, " B"]:
    """DR-IRL's data coefficient: answers unlike the demonstration are pushed harder, up or down.

        A' = A * sigmoid(1 - W) / sigmoid(mean over the group of (1 - W))

    W is the part named ``part``, a similarity up to 1. The formula gives unlike answers the larger factor, while summaries
    of the paper call these easy: ``larger="like"`` puts W in place of 1 - W. Stands after the group advantage: a factor
    on rewards would change the baseline, and one that the whole group shares would cancel.

    Shapes: [B] in and out. An answer whose W is NaN (no demonstration) keeps its advantage; NaN advantages stay NaN and
    are in no mean.

    Reference: DR-IRL, 2025, https://arxiv.org/abs/2503.18991.

    Raises:
        ValueError: there is no part of that name, or ``larger`` is neither of the two.
    """
    if part not in parts:
        raise ValueError(f"expected a part named {part!r}, got {sorted(parts)}; set part to one of them")
    if larger not in ("unlike", "like"):
        raise ValueError(f"expected larger to be unlike or like, got {larger!r}")
    delta = 1 - parts[part] if larger == "unlike" else parts[part]
    delta = torch.where(advantages.isnan(), torch.nan, delta)
    factor = torch.sigmoid(delta) / torch.sigmoid(group_mean(delta, group))
    return advantages * torch.where(factor.isnan(), 1.0, factor)


@method(makes="advantages", paper=DR_IRL, scale_equivariant="advantages")
def scale_by_gap(
    advantages: Float[Tensor, " B"],
    rewards: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    demonstration_reward: Sequence[float | None],
    *,
    tau: float = 1.0,
    per: Literal["group", "batch"] = "group",
) -> Float[Tensor, " B"]:
    """DR-IRL's model coefficient: one factor for a prompt, by how far its answers stay behind the demonstration.

        g_i = R(demonstration) - R_i,    kept where (g_i - mean g)^2 <= tau
        A'  = A * sigmoid(mean of the kept g) / sigmoid(mean g)

    The factor is the same for the whole group, so on *rewards* a group advantage would cancel it: it stands after. It is
    not 1 only where outliers were dropped. The column ``demonstration_reward`` holds what the same reward gave the
    demonstration; the paper's notation allows one factor per prompt or (``per="batch"``) for all.

    Shapes: [B] in and out. Without a demonstration (None), and where nothing is kept, the factor is 1. NaN advantages and
    rewards stay NaN and are in no mean.

    Reference: DR-IRL, 2025, https://arxiv.org/abs/2503.18991. The text read gives no tau.

    Raises:
        ValueError: ``per`` is neither of the two, or the column has another number of rows.
    """
    if per not in ("group", "batch"):
        raise ValueError(f"expected per to be group or batch, got {per!r}")
    if len(demonstration_reward) != len(rewards):
        raise ValueError(f"expected {len(rewards)} demonstration rewards, got {len(demonstration_reward)}")
    ids = group if per == "group" else torch.zeros_like(group)
    demonstrated = rewards.new_tensor([torch.nan if x is None else float(x) for x in demonstration_reward])
    gap = torch.where(advantages.isnan(), torch.nan, demonstrated - rewards)
    mean = group_mean(gap, ids)
    kept = torch.where((gap - mean).square() <= tau, gap, torch.nan)
    factor = torch.sigmoid(group_mean(kept, ids)) / torch.sigmoid(mean)
    scaled = advantages * torch.where(factor.isnan(), 1.0, factor)
    return torch.where(rewards.isnan(), torch.nan, scaled)
