"""Weights for samples of another program: how much likelier the policy finds them than the engine that drew them did.

An engine rounds and computes differently, and its weights may be older, so its samples are off-policy. Each method here
makes a weight of the ratio

    r_t = exp(old_logp_t - sampled_logp_t)             of a position
    r   = exp(sum of old_logp - sampled_logp)          of a row, over its chosen positions

with ``old_logp`` computed by the trained model itself and ``sampled_logp`` said by the engine. Weights carry no gradient and
multiply with others. They are made once, from the policy that the iteration began with; what has to be seen of the policy as it
is updated is `keep-ratio`'s. Where both are equal every weight is 1. A NaN log-probability makes its position (its row, in methods
of rows) NaN, which takes it out of the loss and out of the denominator. A row with no chosen position has ratio 1.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import pointwise
from guerdon.kernels.ratios import OfRow, within
from guerdon.method import method

ICEPOP = "arXiv:2510.18855"


@method(makes="token_weights")
def truncated_importance(
    old_logp: Float[Tensor, "B T"],
    sampled_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    cap: float = 2.0,
    floor: float = 0.0,
) -> Float[Tensor, "B T"]:
    """TIS of tokens: the importance ratio of each position, cut at ``cap``.

        w_t = max(floor, min(r_t, cap))

    Unbiased where nothing is cut but for the positions before t, which it does not correct; the cut bounds the variance.
    The default cap is the one that trainers ship (ms-swift). 0 at unchosen positions.

    Reference: Yao et al., Your Efficient RL Framework Secretly Brings You Off-Policy RL Training, 2025,
    https://fengyao.notion.site/off-policy-rl.

    Raises:
        ValueError: bounds that are not 0 <= floor <= cap, cap above 0.
    """
    _check_bounds(floor, cap, "floor", "cap")
    return pointwise.ratio(old_logp, sampled_logp, mask, floor, cap)


@method(makes="weights")
def truncated_sequence_importance(
    old_logp: Float[Tensor, "B T"],
    sampled_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    cap: float = 2.0,
    floor: float = 0.0,
) -> Float[Tensor, " B"]:
    """TIS of rows: the importance ratio of the whole completion, cut at ``cap``.

        w = max(floor, min(r, cap))

    Corrects all that the engine chose differently, so it is unbiased where nothing is cut, but r spreads exponentially in
    the length of the row: in long ones it is near 0 or cut.

    References: Yao et al., 2025, https://fengyao.notion.site/off-policy-rl; Liu, Li et al., When Speed Kills Stability:
    Demystifying RL Collapse from the Training-Inference Mismatch, 2025 (there Seq-TIS).

    Raises:
        ValueError: bounds that are not 0 <= floor <= cap, cap above 0.
    """
    _check_bounds(floor, cap, "floor", "cap")
    return _row_log_ratio(old_logp, sampled_logp, mask, "product").exp().clamp(floor, cap)


@method(makes="token_weights", paper=ICEPOP)
def icepop(
    old_logp: Float[Tensor, "B T"],
    sampled_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 0.5,
    high: float = 5.0,
    counted: bool = True,
) -> Float[Tensor, "B T"]:
    """IcePop: positions on which policy and engine disagree too much teach nothing.

        w_t = r_t    where low <= r_t <= high
            = 0      elsewhere

    With ``counted`` a masked position stays in the denominator of the loss; without, it is NaN and leaves it, as if the
    row had been shorter. 0 at unchosen positions. The default bounds are as others quote them from the paper.

    Reference: Ling Team, Every Step Evolves: Scaling Reinforcement Learning for Trillion-Scale Thinking Model (Ring-1T),
    2025, https://arxiv.org/abs/2510.18855.

    Raises:
        ValueError: bounds that are not 0 <= low <= high, high above 0.
    """
    _check_bounds(low, high, "low", "high")
    return pointwise.ratio(old_logp, sampled_logp, mask, low, high, outside=0.0 if counted else torch.nan)


@method(makes="weights")
def sequence_mask(
    old_logp: Float[Tensor, "B T"],
    sampled_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 0.0,
    high: float = 3.0,
    ratio: OfRow = "product",
    weight: Literal["ratio", "one"] = "ratio",
    counted: bool = True,
) -> Float[Tensor, " B"]:
    """Whole completions on which policy and engine disagree too much teach nothing.

        w = r or 1    where low <= k <= high
          = 0         elsewhere
        k = r                                          ratio = "product"
          = r ^ (1 / number of chosen positions)       ratio = "geometric-mean"

    - ``sequence-mask`` as it is: masked importance sampling of rows (Seq-MIS), TRL's default for samples of vLLM.
    - ``ratio = "geometric-mean"``, ``weight = "one"`` with bounds near 1 (NeMo-RL: 0.999 and 1.002): a filter that does not
      depend on the length; correct what passes with `truncated-importance`, whose weights multiply with these.
    - ``counted = false``: a masked row is NaN and leaves the denominator of the loss too.

    ``weight = "ratio"`` is r of the whole row, whichever ratio is held against the bounds.

    References: Liu, Li et al., When Speed Kills Stability: Demystifying RL Collapse from the Training-Inference Mismatch,
    2025; TRL, ``vllm_importance_sampling_mode = "sequence_mask"``.

    Raises:
        ValueError: bounds that are not 0 <= low <= high, high above 0.
    """
    _check_bounds(low, high, "low", "high")
    whole = _row_log_ratio(old_logp, sampled_logp, mask, "product").exp()
    held = whole if ratio == "product" else _row_log_ratio(old_logp, sampled_logp, mask, ratio).exp()
    kept = whole if weight == "ratio" else torch.where(torch.isnan(whole), whole, 1.0)
    return within(kept, held, low, high, outside=0.0 if counted else torch.nan)


def _row_log_ratio(old_logp: Tensor, sampled_logp: Tensor, mask: Tensor, how: OfRow) -> Tensor:
    total = pointwise.row_sum(old_logp - sampled_logp, mask)
    return total if how == "product" else total / mask.sum(-1).clamp(min=1)


def _check_bounds(low: float, high: float, name: str, other: str) -> None:
    if not (0 <= low <= high and high > 0):
        raise ValueError(f"expected 0 <= {name} <= {other} and {other} above 0, got {low} and {high}")
