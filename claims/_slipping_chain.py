"""The arithmetic chain for a writer that knows how to work and slips: its demonstrations hold a wrong result now and then."""

import random
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from claims._base import keep, supervise
from guerdon.method import method
from guerdon.policies.tiny import Tiny
from guerdon.signals.expressions import count_operators, evaluate
from guerdon.signals.steps import split_pieces
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


@method(makes="prefix_values", name="writer-values")
def writer_values(
    completions: Sequence[str],
    expression: Sequence[str],
    rewards: Float32[Tensor, " B"],
    step_mask: Bool[Tensor, "B S"],
) -> Float32[Tensor, "B P"]:
    """Exact chance that the writer of the demonstrations ends at the right value from each boundary on, slips included.

    A boundary behind text that is no expression has 0, and the last one of a row the row's own reward.
    """
    values = torch.zeros(step_mask.shape[0], step_mask.shape[1] + 1)
    for i, (text, asked) in enumerate(zip(completions, expression, strict=True)):
        right = evaluate(asked)
        for s, piece in enumerate([asked, *split_pieces(text)][: values.shape[1]]):
            value = evaluate(piece)
            if value is not None:
                values[i, s] = ends_right(count_operators(piece), int(right - value))
        values[i, int(step_mask[i].sum()) :] = rewards[i]
    return values


@lru_cache
def ends_right(steps: int, off: int) -> float:
    """Chance that ``steps`` more steps, each of which may slip by one either way, make good what is ``off``."""
    if steps == 0:
        return float(off == 0)
    moved = ends_right(steps - 1, off - 1) + ends_right(steps - 1, off + 1)
    return (1 - SLIP) * ends_right(steps - 1, off) + SLIP / 2 * moved
