"""The arithmetic chain for a writer that knows how to work and slips: its demonstrations hold a wrong result now and then."""

import random
import re
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from claims._base import keep, supervise
from guerdon.batch import Rollouts
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.tasks.arithmetic import Arithmetic
from guerdon.tasks.derivation import worked

TASK: dict[str, Any] = {"operands": 3, "largest": 9, "smallest": 1, "operators": "+-", "limit": 99}
SLIP = 0.3


def slipping(expression: str, value: str, index: int) -> str:
    """The derivation; in each step, with the chance ``SLIP``, the new number is off by one, and the work goes on from it."""
    dice = random.Random(index)
    text, said = expression, []
    while steps := worked(text):
        text = steps[0]
        if dice.random() < SLIP:
            number = re.match(r"-?\d+", text)
            assert number is not None
            text = f"{int(number[0]) + dice.choice((-1, 1))}{text[number.end() :]}"
        said.append(text)
    return "=".join(said)


@lru_cache
def base() -> str:
    """One network that has learnt to work, slips included, for all arms and seeds."""
    policy = Tiny(width=48, layers=2, heads=2, seed=0)
    supervise(policy, Arithmetic(**TASK), slipping, steps=1200)
    return keep(policy, "slipping-base")


class CountingProver(Tiny):
    """A policy that continues prefixes, and counts the continuations."""

    drawn = 0

    def extend(
        self, context: Tensor, context_mask: Tensor, sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        CountingProver.drawn += copies * len(context)
        return super().extend(context, context_mask, sampling, copies=copies, generator=generator)
