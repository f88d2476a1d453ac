"""Aggregation with explicit denominators."""

import torch


def denominator(in_loss, how, constant=None):
    if how == "token-mean":
        return in_loss.sum().float().clamp(min=1.0)
    rows = in_loss.any(-1).sum().float().clamp(min=1.0)
    return rows if how == "sequence-mean" else rows * constant


def aggregate(token_loss, in_loss, how, denominator, token_weights=None):
    value = torch.where(in_loss, token_loss, 0.0)
    if token_weights is not None:
        value = torch.where(in_loss, value * token_weights, 0.0)
    if how == "sequence-mean":
        value = value / in_loss.sum(-1, keepdim=True).clamp(min=1)
    return value.sum() / denominator
