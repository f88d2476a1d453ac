"""Compiled walks for means of windows and their gradient; imported by `windows`, if numba is installed.

The chosen entries of a row are moved to its front, where sums of ``width`` neighbours are built by doubling: of two sums of
k that lie side by side comes one of 2 k, and those that ``width`` is made of are added. That takes a few steps whatever the
width, in each of which a processor does many entries at once; nothing is subtracted, so a NaN stays in its own windows.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

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
def _take(x, chosen, n, first, behind, front):
    """Chosen entries to the front. One entry behind them may be written too."""
    here, counted = x[first:behind], chosen[first:behind]
    if n == here.size:
        for t in range(here.size):
            front[t] = here[t]
        return
    k = np.uint64(0)  # an index without a sign is not asked whether it counts from the end
    for t in range(here.size):
        front[k] = here[t]
        k += np.uint64(counted[t])


@_compile
def _give(front, chosen, n, first, behind, outside, out):
    """From the front to where the chosen entries are; ``outside`` everywhere else."""
    for t in range(first):
        out[t] = outside
    for t in range(behind, out.size):
        out[t] = outside
    there, counted = out[first:behind], chosen[first:behind]
    if n == there.size:
        for t in range(there.size):
            there[t] = front[t]
        return
    k = np.uint64(0)
    for t in range(there.size):
        there[t] = front[k] if counted[t] else outside
        k += np.uint64(counted[t])


@_compile
def _add(x, y, out):
    for t in range(out.size):  # of arrays of their own from 0 on: only then does the loop go into wide registers
        out[t] = x[t] + y[t]


@_compile
def _copy(x, out):
    for t in range(out.size):
        out[t] = x[t]


@_compile
def _scale(x, factor):
    for t in range(x.size):
        x[t] *= factor


@_compile
def _divide(x, of):
    """Each sum by its number of entries: ``of``, and from where the row ends before, fewer."""
    share = np.empty(1, x.dtype)
    share[0] = 1 / of  # in the dtype of the row
    full = max(x.size - of + 1, 0)
    _scale(x[:full], share[0])
    for t in range(full, x.size):
        x[t] /= x.size - t


@_compile
def _sums(x, other, width, out):
    """``out[t] = x[t] + ... + x[t + width - 1]``. ``x`` and ``other`` are used up."""
    covered, k, size = 0, 1, out.size
    while True:
        if width & k:
            if covered:
                _add(out, x[covered : covered + size], out)
            else:
                _copy(x[:size], out)
            covered += k
        if 2 * k > width:
            return
        most = size + width - 2 * k
        _add(x[:most], x[k : k + most], other[:most])
        x, other, k = other, x, 2 * k


@_compile
def _mean_rows(x, mask, width, skip, whole, empty, out, start, stop):
    most = mask.shape[1]
    front, other, mean = np.empty(2 * most + 1, x.dtype), np.empty(2 * most + 1, x.dtype), np.empty(most + 1, x.dtype)
    for i in range(start, stop):
        n, first, behind = _bounds(mask[i])
        _take(x[i], mask[i], n, first, behind, front)
        size = max(n - skip, 0)  # windows that hold something
        of = max(min(width, size), 1)
        for t in range(n, n + of):
            front[t] = 0
        _sums(front[n - size :], other, of, mean[:size])
        _divide(mean[:size], of)
        for t in range(max(size - width + 1, 0) if whole else size, n):
            mean[t] = empty
        _give(mean, mask[i], n, first, behind, empty, out[i])


@_compile
def _mean_back_rows(g, mask, width, skip, whole, zero, out, start, stop):
    most = mask.shape[1]
    front, other, back = np.empty(2 * most + 1, g.dtype), np.empty(2 * most + 1, g.dtype), np.empty(most + 1, g.dtype)
    for i in range(start, stop):
        n, first, behind = _bounds(mask[i])
        size = max(n - skip, 0)
        of = max(min(width, size), 1)
        share = front[
            of - 1 :
        ]  # of each window's gradient, what one of its entries gets; nothing before the first window
        _take(g[i], mask[i], n, first, behind, share)
        for t in range(of - 1):
            front[t] = 0
        _divide(share[:size], of)
        for t in range(max(size - width + 1, 0) if whole else size, size):
            share[t] = 0
        _sums(front, other, of, back[n - size : n])
        for t in range(n - size):
            back[t] = 0
        _give(back, mask[i], n, first, behind, zero, out[i])


def mean(x: Tensor, mask: Tensor, width: int, skip: int, whole: bool, empty: float) -> Tensor:
    return _walked(_mean_rows, x, mask, width, skip, whole, empty, None)


def mean_back(g: Tensor, mask: Tensor, width: int, skip: int, whole: bool, out: Tensor | None = None) -> Tensor:
    """``out``, in C order, may be ``g`` itself: a row is read before it is written."""
    return _walked(_mean_back_rows, g, mask, width, skip, whole, 0.0, out)


def _walked(
    walk: Any, x: Tensor, mask: Tensor, width: int, skip: int, whole: bool, outside: float, out: Tensor | None
) -> Tensor:
    here, chosen = (a.detach().contiguous().numpy() for a in (x, mask))
    made = np.empty_like(here) if out is None else out.numpy()
    given = (here, chosen, width, skip, whole, made.dtype.type(outside), made)
    _share(walk, given, _cuts(len(made), made.size))
    return torch.from_numpy(made) if out is None else out
