"""A chain is as good as its worst step: the return as a minimum instead of a sum.

A sum of positive step scores pays for more steps, and a policy learns to write filler. A minimum pays for nothing but a
better worst step.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import groups, placement, scan
from guerdon.method import method

PURE = "arXiv:2504.15275"


@method(makes="step_rewards", paper=PURE)
def min_form(
    step_rewards: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"], *, temperature: float = 0.1
) -> Float[Tensor, "B S"]:
    """PURE: step scores weighted by a softmax towards the worst step, so that their sum is nearly their minimum.

        w_s  = exp(-r_s / temperature) / sum_u exp(-r_u / temperature)      over the steps u of the row
        r*_s = w_s * r_s

    The undiscounted return from a step on (`returns-to-go` after this) is then about ``min r`` up to the worst step and
    about 0 behind it: what follows the first serious mistake is hardly blamed. The temperature is relative to scores in
    [-1, 1], good minus bad probability; other scales need another. Use it before baselines and penalties. A row of one
    step keeps its score; n equal scores c give c / n each.

    A NaN step is in no weight and stays NaN; steps that the row lacks are NaN. `min-return` is the limit of temperature
    0, which the paper states and its released runs do not use.

    Reference: Cheng et al., PURE, NeurIPS 2025, https://arxiv.org/abs/2504.15275.

    Raises:
        ValueError: a temperature that is not positive.
    """
    if temperature <= 0:
        raise ValueError(f"expected a temperature above 0, got {temperature}; use min-return for the strict minimum")
    scored = step_mask & ~torch.isnan(step_rewards)
    weight = torch.where(scored, step_rewards / -temperature, -torch.inf).softmax(-1)
    return torch.where(scored, weight * step_rewards, torch.nan)


@method(makes="step_returns", paper=PURE, shift_equivariant="step_rewards", scale_equivariant="step_rewards")
def min_return(step_rewards: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """PURE in its strict form: the return from a step on is the worst score from there to the end.

        G_s = min_{u >= s} r_u      over the steps u of the row

    Taken over steps, never over positions: the released option takes it over positions, padding and zeros between
    step ends included, so that no return there is above 0. A NaN score makes the return of its own and every earlier
    step NaN; steps that the row lacks are NaN and stepped over.

    Reference: Cheng et al., PURE, NeurIPS 2025, https://arxiv.org/abs/2504.15275.
    """
    return torch.where(step_mask, scan.suffix_min(step_rewards, step_mask), torch.nan)


@method(makes="token_advantages", paper=PURE, scale_equivariant="token_advantages")
def mask_step_ends(
    token_advantages: Float[Tensor, "B T"],
    step_end: Int64[Tensor, "B S"],
    step_mask: Bool[Tensor, "B S"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """PURE: no credit for the token that ends a step.

        A_t = 0 where t is the last chosen position of a step

    Where steps end with a separator, a bad step would otherwise teach the policy to avoid the separator, and so to write
    few long steps. The last position of the row is among them, as in the released code. The position stays in the
    denominator of the loss, and NaN stays NaN. 0 at unchosen positions.

    Reference: Cheng et al., PURE, NeurIPS 2025, https://arxiv.org/abs/2504.15275 (the default of its OpenRLHF branch).
    """
    made = torch.where(mask, token_advantages, 0.0)
    row, step = step_mask.nonzero(as_tuple=True)
    at = (row, step_end[row, step])
    made[at] = torch.where(made[at].isnan(), torch.nan, 0.0)
    return made


@method(makes="step_rewards", paper=PURE, scale_equivariant="step_rewards")
def step_token_baseline(
    step_rewards: Float[Tensor, "B S"],
    group: Int64[Tensor, " B"],
    step_ids: Int64[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    flat: Literal["zero", "nan"] = "zero",
) -> Float[Tensor, "B S"]:
    """PURE's baseline: what the other answers of the group earn per token, taken from each step by its tokens.

        b_i      = sum_{j != i} sum_s r_{j,s} / sum_{j != i} n_j
        r'_{i,s} = r_{i,s} - b_i * n_{i,s}

    n_{i,s} is the number of chosen positions of the step (its separator included), n_j that of all steps of row j. A
    baseline per step instead would pay for fewer and longer steps; per token it does not matter how an answer is cut.

    A row with a NaN step is in no baseline; its other steps keep theirs. A row without scored others has no baseline:
    ``flat`` says whether its steps get 0 (no push) or NaN. Steps that the row lacks are NaN.

    Reference: Cheng et al., PURE, NeurIPS 2025, https://arxiv.org/abs/2504.15275 (the released OpenRLHF branch; its
    second branch divides by padded lengths instead).
    """
    tokens = placement.step_counts(step_ids, mask, step_rewards.shape[1])
    here = tokens > 0
    tokens = tokens.to(step_rewards)
    earned = torch.where(here, step_rewards, 0.0).sum(-1)
    spent = torch.where(here, tokens, 0.0).sum(-1).masked_fill(torch.isnan(earned) | ~here.any(-1), torch.nan)
    both = torch.stack([earned.masked_fill(torch.isnan(spent), torch.nan), spent], -1)
    earned, spent = groups.leave_one_out_mean(both, group, unscored="mean").unbind(-1)
    baseline = (earned / spent)[:, None]
    nothing = 0.0 if flat == "zero" else torch.nan
    compared = torch.where(
        torch.isnan(baseline) & ~torch.isnan(step_rewards), nothing, step_rewards - baseline * tokens
    )
    return torch.where(here, compared, torch.nan)
