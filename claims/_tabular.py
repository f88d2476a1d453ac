"""Finite worlds and policies that are tables: what the small claims of credit share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from guerdon.objectives import reinforce


@dataclass(frozen=True)
class Paths:
    """Answers of a policy: states [N, H + 1], actions [N, H] and which of them were taken, ``mask`` [N, H]."""

    states: Tensor
    actions: Tensor
    mask: Tensor

    def logp(self, table: Tensor) -> Tensor:
        """Log-probabilities [N, H] of the actions under the logits ``table`` [S, A]."""
        return table.log_softmax(-1)[self.states[:, :-1], self.actions]

    @property
    def ends(self) -> Tensor:
        """The last state of every answer."""
        return self.states[:, -1]


@dataclass(frozen=True)
class Machine:
    """Certain steps between states: ``next`` [S, A]; in an ``ended`` state nothing is done any more."""

    next: Tensor
    ended: Tensor
    horizon: int
    start: int = 0

    def draw(self, chance: Tensor, rows: int, generator: torch.Generator, starts: Tensor | None = None) -> Paths:
        """Follow the policy ``chance`` [S, A] from the start, or from a start of each row [rows]."""
        mass = chance.detach().cumsum(-1)[:, :-1]
        dice = torch.rand(self.horizon, rows, 1, generator=generator)
        now = torch.full((rows,), self.start) if starts is None else starts
        states, actions = [now], []
        for h in range(self.horizon):
            actions.append((mass[now] < dice[h]).sum(-1))
            now = torch.where(self.ended[now], now, self.next[now, actions[-1]])
            states.append(now)
        kept = torch.stack(states, 1)
        return Paths(kept, torch.stack(actions, 1), ~self.ended[kept[:, :-1]])

    def values(self, chance: Tensor, end: Tensor) -> Tensor:
        """Expected ``end`` [S] of the last state, from every step and state on: [H + 1, S]."""
        v = [end]
        for _ in range(self.horizon):
            v.append(torch.where(self.ended, end, (chance.detach() * v[-1][self.next]).sum(-1)))
        return torch.stack(v[::-1])


def groups(rows: int, size: int) -> Tensor:
    """Group ids of ``rows`` answers, ``size`` to a group."""
    return torch.arange(rows) // size


def train_table(
    machine: Machine,
    logits: Callable[[], Tensor],
    weights: list[Tensor],
    credit: Callable[[int, Paths], Tensor],
    *,
    updates: int,
    rows: int,
    rate: float,
    generator: torch.Generator,
    starts: Callable[[int], Tensor] | None = None,
) -> None:
    """Policy gradient on a table, with one advantage per answer, by Adam.

    Args:
        logits: the policy [S, A], a function of ``weights``, which require a gradient.
        credit: (update, answers) -> advantages [rows].
        starts: update -> start states [rows].
    """
    optimiser = torch.optim.Adam(weights, lr=rate)
    for update in range(updates):
        begin = None if starts is None else starts(update)
        paths = machine.draw(logits().softmax(-1), rows, generator, begin)
        advantages = credit(update, paths)[:, None] * paths.mask
        ascend(optimiser, paths.logp(logits()), advantages, paths.mask)


def ascend(optimiser: torch.optim.Optimizer, logp: Tensor, token_advantages: Tensor, mask: Tensor) -> None:
    """One step of policy gradient; the loss is a sum over tokens per answer, without those whose advantage is NaN."""
    descend(optimiser, reinforce(logp, token_advantages, mask).nan_to_num(nan=0.0).sum() / len(logp))


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of the optimiser."""
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def first(curve: Sequence[float], level: float, never: int) -> int:
    """How many updates it took to reach ``level``; ``never`` where it was not reached."""
    reached = np.flatnonzero(np.asarray(curve) >= level)
    return int(reached[0]) if len(reached) else never


def auc(scores: Tensor, positive: Tensor) -> float:
    """Chance that a positive scores above a negative, ties counting half; NaN where one kind is missing."""
    order, inverse, count = scores.double().unique(return_inverse=True, return_counts=True)
    rank = (count.cumsum(0) - (count - 1) / 2.0)[inverse]
    n, m = int(positive.sum()), int((~positive).sum())
    if not (n and m and len(order)):
        return float("nan")
    return (float(rank[positive].sum()) - n * (n + 1) / 2) / (n * m)
