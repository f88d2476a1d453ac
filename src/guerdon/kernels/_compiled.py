"""Compiled walks for large tensors on the CPU; imported by `scan` on the first one, if numba is installed.

A scan is one backward walk per row with nothing moved: a hole leaves the carried numbers as they are. Rows are shared among
``torch.get_num_threads()`` threads (`guerdon.kernels._threads`). numba's own parallel loops are not used, because their
pool of threads takes the process down when it is entered from two threads or after a fork.
"""

import inspect
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor

from guerdon.kernels import _memory, _threads

_ENTRIES_PER_THREAD = 1 << 19  # for fewer, a second thread costs more than it saves
_PIECES = 8  # per thread
_CHUNK = 64


def _compile(walk: Callable[..., Any], *, reorder: bool = False) -> Callable[..., Any]:
    """``reorder``: sums may be taken in any order, which puts them into wide registers."""
    walk = inspect.unwrap(walk)  # a checker of annotations may stand around every function of the package
    fastmath = {"contract", "reassoc"} if reorder else {"contract"}
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}  # x / 0 is no exception
    try:
        return numba.njit(cache=True, **options)(walk)
    except RuntimeError:  # no folder to keep compiled code in: compile in every process
        return numba.njit(**options)(walk)


@_compile
def _four_chosen(mask, t):
    return mask[t] & mask[t + 1] & mask[t + 2] & mask[t + 3]


@_compile
def _four_sums(x0, x1, x2, x3, gamma, y):
    """Discounted sums at four neighbours, ``y`` behind them: one product of ``y`` waits for the last, instead of four."""
    square = gamma * gamma
    y2 = x2 + gamma * x3
    y1 = x1 + gamma * y2
    y0 = x0 + gamma * y1
    return y0 + square * square * y, y1 + square * gamma * y, y2 + square * y, x3 + gamma * y


@_compile
def _discounted_rows(x, mask, end, gamma, out, start, stop):
    for i in range(start, stop):
        here, chosen, y_here = x[i], mask[i], out[i]
        y, t = end[i], x.shape[1]
        while t > 0:
            if t >= 4 and _four_chosen(chosen, t - 4):
                t -= 4
                sums = _four_sums(here[t], here[t + 1], here[t + 2], here[t + 3], gamma, y)
                y_here[t], y_here[t + 1], y_here[t + 2], y_here[t + 3] = sums
                y = sums[0]
                continue
            t -= 1
            if chosen[t]:
                y = here[t] + gamma * y
                y_here[t] = y
            else:
                y_here[t] = 0.0


@_compile
def _decay_rows(mask, end, gamma, out, start, stop):
    for i in range(start, stop):
        chosen, y_here, y = mask[i], out[i], end[i]
        for t in range(mask.shape[1] - 1, -1, -1):
            if chosen[t]:
                y = gamma * y
                y_here[t] = y
            else:
                y_here[t] = 0.0


@_compile
def _larger(y, other):
    """The larger size. A NaN ``y`` counts less than anything: comparisons with it are False."""
    return abs(y) if abs(y) > abs(other) else abs(other)


@_compile
def _largest_sum_rows(x, mask, gamma, out, start, stop):
    for i in range(start, stop):
        here, chosen = x[i], mask[i]
        y, largest, t = gamma * 0, gamma * 0, x.shape[1]
        while t > 0:
            if t >= 4 and _four_chosen(chosen, t - 4):
                t -= 4
                y, y1, y2, y3 = _four_sums(here[t], here[t + 1], here[t + 2], here[t + 3], gamma, y)
                largest = _larger(_larger(_larger(y, y1), _larger(y2, y3)), largest)
                continue
            t -= 1
            if chosen[t]:
                y = here[t] + gamma * y
                largest = _larger(y, largest)
        out[i] = largest


