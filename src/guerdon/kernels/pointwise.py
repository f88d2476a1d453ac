"""Arithmetic of single positions that many methods share: ratios of likelihoods, and numbers of a row on its positions.

Everything is 0 under a False mask, where nothing is read. Large tensors on a CPU that need no gradient take a compiled walk
where numba is installed; both agree to rounding.
"""

import math
from types import ModuleType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import scan
from guerdon.kernels.divergence import kl_estimate


def ratio(
    logp: Float[Tensor, "B T"],
    other: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    low: float = 0.0,
    high: float = math.inf,
    *,
    outside: float | None = None,
) -> Float[Tensor, "B T"]:
    """How much likelier a position is, ``r = exp(logp - other)``, within bounds.

    Below ``low`` or above ``high`` it is the bound, or ``outside`` where that is given. NaN stays.
    """
    fast = compiled_for(mask, logp, other)
    if fast:
        below, above = (low, high) if outside is None else (outside, outside)
        return fast.ratio(logp, other, mask, low, high, below, above)
    return _ratio(logp, other, mask, low, high, outside)


def _ratio(logp: Tensor, other: Tensor, mask: Tensor, low: float, high: float, outside: float | None) -> Tensor:
    r = torch.where(mask, logp - other, 0.0).exp()
    bounded = r.clamp(low, high) if outside is None else torch.where((r < low) | (r > high), outside, r)
    return torch.where(mask, bounded, 0.0)


def rise(
    x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], sign: Float[Tensor, " B"], low: Float[Tensor, " B"]
) -> Float[Tensor, "B T"]:
    """How far a probability is on the way from its row's ``low`` to 1: ``max((p - low) / (1 - low), 0)``.

    ``p = sigmoid(sign x)`` with the row's ``sign``, so that -1 asks for the other outcome. NaN stays.
    """
    fast = compiled_for(mask, x, sign, low)
    return (fast.rise if fast else _rise)(x, mask, sign, low)


def _rise(x: Tensor, mask: Tensor, sign: Tensor, low: Tensor) -> Tensor:
    risen = torch.sigmoid(x * sign[:, None]).sub_(low[:, None]).div_(1 - low[:, None])
    return torch.where(mask, risen.clamp_(min=0.0), 0.0)


def scaled(
    x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], scale: Float[Tensor, " B"], offset: Float[Tensor, " B"]
) -> Float[Tensor, "B T"]:
    """``scale x + offset`` with the row's numbers."""
    fast = compiled_for(mask, x, scale, offset)
    return (fast.scaled if fast else _scaled)(x, mask, scale, offset)


def _scaled(x: Tensor, mask: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return torch.where(mask, x * scale[:, None] + offset[:, None], 0.0)


def penalised(
    x: Float[Tensor, "B T"],
    logp: Float[Tensor, "B T"],
    other: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    coefficient: float,
) -> Float[Tensor, "B T"]:
    """``x`` less the estimate k1 of a divergence: ``x - coefficient (logp - other)``."""
    fast = compiled_for(mask, x, logp, other)
    return (fast.penalised if fast else _penalised)(x, logp, other, mask, coefficient)


def _penalised(x: Tensor, logp: Tensor, other: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    return torch.where(mask, x - coefficient * kl_estimate(logp, other, "k1"), 0.0)


def added(x: Float[Tensor, "B T"], other: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """``x + other``."""
    fast = compiled_for(mask, x, other)
    return (fast.added if fast else _added)(x, other, mask)


def _added(x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, x + other, 0.0)


def kept(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Chosen entries as they are, NaN included; 0 for all others."""
    fast = compiled_for(mask, x)
    return (fast.kept if fast else _kept)(x, mask)


def _kept(x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, x, 0.0)


def finite(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> tuple[Float[Tensor, "B T"], Bool[Tensor, "B T"]]:
    """Chosen entries that are numbers, 0 for all others, and which these are."""
    fast = compiled_for(mask, x)
    return (fast.finite if fast else _finite)(x, mask)


def _finite(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    keep = mask & x.isfinite()
    return torch.where(keep, x, 0.0), keep


def settled(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> bool:
    """Whether `finite` would change nothing: chosen entries are numbers, and all others 0. To look is cheaper than to copy."""
    fast = compiled_for(mask, x)
    return (fast.settled if fast else _settled)(x, mask)


def _settled(x: Tensor, mask: Tensor) -> bool:
    return bool(torch.where(mask, x.isfinite(), x == 0).all())


def row_sum(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Sum of each row's chosen entries, taken in float64; NaN where one is, 0 where there are none."""
    return _sum_and_count(x, mask)[0].to(x.dtype)


def row_mean(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, " B"]:
    """Mean of each row's chosen entries, taken in float64; NaN where one is, and where there are none."""
    total, count = _sum_and_count(x, mask)
    return (total / count).to(x.dtype)


def _sum_and_count(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    fast = compiled_for(mask, x)
    return (fast.row_sums if fast else _row_sums)(x, mask)


def _row_sums(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    return torch.where(mask, x, 0.0).sum(-1, dtype=torch.float64), mask.sum(-1)


def compiled_for(mask: Tensor, *tensors: Tensor) -> ModuleType | None:
    """The compiled walks, where `scan.compiled_for` says so and what is exponentiated is float32; else None."""
    if scan.compiled_for(mask, *tensors) is None or any(x.dtype != torch.float32 for x in tensors):
        return None
    from guerdon.kernels import _compiled_pointwise

    return _compiled_pointwise
