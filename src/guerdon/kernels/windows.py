"""Means of neighbouring chosen positions of a row, with gradient.

Sums of a window are built by doubling (of two sums of k side by side comes one of 2 k): a few operations on whole tensors
whatever the width, and since nothing is subtracted, a NaN stays in the windows that hold it. Large tensors on a CPU take
a compiled walk where numba is installed, forward and backward; under ``torch.compile`` each is a single operator there.
"""

import math
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import scan
from guerdon.kernels.logprob import wide


def window_mean(
    x: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    width: int,
    *,
    skip: int = 0,
    whole: bool = False,
    empty: float = math.nan,
) -> Float[Tensor, "B T"]:
    """Mean over ``width`` chosen positions of the row, the first of them ``skip`` chosen positions behind this one.

    Of fewer where the row ends before. ``empty`` where there is none, or, with ``whole``, where there are fewer; and off the
    mask, where nothing is read. Differentiable twice (and linear); NaN reaches the windows that hold it.

    Raises:
        ValueError: a width below 1, or a negative skip.
    """
    if width < 1:
        raise ValueError(f"expected a width of at least 1, got {width}")
    if skip < 0:
        raise ValueError(f"expected a skip of at least 0, got {skip}")
    return _Mean.apply(x, mask, width, skip, whole, empty)


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, mask, width, skip, whole, empty):
        ctx.save_for_backward(mask)
        ctx.how = width, skip, whole
        return mean(x, mask, width, skip, whole, empty)

    @staticmethod
    def backward(ctx: Any, *grads):
        (mask,) = ctx.saved_tensors
        return _MeanBack.apply(grads[0], mask, *ctx.how), None, None, None, None, None


class _MeanBack(torch.autograd.Function):
    """What `_Mean` transposed makes: they are each other's gradient."""

    @staticmethod
    def forward(ctx: Any, g, mask, width, skip, whole):
        ctx.save_for_backward(mask)
        ctx.how = width, skip, whole
        return mean_back(g, mask, width, skip, whole)

    @staticmethod
    def backward(ctx: Any, *grads):
        (mask,) = ctx.saved_tensors
        return _Mean.apply(grads[0], mask, *ctx.how, 0.0), None, None, None, None


def mean(x: Tensor, mask: Tensor, width: int, skip: int, whole: bool, empty: float) -> Tensor:
    """`window_mean` without gradient."""
    if torch.compiler.is_compiling() and x.device.type == "cpu":
        from guerdon.kernels import _operators

        return _operators.window_mean(x, mask, width, skip, whole, empty)
    fast = _compiled_for(x, mask)
    return (fast.mean if fast else _mean)(x, mask, width, skip, whole, empty)


def mean_back(g: Tensor, mask: Tensor, width: int, skip: int, whole: bool, *, out: Tensor | None = None) -> Tensor:
    """The gradient in the entries, from that in the means; in ``out``, which may be ``g`` itself."""
    if torch.compiler.is_compiling() and g.device.type == "cpu":
        from guerdon.kernels import _operators

        out = g.clone()  # of which nothing is left in the graph: new memory costs more than the arithmetic
        _operators.window_mean_back_(out, mask, width, skip, whole)
        return out
    fast = _compiled_for(g, mask)
    if fast and (out is None or out.is_contiguous()):
        return fast.mean_back(g, mask, width, skip, whole, out)
    made = _mean_back(g, mask, width, skip, whole)
    return made if out is None else out.copy_(made)


def _mean(x: Tensor, mask: Tensor, width: int, skip: int, whole: bool, empty: float) -> Tensor:
    if mask.numel() == 0:
        return torch.zeros_like(x)
    front, of = _front(torch.where(mask, x, 0.0), mask), _sizes(mask, width, skip, whole)
    total = F.pad(_sums(front, width)[:, skip:], (0, min(skip, mask.shape[1])))
    means = torch.where(of > 0, total / of.clamp(min=1), empty)
    return torch.where(mask, means.gather(1, _places(mask)), empty).to(x.dtype)


def _mean_back(g: Tensor, mask: Tensor, width: int, skip: int, whole: bool) -> Tensor:
    if mask.numel() == 0:
        return torch.zeros_like(g)
    front, of = _front(torch.where(mask, g, 0.0), mask), _sizes(mask, width, skip, whole)
    share = torch.where(of > 0, front / of.clamp(min=1), 0.0)  # of each window's gradient, what one of its entries gets
    total = _sums(share.flip(1), width).flip(1)
    total = F.pad(total, (min(skip, mask.shape[1]), 0))[:, : mask.shape[1]]
    return torch.where(mask, total.gather(1, _places(mask)), 0.0).to(g.dtype)


def _places(mask: Tensor) -> Tensor:
    """Which of the row's chosen positions each is, from 0 on; of those that are not chosen any."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def _front(x: Tensor, mask: Tensor) -> Tensor:
    """Chosen entries moved to the front of their row, 0 behind."""
    last = mask.shape[1]
    row = x.new_zeros(len(x), last + 1, dtype=wide(x.dtype))  # the rest goes to the last column
    return row.scatter(1, torch.where(mask, _places(mask), last), x.to(row.dtype))[:, :last]


def _sizes(mask: Tensor, width: int, skip: int, whole: bool) -> Tensor:
    """Number of entries of the window of each chosen position, of those at the front; 0 where there is no window."""
    rest = mask.sum(-1, keepdim=True) - skip - torch.arange(mask.shape[1], device=mask.device)
    return torch.where(rest >= width, width, 0) if whole else rest.clamp(0, width)


def _sums(x: Tensor, width: int) -> Tensor:
    """``y_t = x_t + ... + x_{t + width - 1}``, 0 behind the row."""
    y, covered, k, width = torch.zeros_like(x), 0, 1, min(width, x.shape[1])
    while k <= width:
        if width & k:
            y = y + F.pad(x[:, covered:], (0, covered))
            covered += k
        x, k = x + F.pad(x[:, k:], (0, k)), 2 * k
    return y


def _compiled_for(x: Tensor, mask: Tensor) -> ModuleType | None:
    """The compiled walks, where `scan.compiled_for` says so; else None."""
    if scan.compiled_for(mask, x.detach()) is None:
        return None
    from guerdon.kernels import _compiled_windows

    return _compiled_windows
