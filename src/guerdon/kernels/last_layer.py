"""From hidden states and the weight of the last layer to log-probability and entropy, without the logits.

A vocabulary of 150,000 makes logits the largest tensor of a training step. `logp_and_entropy` never holds them: it makes
them tile by tile (some rows by some of the vocabulary), keeps a running maximum and two running sums per row, and makes
each tile anew in the backward pass. What comes after (ratios, clips, weights, advantages per token) is ordinary code on
one number per position. What is done to a tile of logits is PyTorch here; on NVIDIA it is two Triton kernels
(`guerdon.kernels.last_layer_triton`), where the matrix products stay the vendor's.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from guerdon.kernels.logprob import (
    LOWEST,
    check_temperature,
    gradient_less_target,
    logp_and_entropy_of_logits,
    wide,
)

_TILE = {"cpu": 1 << 20, "cuda": 1 << 25}  # logits of a tile: what a processor's cache holds; what fills a GPU
_CHUNK = {"cpu": 2048, "cuda": 8192}


@dataclass(frozen=True)
class Transform:
    """What stands between the product of hidden states and weight and the logits of the softmax.

    ``z = cap * tanh(scale * raw / cap) / temperature`` with a soft cap (Gemma 2), ``scale * raw / temperature`` without.
    """

    temperature: float = 1.0
    scale: float = 1.0
    softcap: float | None = None

    def __post_init__(self) -> None:
        check_temperature(self.temperature)
        if not math.isfinite(self.scale) or self.scale == 0:
            raise ValueError(f"expected a finite scale other than 0, got {self.scale}; 1 leaves logits alone")
        if self.softcap is not None and not self.softcap > 0:
            raise ValueError(f"expected a softcap above 0, got {self.softcap}; None leaves logits alone")

    def __call__(self, raw: Tensor) -> Tensor:
        """Logits of the softmax, differentiable; ``raw`` stays as it is."""
        z = raw if self.scale == 1 else raw * self.scale
        if self.softcap is not None:
            z = (z / self.softcap).tanh() * self.softcap
        return z if self.temperature == 1 else z / self.temperature

    def overwrite(self, raw: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits of the softmax made in place, and their slope in ``raw`` where it is not a constant."""
        if self.softcap is None:
            factor = self.scale / self.temperature
            return (raw if factor == 1 else raw.mul_(factor)), None
        t = raw.mul_(self.scale / self.softcap).tanh_()
        return t * (self.softcap / self.temperature), t.square_().neg_().add_(1).mul_(self.scale / self.temperature)


