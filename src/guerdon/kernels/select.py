"""The largest entries, of each row or of all, without sorting.

Order statistics of large float32 tensors on a CPU take a compiled walk where numba is installed. Under ``torch.compile``
they are single operators of the graph, which run what stands here.
"""

import math
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
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


class Tail(NamedTuple):
    """The entries of each row above a bar, all [B, 1]."""

    bar: Float[Tensor, "B 1"]
    number: Int64[Tensor, "B 1"]
    """Entries above."""
    total: Float[Tensor, "B 1"]
    """Their sum."""
    chosen: Int64[Tensor, "B 1"]
    """Entries that the mask chooses, NaN included."""


def upper_quantile(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], quantile: float) -> Float[Tensor, "B 1"]:
    """The quantile of each row's chosen entries that are not NaN, linear between two; NaN of a row that has none.

    As ``torch.nanquantile`` gives it.
    """
    return upper_tail(x, mask, quantile).bar


def upper_tail(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], quantile: float) -> Tail:
    """What lies above the `upper_quantile` of each row. Passes no gradient.

    Where it is sorted, only the part of a row that may lie above it is, so that high quantiles are cheap.
    """
    x = x.detach()
    if torch.compiler.is_compiling():
        from guerdon.kernels import _operators

        return Tail(*_operators.upper_tail(x, mask, quantile))
    fast = _compiled_for(mask, x)
    if fast:
        return Tail(*fast.upper_tail(x, mask, quantile))
    bar = _upper_quantile(x, mask, quantile)
    above, one = mask & (x > bar), {"dim": -1, "keepdim": True}
    return Tail(bar, above.sum(**one), torch.where(above, x, 0.0).sum(**one), mask.sum(**one))


def _upper_quantile(x: Tensor, mask: Tensor, quantile: float) -> Tensor:
    if x.shape[1] == 0:
        return x.new_full((len(x), 1), torch.nan)
    known = scored(x, mask)
    last = known.sum(-1, keepdim=True) - 1
    rank = quantile * last.to(x.dtype)  # from below
    top = min(x.shape[1], math.ceil((1 - quantile) * (x.shape[1] - 1)) + 2)
    ranked = torch.where(known, x, -torch.inf).topk(top, dim=-1).values
    below, above = (ranked.gather(1, (last - at.long()).clamp(0, top - 1)) for at in (rank.floor(), rank.ceil()))
    return torch.where(last < 0, torch.nan, below.lerp(above, rank - rank.floor()))


def largest_share(
    x: Float[Tensor, "*shape"], share: float
) -> tuple[Float[Tensor, ""], Int64[Tensor, ""], Int64[Tensor, ""]]:
    """Of the n entries that are not NaN the least of the largest ``max(floor(share n), 1)``, n, and how many are not below it.

    Ties with the least make the last number larger than was asked for. Without entries -inf, 0 and 0. Passes no gradient.

    Raises:
        ValueError: a share outside of (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and up to 1, got {share}")
    x = x.detach()
    if torch.compiler.is_compiling():
        from guerdon.kernels import _operators

        return _operators.largest_share(x, share)
    fast = _compiled_for(x, x)
    if fast:
        least, n, kept = fast.largest_share(x, share, part_of)
        return x.new_tensor(least), torch.tensor(n), torch.tensor(kept)
    known = x == x
    n = known.sum()
    if not bool(n):
        return x.new_tensor(-torch.inf), n, torch.zeros_like(n)
    order = torch.where(known, x, -torch.inf).reshape(1, -1)
    least = kth_largest(order, part_of(int(n), share)).reshape(())
    return least, n, (known & (x >= least)).sum()


def first_largest(x: Float[Tensor, "*shape"], share: float) -> Bool[Tensor, "*shape"]:
    """True at the largest ``max(floor(share n), 1)`` of the n entries that are not NaN, of equal ones at the first.

    Raises:
        ValueError: a share outside of (0, 1].
    """
    return first_largest_and_number(x, share)[0]


def first_largest_and_number(
    x: Float[Tensor, "*shape"], share: float
) -> tuple[Bool[Tensor, "*shape"], Int64[Tensor, ""]]:
    """`first_largest`, and how many these are."""
    x = x.detach()
    if torch.compiler.is_compiling():
        from guerdon.kernels import _operators

        least, last, number = _operators.first_share(x, share)
    else:
        least, last, number = first_share(x, share)
        if int(last) == x.numel():  # nothing is cut off between equal ones
            return x >= least, number
    place = torch.arange(x.numel(), device=x.device).view(x.shape)
    return (x > least) | ((x == least) & (place <= last)), number


def first_share(x: Tensor, share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of the entries of `first_largest` the least, the place of the last one equal to it in ``x`` laid out flat, and the number.

    The number of entries where all that are equal to the least belong to them.
    """
    least, n, kept = largest_share(x, share)
    over, last = int(kept) - part_of(int(n), share), x.new_full((), x.numel(), dtype=torch.long)
    if over > 0:
        last = _places(x, float(least), lambda equal, _: np.array([equal - over - 1]))[0]
    return least, last, kept - max(over, 0)


