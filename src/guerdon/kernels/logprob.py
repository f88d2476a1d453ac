"""Log-probability of what was said, and entropy of what could have been, from hidden states or logits.

A vocabulary of 150,000 makes logits the largest tensor of a training step. `logp_and_entropy` never holds them: it
walks the vocabulary in chunks with a running maximum, keeps one number per row, and walks again in the backward pass.
Both functions are differentiable once (log-probability and entropy alike), compute in float32 or wider whatever the
input, and read logits of minus infinity as tokens that cannot be said (probability 0, no share of the entropy).
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

_ROWS_TIMES_VOCABULARY = 1 << 22
_LOWEST = -1e30  # stands for minus infinity in sums, where 0 times infinity would be NaN


def logp_and_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    bias: Tensor | None = None,
    temperature: float = 1.0,
    entropy: bool = True,
    chunk: int = 8192,
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each target and entropy under ``softmax((hidden @ weight.T + bias) / temperature)``.

    ``logp_n = z_n[y_n] - log sum_v exp z_n[v]``, ``H_n = -sum_v p_n[v] log p_n[v]``, in nats.
    ``hidden`` [N, D], ``weight`` [V, D], ``targets`` [N] int64 in [0, V), ``bias`` [V]; gives ([N], [N] or None without
    ``entropy``), float32 (float64 for float64). Gradient flows to hidden, weight and bias. Memory beyond the inputs
    and their gradients is [N, chunk]; a vocabulary of at most ``chunk`` takes one pass and keeps its logits.

    Raises:
        ValueError: temperature or chunk is not positive.
    """
    _check(temperature)
    if chunk < 1:
        raise ValueError(f"expected chunk of at least 1, got {chunk}")
    if weight.shape[0] <= chunk:
        logits = F.linear(hidden, weight, bias)
        return logp_and_entropy_of_logits(logits, targets, temperature=temperature, entropy=entropy)
    return _Chunked.apply(hidden, weight, bias, targets, temperature, entropy, chunk)


def logp_and_entropy_of_logits(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, entropy: bool = True
) -> tuple[Tensor, Tensor | None]:
    """The same from logits [..., V] and targets [...]; keeps nothing of their size but the logits themselves.

    Raises:
        ValueError: temperature is not positive.
    """
    _check(temperature)
    return _OfLogits.apply(logits, targets, temperature, entropy)


