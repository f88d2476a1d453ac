"""Plain-loop twins of methods of credit: slow, obvious, over rows and positions. What a method must equal.

``LOOPS`` maps recipe names to twins that take the same quantities by keyword and use the same defaults.
"""

import math
from collections.abc import Callable
from typing import Any

import torch

from tests.kernels import twins

NAN = float("nan")


def place_rewards(rewards, mask):
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        chosen = [t for t in range(mask.shape[1]) if mask[i, t]]
        if chosen:
            out[i, chosen[-1]] = rewards[i]
    return out


def place_step_rewards(step_rewards, step_end, step_mask, mask):
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        for s in range(step_mask.shape[1]):
            if step_mask[i, s] and mask[i, step_end[i, s]]:
                out[i, step_end[i, s]] = step_rewards[i, s]
    return out


def step_credit(step_advantages, step_ids, mask):
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[i, t] and step_ids[i, t] >= 0:
                out[i, t] = step_advantages[i, step_ids[i, t]]
    return out


def add_levels(advantages, step_advantages, step_ids, mask):
    out = step_credit(step_advantages, step_ids, mask)
    for i in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[i, t]:
                out[i, t] += advantages[i]
    return out


def discounted_returns(token_rewards, mask, gamma=1.0):
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        after = 0.0
        for t in reversed(range(mask.shape[1])):
            if mask[i, t]:
                after = float(token_rewards[i, t]) + gamma * after
                out[i, t] = after
    return out


def gae(token_rewards, old_values, mask, terminated, truncated, bootstrap_values, gamma=1.0, lam=0.95):
    after = torch.where(truncated & ~terminated, bootstrap_values, torch.zeros(len(mask)))
    advantages = twins.gae(token_rewards, old_values, mask, gamma=gamma, lam=lam, bootstrap=after)
    return advantages, torch.where(mask, advantages + old_values, torch.zeros(mask.shape))


def whiten(token_advantages, mask, eps=1e-8):
    values = [float(token_advantages[i, t]) for i in range(len(mask)) for t in range(mask.shape[1]) if mask[i, t]]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1)
    out = torch.zeros(mask.shape)
    for i in range(len(mask)):
        for t in range(mask.shape[1]):
            if mask[i, t]:
                out[i, t] = (float(token_advantages[i, t]) - mean) / math.sqrt(variance + eps)
    return out


LOOPS: dict[str, Callable[..., Any]] = {
    "place-rewards": place_rewards,
    "place-step-rewards": place_step_rewards,
    "step-credit": step_credit,
    "add-levels": add_levels,
    "discounted-returns": discounted_returns,
    "gae": gae,
    "whiten": whiten,
}
