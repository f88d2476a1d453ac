r"""Equality as the grader of Qwen2.5-Math decides it: text, choice letter, numbers within a tolerance, element by element.

Its last rule, a symbolic difference of zero, is math-verify's here (`symbolic`). What the released grader is known to
accept wrongly is off unless ``released`` asks for it:

- a number a hundred times too large or too small (5 for 500), meant for percentages;
- the last letter A to E anywhere in the answer ("not B but ... a C" is C), also of a sentence;
- texts that agree once all brackets are gone ("(1)2" and "12", an open interval and a closed one).

References:
    Qwen2.5-Math Technical Report (2024), https://arxiv.org/abs/2409.12122, evaluation/grader.py of the released code
"""

import re
from math import isclose

from guerdon.method import paper
from guerdon.signals.equality.spelling import clean, split
from guerdon.signals.extract import DIGITS, LIMIT

QWEN = "arXiv:2409.12122"
CHOICES = ("A", "B", "C", "D", "E")
_LETTER = re.compile(r"\b[ABCDE]\b")
_ONE_LETTER = re.compile(r"[:\s]*[(\[]?([A-Ea-e])[)\]]?[./\s]*")
_LIST = re.compile(r"[(\[].+[)\]]", re.DOTALL)
_MATRIX = re.compile(r"\\begin\{([pb]matrix)\}(.*)\\end\{\1\}", re.DOTALL)
_NUMBER = re.compile(
    rf"[+-]?(?:[0-9]{{1,{DIGITS}}}\.?[0-9]{{0,{DIGITS}}}|\.[0-9]{{1,{DIGITS}}})(?:[eE][+-]?[0-9]{{1,2}})?"
)
_TOLERANCE = 1e-4
MAX_LEVELS = 4


@paper(QWEN)
def qwen_equal(gold: str, given: str, *, released: bool = False, level: int = 0) -> bool | None:
    """Whether an answer equals the reference by these rules; None where only a symbolic comparison can tell.

    Numbers are equal within a relative 1e-4.

    Args:
        released: also accept what the released grader accepts wrongly (see the module).
    """
    if len(given) > LIMIT or not given.strip() or level > MAX_LEVELS:
        return False
    gold, given = clean(gold), clean(given)
    if gold.lower() == given.lower():
        return True
    if gold in CHOICES:
        letter = _last_letter(given) if released else _only_letter(given)
        return letter == gold
    reference, said = _number(gold), _number(given)
    if reference is not None and said is not None:
        near = (reference / 100, reference, reference * 100) if released else (reference,)
        return any(isclose(value, said, rel_tol=_TOLERANCE) for value in near)
    if released and _bare(gold) == _bare(given):
        return True
    for pieces in (_elements(gold, given, released), _cells(gold, given)):
        if pieces is not None:
            one, other = pieces
            if len(one) != len(other):
                return False
            return _all([qwen_equal(a, b, released=released, level=level + 1) for a, b in zip(one, other, strict=True)])
    sides = gold.split("="), given.split("=")
    if len(sides[1]) == 2 and len(sides[0]) == 1 and len(sides[1][0].strip()) <= 2:
        return qwen_equal(gold, sides[1][1], released=released, level=level + 1)
    if len(sides[0]) == 2 and len(sides[1]) == 1 and len(sides[0][0].strip()) <= 2:
        return qwen_equal(sides[0][1], given, released=released, level=level + 1)
    return None


def _number(text: str) -> float | None:
    text = text.replace(",", "")
    percent = text.endswith("%")
    text = text.rstrip("%").rstrip("\\").strip() if percent else text
    return float(text) / (100 if percent else 1) if _NUMBER.fullmatch(text) else None


def _last_letter(text: str) -> str | None:
    found = _LETTER.findall(text.upper())
    return found[-1] if found else None


def _only_letter(text: str) -> str | None:
    found = _ONE_LETTER.fullmatch(text.replace("\\text", "").replace("{", "").replace("}", ""))
    return found[1].upper() if found else None


def _bare(text: str) -> str:
    return re.sub(r"[\[\](){}]", "", text).lower()


def _elements(gold: str, given: str, released: bool) -> tuple[list[str], list[str]] | None:
    if not _LIST.fullmatch(gold) or not _LIST.fullmatch(given):
        return None
    if not released and (gold[0], gold[-1]) != (given[0], given[-1]):
        return [gold], []
    return split(gold[1:-1], ","), split(given[1:-1], ",")


def _cells(gold: str, given: str) -> tuple[list[str], list[str]] | None:
    one, other = _MATRIX.fullmatch(gold), _MATRIX.fullmatch(given)
    if one is None or other is None:
        return None
    lines = [[line.split("&") for line in found[2].split("\\\\") if line.strip()] for found in (one, other)]
    if [len(line) for line in lines[0]] != [len(line) for line in lines[1]]:
        return [gold], []
    first, second = ([cell for line in rows for cell in line] for rows in lines)
    return first, second


def _all(decided: list[bool | None]) -> bool | None:
    if False in decided:
        return False
    return None if None in decided else True
