"""The largest entries of each row, without sorting the row."""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import scan
from guerdon.kernels.masked import scored

_CHUNK = 64
_TIE = 1e-6


def kth_largest(x: Float[Tensor, "B T"], k: int) -> Float[Tensor, "B 1"]:
    """The k-th largest entry of each row, the smallest where the row has fewer than k; ties count one by one.

    Entries may be infinite but not NaN. The k largest entries lie in the k chunks of the row with the largest maxima, so
    only those are sorted.

    Raises:
        ValueError: k below 1, or rows without entries.
    """
    rows, width = x.shape
    if k < 1 or width < 1:
        raise ValueError(f"expected k of at least 1 and rows with entries, got k={k} and {width} entries")
    chunks = width // _CHUNK
    if chunks < 2 * k:
        return x.topk(min(k, width), dim=-1, sorted=False).values.amin(-1, keepdim=True)
    whole, rest = x[:, : chunks * _CHUNK].view(rows, chunks, _CHUNK), x[:, chunks * _CHUNK :]
    best = whole.amax(-1).topk(k, dim=-1, sorted=False).indices
    kept = whole.gather(1, best[..., None].expand(-1, -1, _CHUNK)).reshape(rows, k * _CHUNK)
    return torch.cat([kept, rest], dim=1).topk(k, dim=-1, sorted=False).values.amin(-1, keepdim=True)


def upper_quantile(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], quantile: float) -> Float[Tensor, "B 1"]:
    """The quantile of each row's chosen entries that are not NaN, linear between two; NaN of a row that has none.

    As ``torch.nanquantile`` gives it. Only the part of a row that may lie above it is sorted, so that high quantiles are cheap.
    """
    known = scored(x, mask)
    last = known.sum(-1, keepdim=True) - 1
    rank = quantile * last.to(x.dtype)  # from below
    top = min(x.shape[1], math.ceil((1 - quantile) * (x.shape[1] - 1)) + 2)
    ranked = torch.where(known, x, -torch.inf).topk(top, dim=-1).values
    below, above = (ranked.gather(1, (last - at.long()).clamp(0, top - 1)) for at in (rank.floor(), rank.ceil()))
    return torch.where(last < 0, torch.nan, below.lerp(above, rank - rank.floor()))


def outliers(
    x: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    threshold: float,
    topk: int,
    power: float = 1.0,
    bilateral: bool = False,
    factor: float = 1.0,
) -> Float[Tensor, "B T"]:
    """Entries that stand out of their row, on a scale of their own: 0 for all others.

        m_t = ((x_t - min x) / (max x - min x))^power       over the chosen entries of the row that are not NaN
        m_t = 2 m_t - 1                                     bilateral

    The result is ``factor m`` of the entries that stand out. One does where ``|m|`` is above ``threshold`` and among the ``topk`` largest of the row; ties with the last
    of these (within 1e-6) all do. Where all entries are equal, none does. 0 under a False mask, NaN where x is NaN.
    Large tensors on a CPU take a compiled walk where numba is installed, for a power of 1.
    """
    fast = scan.compiled_for(mask, x) if power == 1 else None
    if fast:
        return fast.outliers(x, mask, threshold, topk, bilateral, _TIE, factor)
    return _outliers(x, mask, threshold, topk, power, bilateral).mul_(factor)


def _outliers(x: Tensor, mask: Tensor, threshold: float, topk: int, power: float, bilateral: bool) -> Tensor:
    known = scored(x, mask)
    if mask.shape[1] == 0:
        return torch.zeros_like(x)
    unknown = ~known
    low = x.masked_fill(unknown, torch.inf).amin(-1, keepdim=True)
    width = x.masked_fill(unknown, -torch.inf).amax(-1, keepdim=True) - low
    # in place from here on: for megabytes, asking for memory costs more than arithmetic
    m = x.sub(low).div_(torch.where(width > 0, width, 1.0)).masked_fill_(unknown, 0.0)
    m = m.pow_(power) if power != 1 else m
    m = m.mul_(2).sub_(1).masked_fill_(unknown, 0.0) if bilateral else m
    size = m.abs() if bilateral else m
    least = torch.where(width > 0, kth_largest(size, topk), torch.inf)  # where all are equal, nothing stands out
    chosen = (size > threshold).logical_and_(size >= least - _TIE)
    return m.mul_(chosen).masked_fill_(unknown.logical_and_(mask), torch.nan)
