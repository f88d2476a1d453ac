"""Placement: between rows, steps and positions."""

import torch


def place_on_tokens(x, step_end, step_mask, width):
    out = x.new_zeros(x.shape[0], width + 1)
    at = torch.where(step_mask, step_end, width)
    return out.scatter_(1, at, torch.where(step_mask, x, 0.0))[:, :width]


def broadcast_to_tokens(x, step_ids):
    picked = x.gather(1, step_ids.clamp(min=0, max=x.shape[1] - 1))
    return torch.where(step_ids < 0, 0.0, picked)


def broadcast_rows(x, mask):
    return torch.where(mask, x[:, None], 0.0)
