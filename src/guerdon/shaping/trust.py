"""A judge of the thinking beside the outcome, believed as far as the outcome bears it out."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guerdon.kernels import groups
from guerdon.method import PartName, method, paper
from guerdon.shaping.parts import part_named

SOPHIA = "arXiv:2505.17018"


@method(makes="rewards", paper=SOPHIA)
def trust_thinking(
    rewards: Float[Tensor, " B"],
    parts: Mapping[str, Float[Tensor, " B"]],
    group: Int64[Tensor, " B"],
    *,
    part: PartName = "thinking",
    alpha: float = 0.3,
    threshold: float = 0.5,
    ask: Literal["all", "released"] = "all",
) -> Float[Tensor, " B"]:
    """Trust-GRPO: the outcome plus a judge's score of the thinking, weighted by how far the judge is to be believed.

        R_i = a_i + trust * alpha * h_i,    trust = `trust_weight` of the group

    a is what ``rewards`` holds before, between 0 and 1; h the part named ``part``. The paper anneals alpha as
    ``0.3 exp(-step / T)``, which in a recipe of N iterations is
    ``alpha = {schedule = "exponential", start = 0.3, end = 0.3 * exp(-N / T)}``. Give the part the weight 0, so that no
    sum counts it as well, and place this before `group-normalise`.

    ``ask="all"`` is the paper's form, in which every answer's thinking was judged. The released code does not ask about
    poor answers (a < 0.2), nor in saturated groups (all a >= 0.9, or all a <= 0.1), and takes 0 for what it did not ask:
    ``ask="released"``, under which those scores are never read. With outcomes of 0 and 1 the trust is then always 1, as
    no wrong answer has a score above 0.

    Shapes: [B] in and out. NaN where the outcome, or the thinking where it is read, is unscored.

    Raises:
        ValueError: there is no part of that name, or ``ask`` is neither of the two.

    Reference: SophiaVL-R1, 2025, https://arxiv.org/abs/2505.17018.
    """
    thinking = part_named(parts, part)
    if ask not in ("all", "released"):
        raise ValueError(f"expected ask to be all or released, got {ask!r}; choose one")
    if ask == "released":
        saturated = (groups.group_min(rewards, group) >= 0.9) | (groups.group_max(rewards, group) <= 0.1)
        thinking = torch.where(saturated | (rewards < 0.2), 0.0, thinking)
    return rewards + alpha * trust_weight(rewards, thinking, group, threshold=threshold) * thinking


@paper(SOPHIA)
def trust_weight(
    outcome: Float[Tensor, " B"], thinking: Float[Tensor, " B"], group: Int64[Tensor, " B"], *, threshold: float = 0.5
) -> Float[Tensor, " B"]:
    """How far a judge of thinking agrees with the outcomes of a group.

        1                     where the mean score of right answers is at least that of wrong ones
        exp(mu_c - mu_w)      elsewhere

    Right are outcomes of at least ``threshold``. 1 too where a group has only one kind. Scores lie between 0 and 1, so
    that a judge who is wrong throughout keeps exp(-1) = 0.37 of its weight. NaN in either is in no mean.
    """
    unknown = outcome.isnan() | thinking.isnan()
    right = groups.group_mean(thinking.masked_fill(unknown | (outcome < threshold), torch.nan), group)
    wrong = groups.group_mean(thinking.masked_fill(unknown | (outcome >= threshold), torch.nan), group)
    return torch.exp((right - wrong).clamp(max=0.0)).nan_to_num(nan=1.0)
