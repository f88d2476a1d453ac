"""The reference derivation of an expression: one operation after another, exactly, as the base learnt to write it."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from guerdon.signals.expressions import evaluate, tokens

PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
JOIN: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: Fraction(a) / b,
    "^": lambda a, b: a**b,
}


def worked(expression: str) -> list[str]:
    """The reference derivation: the expressions that follow, one operation done in each, down to the value.

    The operation done first is the leftmost of highest precedence in the leftmost innermost parentheses. A quotient
    that is no terminating decimal stays as a fraction in lowest terms.

    Raises:
        ValueError: not an expression, or it has no value.
    """
    steps: list[str] = []
    if evaluate(expression) is None:
        raise ValueError(f"expected an arithmetic expression with a value, got {expression!r}")
    terms = _read(expression)
    text = _write(terms)
    while len(terms) > 1:
        at = _next(terms)
        terms[at - 1 : at + 2] = [_reduce(terms[at - 1], terms[at], terms[at + 1])]
        terms = _unwrap(terms)
        written = _write(terms)
        if written != text:
            steps.append(written)
            text = written
    return steps


def _read(expression: str) -> list[Any]:
    """Fractions, operators and parentheses; a sign joins the number after it."""
    terms: list[Any] = []
    sign = False
    for token in tokens(expression) or ():
        if token[0] in "0123456789.":
            terms.append(-Fraction(token) if sign else Fraction(token))
            sign = False
        elif token in "+-" and (not terms or (isinstance(terms[-1], str) and terms[-1] != ")")):
            sign ^= token == "-"
        else:
            if sign:
                terms += [Fraction(-1), "*"]
                sign = False
            if token == "^" and terms and isinstance(terms[-1], Fraction) and terms[-1] < 0:
                terms[-1:] = [Fraction(-1), "*", -terms[-1]]
            terms.append(token)
    return _unwrap(terms)


def _next(terms: list[Any]) -> int:
    """Where the operation stands that is done next."""
    depth, best, at = 0, (0, 0), 0
    for i, term in enumerate(terms):
        if term == "(":
            depth += 1
        elif term == ")":
            depth -= 1
        elif isinstance(term, str) and (depth, PRECEDENCE[term]) > best:
            best, at = (depth, PRECEDENCE[term]), i
    return at


def _reduce(left: Fraction, operator: str, right: Fraction) -> Fraction:
    return left ** int(right) if operator == "^" else Fraction(JOIN[operator](left, right))


def _unwrap(terms: list[Any]) -> list[Any]:
    """Without parentheses around a single number."""
    out: list[Any] = []
    for term in terms:
        out.append(term)
        while len(out) > 2 and out[-1] == ")" and isinstance(out[-2], Fraction) and out[-3] == "(":
            out[-3:] = [out[-2]]
    return out


def _write(terms: list[Any]) -> str:
    return "".join(_pieces(terms))


def _pieces(terms: list[Any]) -> Iterator[str]:
    for i, term in enumerate(terms):
        if isinstance(term, str):
            yield term
            continue
        text = number_text(term)
        powered = i + 1 < len(terms) and terms[i + 1] == "^"
        wrap = len(terms) > 1 and ("/" in text or (powered and term < 0))
        yield f"({text})" if wrap else text


def number_text(value: int | Fraction) -> str:
    """An integer, a terminating decimal, or a fraction in lowest terms."""
    value = Fraction(value)
    if value.denominator == 1:
        return str(value.numerator)
    rest, places = value.denominator, 0
    for prime in (2, 5):
        power = 0
        while rest % prime == 0:
            rest, power = rest // prime, power + 1
        places = max(places, power)
    if rest != 1 or places > 12:
        return f"{value.numerator}/{value.denominator}"
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    return f"{'-' if value < 0 else ''}{digits[:-places]}.{digits[-places:]}"