@_compile
def _gae_rows(rewards, values, mask, end, gamma, decay, out, start, stop):
    for i in range(start, stop):
        reward, value, chosen, advantage = rewards[i], values[i], mask[i], out[i]
        after, t = end[i], rewards.shape[1]
        a = decay * 0  # in the dtype of the arrays
        while t > 0:
            if t >= 4 and _four_chosen(chosen, t - 4):
                t -= 4
                v0, v1, v2, v3 = value[t], value[t + 1], value[t + 2], value[t + 3]
                d0, d1 = reward[t] + gamma * v1 - v0, reward[t + 1] + gamma * v2 - v1
                d2, d3 = reward[t + 2] + gamma * v3 - v2, reward[t + 3] + gamma * after - v3
                sums = _four_sums(d0, d1, d2, d3, decay, a)
                advantage[t], advantage[t + 1], advantage[t + 2], advantage[t + 3] = sums
                a, after = sums[0], v0
                continue
            t -= 1
            if chosen[t]:
                v = value[t]
                a = reward[t] + gamma * after - v + decay * a
                after = v
                advantage[t] = a
            else:
                advantage[t] = 0.0


@_compile
def _running_mean_rows(x, mask, share, out, start, stop):
    for i in range(start, stop):
        here, chosen, mean = x[i], mask[i], out[i]
        n, total = 0, 0.0
        for t in range(x.shape[1]):
            if chosen[t]:
                total += here[t]
                mean[t] = total * share[n]  # 1 / (n + 1): a division here takes longer than all the rest
                n += 1
            else:
                mean[t] = 0.0


@_compile
def _step_sums_rows(x, step_ids, mask, out, count, fault, start, stop):
    steps = out.shape[1]
    for i in range(start, stop):
        here, step, chosen = x[i], step_ids[i], mask[i]
        s, total, n = -1, 0.0, 0  # of the run of positions of one step: steps are long, so memory is written rarely
        for t in range(x.shape[1] + 1):
            last = t == x.shape[1]
            if not last and not chosen[t]:
                continue
            if last or step[t] != s:
                if s >= steps:
                    fault[i] = True
                elif s >= 0:
                    out[i, s] += total
                    count[i, s] += n
                if last:
                    break
                s, total, n = step[t], 0.0, 0
            total += here[t]
            n += 1


@_compile
def _broadcast_rows(x, step_ids, mask, outside, out, fault, start, stop):
    steps = x.shape[1]
    for i in range(start, stop):
        of_step, ids, chosen, read = x[i], step_ids[i], mask[i], out[i]
        for t in range(ids.shape[0]):
            s = ids[t]
            if not chosen[t]:
                read[t] = 0.0
            elif s < 0:
                read[t] = outside[i]
            elif s < steps:
                read[t] = of_step[s]
            else:
                fault[i] = True


@_compile
def _insert(top, found, value):
    """Keep ``value`` if it is of the largest, which ``top`` holds in descending order; how many it holds then."""
    most = top.shape[0]
    if found == most and not value > top[most - 1]:
        return found
    j = min(found, most - 1)
    while j > 0 and top[j - 1] < value:
        top[j] = top[j - 1]
        j -= 1
    top[j] = value
    return min(found + 1, most)


@_compile
def _extremes(x, begin, end, infinity):
    """Smallest and largest number that is not NaN; four at a time, because each comparison waits for the last one."""
    a, b, c, d = infinity, infinity, infinity, infinity
    e, f, g, h = -infinity, -infinity, -infinity, -infinity
    whole = begin + (end - begin) // 4 * 4
    for t in range(begin, whole, 4):
        p, q, r, s = x[t], x[t + 1], x[t + 2], x[t + 3]
        a, b, c, d = p if p < a else a, q if q < b else b, r if r < c else c, s if s < d else d
        e, f, g, h = p if p > e else e, q if q > f else f, r if r > g else g, s if s > h else h
    for t in range(whole, end):
        a, e = x[t] if x[t] < a else a, x[t] if x[t] > e else e
    return min(min(a, b), min(c, d)), max(max(e, f), max(g, h))


