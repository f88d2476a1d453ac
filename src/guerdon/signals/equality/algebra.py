"""Exact algebra that is just large enough for answers: sums of terms with rational coefficients.

A term is a rational number times the square root of a square-free integer times integer powers of symbols; pi, e, i and
the roots of primes of degree 3, 5 and 7 are symbols (with i^2 = -1 and so on). Such terms are linearly independent over the rationals, so that two sums are equal exactly
when their tables are. A quotient keeps numerator and denominator apart and is compared by cross multiplication: nothing
is ever simplified and nothing is rounded. What grows past the limits raises `TooLarge`.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, isqrt

Powers = tuple[tuple[str, int], ...]
Key = tuple[int, Powers]
Sum = dict[Key, Fraction]

MAX_TERMS = 128
MAX_BITS = 2048
"""Size of numerator and denominator of a coefficient."""
MAX_EXPONENT = 64
MAX_RADICAND = 10**12
"""Largest integer that is searched for square factors."""

ONE: Key = (1, ())
IMAGINARY = "i"
CONSTANTS = ("\\pi", "e", IMAGINARY)
CONSTANT_MARK = "#"
"""What the names of further constants begin with."""
ROOT = "#root "
"""What the name of a root of a prime begins with; its degree and the prime follow."""
MAX_POWER = 1200
"""Largest power of one symbol in a term."""


class TooLarge(Exception):
    """A value grew past the limits; it is not known."""


@dataclass(frozen=True, slots=True)
class Number:
    """A quotient of two sums.

    ``opaque``: a symbol in it stands for something whose laws are not known here, such as a sine, so that two such
    numbers can be found equal but never different.
    """

    top: Sum
    bottom: Sum | None = None
    opaque: bool = False

    @property
    def rational(self) -> Fraction | None:
        """Its value where it is a rational number."""
        if self.bottom is not None:
            return None
        if not self.top:
            return Fraction(0)
        return self.top.get(ONE) if len(self.top) == 1 else None

    @property
    def constant(self) -> bool:
        """Whether it holds no letter other than pi, e and i."""
        names = (name for s in (self.top, self.bottom or {}) for _, powers in s for name, _ in powers)
        return all(name in CONSTANTS or name[0] == CONSTANT_MARK for name in names)

    @property
    def terms(self) -> int:
        """How many terms it is written with."""
        return len(self.top) + len(self.bottom or {ONE: 1})

    def frozen(self) -> str:
        """One text for each value as it stands; equal texts mean equal numbers."""
        return f"{sorted(self.top.items())}/{sorted((self.bottom or {}).items())}"


def rational(value: Fraction | int) -> Number:
    """A number without symbols."""
    value = Fraction(value)
    return Number({ONE: value} if value else {})


def symbol(name: str, *, opaque: bool = False) -> Number:
    """A symbol to the first power."""
    return Number({(1, ((name, 1),)): Fraction(1)}, None, opaque)


def add(a: Number, b: Number) -> Number:
    """a + b."""
    opaque = a.opaque or b.opaque
    if a.bottom is None and b.bottom is None:
        return Number(_add(a.top, b.top), None, opaque)
    over_a, over_b = a.bottom or {ONE: Fraction(1)}, b.bottom or {ONE: Fraction(1)}
    if over_a == over_b:
        return Number(_add(a.top, b.top), over_a, opaque)
    return Number(_add(_multiply(a.top, over_b), _multiply(b.top, over_a)), _multiply(over_a, over_b), opaque)


def negative(a: Number) -> Number:
    """-a."""
    return Number({key: -value for key, value in a.top.items()}, a.bottom, a.opaque)


def multiply(a: Number, b: Number) -> Number:
    """a * b."""
    opaque = a.opaque or b.opaque
    if a.bottom is None and b.bottom is None:
        return Number(_multiply(a.top, b.top), None, opaque)
    bottom = _multiply(a.bottom or {ONE: Fraction(1)}, b.bottom or {ONE: Fraction(1)})
    return Number(_multiply(a.top, b.top), bottom, opaque)


def inverse(a: Number) -> Number:
    """1 / a.

    Raises:
        ZeroDivisionError: a is 0.
    """
    if not a.top:
        raise ZeroDivisionError("expected a divisor other than 0")
    if len(a.top) > 1:
        return Number(a.bottom or {ONE: Fraction(1)}, a.top, a.opaque)
    [((radicand, powers), value)] = a.top.items()
    flipped = {(radicand, tuple((name, -power) for name, power in powers)): 1 / (value * radicand)}
    flipped = _multiply(flipped, {ONE: Fraction(1)})  # brings powers of i back into range
    return Number(flipped if a.bottom is None else _multiply(flipped, a.bottom), None, a.opaque)


def power(a: Number, exponent: int) -> Number:
    """a to an integer power.

    Raises:
        ZeroDivisionError: 0 to a power that is not positive.
    """
    if abs(exponent) > MAX_EXPONENT:
        raise TooLarge
    if exponent < 0:
        return power(inverse(a), -exponent)
    if exponent == 0 and not a.top:
        raise ZeroDivisionError("expected a base other than 0")
    result, base = rational(1), a
    while exponent:
        if exponent & 1:
            result = multiply(result, base)
        exponent >>= 1
        if exponent:
            base = multiply(base, base)
    return result


def square_root(value: Fraction) -> Number:
    """The principal square root of a rational number, with i where it is negative."""
    inner = abs(value.numerator) * value.denominator
    if inner.bit_length() > MAX_BITS:
        raise TooLarge
    outer = isqrt(inner)
    if outer * outer == inner:
        outer, radicand = outer, 1
    else:
        outer, radicand = _square_free(inner)
    root = Number({(radicand, ()): Fraction(outer, value.denominator)} if outer else {})
    return multiply(root, symbol(IMAGINARY)) if value < 0 else root


def root(value: Fraction, degree: int) -> Number | None:
    """The real root of odd prime degree of a rational number, as roots of primes; other degrees only where exact."""
    if max(abs(value.numerator), value.denominator) > MAX_RADICAND:
        raise TooLarge
    if value == 0:
        return rational(0)
    if value < 0 and degree % 2 == 0:
        return None
    result = rational(1 if value > 0 else -1)
    for number, sign in ((abs(value.numerator), 1), (value.denominator, -1)):
        for prime, times in primes(number):
            outside, inside = divmod(sign * times, degree)
            if inside and degree not in (3, 5, 7):
                return None
            result = multiply(result, rational(Fraction(prime) ** outside))
            if inside:
                name = f"{ROOT}{degree} {prime}"
                result = multiply(result, Number({(1, ((name, inside),)): Fraction(1)}))
    return result


def primes(n: int) -> list[tuple[int, int]]:
    """Prime factors of a positive integer with multiplicity, by trial division.

    Raises:
        TooLarge: more than 10^8 is left after all primes to 10^4.
    """
    found = []
    for p in (2, *range(3, 10_001, 2)):
        if p * p > n:
            break
        times = 0
        while n % p == 0:
            n //= p
            times += 1
        if times:
            found.append((p, times))
    if n > 10**8:
        raise TooLarge
    return [*found, (n, 1)] if n > 1 else found


def equal(a: Number, b: Number) -> bool | None:
    """Whether two numbers are the same; None where that is not known."""
    if a.bottom is None and b.bottom is None:
        same = a.top == b.top
    else:
        one = {ONE: Fraction(1)}
        same = _multiply(a.top, b.bottom or one) == _multiply(b.top, a.bottom or one)
    return same or (None if a.opaque or b.opaque else False)


def proportional(a: Number, b: Number) -> bool:
    """Whether two sums without denominators differ by a rational factor only."""
    if not a.top or not b.top or a.top.keys() != b.top.keys():
        return False
    ratios = {value / b.top[key] for key, value in a.top.items()}
    return len(ratios) == 1


def _add(a: Sum, b: Sum) -> Sum:
    result = dict(a)
    for key, value in b.items():
        total = result.get(key, 0) + value
        if total:
            result[key] = _bounded(Fraction(total))
        else:
            result.pop(key, None)
    if len(result) > MAX_TERMS:
        raise TooLarge
    return result


def _multiply(a: Sum, b: Sum) -> Sum:
    if len(a) * len(b) > 4 * MAX_TERMS:
        raise TooLarge
    result: Sum = {}
    for (root_a, powers_a), value_a in a.items():
        for (root_b, powers_b), value_b in b.items():
            shared = gcd(root_a, root_b)
            value = value_a * value_b * shared
            powers, factor = _join(powers_a, powers_b)
            key = (root_a * root_b // (shared * shared), powers)
            total = result.get(key, 0) + value * factor
            if total:
                result[key] = _bounded(total)
            else:
                result.pop(key, None)
    if len(result) > MAX_TERMS:
        raise TooLarge
    return result


def _join(a: Powers, b: Powers) -> tuple[Powers, Fraction]:
    """The product of two monomials, and the rational that comes out of it: i^2 = -1, and p^(1/n) to the n is p."""
    factor = Fraction(1)
    if not a and not b:
        return (), factor
    powers = dict(a)
    for name, exponent in b:
        total = powers.get(name, 0) + exponent
        if abs(total) > MAX_POWER:
            raise TooLarge
        powers[name] = total
    turns = powers.pop(IMAGINARY, 0) % 4
    if turns % 2:
        powers[IMAGINARY] = 1
    factor = Fraction(-1 if turns >= 2 else 1)
    for name in [name for name in powers if name.startswith(ROOT)]:
        degree, prime = (int(piece) for piece in name[len(ROOT) :].split())
        outside, powers[name] = divmod(powers[name], degree)
        factor *= Fraction(prime) ** outside
    return tuple(sorted((n, p) for n, p in powers.items() if p)), factor


def _bounded(value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise TooLarge
    return value


def _square_free(n: int) -> tuple[int, int]:
    """(outer, radicand) with n = outer^2 radicand and a square-free radicand, by trial division to the cube root."""
    if n > MAX_RADICAND:
        raise TooLarge
    outer, radicand, p = 1, 1, 2
    while p * p * p <= n:
        while n % (p * p) == 0:
            n //= p * p
            outer *= p
        if n % p == 0:
            n //= p
            radicand *= p
        p += 1 if p == 2 else 2
    rest = isqrt(n)
    if rest * rest == n:
        return outer * rest, radicand
    return outer, radicand * n
