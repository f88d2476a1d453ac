"""What is done to a tile of logits, as two Triton kernels: each number of the tile is read once and written at most once.

The matrix products before and after stay the vendor's library's, which no kernel of ours would beat; what is left is
bound by memory, and here it moves a third or less of what PyTorch's chain of operations does. Importable where Triton is.
"""

from typing import Any, no_type_check

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from guerdon.kernels.logprob import LOWEST

_LOWEST = tl.constexpr(LOWEST)


@triton.jit
@no_type_check  # a checker's wrapper would be compiled in its place
def _logit(raw, inner, factor, CAPPED: tl.constexpr):
    """Logit of the softmax and its slope in ``raw``."""
    if CAPPED:
        t = 2.0 * tl.sigmoid(2.0 * inner * raw) - 1.0  # tanh
        return factor * t, factor * inner * (1.0 - t * t)
    return factor * raw, factor


@triton.jit
@no_type_check  # a checker's wrapper would be compiled in its place
def _absorb(
    raw,
    targets,
    top,
    s,
    first,
    said,
    columns,
    stride,
    start,
    inner,
    factor,
    CAPPED: tl.constexpr,
    ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    m, total, moment = tl.load(top + row), tl.load(s + row), tl.load(first + row)
    for begin in range(0, columns, BLOCK):
        at = begin + tl.arange(0, BLOCK)
        inside = at < columns
        z, _ = _logit(tl.load(raw + row * stride + at, mask=inside, other=0.0), inner, factor, CAPPED)
        z = tl.where(inside, tl.maximum(z, _LOWEST), _LOWEST)
        new = tl.maximum(m, tl.max(z, 0))
        e = tl.where(inside, tl.exp(z - new), 0.0)
        shrink = tl.exp(m - new)
        if ENTROPY:
            moment = shrink * (moment + (m - new) * total) + tl.sum(e * (z - new), 0)
        total = shrink * total + tl.sum(e, 0)
        m = new
    tl.store(top + row, m)
    tl.store(s + row, total)
    tl.store(first + row, moment)
    target = tl.load(targets + row) - start
    if (target >= 0) & (target < columns):
        z, _ = _logit(tl.load(raw + row * stride + target), inner, factor, CAPPED)
        tl.store(said + row, z)


@triton.jit
@no_type_check  # a checker's wrapper would be compiled in its place
def _gradient(
    raw,
    out,
    targets,
    lse,
    spread,
    g_logp,
    g_spread,
    columns,
    stride,
    out_stride,
    start,
    inner,
    factor,
    CAPPED: tl.constexpr,
    ENTROPY: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = at < columns
    z, slope = _logit(tl.load(raw + row * stride + at, mask=inside, other=0.0), inner, factor, CAPPED)
    log_p = tl.where(inside, z - tl.load(lse + row), 0.0)
    up = tl.load(g_logp + row)
    pull = up
    if ENTROPY:
        pull += (tl.maximum(log_p, _LOWEST) + tl.load(spread + row)) * tl.load(g_spread + row)
    g = tl.where(at == tl.load(targets + row) - start, up, 0.0) - tl.exp(log_p) * pull
    tl.store(out + row * out_stride + at, (g * slope).to(out.dtype.element_ty), mask=inside)


class TritonTiles:
    """As `guerdon.kernels.last_layer.TorchTiles`, of which it is the twin; float32 tiles."""

    @staticmethod
    def absorb(raw: Tensor, targets: Tensor, start: int, state: list[Tensor], transform, entropy: bool) -> None:
        inner, factor, capped = _numbers(transform)
        kernel: Any = _absorb
        options = {"CAPPED": capped, "ENTROPY": entropy, "BLOCK": 4096, "num_warps": 8}
        kernel[(len(raw),)](raw, targets, *state, raw.shape[1], raw.stride(0), start, inner, factor, **options)

    @staticmethod
    def gradient(raw: Tensor, targets: Tensor, start: int, of_rows, transform, dtype: torch.dtype) -> Tensor:
        lse, spread, g_logp, g_spread = of_rows
        inner, factor, capped = _numbers(transform)
        out = raw if raw.dtype == dtype else torch.empty_like(raw, dtype=dtype)
        kernel: Any = _gradient
        options = {"CAPPED": capped, "ENTROPY": g_spread is not None, "BLOCK": 2048, "num_warps": 8}
        kernel[(len(raw), triton.cdiv(raw.shape[1], 2048))](
            raw,
            out,
            targets,
            lse,
            spread,
            g_logp,
            g_logp if g_spread is None else g_spread,
            raw.shape[1],
            raw.stride(0),
            out.stride(0),
            start,
            inner,
            factor,
            **options,
        )
        return out


def _numbers(transform) -> tuple[float, float, bool]:
    """``z = factor * tanh(inner * raw)`` or ``factor * raw``."""
    if transform.softcap is None:
        return 1.0, transform.scale / transform.temperature, False
    return transform.scale / transform.softcap, transform.softcap / transform.temperature, True
