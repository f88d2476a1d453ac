"""The reasoning-gym package scores its own tasks.

Some of its scorers hand the answer to ``eval`` or to sympy's parser, which evaluates too. A completion is untrusted,
so for these scorers only plain literals and plain formulas go through; anything else scores 0 unread.
"""

import ast
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method

LIMIT = 20_000
"""Longest answer, in characters, that is handed to the package."""

_EVALUATES = re.compile(r"(?<!literal_)\beval\(|\bexec\(")
_PARSES = re.compile(r"\b(parse_expr|sympify)\(")
_CODE = re.compile(r"[(*:%@<>=]|\.\s*[A-Za-z_]|__|\b(for|if|or|and|not|lambda|await|yield)\b")
_FORMULA = re.compile(r"[0-9A-Za-z+\-*/^()., \n]*")
_NAMES = frozenset(
    [
        "sin",
        "cos",
        "tan",
        "sec",
        "csc",
        "cot",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "tanh",
        "exp",
        "log",
        "ln",
        "sqrt",
        "Abs",
        "pi",
    ]
)
_RISKY = re.compile(
    r"[A-Za-z]\s*\.|\.\s*[A-Za-z]"  # attributes
    r"|(\*\*|\^)[\s(+-]*(\d{4,}|[\w.]+[\s)]*(\*\*|\^))"  # large exponents, towers
    r"|\)\s*(\*\*|\^)[\s(+-]*\d{3,}|\d{40,}"  # powers of powers, long numbers
)
_REFUSED = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, SyntaxError, RecursionError)


@method(makes=("parts", "correct"), name="reasoning-gym")
def reasoning_gym_score(
    completions: Sequence[str], entry: Sequence[Mapping[str, Any]]
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    """Score each completion's answer with the task's own scorer in reasoning-gym.

        part = score_answer(answer(completion), entry)   in [0, 1];   correct = 1[part >= 1]

    The answer is what stands in the last ``<answer>`` block, else the last line that is not blank. ``entry`` is the
    column of that name of the task ``reasoning-gym``. Many scorers give part of the credit for a nearly right answer;
    ``correct`` does not. An answer that the scorer refuses with an error gives 0; when it refuses the entry's own
    answer too, or the entry is not of a known task, the row is NaN. No answer: 0.

    Shapes: [B] in, two times [B] float32 out. Scorers that evaluate the answer only see harmless ones (see above).

    Raises:
        ValueError: as many entries as completions are expected.
        ImportError: reasoning-gym is not installed.

    References:
        Stojanovski et al., Reasoning Gym (2025), https://arxiv.org/abs/2505.24760
    """
    if len(entry) != len(completions):
        raise ValueError(f"expected one entry for each of {len(completions)} completions, got {len(entry)}")
    scores = torch.tensor([_score(c, e) for c, e in zip(completions, entry, strict=True)], dtype=torch.float32)
    correct = torch.where(scores.isnan(), scores, (scores >= 1).float())
    return scores, correct


def stated_answer(text: str) -> str:
    """What stands in the last ``<answer>`` block, else the last line that is not blank; linear in the text."""
    close = text.rfind("</answer>")
    start = text.rfind("<answer>", 0, max(close, 0))
    if close >= 0 and start >= 0:
        return text[start + len("<answer>") : close].strip()
    return text.rstrip().rsplit("\n", 1)[-1].strip()


How = Literal["reads", "parses", "evaluates"]


def harmless(answer: str, how: How) -> bool:
    """Whether an answer may go to a scorer that reads it, parses it as a formula, or evaluates it as Python.

    To be parsed, a formula has only numbers, single letters, known functions and moderate powers. To be evaluated, a
    text is a literal or has nothing that calls, loops, multiplies or looks up.
    """
    if how == "parses":
        known = all(len(n) == 1 or n in _NAMES for n in re.findall(r"[A-Za-z]+", answer))
        return known and len(answer) <= 500 and bool(_FORMULA.fullmatch(answer)) and not _RISKY.search(answer)
    if how == "evaluates" and _CODE.search(answer):
        try:
            ast.literal_eval(answer)
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            return False
    return True


def _score(completion: str, entry: Mapping[str, Any]) -> float:
    scorer, how = _scorer(str(entry.get("metadata", {}).get("source_dataset")))
    if scorer is None:
        return float("nan")
    answer = stated_answer(completion)
    if not answer or len(answer) > LIMIT or not harmless(answer, how):
        return 0.0
    try:
        return float(scorer(answer, dict(entry)))
    except _REFUSED:
        return 0.0 if _scores_itself(scorer, entry) else float("nan")


def _scores_itself(scorer: Callable[..., Any], entry: Mapping[str, Any]) -> bool:
    try:
        scorer(entry["answer"], dict(entry))
    except _REFUSED:
        return False
    return True


@lru_cache(maxsize=128)
def _scorer(name: str) -> tuple[Callable[..., Any] | None, How]:
    """The package's scorer of a task, and what it does with the answer."""
    from reasoning_gym.factory import DATASETS, get_score_answer_fn

    if name not in DATASETS:
        return None, "reads"
    scorer = get_score_answer_fn(name)
    source = inspect.getsource(scorer)
    return scorer, "parses" if _PARSES.search(source) else "evaluates" if _EVALUATES.search(source) else "reads"