def logp_and_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    scale: float = 1.0,
    softcap: float | None = None,
    mask: Tensor | None = None,
    entropy: bool = True,
    chunk: int | None = None,
    tile: int | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each target and entropy under the softmax of the last layer's logits, in nats.

        z = cap(scale * (hidden @ weight.T + bias)) / temperature,    cap(x) = softcap * tanh(x / softcap) or x
        logp_n = z_n[y_n] - log sum_v exp z_n[v],    H_n = -sum_v p_n[v] log p_n[v]

    Gradient flows to hidden, weight and bias, through both results; it is added up in float32 (float64 for float64)
    and rounded once. Beside the inputs and their gradients the memory is a few tiles. Products of bfloat16 and float16
    are taken in float32 from the start, so the log-probabilities are more exact than those of a model's own logits. A
    weight in float32 is never rounded to hidden states in bfloat16: they are widened.

    Args:
        hidden: states [..., D].
        weight: of the last layer [V, D]; may be tied to an embedding, may be frozen.
        targets: token ids [...] int64 in [0, V); anything outside of ``mask``.
        bias: [V].
        temperature: divides the logits.
        scale: multiplies them (Cohere's logit_scale, one over Granite's logits_scaling).
        softcap: bounds them smoothly.
        mask: positions [...] that count. The others are left out before the first product and cost nothing; they get 0.
        entropy: None is given in its place without.
        chunk: width of a tile in the vocabulary; a float32 vocabulary of at most this takes one pass and keeps its logits.
        tile: logits that are made at a time.

    Returns:
        [...] and [...], float32 (float64 for float64).

    Raises:
        ValueError: shapes that do not fit, a weight of which this rank holds only a share, or an impossible option.
    """
    transform = Transform(temperature, scale, softcap)
    _check(hidden, weight, targets, mask)
    chunk = _CHUNK.get(hidden.device.type, _CHUNK["cuda"]) if chunk is None else chunk
    tile = _TILE.get(hidden.device.type, _TILE["cuda"]) if tile is None else tile
    if chunk < 1 or tile < 1:
        raise ValueError(f"expected chunk and tile of at least 1, got {chunk} and {tile}; leave them out")
    if mask is not None:
        made = _rows(hidden[mask], weight, targets[mask], bias, transform, entropy, chunk, tile)
        return tuple(None if x is None else x.new_zeros(mask.shape).masked_scatter(mask, x) for x in made)  # pyright: ignore[reportReturnType]
    rows = hidden.reshape(-1, hidden.shape[-1])
    made = _rows(rows, weight, targets.reshape(-1), bias, transform, entropy, chunk, tile)
    return tuple(None if x is None else x.view(targets.shape) for x in made)  # pyright: ignore[reportReturnType]


def _rows(hidden, weight, targets, bias, transform, entropy, chunk, tile) -> tuple[Tensor, Tensor | None]:
    device = hidden.device.type
    if torch.is_autocast_enabled(device):
        narrow = torch.get_autocast_dtype(device)
        hidden, weight, bias = hidden.to(narrow), weight.to(narrow), None if bias is None else bias.to(narrow)
    hidden = hidden.to(torch.promote_types(hidden.dtype, weight.dtype))
    with torch.autocast(device, enabled=False):
        if weight.shape[0] <= chunk and hidden.dtype == wide(hidden.dtype):
            logits = transform(F.linear(hidden, weight, bias))
            return logp_and_entropy_of_logits(logits, targets, entropy=entropy)
        return _LastLayer.apply(hidden, weight, bias, targets, transform, entropy, chunk, tile)


class _LastLayer(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, transform, entropy, chunk, tile):
        tiles = _tiles(hidden)
        top = torch.full((len(hidden),), LOWEST, dtype=wide(hidden.dtype), device=hidden.device)
        s, first = torch.zeros_like(top), torch.zeros_like(top)  # sums of e^(z - top), and of (z - top) e^(z - top)
        said = torch.full_like(top, float("nan"))
        for columns, piece, rest in _pieces(hidden, weight, bias, chunk):
            for rows in _blocks(hidden, piece, tile):
                raw = _logits(rest[rows], piece, None if bias is None else bias[columns])
                state = [x[rows] for x in (top, s, first, said)]
                tiles.absorb(raw, targets[rows], columns.start, state, transform, entropy)
        log_s = s.log()
        lse, spread = log_s + top, log_s - first / s if entropy else torch.zeros_like(s)
        ctx.save_for_backward(hidden, weight, bias, targets, lse, spread)
        ctx.options = transform, entropy, chunk, tile
        return said - lse, spread if entropy else None

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, weight, bias, targets, lse, spread = ctx.saved_tensors
        transform, entropy, chunk, tile = ctx.options
        tiles, (needs_hidden, needs_weight, needs_bias) = _tiles(hidden), ctx.needs_input_grad[:3]
        g_logp, g_spread = grads[0].contiguous(), grads[1].contiguous() if entropy else None
        g_hidden = torch.zeros_like(hidden, dtype=lse.dtype) if needs_hidden else None
        g_weight = torch.empty_like(weight, memory_format=torch.contiguous_format) if needs_weight else None
        g_bias = torch.zeros_like(bias, dtype=lse.dtype) if bias is not None and needs_bias else None
        for columns, piece, rest in _pieces(hidden, weight, bias, chunk):
            total = None
            if g_weight is not None:  # in place where the result is wide itself
                total = g_weight[columns] if g_weight.dtype == lse.dtype else g_weight[columns].to(lse.dtype)
                total.zero_()
            for rows in _blocks(hidden, piece, tile):
                raw = _logits(rest[rows], piece, None if bias is None else bias[columns])
                of_rows = lse[rows], spread[rows], g_logp[rows], None if g_spread is None else g_spread[rows]
                g = tiles.gradient(raw, targets[rows], columns.start, of_rows, transform, rest.dtype)
                if g_bias is not None:
                    g_bias[columns] += g.sum(0, dtype=g_bias.dtype)
                if g_hidden is not None:
                    _add_product(g_hidden[rows], g, piece)
                if total is not None:
                    _add_product(total, g.T, rest[rows])
            if g_weight is not None and total is not None and g_weight.dtype != total.dtype:
                g_weight[columns] = total
        return (
            g_hidden.to(hidden.dtype) if g_hidden is not None else None,
            g_weight,
            g_bias.to(bias.dtype) if bias is not None and g_bias is not None else None,
            *[None] * 5,
        )


class TorchTiles:
    """What is done to a tile of logits, in PyTorch; any device."""

    @staticmethod
    def absorb(
        raw: Tensor, targets: Tensor, start: int, state: list[Tensor], transform: Transform, entropy: bool
    ) -> None:
        """Add a tile [n, v] (overwritten) whose first column is token ``start`` to the running (top, s, first, said)."""
        top, s, first, said = state
        z, _ = transform.overwrite(raw)
        here = (targets >= start) & (targets < start + z.shape[1])
        at = (targets - start).clamp_(0, z.shape[1] - 1)
        said.copy_(torch.where(here, z.gather(1, at[:, None]).squeeze(1), said))
        z.clamp_(min=LOWEST)
        new = torch.maximum(top, z.amax(-1))
        z -= new[:, None]
        fall = top - new
        shrink = fall.exp()
        if entropy:
            first.copy_(shrink * (first + fall * s))
            e = z.exp()
            s.copy_(shrink * s + e.sum(-1))
            first += e.mul_(z).sum(-1)
        else:
            s.copy_(shrink * s + z.exp_().sum(-1))
        top.copy_(new)

    @staticmethod
    def gradient(
        raw: Tensor,
        targets: Tensor,
        start: int,
        of_rows: tuple[Tensor, Tensor, Tensor, Tensor | None],
        transform: Transform,
        dtype: torch.dtype,
    ) -> Tensor:
        """Gradient in a tile's raw logits (overwritten), given (log-sum-exp, H, gradient in logp, gradient in H)."""
        lse, spread, g_logp, g_spread = of_rows
        up = g_logp[:, None]
        z, slope = transform.overwrite(raw)
        z -= lse[:, None]
        g = gradient_less_target(z, up, None if g_spread is None else g_spread[:, None], spread[:, None])
        here = ((targets >= start) & (targets < start + g.shape[1]))[:, None]
        at = (targets - start).clamp_(0, g.shape[1] - 1)[:, None]
        g.scatter_add_(1, at, torch.where(here, up, 0))
        factor = transform.scale / transform.temperature
        g = g.mul_(slope) if slope is not None else g if factor == 1 else g.mul_(factor)
        return g.to(dtype)


