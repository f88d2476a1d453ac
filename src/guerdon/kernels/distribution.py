"""What a whole distribution over next tokens says beyond log-probability and entropy, from logits or hidden states.

Each function takes logits [N, V] and gives one number per row, with gradient; `of_hidden` applies one in blocks of rows
and makes their logits anew in the backward pass, so that [N, V] is never held.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from guerdon.kernels.logprob import LOWEST

_ROWS_TIMES_VOCABULARY = 1 << 24


def nucleus_entropy(
    logits: Float[Tensor, "N V"], *, mass: float = 0.8, top: int | None = None, crossing: bool = True
) -> Float[Tensor, " N"]:
    """Entropy among the most likely tokens that carry ``mass`` together, renormalised, in nats.

        N = the smallest set of most likely tokens with sum of p_v >= mass
        H = -sum_{v in N} q_v log q_v,    q_v = p_v / sum_{u in N} p_u

    The set passes no gradient, q does. ``top`` looks among that many most likely tokens only (SIREN's code: 10000);
    p stays that of the whole vocabulary, and where they do not reach the mass all of them count. ``crossing=False`` leaves out the token with which the mass is reached, as SIREN's code does;
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
    p = (ranked - wide.logsumexp(-1, keepdim=True)).detach().exp()
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


def top_entropy(logits: Float[Tensor, "N V"], *, top: int = 10) -> Float[Tensor, " N"]:
    """Entropy of the ``top`` most likely tokens and of all others as one more, in nats.

        H = -sum_{v in top} p_v log p_v - p_rest log p_rest,    p_rest = 1 - sum_{v in top} p_v

    What an engine that tells the likeliest tokens only can know of the entropy; at most the whole entropy, which it is where the
    rest is one token or none. Which tokens are on top passes no gradient, all probabilities do.

    Reference: Chen et al., ARES, 2025, https://arxiv.org/abs/2510.08457, as released (ten tokens and a rest).

    Raises:
        ValueError: a top below 1.
    """
    if top < 1:
        raise ValueError(f"expected a top of at least 1, got {top}")
    log_p = (logits.float() if logits.dtype != torch.float64 else logits).log_softmax(-1).clamp(min=LOWEST)
    place = log_p.detach().topk(min(top, log_p.shape[-1]), dim=-1).indices
    entries = log_p.gather(-1, place)
    if top < log_p.shape[-1]:
        # not 1 - sum: a rest of 1e-8 would be lost in it
        rest = log_p.scatter(-1, place, LOWEST).logsumexp(-1, keepdim=True)
        entries = torch.cat([entries, rest], dim=-1)
    return -(entries.exp() * entries).sum(-1)


OF_LOGITS: dict[str, Callable[..., Tensor]] = {
    "nucleus_entropy": nucleus_entropy,
    "top_entropy": top_entropy,
    "entropy_slope": entropy_slope,
}
"""By the name of the quantity."""


def with_options(nucleus: Mapping[str, Any] | None = None, top: int | None = None) -> dict[str, Callable[..., Tensor]]:
    """``OF_LOGITS`` with the options of a policy.

    Raises:
        ValueError: options that are impossible.
    """
    given = {"nucleus_entropy": dict(nucleus or {}), "top_entropy": {} if top is None else {"top": top}}
    functions = {name: partial(function, **given.get(name, {})) for name, function in OF_LOGITS.items()}
    for function in functions.values():
        function(torch.zeros(1, 2))
    return functions


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
        return function(F.linear(rows.to(widest), weight.to(widest), bias).float() / temperature)

    widest = torch.promote_types(hidden.dtype, weight.dtype)
    size = max(1, _ROWS_TIMES_VOCABULARY // weight.shape[0])
    made = [checkpoint(block, rows, use_reentrant=False, preserve_rng_state=False) for rows in hidden.split(size)]
    return torch.cat(made) if made else hidden.new_zeros(0)  # pyright: ignore[reportArgumentType]
