"""Compiled walks that touch every position once, and what they read of a row; imported by `pointwise`, if numba is installed.

Chains of tensor operations walk over memory once for each, and ask for new memory in between. One walk does the same
arithmetic while the numbers are at hand.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from guerdon.kernels import _memory
from guerdon.kernels._compiled import _compile, _cuts, _run, _share

_LOWEST, _HIGHEST = np.float32(-87.33), np.float32(88.72284)  # beyond them exp is 0 (below 2e-38) and infinite
_LOG2_E, _LN2_HIGH, _LN2_LOW = np.float32(1.4426950408889634), np.float32(0.693359375), np.float32(-2.12194440e-4)
_HALF, _ONE, _TWO, _ZERO = np.float32(0.5), np.float32(1), np.float32(2), np.float32(0)
_INFINITY = np.float32(np.inf)
# coefficients of the float32 exponential of Cephes (S. Moshier): exp(x) = 1 + x + x^2 P(x) for |x| <= ln(2) / 2
_P0, _P1, _P2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_P3, _P4, _P5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)


@_compile
def _exp(x):
    """Exponential of a float32 to 2e-7, without a call, so that loops around it go into wide registers."""
    near = _LOWEST if x < _LOWEST else x
    near = _HIGHEST if near > _HIGHEST else near
    k = np.floor(near * _LOG2_E + _HALF)
    r = near - k * _LN2_HIGH - k * _LN2_LOW
    p = ((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5
    power = np.int32((np.int32(k) + np.int32(126)) << np.int32(23)).view(np.float32)  # 2^(k - 1)
    y = (p * r * r + r + _ONE) * power * _TWO
    y = _ZERO if x < _LOWEST else y
    return _INFINITY if x > _HIGHEST else y


@_compile
def _ratio_rows(x, other, mask, low, high, below, above, out, start, stop):
    for i in range(start, stop):
        here, there, chosen, made = x[i], other[i], mask[i], out[i]
        for t in range(here.shape[0]):
            y = _exp(here[t] - there[t])
            bounded = below if y < low else y  # comparisons with NaN are False, so that it passes
            bounded = above if y > high else bounded
            made[t] = bounded if chosen[t] else _ZERO


@_compile
def _rise_rows(x, mask, sign, low, out, start, stop):
    for i in range(start, stop):
        here, chosen, risen, way, bottom = x[i], mask[i], out[i], -sign[i], low[i]
        span = _ONE - bottom
        for t in range(here.shape[0]):
            y = (_ONE / (_ONE + _exp(way * here[t])) - bottom) / span
            y = _ZERO if y < _ZERO else y
            risen[t] = y if chosen[t] else _ZERO


@_compile
def _scaled_rows(x, mask, scale, offset, zero, out, start, stop):
    for i in range(start, stop):
        here, chosen, made, factor, term = x[i], mask[i], out[i], scale[i], offset[i]
        for t in range(here.shape[0]):
            made[t] = here[t] * factor + term if chosen[t] else zero


@_compile
def _penalised_rows(x, logp, other, mask, coefficient, zero, out, start, stop):
    for i in range(start, stop):
        here, likely, there, chosen, made = x[i], logp[i], other[i], mask[i], out[i]
        for t in range(here.shape[0]):
            made[t] = here[t] - coefficient * (likely[t] - there[t]) if chosen[t] else zero


@_compile
def _added_rows(x, other, mask, zero, out, start, stop):
    for i in range(start, stop):
        here, there, chosen, made = x[i], other[i], mask[i], out[i]
        for t in range(here.shape[0]):
            made[t] = here[t] + there[t] if chosen[t] else zero


@_compile
def _finite_rows(x, mask, zero, infinity, out, keep, start, stop):
    for i in range(start, stop):
        here, chosen, made, kept = x[i], mask[i], out[i], keep[i]
        for t in range(here.shape[0]):
            known = chosen[t] & (abs(here[t]) < infinity)
            kept[t] = known
            made[t] = here[t] if known else zero


@partial(_compile, reorder=True)
def _unsettled_rows(x, mask, zero, infinity, out, start, stop):
    for i in range(start, stop):
        here, chosen, odd = x[i], mask[i], np.int32(0)
        for t in range(here.shape[0]):
            bound = infinity if chosen[t] else zero
            odd += np.int32(not ((abs(here[t]) < bound) | (here[t] == zero)))
        out[i] = odd > 0
        if out[i]:
            return


@_compile
def _spread_rows(x, mask, zero, out, start, stop):
    for i in range(start, stop):
        chosen, made, number = mask[i], out[i], x[i]
        for t in range(chosen.shape[0]):
            made[t] = number if chosen[t] else zero


@partial(_compile, reorder=True)
def _row_sums(x, mask, out, count, start, stop):
    for i in range(start, stop):
        here, chosen = x[i], mask[i]
        total, n = 0.0, 0
        for t in range(here.shape[0]):
            total += np.float64(here[t]) if chosen[t] else 0.0
            n += np.int64(chosen[t])
        out[i], count[i] = total, n


@partial(_compile, reorder=True)
def _joint_sums(x, other, mask, out, slot, start, stop):
    here, there, chosen = x[start:stop], other[start:stop], mask[start:stop]
    n, first, second = np.int32(0), 0.0, 0.0
    for i in range(here.size):
        counted = chosen[i] & (here[i] == here[i]) & (there[i] == there[i])
        n = np.int32(n + np.int32(counted))
        first += np.float64(here[i]) if counted else 0.0
        second += np.float64(there[i]) if counted else 0.0
    out[slot, 0], out[slot, 1], out[slot, 2] = n, first, second


@_compile
def _run_rows(mask, out, start, stop):
    for i in range(start, stop):
        chosen, number = mask[i], out[i]
        run, before = -1, False
        for t in range(chosen.shape[0]):
            here = chosen[t]
            run += here and not before
            number[t] = run if here else -1
            before = here


@_compile
def _last_rows(mask, out, start, stop):
    for i in range(start, stop):
        chosen, t = mask[i], mask.shape[1] - 1
        while t >= 0 and not chosen[t]:
            t -= 1
        out[i] = t


@_compile
def _placed_last_rows(x, mask, zero, out, start, stop):
    for i in range(start, stop):
        chosen, made, t = mask[i], out[i], mask.shape[1] - 1
        for u in range(made.shape[0]):
            made[u] = zero
        while t >= 0 and not chosen[t]:
            t -= 1
        if t >= 0:
            made[t] = x[i]


@_compile
def _kept_rows(x, mask, zero, out, start, stop):
    for i in range(start, stop):
        here, chosen, made = x[i], mask[i], out[i]
        for t in range(here.shape[0]):
            made[t] = here[t] if chosen[t] else zero


@_compile
def _step_count_rows(step_ids, mask, out, fault, start, stop):
    steps = out.shape[1]
    for i in range(start, stop):
        step, chosen, count = step_ids[i], mask[i], out[i]
        s, n = -1, 0  # of the run of positions of one step: memory is written rarely
        for t in range(step.shape[0]):
            if chosen[t]:
                if step[t] != s:
                    if s >= 0:
                        count[s] += n
                    s, n = step[t], 0
                    if s >= steps:
                        fault[i], s = True, -1
                n += 1
        if s >= 0:
            count[s] += n


def ratio(x: Tensor, other: Tensor, mask: Tensor, low: float, high: float, below: float, above: float) -> Tensor:
    return _run(_ratio_rows, (x, other, mask), (low, high, below, above))


def rise(x: Tensor, mask: Tensor, sign: Tensor, low: Tensor) -> Tensor:
    return _run(_rise_rows, (x, mask, sign, low), ())


def scaled(x: Tensor, mask: Tensor, scale: Tensor, offset: Tensor) -> Tensor:
    return _run(_scaled_rows, (x, mask, scale, offset), (0.0,))


def penalised(x: Tensor, logp: Tensor, other: Tensor, mask: Tensor, coefficient: float) -> Tensor:
    return _run(_penalised_rows, (x, logp, other, mask), (coefficient, 0.0))


def added(x: Tensor, other: Tensor, mask: Tensor) -> Tensor:
    return _run(_added_rows, (x, other, mask), (0.0,))


def kept(x: Tensor, mask: Tensor) -> Tensor:
    return _run(_kept_rows, (x, mask), (0.0,))


def finite(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    arrays = [a.detach().contiguous().numpy() for a in (x, mask)]
    out, keep = _memory.empty_like(arrays[0]), _memory.empty_like(arrays[1])
    zero, infinity = out.dtype.type(0), out.dtype.type(np.inf)
    _share(_finite_rows, (*arrays, zero, infinity, out, keep), _cuts(len(out), out.size))
    return torch.from_numpy(out), torch.from_numpy(keep)


def broadcast_rows(x: Tensor, mask: Tensor) -> Tensor:
    arrays = [a.detach().contiguous().numpy() for a in (x, mask)]
    out = _memory.empty(mask.shape, arrays[0].dtype)
    _share(_spread_rows, (*arrays, out.dtype.type(0), out), _cuts(len(out), out.size))
    return torch.from_numpy(out)


def settled(x: Tensor, mask: Tensor) -> bool:
    arrays = [a.detach().contiguous().numpy() for a in (x, mask)]
    out = np.zeros(len(x), np.bool_)
    numbers = [arrays[0].dtype.type(number) for number in (0.0, np.inf)]
    _share(_unsettled_rows, (*arrays, *numbers, out), _cuts(len(out), x.numel()))
    return not out.any()


def place_on_last(x: Tensor, mask: Tensor) -> Tensor:
    arrays = [a.detach().contiguous().numpy() for a in (x, mask)]
    out = _memory.empty(mask.shape, arrays[0].dtype)
    _share(_placed_last_rows, (*arrays, out.dtype.type(0), out), _cuts(len(out), out.size))
    return torch.from_numpy(out)


def row_sums(x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and number of the chosen entries of each row."""
    arrays = [a.detach().contiguous().numpy() for a in (x, mask)]
    out, count = np.empty(len(x)), np.empty(len(x), np.int64)
    _share(_row_sums, (*arrays, out, count), _cuts(len(x), x.numel()))
    return torch.from_numpy(out), torch.from_numpy(count)