@cache
def _triton() -> Any:
    if find_spec("triton") is None:
        return TorchTiles
    from guerdon.kernels.last_layer_triton import TritonTiles

    return TritonTiles


def _tiles(hidden: Tensor) -> Any:
    nvidia = hidden.is_cuda and torch.version.hip is None
    return _triton() if nvidia and hidden.dtype != torch.float64 else TorchTiles


def _pieces(hidden: Tensor, weight: Tensor, bias: Tensor | None, chunk: int) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Slices of the vocabulary, with the weight of each and all hidden states in the dtype of the products."""
    dtype = hidden.dtype if _mixed(hidden) else wide(hidden.dtype)
    hidden = hidden.to(dtype)
    for start in range(0, len(weight), chunk):
        columns = slice(start, min(start + chunk, len(weight)))
        yield columns, weight[columns].to(dtype), hidden


def _blocks(hidden: Tensor, piece: Tensor, tile: int) -> list[slice]:
    size = max(1, tile // len(piece))
    return [slice(i, i + size) for i in range(0, len(hidden), size)]


def _mixed(x: Tensor) -> bool:
    """Whether products of narrow numbers with a wide result are the device's own (torch 2.8 and CUDA)."""
    return x.is_cuda and x.dtype in (torch.bfloat16, torch.float16) and hasattr(torch.ops.aten.mm, "dtype")


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if hidden.dtype == wide(hidden.dtype):
        return F.linear(hidden, weight, None if bias is None else bias.to(hidden.dtype))
    raw = torch.mm(hidden, weight.T, out_dtype=torch.float32)
    return raw if bias is None else raw.add_(bias)


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    if a.dtype == total.dtype:
        total.addmm_(a, b)
    else:
        total += torch.mm(a, b, out_dtype=total.dtype)


def _check(hidden: Tensor, weight: Tensor, targets: Tensor, mask: Tensor | None) -> None:
    if hasattr(weight, "full_tensor") or weight.ndim != 2 or weight.shape[1] != hidden.shape[-1]:
        kind = "a share of it" if hasattr(weight, "full_tensor") or weight.numel() == 0 else f"{list(weight.shape)}"
        raise ValueError(
            f"expected the whole weight [V, {hidden.shape[-1]}] of the last layer, got {kind}; gather a sharded weight "
            "first, and keep it gathered until the backward pass is over"
        )
    for name, x in (("targets", targets), ("mask", mask)):
        if x is not None and x.shape != hidden.shape[:-1]:
            raise ValueError(
                f"expected {name} of shape {list(hidden.shape[:-1])} for hidden states of {list(hidden.shape)}, "
                f"got {list(x.shape)}; give one for each position"
            )
    if mask is not None and mask.dtype != torch.bool:
        raise ValueError(f"expected a mask of booleans, got {mask.dtype}; compare it with 0")
