"""What the best of n answers is worth, from N answers and without drawing again.

The best is chosen by one score, the proxy, and judged by another, the gold. From N >= n scored answers to a prompt the
expectation over all sets of n of them is known exactly, which is far less noisy than to draw sets.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from guerdon.kernels.groups import group_mean, joint_ids


def best_of_n(proxy: Float[Tensor, "Q N"], gold: Float[Tensor, "Q N"], n: int) -> Float[Tensor, " Q"]:
    """Expected gold score of the answer with the largest proxy among n drawn without replacement.

        E = sum_i C(i - 1, n - 1) / C(N, n) * gold_(i),   i = n .. N in ascending order of the proxy

    Answers with equal proxies share their weights, which is the mean over every order of the tied. An answer whose proxy
    or gold is NaN is left out; NaN where fewer than n are left. Pass the proxy as gold for its own expectation.

    Raises:
        ValueError: n below 1.

    Reference: the estimator of Coste et al., ICLR 2024, https://arxiv.org/abs/2310.02743, appendix; after Nakano et al.,
    WebGPT, 2021, https://arxiv.org/abs/2112.09332.
    """
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}")
    scored = ~(proxy.isnan() | gold.isnan())
    values, order = torch.where(scored, proxy, torch.inf).double().sort(-1)
    scored, gold = scored.gather(-1, order), gold.gather(-1, order).double()
    # An infinite proxy must not stand behind what is left out.
    scored, tail = scored.sort(dim=-1, descending=True, stable=True)
    values, gold = values.gather(-1, tail), gold.gather(-1, tail)
    count = scored.sum(-1, keepdim=True).double()
    i = torch.arange(1, proxy.shape[-1] + 1, dtype=torch.float64, device=proxy.device)
    log_weight = torch.where(i >= n, _log_choose(i - 1, n - 1), -math.inf) - _log_choose(count.clamp(min=n), n)
    weight = torch.where(scored, log_weight.exp(), 0.0)
    new = torch.ones_like(scored)
    new[:, 1:] = values[:, 1:] != values[:, :-1]
    row = torch.arange(len(proxy), device=proxy.device)[:, None].expand(proxy.shape)
    tied = joint_ids(row.reshape(-1), new.cumsum(-1).reshape(-1))
    shared = group_mean(weight.masked_fill(~scored, torch.nan).reshape(-1), tied).reshape(proxy.shape)
    best = torch.where(scored, shared * gold, 0.0).sum(-1)
    return torch.where(count[:, 0] >= n, best, torch.nan).to(proxy.dtype)


def best_of_n_kl(n: float) -> float:
    """How far best-of-n moves from the policy that it draws from, in nats: ``log n - (n - 1) / n``.

    An upper bound that is exact where no two answers score alike (Hilton, 2023).

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}")
    return math.log(n) - (n - 1) / n


def _log_choose(a: Tensor, b: int) -> Tensor:
    return torch.lgamma(a + 1) - math.lgamma(b + 1) - torch.lgamma((a - b).clamp(min=0) + 1)
