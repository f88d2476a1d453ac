"""Masked statistics, NaN-aware."""

import torch


def _keep(x, mask):
    return mask & ~x.isnan()


def masked_sum(x, mask):
    return torch.where(_keep(x, mask), x, 0.0).sum()


def masked_mean(x, mask):
    return masked_sum(x, mask) / _keep(x, mask).sum()


def masked_var(x, mask, ddof=1):
    d = x - masked_mean(x, mask)
    return masked_sum(d * d, mask) / (_keep(x, mask).sum() - ddof)


def whiten(x, mask, *, centre=True, eps=1e-8, ddof=1):
    m = masked_mean(x, mask)
    out = (x - m if centre else x) / (masked_var(x, mask, ddof) + eps).sqrt()
    return torch.where(mask, out, 0.0)