def extremes(x: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """The smallest and the largest of the entries that are not NaN; NaN where there is none. Passes no gradient."""
    x = x.detach()
    if torch.compiler.is_compiling() and x.device.type == "cpu":
        from guerdon.kernels import _operators

        return _operators.extremes(x)
    fast = _compiled_for(x, x)
    if fast:
        return fast.extremes(x)
    known = x == x
    ends = (
        (torch.where(known, x, torch.inf).amin(), torch.where(known, x, -torch.inf).amax())
        if x.numel()
        else (x.sum(),) * 2
    )
    least, largest = (torch.where(known.any(), end, torch.nan) for end in ends)
    return least, largest


def part_of(n: int, share: float) -> int:
    """``share`` of n, rounded down, and at least 1."""
    return max(int(share * n + 1e-9), 1)  # 0.29 * 100 is a little less than 29


def drop_some_(
    kept: Float[Tensor, "*shape"], candidate: float, share: float, seed: Int64[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """``kept`` itself with 1 in place of ``candidate``, or 0 at some of these, drawn at random; at all if there are too few.

    As many as ``share`` of the entries above 0, at least one; any of the ways to draw so many is as likely as any other, and
    the same seed (from 0 on; `seed_of`) draws the same. Changes its input and nothing else of it: who calls made it.
    """
    if torch.compiler.is_compiling():
        from guerdon.kernels import _operators

        _operators.drop_some_(kept, candidate, share, seed)
        return kept

    draw = partial(_draw, int(seed), share)
    fast = _compiled_for(kept, kept) if kept.is_contiguous() else None
    if fast:
        fast.drop_(kept, candidate, fast.places(kept, candidate, draw))
        return kept
    kept[torch.unravel_index(_places(kept, candidate, draw), kept.shape)] = 0.0  # kept may lie in memory in any order
    kept.masked_fill_(kept == candidate, 1.0)
    return kept


def _draw(seed: int, share: float, equal: int, positive: int) -> np.ndarray:
    """So many different numbers below ``equal``, ascending, as ``share`` of ``positive`` are; all if there are fewer."""
    number = min(part_of(positive, share), equal)
    return np.sort(np.random.default_rng(seed).choice(equal, number, replace=False, shuffle=False))


def seed_of(generator: torch.Generator | Int64[Tensor, ""]) -> Int64[Tensor, ""]:
    """A seed for one draw; one that is given stays. Under ``torch.compile`` a generator ends the graph and begins another."""
    if isinstance(generator, Tensor):
        return generator
    if torch.compiler.is_compiling():
        from guerdon.kernels import _operators

        return _operators.drawn_seed(generator)
    return drawn_seed(generator)


def drawn_seed(generator: torch.Generator) -> Tensor:
    return torch.randint(1 << 62, (), generator=generator, device=generator.device)


def _places(x: Tensor, value: float, pick: Callable[[int, int], np.ndarray]) -> Tensor:
    """Where ``x`` laid out flat is the value, of the times that ``pick`` names, counted from 0 on and ascending.

    It is told how often the value is there, and how many entries are above 0.
    """
    fast = _compiled_for(x, x)
    if fast:
        return fast.places(x, value, pick)
    at = (x.reshape(-1) == value).nonzero().squeeze(-1)
    return at[torch.from_numpy(pick(len(at), int((x > 0).sum()))).to(at.device)]


def _compiled_for(mask: Tensor, x: Tensor) -> ModuleType | None:
    """The compiled walks for order statistics, where `scan.compiled_for` says so and entries are float32; else None."""
    if scan.compiled_for(mask, x) is None or x.dtype != torch.float32:
        return None
    from guerdon.kernels import _compiled_select

    return _compiled_select


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
