"""Statistics over the chosen, scored entries of a tensor.

``mask`` says which entries exist; NaN among them means unscored. Both kinds are left out: what stands under a False
mask never matters, and a NaN entry equals a deleted one. Sums run in float64.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def _scored(x: Tensor, mask: Tensor) -> Tensor:
    return mask & ~torch.isnan(x)


def masked_sum(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Sum of the chosen, scored entries; 0 where there are none."""
    return torch.where(_scored(x, mask), x, 0.0).sum(dtype=torch.float64).to(x.dtype)


def masked_mean(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean of the chosen, scored entries: ``sum / n``; NaN where there are none."""
    scored = _scored(x, mask)
    return (torch.where(scored, x, 0.0).sum(dtype=torch.float64) / scored.sum()).to(x.dtype)


def masked_var(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], ddof: int = 1) -> Float[Tensor, ""]:
    """Variance of the chosen, scored entries: ``sum (x - mean)^2 / (n - ddof)``.

    NaN where there are not more than ``ddof`` of them. Exactly 0 where all are equal.
    """
    _, variance, _ = _moments(x, _scored(x, mask), ddof)
    return variance.to(x.dtype)


def whiten(
    x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], *, centre: bool = True, eps: float = 1e-8, ddof: int = 1
) -> Float[Tensor, "*shape"]:
    """Entries in units of their common spread, around their common mean.

        z = (x - mean) / sqrt(var + eps)        centre=True
        z = x / sqrt(var + eps)                 centre=False

    0 under a False mask, NaN where the entry is unscored. Where all entries are equal the first form gives exactly 0
    and the second divides by ``sqrt(eps)``; with not more than ``ddof`` scored entries there is no spread and all are
    NaN. A caller that wants another answer for these asks for it (`guerdon.credit.whiten` does).
    """
    shifted, variance, rest = _moments(x, _scored(x, mask), ddof)
    scale = (variance + eps).rsqrt().to(x.dtype)
    z = (shifted - rest.to(x.dtype)) * scale if centre else x * scale
    return torch.where(mask, z, 0.0)


def _moments(x: Tensor, scored: Tensor, ddof: int) -> tuple[Tensor, Tensor, Tensor]:
    """Entries minus their mean as far as the dtype of x can hold it, the variance, and what is left of the mean.

    Two passes: the mean of float32 numbers near 1e4 is itself off by up to 5e-4, so the second pass measures what the
    first one left, in float64. Equal entries come out as exactly 0 with variance 0.
    """
    n = scored.sum()
    mean = torch.where(scored, x, 0.0).sum(dtype=torch.float64) / n
    shifted = x - mean.to(x.dtype)
    inside = torch.where(scored, shifted, 0.0)
    rest = inside.sum(dtype=torch.float64) / n
    squares = inside.square().sum(dtype=torch.float64) - n * rest.square()
    variance = squares.clamp(min=0.0) / (n - ddof)
    return shifted, torch.where(n > ddof, variance, torch.nan), rest
