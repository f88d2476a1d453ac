r"""Reads a formula as an exact `Number`: LaTeX as models write it, and plain text.

Understood: numbers, ``+ - * /``, ``\frac``, ``\sqrt``, integer powers, brackets, letters and Greek letters (with
subscripts), pi, e, i, products without a sign, repeating decimals, absolute values of rationals. Functions (``\sin``,
``\log``), roots and powers beyond that become symbols named by their canonical argument: equal texts are then still
found equal, different ones are left open. Anything else is not read (`Unreadable`). One pass over at most `LIMIT`
characters with bounded depth; nothing is evaluated that could grow past the limits of `algebra`.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from guerdon.signals.equality import algebra, functions
from guerdon.signals.equality.algebra import Number, TooLarge
from guerdon.signals.extract import DIGITS, LIMIT

MAX_DEPTH = 24

_TOKEN = re.compile(
    r"\s+|[0-9]+(?:\.[0-9]+)?|\.[0-9]+|\\(?:text|mathrm|mathbf|textbf|operatorname|mathit)\s*\{[A-Za-z]*\}|\\[A-Za-z]+\*?|\\.|[A-Za-z]+|.",
    re.DOTALL,
)
_SAME = {
    "−": "-",
    "–": "-",
    "×": "*",
    "·": "*",
    "⋅": "*",
    "÷": "/",
    "\\times": "*",
    "\\cdot": "*",
    "\\ast": "*",
    "\\div": "/",
    "\\dfrac": "\\frac",
    "\\tfrac": "\\frac",
    "\\cfrac": "\\frac",
    "√": "\\sqrt",
    "π": "\\pi",
    "∞": "\\infty",
    "\\lbrack": "[",
    "\\rbrack": "]",
    "\\lvert": "|",
    "\\rvert": "|",
    "\\vert": "|",
    "\\mid": "|",
    "\\lparen": "(",
    "\\rparen": ")",
}
_SIZES = (
    "\\left \\right \\displaystyle \\textstyle \\limits \\big \\Big \\bigg \\Bigg \\bigl \\bigr \\Bigl \\Bigr \\, \\! \\; "
    "\\: \\quad \\qquad \\> ~ \\ "
)
_SILENT = frozenset(_SIZES.split()) | {"\\ "}
_LETTERS = (
    "\\alpha \\beta \\gamma \\delta \\epsilon \\varepsilon \\zeta \\eta \\theta \\vartheta \\kappa \\lambda \\mu \\nu "
    "\\xi \\rho \\sigma \\tau \\phi \\varphi \\chi \\psi \\omega \\Gamma \\Delta \\Theta \\Lambda \\Xi \\Sigma \\Phi "
    "\\Psi \\Omega \\ell \\infty"
)
_GREEK = frozenset(_LETTERS.split())
_NAMED = "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp gcd lcm max min det"
_FUNCTIONS = frozenset(_NAMED.split())
_SHORT_WORDS = "or and not no if to is the of in at per for as by on it an be we"
_CIRCULAR = frozenset(["sin", "cos", "tan", "cot", "sec", "csc"])
_EULER = algebra.symbol("e")
_WORDS = frozenset(_SHORT_WORDS.split())
"""Short words, which are no products of letters."""
_CALLED = frozenset("fghFGHP")
"""Letters that before a bracket name a function."""
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_POWERS = {"²": 2, "³": 3}
_SPECIAL = {"½": Fraction(1, 2), "¼": Fraction(1, 4), "¾": Fraction(3, 4), "⅓": Fraction(1, 3), "⅔": Fraction(2, 3)}


class Unreadable(Exception):
    """The text is no formula of the kinds that are read here."""


@dataclass(frozen=True, slots=True)
class Read:
    """A formula: its value, how many operations are written in it, and how many of these are sums."""

    value: Number
    operations: int
    sums: int


def read(text: str) -> Read:
    """The exact value of a formula.

    Raises:
        Unreadable: it is not understood, or divides by zero.
        TooLarge: it grows past the limits.
    """
    if len(text) > LIMIT:
        raise TooLarge
    reader = _Reader(_tokens(text))
    try:
        value = reader.sum()
    except ZeroDivisionError as error:
        raise Unreadable from error
    if reader.peek():
        raise Unreadable
    return Read(value, reader.operations, reader.sums)


def _tokens(text: str) -> list[str]:
    tokens: list[str] = []
    found: list[str] = _TOKEN.findall(text)
    for token in found:
        if token.isspace() or token in _SILENT:
            continue
        if len(token) > 1 and token.isalpha() and token.isascii():
            tokens += _letters(token)
        else:
            tokens.append(_SAME.get(token, token))
    return tokens


def _letters(run: str) -> list[str]:
    """Letters in a row are a function, pi, sqrt, or a short product."""
    if run in _FUNCTIONS:
        return [run]
    if run in ("pi", "sqrt"):
        return ["\\" + run]
    if len(run) > 3 or run.lower() in _WORDS:
        raise Unreadable
    return list(run)


class _Reader:
    """Recursive descent over tokens."""

    def __init__(self, tokens: list[str]):
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.operations = 0
        self.sums = 0

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if not token or (expected and token != expected):
            raise Unreadable
        self.at += 1
        return token

    def sum(self) -> Number:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise TooLarge
        value = self.product()
        while self.peek() in ("+", "-"):
            sign = self.take()
            right = self.product()
            value = algebra.add(value, right if sign == "+" else algebra.negative(right))
            self.operations += 1
            self.sums += 1
        self.depth -= 1
        return value

    def product(self) -> Number:
        if self.peek() in ("+", "-"):
            sign = self.take()
            if self.peek() in ("+", "-"):
                raise Unreadable
            value = self.product()
            return value if sign == "+" else algebra.negative(value)
        value = self.power()
        while True:
            token = self.peek()
            if token in ("*", "/"):
                self.take()
                negate = self.peek() == "-"
                if negate:
                    self.take()
                right = self.power()
                right = algebra.negative(right) if negate else right
                value = algebra.multiply(value, right if token == "*" else algebra.inverse(right))
                self.operations += 1
            elif token and self._starts(token):
                if token[0] in "0123456789.":
                    raise Unreadable  # "2 3" is no product
                value = algebra.multiply(value, self.power())
                self.operations += 1
            else:
                return value

    def power(self) -> Number:
        name = self.peek()
        base = self.atom()
        while self.peek() in _POWERS:
            base = algebra.power(base, _POWERS[self.take()])
            self.operations += 1
        if self.peek() != "^":
            return base
        self.take()
        exponent = self.group()
        self.operations += 1
        if self.peek() == "^" or name == "-":
            raise Unreadable  # towers
        whole = exponent.rational
        if whole is not None and whole.denominator == 1:
            return algebra.power(base, int(whole))
        if base == _EULER:
            known = functions.exponential(exponent)
            if known is not None:
                return known
        value = base.rational
        if whole == Fraction(1, 2) and value is not None:
            return algebra.square_root(value)
        return algebra.symbol(f"{base.frozen()}^{exponent.frozen()}", opaque=True)

    def group(self) -> Number:
        """What a macro or ``^`` takes: a brace group, or one token (of a number: its first digit)."""
        token = self.peek()
        if token == "{":
            return self.bracket()
        if token in ("+", "-"):
            self.take()
            value = self.atom()
            return algebra.negative(value) if token == "-" else value
        if token and token[0] in "0123456789" and len(token) > 1:
            raise Unreadable  # x^10 without braces means x^1 0 in LaTeX and x^10 in plain text; see `digits`
        return self.atom()

    def digits(self) -> Number:
        """An argument of ``\\frac`` without braces: one digit of what follows."""
        token = self.peek()
        if token and token[0] in "0123456789" and len(token) > 1 and token.isdigit():
            self.tokens[self.at : self.at + 1] = [token[0], token[1:]]
        return self.group()

    def bracket(self) -> Number:
        opening = self.take()
        value = self.sum()
        self.take(_CLOSING[opening])
        return value

    def _starts(self, token: str) -> bool:
        if token[0] in "0123456789.({[" or (len(token) == 1 and token.isalpha()) or token in _SPECIAL:
            return True
        return (
            token in ("\\frac", "\\sqrt", "\\pi", "\\overline")
            or token in _GREEK
            or token.removeprefix("\\") in _FUNCTIONS
        )

    def atom(self) -> Number:
        token = self.peek()
        if token in ("(", "{", "["):
            return self._factorial(self.bracket())
        self.take()
        if token[0] in "0123456789.":
            return self._factorial(self._number(token))
        if token in _SPECIAL:
            return algebra.rational(_SPECIAL[token])
        if token == "\\frac":
            self.operations += 1
            top = self.digits()
            return algebra.multiply(top, algebra.inverse(self.digits()))
        if token == "\\sqrt":
            return self._root()
        if token == "\\pi":
            return algebra.symbol("\\pi")
        if token == "|":
            value = self.sum()
            self.take("|")
            self.operations += 1
            whole = value.rational
            return algebra.symbol(f"|{value.frozen()}|", opaque=True) if whole is None else algebra.rational(abs(whole))
        name = token[token.index("{") + 1 : -1] if token.endswith("}") and "{" in token else token
        if name.removeprefix("\\") in _FUNCTIONS:
            return self._function(name.removeprefix("\\"))
        if name in _GREEK or (len(name) == 1 and name.isascii() and name.isalpha()):
            return self._letter(name)
        raise Unreadable

    def _number(self, token: str) -> Number:
        if len(token) > DIGITS:
            raise TooLarge
        if self.peek() == "\\overline" and "." in token:
            return algebra.rational(self._repeating(token))
        if "." in token and self.peek() == "." and self.tokens[self.at + 1 : self.at + 2] == ["\\overline"]:
            raise Unreadable
        return algebra.rational(Fraction(token))

    def _repeating(self, token: str) -> Fraction:
        r"""0.1\overline{6}: the digits under the bar go on for ever."""
        self.take("\\overline")
        self.take("{")
        period = self.take()
        self.take("}")
        if not period.isdigit() or len(period) > DIGITS:
            raise Unreadable
        places = len(token.partition(".")[2])
        return Fraction(token) + Fraction(int(period), (10 ** len(period) - 1) * 10**places)

    def _factorial(self, value: Number) -> Number:
        if self.peek() != "!":
            return value
        self.take()
        self.operations += 1
        whole = value.rational
        if whole is None:
            return algebra.symbol(f"{value.frozen()}!", opaque=True)
        if whole.denominator != 1 or not 0 <= whole <= 100 or self.peek() == "!":
            raise TooLarge
        result = 1
        for factor in range(2, int(whole) + 1):
            result *= factor
        return algebra.rational(result)

    def _root(self) -> Number:
        self.operations += 1
        degree = 2
        if self.peek() == "[":
            self.take()
            token = self.take()
            self.take("]")
            if not token.isdigit() or not 2 <= int(token[:3]) <= MAX_DEPTH:
                raise Unreadable
            degree = int(token)
        inner = self.digits()
        value = inner.rational
        if value is not None and degree == 2:
            return algebra.square_root(value)
        if value is not None:
            root = algebra.root(value, degree)
            if root is not None:
                return root
        return algebra.symbol(f"{inner.frozen()}^1/{degree}", opaque=True)

    def _function(self, name: str) -> Number:
        self.operations += 1
        raised, base = 1, ""
        value_of_base: Number | None = None
        while self.peek() in ("^", "_"):
            sign = self.take()
            group = self.group()
            whole = group.rational
            if sign == "_" and name == "log":
                value_of_base, base = group, f"_{group.frozen()}"
            elif sign == "^" and whole is not None and whole.denominator == 1 and 0 < whole <= algebra.MAX_EXPONENT:
                raised = int(whole)
            else:
                raise Unreadable  # an inverse function, or who knows
        argument = self._argument()
        value = self._known(name, argument, value_of_base)
        if value is None:
            value = algebra.symbol(f"{name}{base} {argument.frozen()}", opaque=True)
        return algebra.power(value, raised)

    def _argument(self) -> Number:
        if self.peek() in ("(", "{", "["):
            return self.bracket()
        argument = self.power()
        while self.peek() and self._starts(self.peek()) and self.peek().removeprefix("\\") not in _FUNCTIONS:
            if self.peek()[0] in "0123456789.({[":
                raise Unreadable  # sin 2 (x+1): who knows
            argument = algebra.multiply(argument, self.power())
        return argument

    def _known(self, name: str, argument: Number, base: Number | None) -> Number | None:
        """The value of a function whose laws are known."""
        if name in _CIRCULAR:
            return functions.trigonometric(name, argument)
        if name == "exp":
            return functions.exponential(argument)
        if name in ("ln", "log") and base is None:
            return functions.logarithm(argument, name)
        if name == "log" and base is not None:
            over, under = functions.logarithm(argument), functions.logarithm(base)
            return None if over is None or under is None else algebra.multiply(over, algebra.inverse(under))
        return None

    def _letter(self, name: str) -> Number:
        if self.peek() == "_":
            self.take()
            token = self.take()
            if token == "{":
                token = self.take()
                self.take("}")
            if not (token.isalnum() and token.isascii()):
                raise Unreadable
            name += f"_{token}"
        elif self.peek() == "'" or (name in _CALLED and self.peek() == "("):
            raise Unreadable
        return self._factorial(algebra.symbol(name))
