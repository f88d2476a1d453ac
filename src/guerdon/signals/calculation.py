"""Rewards for leakage-free calculation, and the spurious rewards that a true one is compared with.

An improvement under a random or inverted reward says that the task, and not the reward, did the work: the task had
leaked into pre-training, or the answer format was what was learned.

Reference: Reasoning or memorization? 2025, https://arxiv.org/abs/2507.10532
"""

from collections.abc import Sequence
from fractions import Fraction

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.extract import Extract, gold_number, value_of

RANDOM_CALCULATION = "arXiv:2507.10532"


@method(makes="parts", paper=RANDOM_CALCULATION)
def random_calculation_reward(
    completions: Sequence[str], answer: Sequence[object], *, extract: Extract = "auto", eps: float = 1e-6
) -> Float32[Tensor, "B"]:
    """Reward a number by its distance to the reference, absolute and relative.

        r = 1 - 0.5 min(|a - b|, 1) - 0.5 min(|a - b| / (|b| + eps), 1)        in [0, 1]

    a is the value that the completion gives (`value_of`), b the reference. A completion without a number gets 0.
    Computed exactly and rounded once. Near b = 0 the relative term saturates. Shapes: [B] out; NaN where the
    reference is not a number.

    Reference: 2025, https://arxiv.org/abs/2507.10532
    """
    same_rows(completions, answer=answer)
    tiny = Fraction(repr(eps))
    scores = []
    for text, gold in zip(completions, map(gold_number, answer), strict=True):
        value = value_of(text, extract)
        if gold is None or value is None:
            scores.append(NAN if gold is None else 0.0)
        else:
            scores.append(1.0 if value == gold else float(_closeness(value, gold, tiny)))
    return torch.tensor(scores, dtype=torch.float32)


@method(makes="parts", paper=RANDOM_CALCULATION, random=True)
def random_reward(
    completions: Sequence[str], *, probability: float = 0.5, generator: torch.Generator
) -> Float32[Tensor, "B"]:
    """Reward a completion with 1 by the toss of a coin, whatever it says: r ~ Bernoulli(probability).

    Drawn once per sampled row, and kept for all epochs on it. It is not a function of the text on purpose: a hash of
    the text would be random too, but the same text would always get the same reward, and that can be learned.
    Shapes: [B] out.

    Reference: 2025, https://arxiv.org/abs/2507.10532

    Raises:
        ValueError: ``probability`` is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"expected probability in [0, 1], got {probability}")
    return (torch.rand(len(completions), generator=generator) < probability).to(torch.float32)


@method(makes="parts", paper=RANDOM_CALCULATION)
def inverted_reward(correct: Float32[Tensor, "B"]) -> Float32[Tensor, "B"]:
    """Reward what is wrong: r = 1 - correct; NaN where nothing verified the row. Shapes: [B] in and out.

    Reference: 2025, https://arxiv.org/abs/2507.10532
    """
    return 1 - correct


def _closeness(value: Fraction, gold: Fraction, eps: Fraction) -> Fraction:
    gap = abs(value - gold)
    return 1 - min(gap, Fraction(1)) / 2 - min(gap / (abs(gold) + eps), Fraction(1)) / 2
