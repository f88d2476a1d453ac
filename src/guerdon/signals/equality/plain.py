r"""Finished numbers: what counts as an answer where the reference is a number.

More spellings than `extract.plain_number` understands, and the same rule: nothing may be left to evaluate. Integers,
decimals, fractions in lowest terms, mixed numbers with a proper fraction, scientific notation with a mantissa of one
digit before the point, repeating decimals. ``3+4``, ``14/2``, ``2^{10}`` and ``\sqrt{16}`` are none.
"""

import re
from fractions import Fraction
from math import gcd

from guerdon.signals.extract import plain_number

_WORTH = 80
"""Longest text that the patterns below see; longer ones are integers and decimals only."""
_WHOLE = re.compile(r"([+-]?[0-9]+)\.?")
_FRACTION = re.compile(
    r"([+-]?)\s*(?:\\frac\s*(?:\{\s*([+-]?[0-9]+)\s*\}|([0-9]))\s*(?:\{\s*([+-]?[0-9]+)\s*\}|([0-9]))"
    r"|\{?([+-]?[0-9]+)\}?\s*/\s*\{?([0-9]+)\}?)"
)
_MIXED = re.compile(
    r"([+-]?)([0-9]+)(?:\s*\\frac\s*(?:\{([0-9]+)\}|([0-9]))\s*(?:\{([0-9]+)\}|([0-9]))|\s+([0-9]+)/([0-9]+))"
)
_SCIENTIFIC = re.compile(
    r"([+-]?[0-9](?:\.[0-9]+)?)\s*(?:\\times|\\cdot|[*x×·])\s*10\s*(?:\^|\*\*)\s*(?:\{\s*([+-]?[0-9]{1,3})\s*\}|([+-]?[0-9]{1,3}))"
)
_REPEATING = re.compile(r"([+-]?[0-9]*)\.([0-9]*)\\overline\{([0-9]+)\}")
_SPACED = re.compile(r"[+-]?[0-9]{1,3}(?: [0-9]{3})+(?:\.[0-9]+)?")


def finished_number(text: str) -> Fraction | None:
    """The exact value of a finished number; None for anything else, also for an expression that has that value."""
    found = _WHOLE.fullmatch(text) if len(text) <= _WORTH else None
    if found:
        return Fraction(int(found[1]))
    number = plain_number(text)
    if number is not None or len(text) > _WORTH:
        return number
    if "\\" not in text and "/" not in text and "^" not in text and " " not in text and "*" not in text:
        return None
    found = _FRACTION.fullmatch(text)
    if found:
        return _fraction(found)
    found = _MIXED.fullmatch(text)
    if found:
        sign, whole, *parts = found.groups()
        top, bottom = (int(p) for p in parts if p is not None)
        if not 0 < top < bottom or gcd(top, bottom) != 1:
            return None
        value = int(whole) + Fraction(top, bottom)
        return -value if sign == "-" else value
    found = _SCIENTIFIC.fullmatch(text)
    if found:
        mantissa, exponent = Fraction(found[1]), int(found[2] or found[3])
        return mantissa * Fraction(10) ** exponent if abs(mantissa) >= 1 else None
    found = _REPEATING.fullmatch(text)
    if found:
        return _repeating(*found.groups())
    return Fraction(text.replace(" ", "")) if _SPACED.fullmatch(text) else None


def _fraction(found: re.Match[str]) -> Fraction | None:
    top, bottom = (int(group) for group in found.groups()[1:] if group is not None)
    if bottom < 0:
        top, bottom = -top, -bottom
    if bottom < 2 or gcd(top, bottom) != 1:
        return None
    return Fraction(-top if found[1] == "-" else top, bottom)


def _repeating(whole: str, places: str, period: str) -> Fraction | None:
    sign = -1 if whole.startswith("-") else 1
    start = Fraction(int((whole.lstrip("+-") or "0") + places), 10 ** len(places))
    return sign * (start + Fraction(int(period), (10 ** len(period) - 1) * 10 ** len(places)))
