"""Eigenvalues of many small symmetric matrices on the CPU; imported by `spectra` on the first batch, if numba is there.

A library call per matrix costs more than its arithmetic while matrices have some tens of rows. Here each is brought to
three diagonals by reflections, in place in the first cache; then the eigenvalues of eight are found side by side, because
each step of that is a chain of divisions, and the processor can only fill the gaps with the chain of another matrix.
"""

import numpy as np
import torch
from torch import Tensor

from guerdon.kernels._compiled import _compile, _cuts, _share

_LANES = 7
_WIDE = 8
_EPS = float(np.finfo(np.float64).eps)
_MOST = 60  # iterations for one eigenvalue; two or three are usual


@_compile
def _tridiagonal(a, n, d, e2, v, w, x, y):
    """Diagonal ``d`` and squares ``e2`` beside it of a tridiagonal matrix with the eigenvalues of the first n rows and
    columns of ``a``, which is lost.

    A reflection I - beta v v' changes what is left of a into a - v w' - w v', with w = p - (beta p'v / 2) v and
    p = beta a v. The change is made while the next reflection's product with a is taken, in one walk over a. Walks begin
    and end at a multiple of ``_WIDE`` columns, so that all of them is done in wide registers: a is so wide, and what they
    leave in columns that are done with is not read. Vectors in ``v, w, x, y`` are scratch.
    """
    pending = False
    for k in range(n - 1):
        row, from_column = a[k], (k + 1) // _WIDE * _WIDE
        columns = a.shape[1] - from_column
        d[k] = row[k]
        tail = 0.0
        for j in range(k + 2, n):
            tail += row[j] * row[j]
        square = tail + row[k + 1] * row[k + 1]
        e2[k] = square
        if k == n - 2:
            break
        end = -np.copysign(np.sqrt(square), row[k + 1])
        beta = 1 / (square - end * row[k + 1]) if tail > 0 else 0.0
        x[:] = 0.0
        y[:] = 0.0
        x[k + 1 : n] = row[k + 1 : n]
        x[k + 1] -= end
        new, product, old_v, old_w = x[from_column:], y[from_column:], v[from_column:], w[from_column:]
        for i in range(k + 1, n):
            line, h = a[i, from_column:], x[i]
            if pending:
                f, g = v[i], w[i]
                for j in range(columns):
                    entry = line[j] - f * old_w[j] - g * old_v[j]
                    line[j] = entry
                    product[j] += h * entry
            else:
                for j in range(columns):
                    product[j] += h * line[j]
        inner = 0.0
        for j in range(columns):
            inner += product[j] * new[j]
        inner *= 0.5 * beta * beta
        for j in range(columns):
            product[j] = beta * product[j] - inner * new[j]
        line, f, g = a[k + 1, from_column:], x[k + 1], y[k + 1]  # the row that the next reflection is made of
        for j in range(columns):
            line[j] -= f * product[j] + g * new[j]
        v, w, x, y = x, y, v, w
        pending = True
    last = a[n - 1, n - 1]
    d[n - 1] = last - 2 * v[n - 1] * w[n - 1] if pending else last
    e2[n - 1] = 0.0


@_compile
def _any(x):
    found = False
    for q in range(_LANES):
        found |= x[q] > 0
    return found


@_compile
def _ql(d, e2, small, shift, gamma, p, c, s):
    """Eigenvalues into ``d`` [n, lanes], by QL without square roots (Pal, Walker and Kahan; LAPACK's dsterf).

    All lanes take the same steps, on the longest stretch that one of them still has; more steps than needed do no harm.
    What is off the diagonal counts as 0 once it is below rounding of the largest entry. The rest is scratch [lanes].
    """
    n, lanes = d.shape[0], range(_LANES)
    small[:] = 0.0
    for i in range(n):
        for q in lanes:
            small[q] = max(small[q], abs(d[i, q]) + np.sqrt(e2[i, q]))
    for q in lanes:
        small[q] = (_EPS * small[q]) ** 2
        for i in range(n):
            e2[i, q] = e2[i, q] if e2[i, q] > small[q] else 0.0
    for k in range(n - 1):
        m = k
        while _any(e2[m]):  # the last is 0
            m += 1
        for _ in range(_MOST):
            if not _any(e2[k]):
                break
            for q in lanes:
                root = np.sqrt(e2[k, q])
                ratio = (d[k + 1, q] - d[k, q]) / (2 * root)
                step = root / (ratio + np.copysign(np.sqrt(ratio * ratio + 1), ratio))
                shift[q] = d[k, q] - (step if root > 0 else 0.0)
                gamma[q] = d[m, q] - shift[q]
                p[q], c[q], s[q] = gamma[q] * gamma[q], 1.0, 0.0
            for i in range(m - 1, k - 1, -1):
                for q in lanes:
                    beside, before, old = e2[i, q], c[q], gamma[q]
                    r = p[q] + beside
                    if i != m - 1:
                        beyond = s[q] * r
                        e2[i + 1, q] = beyond if beyond > small[q] else 0.0
                    inverse = 1 / r if r > 0 else 0.0
                    c[q] = p[q] * inverse if r > 0 else 1.0
                    s[q] = beside * inverse
                    gamma[q] = c[q] * (d[i, q] - shift[q]) - s[q] * old
                    d[i + 1, q] = old + (d[i, q] - gamma[q])
                    p[q] = gamma[q] * gamma[q] / c[q] if c[q] > 0 else before * beside
            for q in lanes:
                beyond = s[q] * p[q]
                e2[k, q] = beyond if beyond > small[q] else 0.0
                d[k, q] = shift[q] + gamma[q]


