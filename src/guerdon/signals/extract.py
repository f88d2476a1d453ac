"""Finding the answer in a completion, and reading it as an exact number.

Completions are untrusted: a policy in training writes whatever pays, and text can be huge, nested or not ASCII. So
nothing here is slower than linear: positions are found with ``str.rfind``, regular expressions only see short pieces
(`LIMIT` characters), numbers are capped at `DIGITS` digits, and only the digits 0-9 are digits.
"""

import math
import re
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from guerdon.signals.expressions import evaluate

Extract = Literal["auto", "chain", "tag", "boxed", "last-number"]
LIMIT = 1000
"""Longest answer, in characters, that is read at all."""
DIGITS = 200

_NUMBER = re.compile(
    rf"([+-]?)([0-9]{{1,{DIGITS}}}|[0-9]{{1,3}}(?:,[0-9]{{3}}){{1,60}}|(?=\.[0-9]))(?:\.([0-9]{{0,{DIGITS}}}))?(?:[eE]([+-]?[0-9]{{1,2}}))?"
)
_FRACTION = re.compile(rf"([+-]?[0-9]{{1,{DIGITS}}})/([0-9]{{1,{DIGITS}}})")
_LATEX_FRACTION = re.compile(r"([+-]?)\\[dt]?frac\{([0-9]+)\}\{([0-9]+)\}")
_OPERATOR = re.compile(r"[ \t]*([-+*/^×÷·])[ \t]*")
_EXPRESSION = "0123456789.,+-*/^()×÷·"


def value_of(text: str, extract: Extract = "auto") -> Fraction | None:
    """The number that a completion gives as its answer (see `written`); None where it gives none."""
    said = written(text, extract)
    return None if said is None else plain_number(said)


def written(text: str, extract: Extract = "auto") -> str | None:
    """The piece of a completion that is read as its answer; None where it has none.

    ``chain``: after the last ``=``. ``tag``: in the last ``<answer>`` block. ``boxed``: in the last ``\\boxed{}``.
    ``last-number``: the last number of the text, unless it is an operand of an expression. ``auto``: the first of tag,
    boxed and chain whose mark the text holds, else the last number.
    """
    if extract == "auto":
        extract = _form(text)
    if extract == "chain":
        return text[text.rfind("=") + 1 :]
    if extract == "last-number":
        return _tail(text)
    inner = in_tag(text, "answer") if extract == "tag" else in_box(text)
    if inner is None:
        return None
    if extract == "tag" and "\\boxed{" in inner:
        inner = in_box(inner) or ""
    return inner[inner.rfind("=") + 1 :]


def is_fraction(answer: object) -> bool:
    """Whether a number is written as a quotient, and not as a decimal or a whole number."""
    if isinstance(answer, str):
        return "/" in answer[:LIMIT] or "frac" in answer[:LIMIT]
    return isinstance(answer, Fraction)


def in_tag(text: str, tag: str) -> str | None:
    """What the last complete ``<tag>...</tag>`` block holds; None where there is none."""
    close = text.rfind(f"</{tag}>")
    start = text.rfind(f"<{tag}>", 0, max(close, 0))
    return None if close < 0 or start < 0 else text[start + len(tag) + 2 : close]


def in_box(text: str) -> str | None:
    r"""What the last ``\boxed{...}`` holds, braces matched; None where there is none or it is longer than `LIMIT`."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    start += len("\\boxed{")
    depth = 1
    for i, character in enumerate(text[start : start + LIMIT]):
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return text[start : start + i]
    return None


def plain_number(text: str) -> Fraction | None:
    """An evaluated number, read exactly: an integer, a decimal, or a fraction in lowest terms.

    ``3+4`` is an expression and not a number, and so are ``14/2`` and ``4/1``: a quotient counts only where nothing
    is left to evaluate. Spaces, ``$`` and a full stop around the number are ignored, thousands commas and LaTeX
    fractions understood.
    """
    text = text[: LIMIT + 1].strip()
    return None if not text or len(text) >= LIMIT else _plain_number(text)


def last_number(text: str) -> Fraction | None:
    """The last number of a text; None where it has none or the number is an operand of an unevaluated expression."""
    tail = _tail(text)
    return None if tail is None else plain_number(tail)


def _tail(text: str) -> str | None:
    end = max(text.rfind(digit) for digit in "0123456789") + 1
    window = text[max(0, end - LIMIT // 2) : end].replace("−", "-")
    window = _OPERATOR.sub(r"\1", window)
    tail = window[len(window.rstrip(_EXPRESSION)) :]
    return None if not tail or (len(tail) == len(window) and end > LIMIT // 2) else tail


def gold_number(answer: object) -> Fraction | None:
    """A reference answer (text, int, float or Fraction) as an exact number; an expression is evaluated."""
    if isinstance(answer, (int, Fraction)):
        return Fraction(answer)
    if isinstance(answer, float):
        return Fraction(repr(answer)) if math.isfinite(answer) else None
    text = str(answer).strip()
    plain = plain_number(text)
    return evaluate(text) if plain is None else plain


def _form(text: str) -> Extract:
    if "</answer>" in text:
        return "tag"
    if "\\boxed{" in text:
        return "boxed"
    return "chain" if "=" in text else "last-number"


@lru_cache(maxsize=65536)
def _plain_number(text: str) -> Fraction | None:
    if text.isascii() and text.isdigit() and len(text) <= DIGITS:
        return Fraction(int(text))
    text = text.replace("−", "-").replace("{,}", ",").replace("\\,", "").replace("\\!", "").strip(" \t\r\n$")
    if "\\" in text:
        found = _LATEX_FRACTION.fullmatch(text)
        text = f"{found[1]}{found[2]}/{found[3]}" if found else text  # of 1\frac{1}{2} nothing may become 11/2
    found = _FRACTION.fullmatch(text)
    if found:
        top, bottom = int(found[1]), int(found[2])
        return Fraction(top, bottom) if bottom > 1 and math.gcd(top, bottom) == 1 else None
    found = _NUMBER.fullmatch(text)
    if not found:
        return None
    sign, whole, decimals, power = found.groups()
    number = Fraction(f"{whole.replace(',', '') or '0'}.{decimals or '0'}")
    return (-number if sign == "-" else number) * Fraction(10) ** int(power or 0)