def joint_means(mask: Tensor, x: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    arrays = [a.detach().contiguous().view(-1).numpy() for a in (x, other, mask)]
    cuts = _cuts(mask.numel(), mask.numel())
    out = np.zeros((len(cuts) - 1, 3))
    _share(_joint_sums, (*arrays, out), cuts, slots=True)
    n, first, second = torch.from_numpy(out).sum(0)
    return (first / n).to(x.dtype), (second / n).to(x.dtype)


def runs(mask: Tensor) -> Tensor:
    chosen = mask.contiguous().numpy()
    return torch.from_numpy(_made(_run_rows, [chosen], _memory.empty(chosen.shape, np.int64)))


def last_chosen(mask: Tensor) -> Tensor:
    return torch.from_numpy(_made(_last_rows, [mask.contiguous().numpy()], np.empty(len(mask), np.int64)))


def step_counts(step_ids: Tensor, mask: Tensor, steps: int) -> tuple[Tensor, bool]:
    """Number of the chosen positions of each step, and whether one is of a step from ``steps`` on."""
    fault = np.zeros(len(mask), np.bool_)
    out = np.zeros((len(mask), steps), np.int64)
    arrays = [a.contiguous().numpy() for a in (step_ids, mask)]
    _share(_step_count_rows, (*arrays, out, fault), _cuts(len(mask), mask.numel()))
    return torch.from_numpy(out), bool(fault.any())


def _made(walk: Callable[..., None], arrays: list[np.ndarray], out: np.ndarray) -> np.ndarray:
    """``out``, made by ``walk`` over all rows."""
    _share(walk, (*arrays, out), _cuts(len(out), arrays[0].size))
    return out
