r"""Elementary functions as far as their laws are exact: exponentials, sines, logarithms of rationals.

e to a sum is a product of powers of e^(m/12), one symbol for each monomial m; sines and cosines are such exponentials
with an imaginary argument, so that all their identities become identities of polynomials. Angles that are multiples of
pi/12 have their roots. The logarithm of a positive rational is a sum over its primes. These symbols are taken for
algebraically independent (Lindemann-Weierstrass and Ax where that is known, Schanuel's conjecture elsewhere). What does
not fit gives None.
"""

from fractions import Fraction

from guerdon.signals.equality import algebra
from guerdon.signals.equality.algebra import IMAGINARY, MAX_RADICAND, ONE, Number, add, inverse, multiply, negative

PARTS = 12
"""Arguments are multiples of monomials over this."""
MAX_POWER = 600
_PI = (("\\pi", 1),)
_I = algebra.symbol(IMAGINARY)
_HALF = algebra.rational(Fraction(1, 2))
_ROOTS = {
    0: ((1, 0),),
    1: ((6, Fraction(1, 4)), (2, Fraction(1, 4))),
    2: ((3, Fraction(1, 2)),),
    3: ((2, Fraction(1, 2)),),
    4: ((1, Fraction(1, 2)),),
    5: ((6, Fraction(1, 4)), (2, Fraction(-1, 4))),
    6: (),
}
"""cos(k pi / 12) as (radicand, factor) pairs; that of 0 is written below."""


def exponential(argument: Number, *, turn: bool = False) -> Number | None:
    """e^argument, or e^(i argument) with ``turn``."""
    if argument.bottom is not None or len(argument.top) > 6:
        return None
    result = Number({ONE: Fraction(1)}, None, argument.opaque)
    for (radicand, powers), factor in argument.top.items():
        names = dict(powers)
        imaginary = turn
        if names.pop(IMAGINARY, 0):
            factor, imaginary = (-factor, False) if turn else (factor, True)
        monomial = tuple(sorted(names.items()))
        piece = _piece(radicand, monomial, factor, imaginary)
        if piece is None:
            return None
        result = multiply(result, piece)
    return result


def _piece(radicand: int, monomial: algebra.Powers, factor: Fraction, imaginary: bool) -> Number | None:
    steps = factor * PARTS
    if imaginary and radicand == 1 and monomial == _PI:
        return _unit(int(steps)) if steps.denominator == 1 else None
    if not imaginary and radicand == 1 and not monomial:
        return algebra.power(algebra.symbol("e"), int(factor)) if factor.denominator == 1 and abs(factor) < 64 else None
    if steps.denominator != 1 or abs(steps) > MAX_POWER:
        return None
    mark = algebra.CONSTANT_MARK if all(name in algebra.CONSTANTS for name, _ in monomial) else ""
    name = f"{mark}exp {'i' if imaginary else ''} {radicand} {monomial}"
    return Number({(1, ((name, int(steps)),)): Fraction(1)})


def _unit(steps: int) -> Number:
    """cos + i sin of steps * pi / 12."""
    return add(_cosine(steps), multiply(_I, _cosine(steps - 6)))


def _cosine(steps: int) -> Number:
    steps = abs(steps) % 24
    steps = 24 - steps if steps > 12 else steps
    if steps > 6:
        return negative(_cosine(12 - steps))
    if steps == 0:
        return algebra.rational(1)
    return Number({(radicand, ()): Fraction(factor) for radicand, factor in _ROOTS[steps]})


def trigonometric(name: str, argument: Number) -> Number | None:
    """sin, cos, tan, cot, sec or csc of an argument.

    Raises:
        ZeroDivisionError: there is none.
    """
    ahead = exponential(argument, turn=True)
    if ahead is None:
        return None
    back = inverse(ahead) if len(ahead.top) == 1 else exponential(negative(argument), turn=True)
    if back is None:
        return None
    cosine = multiply(_HALF, add(ahead, back))
    sine = multiply(multiply(_HALF, negative(_I)), add(ahead, negative(back)))
    if name == "sin":
        return sine
    if name == "cos":
        return cosine
    if name in ("tan", "sec"):
        return multiply(sine if name == "tan" else algebra.rational(1), inverse(cosine))
    return multiply(cosine if name == "cot" else algebra.rational(1), inverse(sine))


def logarithm(argument: Number, kind: str = "ln") -> Number | None:
    """The natural logarithm of a positive rational or of a power of e; ``kind`` names another, unknown base."""
    value = argument.rational
    if value is None:
        if argument.bottom is None and len(argument.top) == 1 and kind == "ln":
            [((radicand, powers), factor)] = argument.top.items()
            if radicand == 1 and factor == 1 and len(powers) == 1 and powers[0][0] == "e":
                return algebra.rational(powers[0][1])
        return None
    if value <= 0 or max(value.numerator, value.denominator) > MAX_RADICAND:
        return None
    result = algebra.rational(0)
    for number, sign in ((value.numerator, 1), (value.denominator, -1)):
        for prime, times in algebra.primes(number):
            term = Number({(1, ((f"{algebra.CONSTANT_MARK}{kind} {prime}", 1),)): Fraction(sign * times)})
            result = add(result, term)
    return result
