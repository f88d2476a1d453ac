"""From logits to a token: temperature, top-k and top-p, shared by every policy."""

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from guerdon.policies.protocol import Sampling


def filter_logits(logits: Float[Tensor, "B V"], sampling: Sampling) -> Float[Tensor, "B V"]:
    """Logits of the distribution that is drawn from: over temperature, and -inf where cut.

    ``top_k`` keeps the k largest (all that tie with the k-th); ``top_p`` then keeps the smallest set of most likely
    tokens whose probability reaches p, the most likely one always. Greedy leaves the logits as they are.
    """
    if sampling.greedy or sampling.temperature == 0:
        return logits
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        least = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        chance = ordered.softmax(-1)
        before = chance.cumsum(-1) - chance
        cut = torch.zeros_like(logits, dtype=torch.bool).scatter_(-1, order, before >= sampling.top_p)
        logits = logits.masked_fill(cut, float("-inf"))
    return logits


def draw(
    logits: Float[Tensor, "B V"], sampling: Sampling, generator: torch.Generator
) -> tuple[Int64[Tensor, "B"], Float32[Tensor, "B"]]:
    """One token per row and its log-probability as drawn (0 when greedy).

    Inverse transform: one uniform number per row, so that the draw of a row costs the same for every vocabulary and
    does not depend on the other rows' logits. A token cut to -inf is never drawn.
    """
    if sampling.greedy or sampling.temperature == 0:
        return logits.argmax(-1), torch.zeros(logits.shape[0], device=logits.device)
    logp = filter_logits(logits.float(), sampling).log_softmax(-1)
    mass = logp.exp().cumsum(-1, dtype=torch.float64)
    uniform = torch.rand(logits.shape[0], 1, generator=generator, device=generator.device).to(logits.device)
    token = (mass <= uniform * mass[:, -1:]).sum(-1)
    return token, logp.gather(-1, token[:, None]).squeeze(-1).float()
