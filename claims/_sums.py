"""Sums written out: from a first number on, each step adds the next operand, modulo MODULUS. A writer is a table.

``table`` [MODULUS, MODULUS, MODULUS] are logits of the number written, by the number before it and the operand. The
answer is right when the last number is; two mistakes may cancel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

MODULUS, STEPS = 7, 5
RIGHT = (torch.arange(MODULUS)[:, None] + torch.arange(MODULUS)) % MODULUS
"""What follows a number and an operand."""


@dataclass(frozen=True)
class Problems:
    """First numbers [N] and operands [N, STEPS]."""

    begin: Tensor
    operands: Tensor

    @classmethod
    def draw(cls, count: int, generator: torch.Generator, repeat: int = 1) -> "Problems":
        """Random problems, each ``repeat`` times in a row."""
        drawn = torch.randint(MODULUS, (count, STEPS + 1), generator=generator).repeat_interleave(repeat, 0)
        return cls(drawn[:, 0], drawn[:, 1:])

    def answer(self, table: Tensor, generator: torch.Generator) -> "Answers":
        """Have the writer write."""
        mass = table.detach().softmax(-1).cumsum(-1)[..., :-1]
        dice = torch.rand(STEPS, len(self.begin), 1, generator=generator)
        lines = [self.begin]
        for step in range(STEPS):
            lines.append((mass[lines[-1], self.operands[:, step]] < dice[step]).sum(-1))
        return Answers(self.operands, torch.stack(lines, 1))

    def accuracy(self, table: Tensor) -> float:
        """Exact share of right answers."""
        return float(self.chances(table).mean())

    def chances(self, table: Tensor) -> Tensor:
        """Exact chance [N] that the answer to each problem is right."""
        chance = table.detach().softmax(-1)
        mass = torch.eye(MODULUS)[self.begin]
        for step in range(STEPS):
            mass = torch.einsum("np,npw->nw", mass, chance[:, self.operands[:, step]].transpose(0, 1))
        last = (self.begin + self.operands.sum(-1)) % MODULUS
        return mass.gather(1, last[:, None]).squeeze(1)


@dataclass(frozen=True)
class Answers:
    """Operands [N, STEPS] and numbers [N, STEPS + 1], the first of them given."""

    operands: Tensor
    numbers: Tensor

    @property
    def mask(self) -> Tensor:
        """Every number was written."""
        return torch.ones_like(self.operands, dtype=torch.bool)

    @property
    def step_ids(self) -> Tensor:
        """A number is a step."""
        return torch.arange(STEPS).expand_as(self.operands).contiguous()

    @property
    def right_steps(self) -> Tensor:
        """Which steps follow from the number before, [N, STEPS]."""
        return RIGHT[self.numbers[:, :-1], self.operands] == self.numbers[:, 1:]

    @property
    def correct(self) -> Tensor:
        """1 where the last number is right, [N]."""
        last = (self.numbers[:, 0] + self.operands.sum(-1)) % MODULUS
        return (self.numbers[:, -1] == last).float()

    def read(self, table: Tensor) -> Tensor:
        """Entries [N, STEPS] of a table by number, operand and number written."""
        return table[self.numbers[:, :-1], self.operands, self.numbers[:, 1:]]

    def logp(self, table: Tensor) -> Tensor:
        """Log-probabilities [N, STEPS] of what was written."""
        return self.read(table.log_softmax(-1))

    def __getitem__(self, rows: Tensor) -> "Answers":
        return Answers(self.operands[rows], self.numbers[rows])


def writer(lean: float, generator: torch.Generator) -> Tensor:
    """Random logits that lean towards what is right."""
    noise = 0.5 * torch.randn(MODULUS, MODULUS, MODULUS, generator=generator)
    return noise + lean * torch.nn.functional.one_hot(RIGHT, MODULUS)
