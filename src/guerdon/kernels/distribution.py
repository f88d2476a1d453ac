"""What a whole distribution over next tokens says beyond log-probability and entropy, from logits or hidden states.

Each function takes logits [N, V] and gives one number per row, with gradient; `of_hidden` applies one in blocks of rows
and makes their logits anew in the backward pass, so that [N, V] is never held.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

_ROWS_TIMES_VOCABULARY = 1 << 24


def nucleus_entropy(
    logits: Float[Tensor, "N V"], *, mass: float = 0.8, top: int | None = None, crossing: bool = True
) -> Float[Tensor, " N"]:
    """Entropy among the most likely tokens that carry ``mass`` together, renormalised, in nats.

        N = the smallest set of most likely tokens with sum of p_v >= mass
        H = -sum_{v in N} q_v log q_v,    q_v = p_v / sum_{u in N} p_u

    The set passes no gradient, q does. ``top`` looks among that many most likely tokens only, renormalised first
    (SIREN's code: 10000). ``crossing=False`` leaves out the token with which the mass is reached, as SIREN's code does;
    the most likely token always stays, so H is 0 where it alone carries the mass.

    Reference: Jiang et al., SIREN, 2025, https://arxiv.org/abs/2509.25133.

    Raises:
        ValueError: a mass outside of (0, 1], or a top below 1.
    """
    if not 0 < mass <= 1 or (top is not None and top < 1):
        raise ValueError(f"expected a mass in (0, 1] and a top of at least 1, got {mass} and {top}")
    wide = logits.float() if logits.dtype != torch.float64 else logits
    if top is not None and top < wide.shape[-1]:
        ranked = wide.topk(top, dim=-1).values
    else:
        ranked = wide.sort(dim=-1, descending=True).values
    p = ranked.detach().softmax(-1)
    reached = p.cumsum(-1)
    inside = (reached - p < mass) if crossing else (reached < mass)
    inside[..., 0] = True
    log_q = ranked.masked_fill(~inside, -torch.inf).log_softmax(-1)
    return -(log_q.exp() * log_q.masked_fill(~inside, 0.0)).sum(-1)


def entropy_slope(logits: Float[Tensor, "N V"]) -> Float[Tensor, " N"]:
    """How the entropy moves with the logit of a token drawn from the distribution, on average.

    s = sum_v p_v dH/dz_v = -sum_v p_v^2 (log p_v + H)
    """
    log_p = logits.float().log_softmax(-1) if logits.dtype != torch.float64 else logits.log_softmax(-1)
    p = log_p.exp()
    log_p = log_p.masked_fill(p == 0, 0.0)
    entropy = -(p * log_p).sum(-1, keepdim=True)
    return -(p.square() * (log_p + entropy)).sum(-1)


OF_LOGITS: dict[str, Callable[..., Tensor]] = {"nucleus_entropy": nucleus_entropy, "entropy_slope": entropy_slope}
"""By the name of the quantity."""


def of_hidden(
    function: Callable[[Tensor], Tensor],
    hidden: Float[Tensor, "N D"],
    weight: Float[Tensor, "V D"],
    *,
    bias: Float[Tensor, " V"] | None = None,
    temperature: float = 1.0,
) -> Float[Tensor, " N"]:
    """``function`` of the logits ``(hidden @ weight.T + bias) / temperature``, in blocks of rows."""

    def block(rows: Tensor) -> Tensor:
        return function(F.linear(rows, weight, bias).float() / temperature)

    size = max(1, _ROWS_TIMES_VOCABULARY // weight.shape[0])
    made = [checkpoint(block, rows, use_reentrant=False, preserve_rng_state=False) for rows in hidden.split(size)]
    return torch.cat(made) if made else hidden.new_zeros(0)  # pyright: ignore[reportArgumentType]
