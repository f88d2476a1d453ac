"""Log-probability of what was said, and entropy of what could have been, from logits that exist.

Differentiable once (log-probability and entropy alike), in float32 or wider whatever the input. Logits of minus infinity
are tokens that cannot be said (probability 0, no share of the entropy). Where the logits do not exist yet, take
`guerdon.kernels.last_layer`, which never holds them.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_ROWS_TIMES_VOCABULARY = 1 << 22
LOWEST = -1e30  # stands for minus infinity in sums, where 0 times infinity would be NaN


def logp_and_entropy_of_logits(
    logits: Tensor, targets: Tensor, *, temperature: float = 1.0, entropy: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Log-probability of each target and entropy under ``softmax(logits / temperature)``, in nats.

    ``logits`` [..., V] and ``targets`` [...]; keeps nothing of their size but the logits themselves.

    Raises:
        ValueError: temperature is not positive.
    """
    check_temperature(temperature)
    return _OfLogits.apply(logits, targets, temperature, entropy)


class _OfLogits(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, temperature, entropy):
        flat, chosen = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1, 1)
        lse = flat.new_empty(len(flat), dtype=wide(flat.dtype))
        spread, logp = torch.zeros_like(lse), torch.empty_like(lse)
        for rows in _blocks(flat):
            z = _scaled(flat[rows], temperature, fresh=False)
            logp[rows] = z.gather(1, chosen[rows]).squeeze(1)
            z = z.clamp(min=LOWEST)
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
            g = gradient_less_target(
                log_p, g_logp[rows], g_spread[rows] if g_spread is not None else None, spread[rows, None]
            )
            g.scatter_add_(1, chosen[rows], g_logp[rows])
            out[rows] = g.div_(ctx.temperature)
        return out.view(logits.shape), None, None, None


def gradient_less_target(log_p: Tensor, g_logp: Tensor, g_spread: Tensor | None, spread: Tensor) -> Tensor:
    """Gradient in the scaled logits, less the target's own term: ``-p g_logp - p (log p + H) g_H``."""
    p = log_p.exp()
    if g_spread is None:
        return p.mul_(-g_logp)
    return p.mul_(log_p.clamp_(min=LOWEST).add_(spread).mul_(g_spread).add_(g_logp).neg_())


def _scaled(logits: Tensor, temperature: float, *, fresh: bool) -> Tensor:
    """Logits over temperature in the wide dtype; in place only where the logits are our own."""
    z = logits.to(wide(logits.dtype))
    if temperature == 1:
        return z
    return z.div_(temperature) if fresh or z is not logits else z / temperature


def _blocks(flat: Tensor):
    """Slices of rows small enough that a wide copy of them is cheap."""
    size = max(1, _ROWS_TIMES_VOCABULARY // max(1, flat.shape[1]))
    return [slice(i, i + size) for i in range(0, len(flat), size)]


def wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"expected a positive temperature, got {temperature}; greedy decoding has no log-probability")
