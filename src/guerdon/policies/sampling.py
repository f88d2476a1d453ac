"""Drawing tokens from logits: temperature, top-k, top-p, greedy, with the probability of what was drawn."""

import torch
from torch import Tensor

from guerdon.policies.protocol import Sampling


def filter_logits(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits [N, V] after temperature, top-k and top-p, in this order; what is cut is -inf.

    top-k keeps ties with the k-th logit; top-p keeps the smallest set of most likely tokens that reaches p, and
    always the most likely one.
    """
    if sampling.temperature not in (0, 1):
        logits = logits / sampling.temperature
    if 0 < sampling.top_k < logits.shape[-1]:
        kth = logits.topk(sampling.top_k, dim=-1).values[..., -1:]
        logits = logits.masked_fill(logits < kth, float("-inf"))
    if sampling.top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True)
        probability = ordered.softmax(-1)
        before = probability.cumsum(-1) - probability
        cut = torch.zeros_like(logits, dtype=torch.bool).scatter(-1, order, before >= sampling.top_p)
        logits = logits.masked_fill(cut, float("-inf"))
    return logits


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One token per row of logits [N, V] and its log-probability as drawn: ([N] int64, [N] float32).

    Greedy (or temperature 0) takes the most likely token, with log-probability 0. Otherwise the token is the winner
    of an exponential race: argmax p_v / e_v with e_v ~ Exp(1), which is a draw from p.
    """
    logits = logits.float()
    if sampling.greedy or sampling.temperature == 0:
        return logits.argmax(-1), torch.zeros(logits.shape[0], device=logits.device)
    logp = filter_logits(logits, sampling).log_softmax(-1)
    race = torch.empty(logp.shape, device=generator.device).exponential_(generator=generator).to(logp.device)
    token = (logp - race.log()).argmax(-1)
    return token, logp.gather(-1, token[:, None]).squeeze(-1)
