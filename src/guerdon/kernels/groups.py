"""Group statistics for ragged groups in any order, NaN-aware."""

import torch
from torch import Tensor


def _segments(x: Tensor, group: Tensor):
    _, inverse = torch.unique(group, return_inverse=True)
    n = int(inverse.max()) + 1 if inverse.numel() else 0
    return inverse, n


def _reduce(values: Tensor, inverse: Tensor, n: int) -> Tensor:
    return values.new_zeros((n, *values.shape[1:])).index_add_(0, inverse, values)


def group_count(x, group):
    inverse, n = _segments(x, group)
    return _reduce((~x.isnan()).to(x.dtype), inverse, n)[inverse]


def group_sum(x, group):
    inverse, n = _segments(x, group)
    total = _reduce(x.nan_to_num(nan=0.0), inverse, n)[inverse]
    return total.masked_fill(group_count(x, group) == 0, float("nan"))


def group_mean(x, group):
    return group_sum(x, group) / group_count(x, group)


def group_std(x, group, *, ddof=1):
    d = x - group_mean(x, group)
    c = group_count(x, group)
    return (group_sum(d * d, group) / (c - ddof).masked_fill(c <= ddof, float("nan"))).sqrt()


def _extreme(x, group, how):
    inverse, n = _segments(x, group)
    fill = float("-inf") if how == "amax" else float("inf")
    idx = inverse.view(-1, *[1] * (x.ndim - 1)).expand_as(x)
    out = x.new_full((n, *x.shape[1:]), fill).scatter_reduce_(0, idx, x.masked_fill(x.isnan(), fill), how)[inverse]
    return out.masked_fill(out.isinf(), float("nan"))


def group_max(x, group):
    return _extreme(x, group, "amax")


def group_min(x, group):
    return _extreme(x, group, "amin")


def leave_one_out_mean(x, group):
    c = group_count(x, group) - 1
    return (group_sum(x, group) - x) / c.masked_fill(c <= 0, float("nan"))


def group_share(x, group, threshold=0.0):
    return group_mean(torch.where(x.isnan(), x, (x > threshold).to(x.dtype)), group)


def degenerate(x, group):
    return group_max(x, group) == group_min(x, group)


def standardise(x, group, *, scale=True, ddof=1, eps=1e-4, eps_at="outside", flat="zero"):
    centred = x - group_mean(x, group)
    if scale:
        std = group_std(x, group, ddof=ddof)
        if eps_at == "outside":
            centred = centred / (std + eps)
        elif eps_at == "inside":
            centred = centred / (std**2 + eps).sqrt()
        else:
            centred = centred / std.clamp(min=eps)
    if flat == "zero":
        centred = torch.where(degenerate(x, group), torch.zeros_like(x).masked_fill(x.isnan(), float("nan")), centred)
    elif flat == "nan":
        centred = centred.masked_fill(degenerate(x, group), float("nan"))
    return centred