@_compile
def _outlier_rows(x, mask, topk, bilateral, threshold, slack, factor, zero, nan, infinity, out, start, stop):
    width = x.shape[1]
    top, largest = np.empty(topk, x.dtype), np.empty(-(-width // _CHUNK), x.dtype)
    for i in range(start, stop):
        here, chosen, m = x[i], mask[i], out[i]
        for t in range(width):
            m[t] = here[t] if chosen[t] else nan
        low, high = _extremes(m, 0, width, infinity)
        spread = high - low
        if not spread > zero:  # nothing stands out
            for t in range(width):
                m[t] = nan if chosen[t] and here[t] != here[t] else zero
            continue
        for t in range(width):
            y = (here[t] - low) / spread
            y = y + y - 1 if bilateral else y
            m[t] = y if chosen[t] else zero
        found = 0
        for c in range(largest.shape[0]):  # the topk largest are where the chunks' largest are of the topk largest
            least, most = _extremes(m, c * _CHUNK, min(width, (c + 1) * _CHUNK), infinity)
            largest[c] = max(most, -least) if bilateral else most
            found = _insert(top, found, largest[c])
        bar = max(threshold, top[topk - 1]) if found == topk else threshold
        found = 0
        for c in range(largest.shape[0]):
            if largest[c] >= bar:
                for t in range(c * _CHUNK, min(width, (c + 1) * _CHUNK)):
                    size = abs(m[t])
                    if size >= bar:
                        found = _insert(top, found, size)
        bar = top[topk - 1] - slack if found == topk else threshold
        for t in range(width):
            size = abs(m[t])
            out_here = factor * m[t] if size > threshold and size >= bar else zero
            m[t] = m[t] if m[t] != m[t] else out_here


@_compile
def _first_scored(x, mask):
    for i in range(x.size):
        if mask[i] and x[i] == x[i]:
            return i
    return -1


@partial(_compile, reorder=True)
def _power_sums(x, mask, anchor, out, slot, start, stop):
    here, chosen = x[start:stop], mask[start:stop]  # indices from 0 on: only then does the loop go into wide registers
    n, first, second = 0, 0.0, 0.0
    for i in range(here.size):
        counted = chosen[i] & (here[i] == here[i])
        d = np.float64(here[i]) - anchor if counted else 0.0
        n += np.int64(counted)
        first += d
        second += d * d
    out[slot, 0], out[slot, 1], out[slot, 2] = n, first, second


@_compile
def _affine(x, mask, shift, factor, zero, out, slot, start, stop):
    here, chosen, made = x[start:stop], mask[start:stop], out[start:stop]
    for i in range(here.size):
        y = np.float32((np.float64(here[i]) - shift) * factor)
        made[i] = y if chosen[i] else zero


def whiten(x: Tensor, mask: Tensor, centre: bool, eps: float, ddof: int, neutral: bool) -> Tensor:
    """`guerdon.kernels.masked.whiten` of a float32 tensor in two walks, with sums in float64.

    Distances are summed to one of the entries, so that a large offset cancels before it is squared and entries that
    are all equal have a variance of exactly 0.
    """
    if x.numel() == 0:
        return x.clone()
    flat, chosen = x.detach().contiguous().view(-1).numpy(), mask.contiguous().view(-1).numpy()
    at = _first_scored(flat, chosen)
    anchor = float(flat[at]) if at >= 0 else 0.0
    cuts = _cuts(flat.size, flat.size)
    sums = np.zeros((len(cuts) - 1, 3))
    _share(_power_sums, (flat, chosen, anchor, sums), cuts, slots=True)
    n, first, second = sums.sum(0)
    variance = max(second - first * first / n, 0.0) / (n - ddof) if n > ddof else float("nan")
    alike = neutral and not variance > 0
    if n <= ddof and not (alike and n):
        return torch.where(mask, torch.nan, torch.zeros_like(x))
    shift = anchor + first / n if centre else 0.0
    factor = 1.0 if alike else (variance + eps) ** -0.5
    out = _memory.empty_like(flat)
    _share(_affine, (flat, chosen, shift, factor, np.float32(0), out), cuts, slots=True)
    return torch.from_numpy(out).view(x.shape)


def discounted_sum(x: Tensor, mask: Tensor, gamma: float, bootstrap: Tensor | None) -> Tensor:
    end = x.new_zeros(x.shape[0]) if bootstrap is None else bootstrap
    return _run(_discounted_rows, (x, mask, end), (gamma,))


def decay(end: Tensor, mask: Tensor, gamma: float) -> Tensor:
    arrays = [x.detach().contiguous().numpy() for x in (mask, end)]
    out = _memory.empty(mask.shape, arrays[1].dtype)
    _share(_decay_rows, (*arrays, out.dtype.type(gamma), out), _cuts(len(out), out.size))
    return torch.from_numpy(out)


def largest_sum(x: Tensor, mask: Tensor, gamma: float) -> Tensor:
    arrays = [a.detach().contiguous().numpy() for a in (x, mask)]
    out = np.empty(len(x), arrays[0].dtype)
    _share(_largest_sum_rows, (*arrays, out.dtype.type(gamma), out), _cuts(len(x), x.numel()))
    return torch.from_numpy(out)


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, bootstrap: Tensor | None) -> Tensor:
    end = values.new_zeros(values.shape[0]) if bootstrap is None else bootstrap
    return _run(_gae_rows, (rewards, values, mask, end), (gamma, gamma * lam))


def running_mean(x: Tensor, mask: Tensor) -> Tensor:
    share = 1 / torch.arange(1, x.shape[1] + 1, dtype=torch.float64)
    return _run(_running_mean_rows, (x, mask, share), ())


def outliers(
    x: Tensor, mask: Tensor, threshold: float, topk: int, bilateral: bool, slack: float, factor: float
) -> Tensor:
    arrays = [a.detach().contiguous().numpy() for a in (x, mask)]
    out = _memory.empty_like(arrays[0])
    numbers = [out.dtype.type(number) for number in (threshold, slack, factor, 0.0, np.nan, np.inf)]
    _share(_outlier_rows, (*arrays, min(topk, x.shape[1]), bilateral, *numbers, out), _cuts(len(out), out.size))
    return torch.from_numpy(out)


def step_sums(x: Tensor, step_ids: Tensor, mask: Tensor, steps: int) -> tuple[Tensor, Tensor, bool]:
    """Sum and number of the chosen positions of each step, and whether one is of a step from ``steps`` on."""
    arrays = [a.detach().contiguous().numpy() for a in (x, step_ids, mask)]
    rows = x.shape[0]
    out, count = np.zeros((rows, steps)), np.zeros((rows, steps), dtype=arrays[0].dtype)
    fault = np.zeros(rows, dtype=np.bool_)
    _share(_step_sums_rows, (*arrays, out, count, fault), _cuts(rows, x.numel()))
    return torch.from_numpy(out).to(x.dtype), torch.from_numpy(count), bool(fault.any())


def broadcast(x: Tensor, step_ids: Tensor, mask: Tensor, outside: Tensor) -> tuple[Tensor, bool]:
    """The number of each position's step, and whether one is of a step that there is not."""
    arrays = [a.detach().contiguous().numpy() for a in (x, step_ids, mask, outside)]
    out = _memory.empty(mask.shape, dtype=arrays[0].dtype)
    fault = np.zeros(len(out), dtype=np.bool_)
    _share(_broadcast_rows, (*arrays, out, fault), _cuts(len(out), out.size))
    return torch.from_numpy(out), bool(fault.any())


def _run(walk: Callable[..., None], tensors: tuple[Tensor, ...], factors: tuple[float, ...]) -> Tensor:
    """``walk`` over all rows; its result. Tensors are copied only where they are not in C order already."""
    arrays = [x.detach().contiguous().numpy() for x in tensors]
    out = _memory.empty_like(arrays[0])
    factors = tuple(out.dtype.type(factor) for factor in factors)
    _share(walk, (*arrays, *factors, out), _cuts(out.shape[0], out.size))
    return torch.from_numpy(out)


def _cuts(parts: int, entries: int) -> list[int]:
    """Where to cut ``parts`` rows (or entries) into pieces, if ``entries`` are worth more than one thread."""
    threads = min(torch.get_num_threads(), entries // _ENTRIES_PER_THREAD, parts)
    pieces = min(_PIECES * threads, parts) if threads > 1 else 1
    return [parts * k // pieces for k in range(pieces + 1)]


def _share(walk: Callable[..., None], given: tuple, cuts: list[int], *, slots: bool = False) -> None:
    """``walk(*given, start, stop)`` for every piece; ``slots``: the number of the piece before start."""
    _threads.share(partial(walk, *given), [((k, *cut) if slots else cut) for k, cut in enumerate(pairwise(cuts))])