@_compile
def _eigenvalues(grams, out, start, stop):
    n = grams.shape[1]
    wide = -(-n // _WIDE) * _WIDE
    a, vectors, scratch = np.zeros((wide, wide)), np.empty((6, wide)), np.empty((6, _LANES))
    d, e2 = np.zeros((n, _LANES)), np.zeros((n, _LANES))
    for first in range(start, stop, _LANES):
        lanes = min(_LANES, stop - first)
        for q in range(lanes):
            a[:n, :n] = grams[first + q]
            _tridiagonal(a, n, vectors[4], vectors[5], vectors[0], vectors[1], vectors[2], vectors[3])
            d[:, q], e2[:, q] = vectors[4, :n], vectors[5, :n]
        _ql(d, e2, scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5])
        for q in range(lanes):
            out[first + q] = d[:, q]


@_compile
def _add_products(gram, x, count):
    """gram += x'x over the first ``count`` rows of x, which are a multiple of four: so gram is walked over less often."""
    size = gram.shape[0]
    for t in range(0, count, 4):
        one, two, three, four = x[t], x[t + 1], x[t + 2], x[t + 3]
        for i in range(size):
            line, f, g, h, k = gram[i], one[i], two[i], three[i], four[i]
            for j in range(size):
                line[j] += f * one[j] + g * two[j] + h * three[j] + k * four[j]


@_compile
def _centre(x, mean, n, total, mean_here):
    """The first ``n`` states of a block about their mean, and behind them what their mean adds to the Gram matrix of the
    ``total`` states before, whose ``mean`` moves on; zeros up to the next multiple of four. How many rows that is."""
    size = x.shape[1]
    mean_here[:] = 0.0
    for t in range(n):
        for j in range(size):
            mean_here[j] += x[t, j]
    for j in range(size):
        mean_here[j] /= n
    for t in range(n):
        for j in range(size):
            x[t, j] -= mean_here[j]
    factor, share = np.sqrt(n * total / (n + total)), n / (n + total)
    for j in range(size):
        off = mean_here[j] - mean[j]
        x[n, j] = factor * off
        mean[j] = mean_here[j] if total == 0 else mean[j] + share * off
    end = (n + 4) // 4 * 4
    x[n + 1 : end] = 0.0
    return end


@_compile
def _prefix_rows(hidden, mask, stride, window, out, start, stop):
    width, size, points = hidden.shape[1], hidden.shape[2], out.shape[1]
    grams, energies = np.empty((points, size, size)), np.empty((points, size))
    block, gram = np.empty((stride + 4, size)), np.empty((size, size))
    mean, mean_here = np.empty(size), np.empty(size)
    for i in range(start, stop):
        states, chosen = hidden[i], mask[i]
        first, count = width, 0
        while first > 0 and count < window:
            first -= 1
            count += chosen[first]
        t, done, made = first, 0, 0
        gram[:], mean[:] = 0.0, 0.0
        while done < count:
            n = 0
            while n < stride and done + n < count:
                if chosen[t]:
                    block[n] = states[t]
                    n += 1
                t += 1
            _add_products(gram, block, _centre(block, mean, n, done, mean_here))
            grams[made] = gram
            made, done = made + 1, done + n
        out[i] = np.nan
        if made:
            _eigenvalues(grams, energies, 0, made)
            out[i, : made - 1] = energies[: made - 1]
            out[i, points - 1] = energies[made - 1]


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
