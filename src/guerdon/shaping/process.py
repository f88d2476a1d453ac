"""Rewards of steps under the outcome of the whole: steps of a failed row must not pay for failing."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import placement
from guerdon.method import method

GATED = "arXiv:2508.10548"


@method(makes="step_rewards", paper=GATED)
def gate_steps(
    step_rewards: Float[Tensor, "B S"],
    rewards: Float[Tensor, " B"],
    *,
    threshold: float = 0.0,
    penalties: Literal["gate", "keep"] = "gate",
) -> Float[Tensor, "B S"]:
    """G-RA: the rewards of a row's steps count only where its outcome is above a threshold.

        r'_s = r_s   where R > threshold,   0 elsewhere

    R is what ``rewards`` holds, the raw outcome: gate first, normalise after. Steps keep their places, so any credit
    may follow. Choose the threshold strictly between two levels of the outcome (for not submitted -1, empty -0.5,
    failing 0, passing 1, the paper's gate lies between empty and failing). Gating penalties off would make failing
    cheaper: ``penalties = "keep"`` leaves negative rewards standing.

    Shapes: [B, S] and [B] in, [B, S] out. NaN where the row lacks the step, the step is unscored, or R is.

    Reference: G-RA, 2025, https://arxiv.org/abs/2508.10548.
    """
    shut = (rewards <= threshold)[:, None]
    if penalties == "keep":
        shut = shut & (step_rewards > 0)
    gated = torch.where(shut & ~step_rewards.isnan(), 0.0, step_rewards)
    return gated.masked_fill(rewards.isnan()[:, None], torch.nan)


@method(makes="rewards", paper=GATED)
def gated_total(
    rewards: Float[Tensor, " B"],
    step_rewards: Float[Tensor, "B S"],
    step_mask: Bool[Tensor, "B S"],
    *,
    threshold: float = 0.0,
) -> Float[Tensor, " B"]:
    """G-RA for credit by rows: the outcome plus the row's step rewards where the outcome is above a threshold.

        r = R + [R > threshold] sum_s r_s

    ``threshold = -inf`` is direct accumulation, the paper's baseline: there a policy may collect steps for ever and
    never finish. The growing distance of the two is a sign of it. See `gate_steps`.

    Shapes: [B] and [B, S] in, [B] out. NaN where the outcome or a step that the row has is unscored.

    Reference: G-RA, 2025, https://arxiv.org/abs/2508.10548.
    """
    gated = gate_steps(step_rewards, rewards, threshold=threshold)
    return rewards + torch.where(step_mask, gated, 0.0).sum(-1)


@method(makes="step_rewards", paper="arXiv:2509.25598")
def renorm(
    step_rewards: Float[Tensor, "B S"], rewards: Float[Tensor, " B"], step_mask: Bool[Tensor, "B S"], *, mu: float = 1.0
) -> Float[Tensor, "B S"]:
    """PPR's ReNorm: process rewards around the outcome, so that good steps of a failed row are not paid.

        r'_s = r_s + R - mu   for every step but the last,    r'_last = R

    With r and R between 0 and 1 and mu = 1 each is taken around one half: steps of a right row get [0, 1], those of a
    wrong one [-1, 0], and quality only orders steps of the same outcome. More steps no longer pay where they lead
    nowhere; a smaller mu pays them again. The last step is the answer, which the outcome judges; what ``step_rewards``
    says of it is not read. Follow with credit that sees where rewards stand (`discounted-returns`, `gae`): subtracting a
    mean of the same step's rewards in a group takes most of the shift away again.

    Shapes: [B, S] and [B] in, [B, S] out. NaN where the row lacks the step, the step is unscored (the released code
    takes 0 for it, which is then a penalty for failed rows), or R is. A row of one step has the outcome only.

    Reference: Hybrid Reward Normalization, 2025, https://arxiv.org/abs/2509.25598.
    """
    last = placement.last_chosen(step_mask)[:, None] == torch.arange(step_mask.shape[1], device=step_mask.device)
    whole = rewards[:, None].expand(step_mask.shape)
    return torch.where(step_mask, torch.where(last, whole, step_rewards + whole - mu), torch.nan)
