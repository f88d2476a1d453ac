"""The arithmetic chain for a writer that can work and slips: in its demonstrations a new number is wrong now and then."""

import random
import re
from collections.abc import Sequence
from functools import lru_cache, partial
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
"""Chance of a slip in each step."""


def slips(reach: int) -> list[int]:
    """How far off a slip may be, all equally frequent."""
    return [off for off in range(-reach, reach + 1) if off]


def slipping(expression: str, value: str, index: int, *, reach: int) -> str:
    """A derivation in which the number that a step has made may be off; the work goes on from the wrong one."""
    dice = random.Random(index)
    text, said = expression, []
    while steps := worked(text):
        text = steps[0]
        if dice.random() < SLIP:
            number = re.match(r"-?\d+", text)
            assert number is not None
            text = f"{int(number[0]) + dice.choice(slips(reach))}{text[number.end() :]}"
        said.append(text)
    return "=".join(said)


@lru_cache
def base(reach: int) -> str:
    """One network that has learnt to work, slips included, for all arms and seeds."""
    policy = Tiny(width=48, layers=2, heads=2, seed=0)
    supervise(policy, Arithmetic(**TASK), partial(slipping, reach=reach), steps=1200)
    return keep(policy, f"slipping-{reach}")


@method(makes="prefix_values", name="writer-values")
def writer_values(
    completions: Sequence[str],
    expression: Sequence[str],
    rewards: Float32[Tensor, " B"],
    step_mask: Bool[Tensor, "B S"],
    *,
    reach: int = 1,
) -> Float32[Tensor, "B P"]:
    """Exact chance that the writer of the demonstrations ends at the right value from each boundary on, slips included.

    A boundary behind text that is no expression has 0, and the last one of a row the row's own reward.
    """
    values = torch.zeros(step_mask.shape[0], step_mask.shape[1] + 1)
    for i, (text, asked) in enumerate(zip(completions, expression, strict=True)):
        right = evaluate(asked)
        for s, piece in enumerate([asked, *split_pieces(text)][: values.shape[1]]):
            value = evaluate(piece)
            if value is not None and right is not None:
                values[i, s] = ends_right(count_operators(piece), int(right - value), reach)
        values[i, int(step_mask[i].sum()) :] = rewards[i]
    return values


@lru_cache
def ends_right(steps: int, off: int, reach: int) -> float:
    """Chance that ``steps`` more steps, each of which may slip, make good what is ``off``."""
    if steps == 0:
        return float(off == 0)
    slipped = sum(ends_right(steps - 1, off - slip, reach) for slip in slips(reach)) / len(slips(reach))
    return (1 - SLIP) * ends_right(steps - 1, off, reach) + SLIP * slipped
