"""Compiled walks that find order statistics without sorting; imported by `select`, if numba is installed.

The k-th largest of some numbers is found by halving: as integers of the same order, from the sign on bit by bit, it is
asked how many are not below a bar, which a processor counts many at a time. That is done with a row at once, which fits
into the nearest cache. Of millions a sample says first between which two numbers the wanted one lies; one walk counts what
is above and keeps what is between, a few percent. A sample that is wrong costs another walk, never the result.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from guerdon.kernels import _memory
from guerdon.kernels._compiled import _compile, _cuts, _share

_SAMPLE, _DEVIATIONS, _GOLDEN = 4096, 4.0, 0.6180339887498949
_LOWEST = np.int32(-(1 << 31))  # below the key of every number
_HIGHEST = np.int32((1 << 31) - 1)
_INFINITY = np.float32(np.inf)


@_compile
def _flip(bits):
    """From the bits of a float32 to an int32 of the same order, and back."""
    return np.int32(bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@_compile
def _key(x):
    return _flip(np.float32(x).view(np.int32))


@_compile
def _not_below(keys, bar):
    n = np.int32(0)
    for i in range(keys.size):
        n = np.int32(n + np.int32(keys[i] >= bar))
    return n


@_compile
def _kth_key(keys, k, low, high):
    """The k-th largest key, which is not below ``low`` and not above ``high``."""
    bottom, top = np.int64(low), np.int64(high)
    while bottom < top:
        middle = bottom + (top - bottom + 1) // 2
        if _not_below(keys, np.int32(middle)) >= k:
            bottom = middle
        else:
            top = middle - 1
    return np.int32(bottom)


@_compile
def _next(keys, bar):
    """The smallest key above the bar."""
    found = _HIGHEST
    for i in range(keys.size):
        found = min(found, keys[i] if keys[i] > bar else _HIGHEST)  # min, not a comparison, which is not made wide
    return found


@_compile
def _pick(bits, k, low, high):
    """The k-th largest number, and how many are not below it; ``bits`` are those of numbers, and become keys."""
    for i in range(bits.size):
        bits[i] = _flip(bits[i])
    least = _kth_key(bits, k, _key(low + np.float32(0)), _key(high + np.float32(0)))
    return np.int32(_flip(least)).view(np.float32), _not_below(bits, least)


@partial(_compile, reorder=True)
def _above(x, mask, bar):
    """Number and sum of the chosen entries above the bar, and the number of chosen ones."""
    number, total, of = np.int32(0), 0.0, np.int32(0)
    for i in range(x.size):
        above = mask[i] & (x[i] > bar)
        number = np.int32(number + np.int32(above))
        total += np.float64(x[i]) if above else 0.0
        of = np.int32(of + np.int32(mask[i]))
    return number, total, of


@_compile
def _tail_rows(x, bits, mask, quantile, out, number, total, of, start, stop):
    width = x.shape[1]
    keys = np.empty(width, np.int32)
    for i in range(start, stop):
        here, as_bits, chosen = x[i], bits[i], mask[i]
        for t in range(width):
            keys[t] = _flip(as_bits[t]) if chosen[t] & (here[t] == here[t]) else _LOWEST
        n = np.int64(_not_below(keys, np.int32(_LOWEST + 1)))
        if n == 0:
            out[i] = np.nan
            number[i], total[i], of[i] = _above(here, chosen, out[i])
            continue
        rank = np.float32(quantile) * np.float32(n - 1)  # from the smallest on
        below = np.floor(rank)
        share, k = np.float32(rank - below), n - np.int64(below)
        least = _kth_key(keys, k, _key(-_INFINITY), _key(_INFINITY))
        following = least
        if share > 0 and _not_below(keys, np.int32(least + 1)) == k - 1:
            following = _next(keys, least)
        low, high = np.int32(_flip(least)).view(np.float32), np.int32(_flip(following)).view(np.float32)
        apart = np.float32(high - low)
        out[i] = low + share * apart if share < np.float32(0.5) else high - apart * (np.float32(1) - share)
        number[i], total[i], of[i] = _above(here, chosen, out[i])


@_compile
def _between(x, k, n, sample):
    """Two numbers that the k-th largest of the n that are not NaN very likely lies between, from a sample of them."""
    found, at = 0, 0.5
    for _ in range(2 * sample.size):
        at += _GOLDEN
        at -= math.floor(at)
        here = x[int(at * x.size)]
        sample[found] = here
        found += np.int64(here == here)
        if found == sample.size:
            break
    drawn = sample[:found]
    drawn.sort()
    wanted = found * (k / n)
    reach = _DEVIATIONS * math.sqrt(wanted * (1 - k / n)) + 2
    low, high = found - 1 - int(wanted + reach), found - 1 - math.floor(wanted - reach)
    return drawn[low] if low >= 0 else -_INFINITY, drawn[high] if high < found else _INFINITY


@_compile
def _keep(x, low, high, kept, told, slot, start, stop):
    """What is from ``low`` to ``high``; how many are above, and how many of those there are."""
    here, room = x[start:stop], kept[start:stop]
    above, found = np.uint64(0), np.uint64(0)  # an index without a sign is not asked whether it counts from the end
    for i in range(here.size):
        room[found] = here[i] + np.float32(0)  # 0 for -0, which is no smaller
        above += np.uint64(here[i] > high)
        found += np.uint64((here[i] >= low) & (here[i] <= high))
    told[slot, 0], told[slot, 1] = above, found


@_compile
def _places(x, value, found_at, told, slot, start, stop):
    """Where the value is; the number of entries above 0, and of the places."""
    here, room = x[start:stop], found_at[start:stop]
    n, found = np.int32(0), np.uint64(0)
    for i in range(here.size):
        n = np.int32(n + np.int32(here[i] > 0))
    for i in range(here.size):
        room[found] = start + i
        found += np.uint64(here[i] == value)
    told[slot, 0], told[slot, 1] = n, found


@_compile
def _count(x, told, slot, start, stop):
    here, n = x[start:stop], np.int32(0)
    for i in range(here.size):
        n = np.int32(n + np.int32(here[i] == here[i]))
    told[slot, 0] = n


def upper_tail(x: Tensor, mask: Tensor, quantile: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    here, chosen = (a.detach().contiguous().numpy() for a in (x, mask))
    bar, total = np.empty((2, len(here)), np.float32)
    number, of = np.empty((2, len(here)), np.int64)
    given = (here, here.view(np.int32), chosen, quantile, bar, number, total, of)
    _share(_tail_rows, given, _cuts(len(here), here.size))
    bar, number, total, of = (torch.from_numpy(a)[:, None] for a in (bar, number, total, of))
    return bar, number, total, of


def largest_share(x: Tensor, share: float, part_of: Callable[[int, float], int]) -> tuple[float, int, int]:
    """`select.largest_share` as numbers; ``part_of`` says how many of n are a share."""
    here = x.detach().contiguous().view(-1).numpy()
    cuts = _cuts(here.size, here.size)
    told = np.zeros((len(cuts) - 1, 2), np.int64)
    _share(_count, (here, told), cuts, slots=True)
    n = int(told[:, 0].sum())
    if n == 0:
        return -math.inf, 0, 0
    k, kept = part_of(n, share), _memory.empty_like(here)
    room = np.empty(_SAMPLE, np.float32)
    for low, high in (_between(here, k, n, room), (-math.inf, math.inf)):
        _share(_keep, (here, low, high, kept, told), cuts, slots=True)
        above, found = (int(number) for number in told.sum(0))
        if above < k <= above + found:
            least, number = _pick(_fronts(kept, cuts, told[:, 1]).view(np.int32), k - above, low, high)
            return float(least), n, above + int(number)
    raise AssertionError("everything lies between the infinities")


def places(x: Tensor, value: float) -> tuple[Tensor, int]:
    here = x.detach().contiguous().view(-1).numpy()
    cuts = _cuts(here.size, here.size)
    told, found_at = np.zeros((len(cuts) - 1, 2), np.int64), _memory.empty(here.shape, np.int64)
    _share(_places, (here, np.float32(value), found_at, told), cuts, slots=True)
    return torch.from_numpy(_fronts(found_at, cuts, told[:, 1])), int(told[:, 0].sum())


def _fronts(x: np.ndarray, cuts: list[int], numbers: np.ndarray) -> np.ndarray:
    """As many entries from each cut on as there are numbers of."""
    return np.concatenate([x[start : start + number] for start, number in zip(cuts[:-1], numbers, strict=True)])
