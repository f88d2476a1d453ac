"""How much likelier one policy finds what was said than another: of positions, and of rows.

On the ground floor because two rooms need them: credit weighs samples of another program by them, objectives
differentiate them.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OfRow = Literal["product", "geometric-mean"]


def log_ratio(
    logp: Float[Tensor, "B T"], other: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """``logp - other`` at chosen positions, 0 elsewhere; gradients stay finite whatever stands elsewhere."""
    return torch.where(mask, logp, 0.0) - torch.where(mask, other, 0.0)


def row_log_ratio(
    logp: Float[Tensor, "B T"], other: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], how: OfRow = "product"
) -> Float[Tensor, " B"]:
    """Log-ratio of a whole row: the sum over its chosen positions (product), or their mean (geometric-mean).

    A row with no chosen position has 0.
    """
    total = log_ratio(logp, other, mask).sum(-1)
    return total if how == "product" else total / mask.sum(-1).clamp(min=1)


def within(
    value: Float[Tensor, "*shape"], held: Float[Tensor, "*shape"], low: float, high: float, *, outside: float = 0.0
) -> Float[Tensor, "*shape"]:
    """``value`` where ``low <= held <= high``, ``outside`` elsewhere; where ``held`` is NaN, ``value`` stays."""
    return torch.where((held < low) | (held > high), outside, value)
