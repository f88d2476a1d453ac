"""Compiled walks for means of windows and their gradient; imported by `windows`, if numba is installed.

Sums of ``width`` neighbours are built by doubling: of two sums of k that lie side by side comes one of 2 k, and those that
``width`` is made of are added. That takes a few steps whatever the width, in each of which a processor does many entries
at once; nothing is subtracted, so a NaN stays in its own windows. A row with holes is closed up first.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from guerdon.kernels import _memory
from guerdon.kernels._compiled import _compile, _cuts, _share


@_compile
def _number(chosen):
    n = np.int32(0)
    for t in range(chosen.size):
        n = np.int32(n + np.int32(chosen[t]))
    return np.int64(n)


@_compile
def _bounds(chosen):
    """Number of chosen positions; the first and the one behind the last."""
    n = _number(chosen)
    if _number(chosen[:n]) == n:  # nothing but padding at the end
        return n, 0, n
    first, behind = 0, chosen.size
    while not chosen[behind - 1]:
        behind -= 1
    while not chosen[first]:
        first += 1
    return n, first, behind


@_compile
def _take(here, chosen, front):
    """Chosen entries to the front, which has room for one more."""
    k = np.uint64(0)  # an index without a sign is not asked whether it counts from the end
    for t in range(here.size):
        front[k] = here[t]
        k += np.uint64(chosen[t])


@_compile
def _give(front, chosen, outside, out):
    """From the front, which has one more, to where the chosen entries are; ``outside`` to the others."""
    k = np.uint64(0)
    for t in range(out.size):
        out[t] = front[k] if chosen[t] else outside
        k += np.uint64(chosen[t])


@_compile
def _fill(out, number):
    for t in range(out.size):
        out[t] = number


@_compile
def _scale(x, factor, out):
    for t in range(out.size):  # of arrays of their own from 0 on: only then does the loop go into wide registers
        out[t] = x[t] * factor


@_compile
def _add(x, y, factor, out):
    for t in range(out.size):
        out[t] = (x[t] + y[t]) * factor


@_compile
def _join(x, y, apart, ahead, factor, out):
    """``(x[t] + y[t + apart]) factor`` (ahead, else ``t - apart``), of ``x`` alone where the row ends before."""
    n = out.size
    both = max(n - apart, 0)
    if ahead:
        _add(x[:both], y[n - both : n], factor, out[:both])
        _scale(x[both:n], factor, out[both:])
    else:
        _add(x[n - both : n], y[:both], factor, out[n - both :])
        _scale(x[: n - both], factor, out[: n - both])


@_compile
def _sums(x, one, other, part, width, ahead, share, out):
    """Of each entry and the next (not ahead: last) ones, ``width`` together, their sum by ``width``.

    ``share`` are 1, 1/2, 1/3 ... in the dtype of the numbers; ``one``, ``other`` and ``part`` are room for as many entries.
    """
    unit, factor, covered, k = share[0], share[width - 1], 0, 1
    if width == 1:
        _scale(x, factor, out)
        return
    while 2 * k < width:
        if width & k:
            if covered:
                _join(part, x, covered, ahead, unit, part[: out.size])
            else:
                _scale(x, unit, part[: out.size])
            covered += k
        _join(x, x, k, ahead, unit, one[: out.size])
        x, one, other, k = one, other, one, 2 * k
    if width == 2 * k:
        _join(x, x, k, ahead, factor, out)
        return
    _join(part, x, covered, ahead, factor, out)


@_compile
def _mean_rows(x, mask, width, skip, whole, empty, share, out, start, stop):
    most = mask.shape[1]
    room = np.empty((5, most + 1), x.dtype)
    for i in range(start, stop):
        n, first, behind = _bounds(mask[i])
        here, chosen, made = x[i, first:behind], mask[i, first:behind], out[i, first:behind]
        _fill(out[i, :first], empty)
        _fill(out[i, behind:], empty)
        front, mean, closed = here, made, n == here.size
        if not closed:
            front, mean = room[3], room[4, :n]
            _take(here, chosen, front)
        size = max(n - skip, 0)  # windows that hold something
        of = max(min(width, size), 1)
        _sums(front[n - size : n], room[0], room[1], room[2], of, True, share, mean[:size])
        for t in range(max(size - of + 1, 0), size):
            mean[t] *= of / (size - t)  # the row ends before
        _fill(mean[max(size - width + 1, 0) if whole else size :], empty)
        if not closed:
            _give(room[4], chosen, empty, made)


@_compile
def _mean_back_rows(g, mask, width, skip, whole, zero, share, out, start, stop):
    most = mask.shape[1]
    room = np.empty((5, most + 1), g.dtype)
    for i in range(start, stop):
        n, first, behind = _bounds(mask[i])
        here, chosen, made = g[i, first:behind], mask[i, first:behind], out[i, first:behind]
        _fill(out[i, :first], zero)
        _fill(out[i, behind:], zero)
        front, back, closed = room[3], made, n == here.size
        size = max(n - skip, 0)
        of = max(min(width, size), 1)
        if closed:
            _scale(here, share[0], front[:n])
        else:
            _take(here, chosen, front)
            back = room[4, :n]
        for t in range(max(size - of + 1, 0), size):
            front[t] *= of / (size - t)  # of each window's gradient, what one of its entries gets
        _fill(front[max(size - width + 1, 0) if whole else size : size], zero)
        _sums(front[:size], room[0], room[1], room[2], of, False, share, back[n - size :])
        _fill(back[: n - size], zero)
        if not closed:
            _give(room[4], chosen, zero, made)


def mean(x: Tensor, mask: Tensor, width: int, skip: int, whole: bool, empty: float) -> Tensor:
    return _walked(_mean_rows, x, mask, width, skip, whole, empty, None)


def mean_back(g: Tensor, mask: Tensor, width: int, skip: int, whole: bool, out: Tensor | None = None) -> Tensor:
    """``out``, in C order, may be ``g`` itself: a row is read before it is written."""
    return _walked(_mean_back_rows, g, mask, width, skip, whole, 0.0, out)


def _walked(
    walk: Any, x: Tensor, mask: Tensor, width: int, skip: int, whole: bool, outside: float, out: Tensor | None
) -> Tensor:
    here, chosen = (a.detach().contiguous().numpy() for a in (x, mask))
    made = _memory.empty_like(here) if out is None else out.numpy()
    share = (1 / np.arange(1, max(min(width, here.shape[1]), 1) + 1)).astype(here.dtype)
    given = (here, chosen, width, skip, whole, here.dtype.type(outside), share, made)
    _share(walk, given, _cuts(len(made), made.size))
    return torch.from_numpy(made) if out is None else out
