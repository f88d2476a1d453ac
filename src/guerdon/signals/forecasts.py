"""Was the forecast right? Choices, sets of choices, numbers with a spread, rankings, text: scored as FutureX does."""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method, paper
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.extract import LIMIT, in_box, plain_number

FUTUREX = "arXiv:2508.11987"
WEIGHTS = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}
"""Of the four levels: basic, wide search, deep search, super agent."""
_UNIT = re.compile(r"([^0-9]*[0-9](?:[0-9.,]*[0-9])?)\s*([^0-9\s+*/=.,^(-][^0-9]*)")


@method(makes="parts", paper=FUTUREX)
def forecast(
    completions: Sequence[str], answer: Sequence[object], kind: Sequence[object], spread: Sequence[object] | None = None
) -> Float32[Tensor, "B"]:
    r"""Score a forecast, given in the last ``\boxed{}`` of the completion, between 0 and 1.

        choice     1 if it is the right letter
        choices    F1 of the set of letters
        number     max(0, 1 - ((y - forecast) / spread)^2)
        ranking    1 if all are right and in order, else 0.8 times the share of the right elements that are named
        text       1 if it is the same text (case, spaces and a full stop aside)

    ``spread`` is the standard deviation of the quantity over the days before (bound by ``take = {spread = "COLUMN"}``);
    without one, or with 0, a number must be exact. A unit may follow the number ("112.52 points"); where answer and forecast
    both name one it has to be the same, and words that stand for factors ("million") are not multiplied out. A reward that is 0 beyond one spread is sparse: the spread decides
    how much. No box, or nothing in it: 0. Text that a person would call equivalent needs a judge (`judge-score`).

    Shapes: [B] out; NaN where the kind or the answer cannot be read. Reference: Zeng et al., FutureX, 2025,
    https://arxiv.org/abs/2508.11987.
    """
    same_rows(completions, answer=answer, kind=kind)
    spreads = [None] * len(completions) if spread is None else spread
    rows = zip(completions, answer, kind, spreads, strict=True)
    return torch.tensor([_score(in_box(text), gold, what, s) for text, gold, what, s in rows], dtype=torch.float32)


@paper(FUTUREX)
def futurex_total(levels: Mapping[int, float]) -> float:
    """Mean scores of the levels, weighted 1 to 4; where a level is missing, the other weights grow to fill its place.

    Raises:
        ValueError: no level, or one outside 1 to 4.
    """
    if not levels or not set(levels) <= set(WEIGHTS):
        raise ValueError(f"expected scores of some of the levels 1 to 4, got {sorted(levels)}")
    return sum(WEIGHTS[k] * v for k, v in levels.items()) / sum(WEIGHTS[k] for k in levels)


def set_f1(said: set[str], right: set[str]) -> float:
    """F1 of two sets; 0 where they have nothing in common."""
    return 2 * len(said & right) / (len(said) + len(right)) if said & right else 0.0


def number_score(forecast: float, truth: float, spread: float) -> float:
    """1 at the truth, falling as a parabola to 0 at one ``spread``; with no spread exactly right or 0."""
    if spread <= 0:
        return float(forecast == truth)
    return max(0.0, 1.0 - ((truth - forecast) / spread) ** 2)


def ranking_score(said: Sequence[str], right: Sequence[str]) -> float:
    """1 where the lists are equal, else 0.8 times the share of ``right`` that is named."""
    if list(said) == list(right):
        return 1.0
    return 0.8 * len(set(said) & set(right)) / len(set(right)) if right else 0.0


def _score(said: str | None, gold: object, kind: object, spread: object) -> float:
    if kind not in ("choice", "choices", "number", "ranking", "text") or gold is None:
        return NAN
    if kind == "number":
        truth, unit = _measured(str(gold))
        width = 0.0 if spread is None else _float(spread)
        if truth is None or width is None or width < 0:
            return NAN
        guess, other = _measured(said or "")
        if guess is None or (unit and other and unit != other):
            return 0.0
        return number_score(float(guess), float(truth), width)
    listed = [str(g) for g in gold] if isinstance(gold, (list, tuple)) else _items(str(gold))
    right = [_plain(g) for g in listed]
    if not any(right):
        return NAN
    if kind == "text":
        return float(said is not None and _plain(said) == _plain(str(gold)))
    mine = [_plain(s) for s in _items(said or "")]
    if kind == "choice":
        return float(mine == right)
    return set_f1(set(mine), set(right)) if kind == "choices" else ranking_score(mine, right)


def _measured(text: str) -> tuple[Fraction | None, str]:
    """A number and the unit behind it, which has no digit; no unit where the whole is a number."""
    number = plain_number(text)
    found = None if number is not None else _UNIT.fullmatch(text[:LIMIT].strip())
    return (plain_number(found[1]), _plain(found[2])) if found else (number, "")


def _items(text: str) -> list[str]:
    return [piece for piece in re.split(r"[,;、，]", text[:LIMIT]) if piece.strip()]


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _float(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if number == number else None
