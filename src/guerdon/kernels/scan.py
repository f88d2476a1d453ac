"""Scans over the positions that the policy chose."""

import torch


def _compact(mask):
    return (~mask).to(torch.int8).argsort(dim=1, stable=True)


def _suffix(x, gamma):
    y, k = x.clone(), 1
    while k < x.shape[1]:
        y[:, :-k] = y[:, :-k] + gamma**k * y[:, k:].clone()
        k *= 2
    return y


def discounted_sum(x, mask, gamma=1.0, bootstrap=None):
    order = _compact(mask)
    valid = mask.gather(1, order)
    c = torch.where(valid, x.gather(1, order), 0.0)
    n = mask.sum(-1)
    y = _suffix(c, gamma)
    if bootstrap is not None:
        y = y + bootstrap[:, None] * gamma ** (n[:, None] - torch.arange(x.shape[1])).clamp(min=0)
    return torch.zeros_like(x).scatter_(1, order, torch.where(valid, y, 0.0))


def gae(rewards, values, mask, *, gamma=1.0, lam=0.95, bootstrap=None):
    order = _compact(mask)
    valid = mask.gather(1, order)
    r = torch.where(valid, rewards.gather(1, order), 0.0)
    v = torch.where(valid, values.gather(1, order), 0.0)
    nxt = torch.cat([v[:, 1:], v.new_zeros(v.shape[0], 1)], 1)
    if bootstrap is not None:
        n = mask.sum(-1)
        last = torch.arange(v.shape[1]) == (n - 1)[:, None]
        nxt = torch.where(last, bootstrap[:, None], nxt)
    delta = torch.where(valid, r + gamma * nxt - v, 0.0)
    y = _suffix(delta, gamma * lam)
    return torch.zeros_like(rewards).scatter_(1, order, torch.where(valid, y, 0.0))
