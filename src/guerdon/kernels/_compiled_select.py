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
_FEW, _BLOCK = 64, 256
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
def _between(x, share, sample):
    """Two numbers that the least of the share of largest ones very likely lies between, from a sample of those not NaN."""
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
    wanted = found * share
    reach = _DEVIATIONS * math.sqrt(wanted * (1 - share)) + 2
    low, high = found - 1 - int(wanted + reach), found - 1 - math.floor(wanted - reach)
    return drawn[low] if low >= 0 else -_INFINITY, drawn[high] if high < found else _INFINITY


@_compile
def _sides(x, low, high):
    """How many are above ``high``, how many from ``low`` on, and how many are numbers."""
    above, not_below, known = np.int32(0), np.int32(0), np.int32(0)
    for i in range(x.size):
        above = np.int32(above + np.int32(x[i] > high))
        not_below = np.int32(not_below + np.int32(x[i] >= low))
        known = np.int32(known + np.int32(x[i] == x[i]))
    return above, not_below, known


@_compile
def _keep(x, low, high, kept, told, slot, start, stop):
    """What is from ``low`` to ``high``; how many are above, how many of those there are, and how many numbers."""
    here, room = x[start:stop], kept[start:stop]
    above, known, found = 0, 0, np.uint64(0)  # an index without a sign is not asked whether it counts from the end
    for first in range(0, here.size, _FEW):
        block = here[first : first + _FEW]
        of_block = _sides(block, low, high)
        above += of_block[0]
        known += of_block[2]
        if of_block[1] > of_block[0]:  # few blocks hold one
            for i in range(block.size):
                room[found] = block[i] + np.float32(0)  # 0 for -0, which is no smaller
                found += np.uint64((block[i] >= low) & (block[i] <= high))
    told[slot, 0], told[slot, 1], told[slot, 2] = above, found, known


@_compile
def _extremes(x, bits, out, slot, start, stop):
    here, as_bits = x[start:stop], bits[start:stop]
    low, high = _HIGHEST, _LOWEST
    for i in range(here.size):
        key, known = _flip(as_bits[i]), here[i] == here[i]
        low = min(low, key if known else _HIGHEST)
        high = max(high, key if known else _LOWEST)
    out[slot, 0], out[slot, 1] = low, high


@_compile
def _tally(x, value, equal, positive, start, stop):
    """Of each block how many are the value, and how many above 0."""
    for b in range(start, stop):
        block, n, more = x[b * _BLOCK : (b + 1) * _BLOCK], np.int32(0), np.int32(0)
        for i in range(block.size):
            n = np.int32(n + np.int32(block[i] == value))
            more = np.int32(more + np.int32(block[i] > 0))
        equal[b], positive[b] = n, more


@_compile
def _locate(x, value, equal, ranks, out):
    """Where the value stands for the rank-th time, of ascending ranks."""
    b, i, seen, behind = 0, 0, 0, np.int64(equal[0])  # ``behind``: as often up to the end of block b
    for r in range(ranks.size):
        while behind <= ranks[r]:
            seen, b = behind, b + 1
            i, behind = b * _BLOCK, behind + equal[b]
        while seen <= ranks[r]:
            seen += np.int64(x[i] == value)
            i += 1
        out[r] = i - 1


@_compile
def _replace(x, value, other, slot, start, stop):
    here = x[start:stop]
    for i in range(here.size):
        here[i] = other if here[i] == value else here[i]


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
    if here.size == 0:
        return -math.inf, 0, 0
    cuts, kept = _cuts(here.size, here.size), _memory.empty_like(here)
    told, room = np.zeros((len(cuts) - 1, 3), np.int64), np.empty(_SAMPLE, np.float32)
    for low, high in (_between(here, share, room), (-math.inf, math.inf)):
        low, high = np.float32(low), np.float32(high)
        _share(_keep, (here, low, high, kept, told), cuts, slots=True)
        above, found, n = (int(number) for number in told.sum(0))
        if n == 0:
            return -math.inf, 0, 0
        k = part_of(n, share)
        if above < k <= above + found:
            least, number = _pick(_fronts(kept, cuts, told[:, 1]).view(np.int32), k - above, low, high)
            return float(least), n, above + int(number)
    raise AssertionError("everything lies between the infinities")


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    here = x.detach().contiguous().view(-1).numpy()
    cuts = _cuts(here.size, here.size)
    keys = np.empty((len(cuts) - 1, 2), np.int32)
    _share(_extremes, (here, here.view(np.int32), keys), cuts, slots=True)
    low, high = keys[:, 0].min(), keys[:, 1].max()
    if low > high:  # nothing but NaN
        return x.new_full((), torch.nan), x.new_full((), torch.nan)
    least, largest = (x.new_tensor(float(np.int32(_flip(key)).view(np.float32))) for key in (low, high))
    return least, largest


def places(x: Tensor, value: float, pick: Callable[[int, int], np.ndarray]) -> Tensor:
    """Where the value is, of the times that ``pick`` names; it is told how often it is there, and how many are above 0."""
    here, number = x.detach().contiguous().view(-1).numpy(), np.float32(value)
    equal, positive = np.empty((2, -(-here.size // _BLOCK)), np.int32)
    _share(_tally, (here, number, equal, positive), _cuts(len(equal), here.size))
    ranks = pick(int(equal.sum()), int(positive.sum()))
    out = np.empty(len(ranks), np.int64)
    if len(ranks):
        _locate(here, number, equal, ranks, out)
    return torch.from_numpy(out)


def drop_(x: Tensor, value: float, at: Tensor) -> None:
    """0 at the places, and 1 at all others where the value is; in the memory of ``x``, which is in C order."""
    here = x.detach().view(-1).numpy()
    here[at.numpy()] = 0
    _share(_replace, (here, np.float32(value), np.float32(1)), _cuts(here.size, here.size), slots=True)


def _fronts(x: np.ndarray, cuts: list[int], numbers: np.ndarray) -> np.ndarray:
    """As many entries from each cut on as there are numbers of."""
    return np.concatenate([x[start : start + number] for start, number in zip(cuts[:-1], numbers, strict=True)])
