"""A policy that fills slots: for each context one table of logits per slot, trained on groups of answers."""

from collections.abc import Callable

import torch
from torch import Tensor

from guerdon.credit import group_normalise

Score = Callable[[Tensor], Tensor]
"""Choices [P, G, K] -> rewards [P, G]."""
Extra = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Log-probabilities [P, G, K], entropies [P, K] and advantages [P, G] -> what is added to the loss."""


def train_slots(
    logits: Callable[[], list[Tensor]],
    weights: list[Tensor],
    score: Score,
    *,
    group: int,
    steps: int,
    rate: float,
    generator: torch.Generator,
    watch: Callable[[int, Tensor, Tensor], None] | None = None,
    extra: Extra | None = None,
) -> None:
    """Policy gradient with group-normalised advantages, plain gradient descent.

    Args:
        logits: the logits of each slot [P, A_k], a function of ``weights``, which require a gradient.
        watch: called with the step, the choices and the rewards.
        extra: a further term of the loss.
    """
    for step in range(steps):
        log_chance = [table.log_softmax(-1) for table in logits()]
        choices = torch.stack(
            [torch.multinomial(c.detach().exp(), group, replacement=True, generator=generator) for c in log_chance], -1
        )
        rewards = score(choices)
        if watch is not None:
            watch(step, choices, rewards)
        ids = torch.arange(len(choices)).repeat_interleave(group)
        advantages = group_normalise(rewards.flatten(), ids).reshape(len(choices), group)
        logp = torch.stack([c.gather(1, choices[..., k]) for k, c in enumerate(log_chance)], -1)
        loss = -(advantages * logp.sum(-1)).mean(1).sum()
        if extra is not None:
            entropy = torch.stack([-(c.exp() * c).sum(-1) for c in log_chance], -1)
            loss = loss + extra(logp, entropy, advantages)
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.data -= rate * gradient
