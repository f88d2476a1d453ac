"""Exact arithmetic on text: a parser that hostile input can neither hang nor crash, and what is built on it.

Expressions hold integers, decimals, ``+ - * /``, ``^`` with a small literal exponent, unary signs and parentheses.
They are evaluated on Python integers and fractions, so that a step of a derivation is right or wrong and never
"close". One pass of the shunting-yard algorithm: linear time, no recursion, no ``eval``. Whatever is not an expression,
or is larger than the limits below, has no value: the answer is None, never an exception.
"""

import re
from fractions import Fraction

from guerdon.method import paper

MAX_LENGTH = 4096
"""Characters of an expression."""
MAX_DEPTH = 64
"""Parentheses and operators that wait at the same time."""
MAX_DIGITS = 64
"""Characters of one number."""
MAX_BITS = 2048
"""Size of numerator and denominator of any value on the way."""
MAX_EXPONENT = 64

_TOKEN = re.compile(r"[0-9]+(?:\.[0-9]+)?|\.[0-9]+|[-+*/^()]")
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "/": 2, "^": 4}
_SIGN = 3  # a sign binds tighter than a product and looser than a power: -3^2 is -9
_NUMBER_START = frozenset("0123456789.")


def tokens(text: str) -> list[str] | None:
    """Numbers, operators and parentheses of ``text`` without blanks; None where something else stands in it."""
    if len(text) > MAX_LENGTH:
        return None
    found = _TOKEN.findall(text)
    if sum(map(len, found)) != len(text):
        squeezed = text.replace(" ", "")
        if sum(map(len, found)) != len(squeezed) or re.search(r"[0-9.] +[0-9.]", text):
            return None
    return found


def evaluate(text: str) -> Fraction | None:
    """The exact value of an expression, or None where it has none.

    Args:
        text: at most `MAX_LENGTH` characters.

    Returns:
        The value; None for anything that is not an expression, divides by zero, or grows past the limits.
    """
    found = tokens(text)
    if not found:
        return None
    values: list[int | Fraction] = []
    waiting: list[str] = []  # operators and "(", with "~" for a minus sign
    operand = True  # whether a value must come next
    for token in found:
        if token[0] in _NUMBER_START:
            if not operand or len(token) > MAX_DIGITS:
                return None
            values.append(Fraction(token) if "." in token else int(token))
            operand = False
        elif token == "(":
            if not operand:
                return None
            waiting.append(token)
        elif token == ")":
            if operand:
                return None
            while waiting and waiting[-1] != "(":
                if not _apply(waiting.pop(), values):
                    return None
            if not waiting:
                return None
            waiting.pop()
        elif operand:
            if token not in "+-":
                return None
            if token == "-":
                waiting.append("~")
        else:
            rank = _PRECEDENCE[token]
            while waiting and waiting[-1] != "(" and _rank(waiting[-1]) + (token != "^") > rank:  # ^ binds to the right
                if not _apply(waiting.pop(), values):
                    return None
            waiting.append(token)
            operand = True
        if len(waiting) > MAX_DEPTH:
            return None
    if operand:
        return None
    while waiting:
        operator = waiting.pop()
        if operator == "(" or not _apply(operator, values):
            return None
    return Fraction(values[0])


def _rank(operator: str) -> int:
    return _SIGN if operator == "~" else _PRECEDENCE[operator]


def _apply(operator: str, values: list[int | Fraction]) -> bool:
    """Reduce the top of the stack in place; False where there is no value or it is too large."""
    right = values.pop()
    if operator == "~":
        values.append(-right)
        return True
    left = values.pop()
    if operator == "+":
        made = left + right
    elif operator == "-":
        made = left - right
    elif operator == "*":
        made = left * right
    elif operator == "/":
        if right == 0:
            return False
        made = Fraction(left) / right
    else:
        if right.denominator != 1 or not 0 <= right <= MAX_EXPONENT or _bits(left) * int(right) > MAX_BITS:
            return False
        made = left ** int(right)
    if _bits(made) > MAX_BITS:
        return False
    values.append(made)
    return True


def _bits(value: int | Fraction) -> int:
    if isinstance(value, int):
        return value.bit_length()
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def count_operators(text: str) -> int:
    """How many binary operators stand in ``text``; signs do not count; 0 for a number or unreadable text."""
    count, operand = 0, True
    for token in tokens(text) or ():
        if token in _PRECEDENCE:
            count += not operand
            operand = True
        elif token != ")":
            operand = token == "("
    return count


@paper("arXiv:2507.10532")
def calc_reward(pred: float | None, ref: float, *, eps: float = 1e-6) -> float:
    """Continuous closeness of two numbers, for answers that are hardly ever met exactly.

    ``r = 1 - 0.5 min(|a-b|, 1) - 0.5 min(|a-b| / (|b|+eps), 1)`` in [0, 1], with a the prediction and b the reference.

    An unreadable prediction (None or NaN) earns 0. The relative term saturates where the reference is near 0.

    References:
        Wu et al., Reasoning or Memorization? (2025), https://arxiv.org/abs/2507.10532
    """
    if pred is None or pred != pred:
        return 0.0
    gap = abs(pred - ref)
    if gap != gap:  # two equal infinities
        return 0.0
    return float(1 - 0.5 * min(gap, 1) - 0.5 * min(gap / (abs(ref) + eps), 1))
