"""One decision per prompt: a table of logits, groups of draws, and one step of policy gradient."""

import torch
from torch import Tensor

from claims._tabular import ascend, groups


def draw(table: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """``size`` actions for each row of ``table`` [P, A], flat, and their groups."""
    chance = table.detach().softmax(-1)
    actions = torch.multinomial(chance, size, replacement=True, generator=generator)
    return actions.flatten(), groups(actions.numel(), size)


def logp(table: Tensor, actions: Tensor, group: Tensor) -> Tensor:
    """Log-probabilities of the actions."""
    return table.log_softmax(-1)[group, actions]


def step(optimiser: torch.optim.Optimizer, table: Tensor, actions: Tensor, group: Tensor, advantages: Tensor) -> None:
    """One step towards the actions, in proportion to their advantages; NaN is left out."""
    chosen = logp(table, actions, group)[:, None]
    ascend(optimiser, chosen, advantages[:, None], torch.ones_like(chosen, dtype=torch.bool))
