"""Eigenvalues of many small symmetric matrices on the CPU; imported by `spectra` on the first batch, if numba is there.

A library call per matrix costs more than its arithmetic while matrices have some tens of rows. Here ``_LANES`` matrices
go side by side, entry by entry, so that each operation of the algorithm is one of wide registers: first to three diagonals
by reflections, then to eigenvalues. What stands in a lane that holds no matrix changes nothing in the others.

Every entry of a buffer is ``_LANES`` numbers, and what is used together stands at fixed distances in one line, ``r`` or a row
of ``u``: so the compiler need not look before each loop whether they overlap.
"""

import numpy as np
import torch
from torch import Tensor

from guerdon.kernels._compiled import _compile, _cuts, _share

_LANES = 32
_L2, _L3, _L4, _L5 = 2 * _LANES, 3 * _LANES, 4 * _LANES, 5 * _LANES
_EPS = float(np.finfo(np.float64).eps)
_MOST = 60  # iterations for one eigenvalue; two or three are usual


@_compile
def _reflect(a, r, d, e2, k, lanes):
    """Column k done: its entries of the three diagonals, and in ``r`` beta and the first entry of the reflection's vector."""
    for q in range(lanes):
        r[q] = 0.0
    for i in range(k + 2, len(d)):
        entry = a[i * (i + 1) // 2 + k]
        for q in range(lanes):
            r[q] += entry[q] * entry[q]
    diagonal, below, d_here, e2_here = a[k * (k + 1) // 2 + k], a[(k + 1) * (k + 2) // 2 + k], d[k], e2[k]
    for q in range(lanes):
        head = below[q]
        square = r[q] + head * head
        end = -np.copysign(np.sqrt(square), head)
        d_here[q] = diagonal[q]
        e2_here[q] = square
        r[_L4 + q] = 1 / (square - end * head) if r[q] > 0 else 0.0
        r[_L5 + q] = head - end


@_compile
def _product(a, u, r, k, lanes):
    """Change ``a`` by the reflection before, v and w of ``u``, and add a x to y, in one walk over the lower triangle."""
    for i in range(k + 1, len(u)):
        own, row = u[i], i * (i + 1) // 2
        for q in range(lanes):
            r[q] = own[q]
            r[_LANES + q] = own[_LANES + q]
            r[_L2 + q] = own[_L2 + q]
            r[_L3 + q] = 0.0
        for j in range(k + 1, i):
            at, other = a[row + j], u[j]
            for q in range(lanes):
                entry = at[q] - r[q] * other[_LANES + q] - r[_LANES + q] * other[q]
                at[q] = entry
                other[_L3 + q] += r[_L2 + q] * entry
                r[_L3 + q] += entry * other[_L2 + q]
        at = a[row + i]
        for q in range(lanes):
            entry = at[q] - 2 * r[q] * r[_LANES + q]
            at[q] = entry
            own[_L3 + q] += r[_L2 + q] * entry + r[_L3 + q]


@_compile
def _tridiagonal(a, u, r, d, e2, lanes):
    """Diagonal ``d`` and squares ``e2`` beside it of tridiagonal matrices with the eigenvalues of those in ``a``, which are
    lost. ``a`` holds lower triangles row by row.

    A reflection I - beta x x' changes what is left of a into a - x y' - y x', with y = p - (beta p'x / 2) x and p = beta a x.
    The change is made while the next reflection's product with a is taken: x and y of the reflection before are v and w then.
    ``u`` holds v, w, x, y of each row.
    """
    n = len(d)
    u[:] = 0.0
    for k in range(n - 1):
        _reflect(a, r, d, e2, k, lanes)
        if k == n - 2:
            break
        for i in range(k + 1, n):
            own, at = u[i], a[i * (i + 1) // 2 + k]
            for q in range(lanes):
                own[q] = own[_L2 + q]
                own[_LANES + q] = own[_L3 + q]
                own[_L2 + q] = at[q]
                own[_L3 + q] = 0.0
        head = u[k + 1]
        for q in range(lanes):
            head[_L2 + q] = r[_L5 + q]
        _product(a, u, r, k, lanes)
        for q in range(lanes):
            r[q] = 0.0
        for i in range(k + 1, n):
            own = u[i]
            for q in range(lanes):
                r[q] += own[_L3 + q] * own[_L2 + q]
        for q in range(lanes):
            r[q] *= 0.5 * r[_L4 + q] * r[_L4 + q]
        for i in range(k + 1, n):
            own = u[i]
            for q in range(lanes):
                own[_L3 + q] = r[_L4 + q] * own[_L3 + q] - r[q] * own[_L2 + q]
        for q in range(lanes):
            r[q] = head[_L2 + q]
            r[_LANES + q] = head[_L3 + q]
        for i in range(k + 1, n):  # the column that the next reflection is made of
            own, at = u[i], a[i * (i + 1) // 2 + k + 1]
            for q in range(lanes):
                at[q] -= own[_L2 + q] * r[_LANES + q] + own[_L3 + q] * r[q]
    last, own, d_last, e2_last = a[n * (n + 1) // 2 - 1], u[n - 1], d[n - 1], e2[n - 1]
    for q in range(lanes):
        d_last[q] = last[q] - 2 * own[_L2 + q] * own[_L3 + q]
        e2_last[q] = 0.0


@_compile
def _any(x, lanes):
    found = False
    for q in range(lanes):
        found |= x[q] > 0
    return found


@_compile
def _ql(d, e2, r, lanes):
    """Eigenvalues into d, by QL without square roots (Pal, Walker and Kahan; LAPACK's dsterf).

    All lanes take the same steps, on the longest stretch that one of them still has; more steps than needed do no harm.
    What is off the diagonal counts as 0 once it is below rounding of the largest entry. ``r`` holds what counts as 0, then
    shift, gamma, p, c and s.
    """
    n = len(d)
    for q in range(lanes):
        r[q] = 0.0
    for i in range(n):
        d_here, e2_here = d[i], e2[i]
        for q in range(lanes):
            r[q] = max(r[q], abs(d_here[q]) + np.sqrt(e2_here[q]))
    for q in range(lanes):
        r[q] = (_EPS * r[q]) ** 2
    for i in range(n):
        e2_here = e2[i]
        for q in range(lanes):
            e2_here[q] = e2_here[q] if e2_here[q] > r[q] else 0.0
    for k in range(n - 1):
        m = k
        while _any(e2[m], lanes):  # the last is 0
            m += 1
        e2_here, d_here, d_next, d_end = e2[k], d[k], d[k + 1], d[m]
        for _ in range(_MOST):
            if not _any(e2_here, lanes):
                break
            for q in range(lanes):
                root = np.sqrt(e2_here[q])
                ratio = (d_next[q] - d_here[q]) / (2 * root)
                step = root / (ratio + np.copysign(np.sqrt(ratio * ratio + 1), ratio))
                shift = d_here[q] - (step if root > 0 else 0.0)
                gamma = d_end[q] - shift
                r[_LANES + q] = shift
                r[_L2 + q] = gamma
                r[_L3 + q] = gamma * gamma
                r[_L4 + q] = 1.0
                r[_L5 + q] = 0.0
            for i in range(m - 1, k - 1, -1):
                e2_at, e2_after, d_at, d_after = e2[i], e2[i + 1], d[i], d[i + 1]
                for q in range(lanes):
                    beside, before, old, p = e2_at[q], r[_L4 + q], r[_L2 + q], r[_L3 + q]
                    total = p + beside
                    beyond = r[_L5 + q] * total
                    # behind the stretch all is 0 already, and stays it: s is 0 in the first step
                    e2_after[q] = beyond if beyond > r[q] else 0.0
                    inverse = 1 / total if total > 0 else 0.0
                    c = p * inverse if total > 0 else 1.0
                    s = beside * inverse
                    gamma = c * (d_at[q] - r[_LANES + q]) - s * old
                    d_after[q] = old + (d_at[q] - gamma)
                    r[_L2 + q] = gamma
                    r[_L3 + q] = gamma * gamma / c if c > 0 else before * beside
                    r[_L4 + q] = c
                    r[_L5 + q] = s
            for q in range(lanes):
                beyond = r[_L5 + q] * r[_L3 + q]
                e2_here[q] = beyond if beyond > r[q] else 0.0
                d_here[q] = r[_LANES + q] + r[_L2 + q]


@_compile
def _take(a, lane, gram):
    """The lower triangle of a matrix into a lane."""
    at = 0
    for i in range(gram.shape[0]):
        line = gram[i]
        for j in range(i + 1):
            a[at, lane] = line[j]
            at += 1


@_compile
def _solve(a, u, r, d, e2, taken):
    # not a constant: the compiler would write out the loops over lanes, and in narrow registers
    lanes = min(_LANES, (taken + 7) // 8 * 8)
    _tridiagonal(a, u, r, d, e2, lanes)
    _ql(d, e2, r, lanes)


@_compile
def _give(d, lane, out):
    for j in range(out.size):
        out[j] = d[j, lane]


@_compile
def _buffers(n):
    """a, u, r, d and e2 for matrices of n rows."""
    return (
        np.zeros((n * (n + 1) // 2, _LANES)),
        np.zeros((n, 4 * _LANES)),
        np.zeros(6 * _LANES),
        np.zeros((n, _LANES)),
        np.zeros((n, _LANES)),
    )


@_compile
def _eigenvalues(grams, out, start, stop):
    a, u, r, d, e2 = _buffers(grams.shape[1])
    for first in range(start, stop, _LANES):
        lanes = min(_LANES, stop - first)
        for q in range(lanes):
            _take(a, q, grams[first + q])
        _solve(a, u, r, d, e2, lanes)
        for q in range(lanes):
            _give(d, q, out[first + q])


@_compile
def _add_products(gram, x, count):
    """gram += x'x, its lower triangle, over the first ``count`` rows of x, which are a multiple of four: so gram is walked
    over less often."""
    size = gram.shape[0]
    for t in range(0, count, 4):
        one, two, three, four = x[t], x[t + 1], x[t + 2], x[t + 3]
        for i in range(size):
            line, f, g, h, k = gram[i], one[i], two[i], three[i], four[i]
            for j in range(min(size, i // 8 * 8 + 8)):  # whole wide registers
                line[j] += f * one[j] + g * two[j] + h * three[j] + k * four[j]


@_compile
def _centre(x, mean, n, total, mean_here):
    """The first ``n`` states of a block about their mean, and behind them what their mean adds to the Gram matrix of the
    ``total`` states before, whose ``mean`` moves on; zeros up to the next multiple of four. How many rows that is.

    ``mean_here`` comes with the sum of the states.
    """
    size = x.shape[1]
    for j in range(size):
        mean_here[j] /= n
    for t in range(n):
        line = x[t]
        for j in range(size):
            line[j] -= mean_here[j]
    factor, share = np.sqrt(n * total / (n + total)), n / (n + total)
    line = x[n]
    for j in range(size):
        off = mean_here[j] - mean[j]
        line[j] = factor * off
        mean[j] = mean_here[j] if total == 0 else mean[j] + share * off
    end = (n + 4) // 4 * 4
    for t in range(n + 1, end):
        line = x[t]
        for j in range(size):
            line[j] = 0.0
    return end


@_compile
def _prefix_rows(hidden, mask, stride, window, out, start, stop):
    width, size, points = hidden.shape[1], hidden.shape[2], out.shape[1]
    a, u, r, d, e2 = _buffers(size)
    block, gram = np.empty((stride + 4, size)), np.empty((size, size))
    mean, mean_here = np.empty(size), np.empty(size)
    row_of, point_of, taken = np.empty(_LANES, np.int64), np.empty(_LANES, np.int64), 0
    for i in range(start, stop):
        states, chosen = hidden[i], mask[i]
        first, count = width, 0
        while first > 0 and count < window:
            first -= 1
            count += chosen[first]
        t, done, made = first, 0, 0
        out[i] = np.nan
        gram[:], mean[:] = 0.0, 0.0
        while done < count:
            n = 0
            mean_here[:] = 0.0
            while n < stride and done + n < count:
                if chosen[t]:
                    line, state = block[n], states[t]
                    for j in range(size):
                        line[j] = state[j]
                        mean_here[j] += state[j]
                    n += 1
                t += 1
            _add_products(gram, block, _centre(block, mean, n, done, mean_here))
            done += n
            _take(a, taken, gram)
            row_of[taken], point_of[taken] = i, made if done < count else points - 1
            made, taken = made + 1, taken + 1
            if taken == _LANES:
                _solve(a, u, r, d, e2, taken)
                for q in range(taken):
                    _give(d, q, out[row_of[q], point_of[q]])
                taken = 0
    if taken:
        _solve(a, u, r, d, e2, taken)
        for q in range(taken):
            _give(d, q, out[row_of[q], point_of[q]])


def eigenvalues(grams: Tensor) -> Tensor:
    arrays = grams.detach().contiguous().numpy()
    out = np.empty(arrays.shape[:2])
    _share(_eigenvalues, (arrays, out), _cuts(len(arrays), 16 * arrays.size))
    return torch.from_numpy(out)


def prefix_energies(hidden: Tensor, mask: Tensor, stride: int, window: int) -> Tensor:
    rows, width, size = hidden.shape
    points = max(1, -(-min(window, width) // stride))
    out = np.empty((rows, points, size))
    arrays = [x.detach().contiguous().numpy() for x in (hidden, mask)]
    _share(_prefix_rows, (*arrays, stride, window, out), _cuts(rows, 16 * out.size * size))
    return torch.from_numpy(out)