class _OfLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, temperature, entropy):
        flat, chosen = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1, 1)
        lse = flat.new_empty(len(flat), dtype=_wide(flat.dtype))
        spread, logp = torch.zeros_like(lse), torch.empty_like(lse)
        for rows in _blocks(flat):
            z = _scaled(flat[rows], temperature, fresh=False)
            logp[rows] = z.gather(1, chosen[rows]).squeeze(1)
            z = z.clamp(min=_LOWEST)
            top = z.amax(-1, keepdim=True)
            z -= top
            e = z.exp()
            s = e.sum(-1)
            log_s = s.log()
            lse[rows] = log_s + top.squeeze(-1)
            if entropy:
                spread[rows] = log_s - e.mul_(z).sum(-1) / s
        ctx.save_for_backward(logits, targets, lse, spread)
        ctx.temperature, ctx.entropy = temperature, entropy
        logp -= lse
        return logp.view(targets.shape), spread.view(targets.shape) if entropy else None

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        logits, targets, lse, spread = ctx.saved_tensors
        flat, chosen = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1, 1)
        g_logp, g_spread = grads[0].reshape(-1, 1), grads[1].reshape(-1, 1) if ctx.entropy else None
        out = torch.empty_like(flat)
        for rows in _blocks(flat):
            log_p = _scaled(flat[rows], ctx.temperature, fresh=False) - lse[rows, None]
            g = _of_log_p(log_p, g_logp[rows], g_spread[rows] if g_spread is not None else None, spread[rows, None])
            g.scatter_add_(1, chosen[rows], g_logp[rows])
            out[rows] = g.div_(ctx.temperature)
        return out.view(logits.shape), None, None, None


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, targets, temperature, entropy, chunk):
        wide = _wide(hidden.dtype)
        n, device = len(hidden), hidden.device
        top = torch.full((n,), _LOWEST, dtype=wide, device=device)
        s, first = torch.zeros_like(top), torch.zeros_like(top)  # sum of e^(z - top), and of (z - top) e^(z - top)
        said = torch.full_like(top, float("nan"))
        for start in range(0, len(weight), chunk):
            z = _logits(hidden, weight, bias, start, chunk, temperature)
            here = (targets >= start) & (targets < start + z.shape[1])
            at = (targets - start).clamp(0, z.shape[1] - 1)
            said = torch.where(here, z.gather(1, at[:, None]).squeeze(1), said)
            z.clamp_(min=_LOWEST)
            new = torch.maximum(top, z.amax(-1))
            z -= new[:, None]
            e = z.exp()
            shrink, fall = (top - new).exp(), top - new
            first = shrink * (first + fall * s)
            s = shrink * s + e.sum(-1)
            if entropy:
                first = first + e.mul_(z).sum(-1)
            top = new
        log_s = s.log()
        lse, spread = log_s + top, log_s - first / s if entropy else torch.zeros_like(s)
        ctx.save_for_backward(hidden, weight, bias, targets, lse, spread)
        ctx.options = temperature, entropy, chunk
        return said - lse, spread if entropy else None

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden, weight, bias, targets, lse, spread = ctx.saved_tensors
        temperature, entropy, chunk = ctx.options
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        g_logp, g_spread = grads[0][:, None], grads[1][:, None] if entropy else None
        g_hidden = torch.zeros_like(hidden, dtype=lse.dtype) if needs_hidden else None
        g_weight = torch.empty_like(weight) if needs_weight else None
        g_bias = torch.empty_like(bias) if needs_bias else None
        for start in range(0, len(weight), chunk):
            part = slice(start, start + chunk)
            log_p = _logits(hidden, weight, bias, start, chunk, temperature) - lse[:, None]
            g = _of_log_p(log_p, g_logp, g_spread, spread[:, None])
            here = (targets >= start) & (targets < start + g.shape[1])
            at = (targets - start).clamp(0, g.shape[1] - 1)[:, None]
            g.scatter_add_(1, at, torch.where(here[:, None], g_logp, 0))
            g.div_(temperature)
            narrow = g.to(hidden.dtype)
            if g_hidden is not None:
                g_hidden += narrow @ weight[part]
            if g_weight is not None:
                g_weight[part] = narrow.T @ hidden
            if g_bias is not None:
                g_bias[part] = g.sum(0)
        return (g_hidden.to(hidden.dtype) if g_hidden is not None else None), g_weight, g_bias, None, None, None, None


def _of_log_p(log_p: Tensor, g_logp: Tensor, g_spread: Tensor | None, spread: Tensor) -> Tensor:
    """Gradient in the scaled logits, less the target's own term: ``-p g_logp - p (log p + H) g_H``."""
    p = log_p.exp()
    if g_spread is None:
        return p.mul_(-g_logp)
    return p.mul_(log_p.clamp_(min=_LOWEST).add_(spread).mul_(g_spread).add_(g_logp).neg_())


def _logits(hidden: Tensor, weight: Tensor, bias: Tensor | None, start: int, chunk: int, temperature: float) -> Tensor:
    part = slice(start, start + chunk)
    return _scaled(F.linear(hidden, weight[part], None if bias is None else bias[part]), temperature, fresh=True)


def _scaled(logits: Tensor, temperature: float, *, fresh: bool) -> Tensor:
    """Logits over temperature in the wide dtype; in place only where the logits are our own."""
    z = logits.to(_wide(logits.dtype))
    if temperature == 1:
        return z
    return z.div_(temperature) if fresh or z is not logits else z / temperature


def _blocks(flat: Tensor):
    """Slices of rows small enough that a wide copy of them is cheap."""
    size = max(1, _ROWS_TIMES_VOCABULARY // max(1, flat.shape[1]))
    return [slice(i, i + size) for i in range(0, len(flat), size)]


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _check(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"expected a positive temperature, got {temperature}; greedy decoding has no log-probability")
