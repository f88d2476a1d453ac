"""Is each step right? One verified score per step of an arithmetic chain."""

import math
import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import same_rows
from guerdon.signals.expressions import count_operators, evaluate

NAN = float("nan")
LIMIT = 500
"""Longest step, in characters, that is parsed; a longer one is wrong."""
_QUOTIENT = re.compile(r"(?<![0-9.*/^])(?<![*/^] )([0-9]{1,64})/([0-9]{1,64})(?![0-9.^/])")


@method(makes="step_parts")
def verified_steps(completions: Sequence[str], expression: Sequence[str]) -> Float32[Tensor, "B S"]:
    """Give each step of an arithmetic chain 1 where it rewrites the expression before it correctly and more simply.

    For the prompt's expression e_0 and a completion "e_1=e_2=...=e_n":

        score_k = 1[ value(e_k) = value(e_j)  and  operators(e_k) < min(operators(e_0), ..., operators(e_k-1)) ]

    where e_j is the last expression before e_k that could be read (a piece that does not parse scores 0 and is
    otherwise passed over). "12+3*4-5" answered by "12+12-5=24-5=19" gives 1, 1, 1.

    What a policy can and cannot gain. Copying an expression earns nothing, for it has as many operators. Nor does
    writing a longer one to have more to reduce: a score needs fewer operators than *everything* written before, so a
    row never collects more ones than the prompt has operators. After a wrong step the following ones are judged
    against what was written, not against the prompt: this is deliberate, the blame falls on the step that went wrong
    and on it alone. The price is that a wrong but simple step can be followed by right reductions that earn their own
    credit, at most as many as the wrong step left operators. Whether the chain ends at the right value is
    `final-answer`'s to say.

    Steps are the pieces between "=" (`split_pieces`), as the step splitter counts them. Shapes: [B] in, [B, S] out
    with S the most steps of any row, at least 1; NaN where the row has no such step, and in the whole row where the
    prompt's own expression cannot be read. Exact rational arithmetic; division by zero does not parse. A fraction in
    lowest terms that is no terminating decimal ("2/3") is a number: its bar is no operator.

    Raises:
        ValueError: as many expressions as completions are expected.
    """
    same_rows(completions, expression=expression)
    rows = [score_chain(text, start) for text, start in zip(completions, expression, strict=True)]
    width = max(map(len, rows), default=1)
    padded = [scores + [NAN] * (width - len(scores)) for scores in rows]
    return torch.tensor(padded, dtype=torch.float32).reshape(len(rows), width)


def score_chain(completion: str, expression: str) -> list[float]:
    """The scores of one chain's steps; NaN for each where ``expression`` cannot be read."""
    pieces = split_pieces(completion)
    start = _read(expression)
    if start is None:
        return [NAN] * len(pieces)
    value, fewest = start
    scores = []
    for piece in pieces:
        read = _read(piece) if piece else None
        if read is None:
            scores.append(0.0)
            continue
        scores.append(1.0 if read[1] < fewest and read[0] == value else 0.0)
        value = read[0]
        fewest = min(fewest, read[1])
    return scores


def split_pieces(completion: str, separator: str = "=") -> list[str]:
    """The steps of a chain: pieces between separators, each of which owns the separator that ends it.

    Nothing after a trailing separator is no step (an end token there belongs to the step before it). A completion
    without text is one empty step: its end token has to belong somewhere.
    """
    pieces = completion.split(separator)
    if len(pieces) > 1 and not pieces[-1]:
        pieces.pop()
    return pieces


def _read(text: str) -> tuple[Fraction, int] | None:
    return _parse(text) if len(text) <= LIMIT else None


@lru_cache(maxsize=65536)
def _parse(text: str) -> tuple[Fraction, int] | None:
    value = evaluate(text)
    return None if value is None else (value, count_operators(text) - _fractions(text))


def _fractions(text: str) -> int:
    """How many quotients are numbers: in lowest terms, and no terminating decimal, so that nothing is left to do."""
    if "/" not in text:
        return 0
    return sum(_endless(int(found[1]), int(found[2])) for found in _QUOTIENT.finditer(text))


def _endless(top: int, bottom: int) -> bool:
    if bottom == 0 or math.gcd(top, bottom) != 1:
        return False
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom > 1
