"""Answers that are checked without mathematics: a letter, a number within a tolerance, a text."""

import re
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.equality.answer import Boxes, final_answer_text
from guerdon.signals.equality.forms import Equation, Scalar, parse
from guerdon.signals.equality.spelling import clean
from guerdon.signals.extract import LIMIT, gold_number, in_tag

_CHOICE = re.compile(
    r"(?:option|choice|answer)?[\s:]*[(\[]?([A-Za-z])[)\]]?(?:\s*[.:)-]\s*(.*))?", re.IGNORECASE | re.DOTALL
)
_MARKED = re.compile(r"\(([A-Z])\)")
_DOUBT = re.compile(
    r"answer|not\b|n't\b|wrong|incorrect|except|never|\b(?:or|and|nor)\s+\(?[A-Z]\b|\b[A-Z]\)?\s*(?:or|and|,|/)\s"
)
"""What makes a sentence with one letter in parentheses no clear choice; one that says "answer" was read before."""
_ANOTHER = re.compile(r"\(([A-Z])\)|\b([A-Z])\)|\b(?:or|and)\s+(?:option\s+)?\(?([A-Z])\b")


@method(makes=("parts", "correct"))
def multiple_choice(
    completions: Sequence[str], answer: Sequence[object], *, choices: int = 5, boxes: Boxes = "agree"
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    r"""Give 1 where the completion chooses the letter of the reference, else 0.

    Read as in `math_equal`: the last ``<answer>`` block, the box, what follows "the answer is", the last line. Of these
    ``B``, ``(B)``, ``b.``, ``\text{B}``, ``option B`` and ``B) some text`` choose B; a last line of prose chooses the one
    letter that it holds in parentheses. Two letters choose nothing.

    ``choices``: how many letters there are, from A on. Shapes: [B] in, two times [B] out, each 0 or 1; NaN where the
    reference is not one of the letters.

    Raises:
        ValueError: ``choices`` is not in 2 to 26, or another number of answers than of completions.
    """
    same_rows(completions, answer=answer)
    if not 2 <= choices <= 26:
        raise ValueError(f"expected choices in 2 to 26, got {choices}")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:choices]
    scores = []
    for text, gold in zip(completions, answer, strict=True):
        reference = _letter(str(gold).strip())
        known = reference is not None and reference in letters
        scores.append(float(_chosen(text, boxes) == reference) if known else NAN)
    part = torch.tensor(scores, dtype=torch.float32)
    return part, part.clone()


@method(makes=("parts", "correct"))
def numeric_tolerance(
    completions: Sequence[str],
    answer: Sequence[object],
    *,
    relative: float = 1e-4,
    absolute: float = 0.0,
    boxes: Boxes = "agree",
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    """Give 1 where the answer is a number near the reference, else 0.

        part = correct = 1[|a - b| <= max(relative |b|, absolute)]

    a is the finished number that the completion gives (units and "x =" are left out), b the reference. The bounds are
    compared exactly and belong to it. Near b = 0 only ``absolute`` helps. Shapes: [B] in, two times [B] out; NaN where
    the reference is not a number. A completion without a number: 0.

    Raises:
        ValueError: a negative tolerance, or another number of answers than of completions.
    """
    same_rows(completions, answer=answer)
    if relative < 0 or absolute < 0:
        raise ValueError(f"expected tolerances of at least 0, got relative={relative}, absolute={absolute}")
    share, floor = Fraction(repr(relative)), Fraction(repr(absolute))
    scores = []
    for text, gold in zip(completions, answer, strict=True):
        reference = gold_number(gold)
        if reference is None and isinstance(gold, str):
            reference = finished_value(gold)
        if reference is None:
            scores.append(NAN)
            continue
        said = final_answer_text(text, boxes)
        value = None if said is None else finished_value(said)
        scores.append(float(value is not None and abs(value - reference) <= max(share * abs(reference), floor)))
    part = torch.tensor(scores, dtype=torch.float32)
    return part, part.clone()


@method(makes=("parts", "correct"))
def exact_string(
    completions: Sequence[str],
    answer: Sequence[object],
    *,
    where: Literal["whole", "tag"] = "whole",
    ignore_case: bool = False,
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    """Give 1 where the text is the reference letter by letter, blanks around it aside, else 0.

    ``where``: the ``whole`` completion, or its last ``<answer>`` block (``tag``; 0 where there is none). Nothing else is
    normalised: blanks inside, punctuation and composed letters count. Shapes: [B] in, two times [B] out, each 0 or 1.

    Raises:
        ValueError: as many answers as completions are expected.
    """
    same_rows(completions, answer=answer)
    scores = []
    for text, gold in zip(completions, answer, strict=True):
        said = in_tag(text, "answer") if where == "tag" else text
        reference = str(gold).strip()
        if said is None:
            scores.append(0.0)
            continue
        said = said.strip()
        same = said.casefold() == reference.casefold() if ignore_case else said == reference
        scores.append(float(same))
    part = torch.tensor(scores, dtype=torch.float32)
    return part, part.clone()


def finished_value(text: str) -> Fraction | None:
    """The value of a finished number, a unit or ``x =`` aside; None for anything else."""
    form = parse(text)
    if isinstance(form, Equation) and form.name is not None and form.consistent:
        form = form.right
    if not isinstance(form, Scalar) or not form.finished:
        return None
    value = form.value.rational
    return value / 100 if value is not None and form.percent else value


def _letter(text: str) -> str | None:
    found = _CHOICE.fullmatch(clean(text).replace("\\text", "").replace("{", "").replace("}", "").strip())
    if not found or _ANOTHER.search(found[2] or ""):
        return None
    return found[1].upper()


def _chosen(completion: str, boxes: Boxes) -> str | None:
    if len(completion) <= LIMIT and "\n" not in completion.strip() and "\\boxed" not in completion:
        letter = _letter(completion.strip())
        if letter is not None:
            return letter
    said = final_answer_text(completion, boxes)
    letter = None if said is None else _letter(said)
    if letter is not None or "\\boxed" in completion or "<answer>" in completion:
        return letter
    line = completion[-LIMIT:].rstrip().rsplit("\n", 1)[-1]
    marked = set(_MARKED.findall(line))
    return marked.pop() if len(marked) == 1 and not _DOUBT.search(line) else None
