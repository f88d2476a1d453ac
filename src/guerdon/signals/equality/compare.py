"""Whether two answers are the same mathematics: yes, no, or not decided here.

The reference comes first, and the rule is not symmetric, because the reference is trusted and the answer is not: where
the reference is a finished number, the answer must be one too.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from math import inf

from guerdon.signals.equality import algebra
from guerdon.signals.equality.algebra import TooLarge
from guerdon.signals.equality.forms import (
    Equation,
    Form,
    Items,
    Matrix,
    Range,
    Scalar,
    Union,
    Word,
    parse,
)
from guerdon.signals.equality.spelling import clean
from guerdon.signals.equality.units import same_unit
from guerdon.signals.extract import LIMIT

Decision = bool | None
_INFINITY = algebra.symbol("\\infty")
_BLANK = re.compile(r"(?<![0-9.,]) +| +(?![0-9.,])")


def same_answer(gold: str, given: str) -> Decision:
    """Whether ``given`` says the same as the reference ``gold``; None where that is not decided here.

    True and False are exact: no rounding, no tolerance. Equal texts are equal. Where the reference is a number, what
    cannot be read as a finished number is not equal; in all other cases what cannot be read is None.
    """
    if len(given) > LIMIT or not given.strip():
        return False
    if gold == given:
        return True
    reference, answer = parse(gold), parse(given)
    if reference is not None and answer is not None:
        try:
            decided = compare(reference, answer)
        except TooLarge:
            decided = None
        if decided is not None:
            return decided
    if _key(gold) == _key(given):
        return True
    if isinstance(reference, Word) or (isinstance(reference, Scalar) and reference.finished):
        return False
    return None


def compare(gold: Form, given: Form) -> Decision:
    """The same for parsed answers."""
    if isinstance(gold, Scalar):
        return _to_scalar(gold, given)
    if isinstance(gold, Word):
        return isinstance(given, Word) and gold.text == given.text
    if isinstance(gold, Equation):
        return _to_equation(gold, given)
    if isinstance(given, Equation):  # "S = {1, 2}" where {1, 2} is asked
        return None if given.name is None or given.right is None else compare(gold, given.right)
    if isinstance(gold, Range):
        if isinstance(given, Range):
            return False if gold.name != given.name else compare(gold.values, given.values)
        return compare(gold.values, given) if isinstance(given, Items | Union) else False
    if isinstance(given, Range):
        return compare(gold, given.values)
    if isinstance(gold, Union):
        if isinstance(given, Items):
            return _to_union(given, gold)
        return _unordered(gold.parts, given.parts) if isinstance(given, Union) else False
    if isinstance(gold, Matrix):
        return _to_matrix(gold, given)
    return _to_items(gold, given)


def _to_scalar(gold: Scalar, given: Form) -> Decision:
    if isinstance(given, Equation):
        if given.name is None or given.right is None or not given.consistent:
            return False if gold.finished else None
        return _to_scalar(gold, given.right) if not isinstance(given.right, Equation) else False
    if not isinstance(given, Scalar):
        return False if gold.value.constant or not isinstance(given, Word) else None
    if not same_unit(gold.unit, given.unit):
        return False
    equal = algebra.equal(gold.value, given.value)
    if gold.percent != given.percent:
        equal = _percent(gold, given, equal)
    return equal and _as_evaluated(gold, given) if equal else equal


def _percent(gold: Scalar, given: Scalar, equal: Decision) -> Decision:
    """50% is 0.5, and 50 where the sign is left out; 5 is never 500."""
    hundredth = algebra.inverse(algebra.rational(100))
    if gold.percent:
        return equal or algebra.equal(algebra.multiply(gold.value, hundredth), given.value)
    whole = gold.value.rational
    if equal and whole is not None and whole.denominator == 1:
        return True
    return algebra.equal(gold.value, algebra.multiply(given.value, hundredth))


def _as_evaluated(gold: Scalar, given: Scalar) -> bool:
    """Whether the answer leaves no more to evaluate than the reference does."""
    if given.finished or not gold.value.constant:
        return True
    if gold.finished:
        return False
    if gold.value.rational is not None:
        return given.operations <= gold.operations
    return given.sums <= max(gold.sums, gold.value.terms - 2)


def _to_equation(gold: Equation, given: Form) -> Decision:
    if not isinstance(given, Equation):
        return compare(gold.right, given) if gold.name is not None and gold.right is not None else None
    if gold.moved is not None and given.moved is not None and algebra.proportional(gold.moved, given.moved):
        return True
    if gold.name is None or given.name is None or gold.right is None or given.right is None:
        return None
    if gold.name != given.name:
        return None if gold.moved is not None and not gold.moved.constant and _formula(gold) else False
    return compare(gold.right, given.right)


def _formula(equation: Equation) -> bool:
    """Whether the right side holds symbols, so that it may be solved for another of them."""
    return isinstance(equation.right, Scalar) and not equation.right.value.constant


def _to_matrix(gold: Matrix, given: Form) -> Decision:
    if isinstance(given, Matrix):
        if [len(row) for row in gold.rows] != [len(row) for row in given.rows]:
            return False
        return _all(
            [
                compare(a, b)
                for one, other in zip(gold.rows, given.rows, strict=True)
                for a, b in zip(one, other, strict=True)
            ]
        )
    flat = [cell for row in gold.rows for cell in row]
    if isinstance(given, Items) and given.kind in ("()", "⟨⟩") and 1 in (len(gold.rows), len(gold.rows[0])):
        return _ordered(flat, given.items)
    return False


def _to_items(gold: Items, given: Form) -> Decision:
    if isinstance(given, Matrix) and gold.kind in ("()", "⟨⟩"):
        return _to_matrix(given, gold)
    if isinstance(given, Scalar) and len(gold.items) == 1:
        return compare(gold.items[0], given)
    if isinstance(given, Union):
        return _to_union(gold, given)
    if not isinstance(given, Items):
        return False
    kinds = {gold.kind, given.kind}
    if kinds <= {"", "{}"}:
        return _unordered(gold.items, given.items)
    if len(kinds) == 1 or kinds <= {"()", "⟨⟩", ""}:
        return _ordered(gold.items, given.items)
    return False


def _to_union(interval: Items, union: Union) -> Decision:
    """Different where they reach to different ends; else it takes more than this to tell."""
    if interval.kind == "{}":
        return False
    whole, parts = _ends(interval), [_ends(part) for part in union.parts]
    known = [part for part in parts if part is not None]
    if whole is None or len(known) < len(parts):
        return None
    reach = min(low for low, _ in known), max(high for _, high in known)
    return None if reach == whole else False


def _ends(form: Form) -> tuple[Fraction | float, Fraction | float] | None:
    if not isinstance(form, Items) or len(form.items) != 2 or form.kind not in ("()", "[]", "(]", "[)"):
        return None
    low, high = (_end(item) for item in form.items)
    return None if low is None or high is None else (low, high)


def _end(form: Form) -> Fraction | float | None:
    if not isinstance(form, Scalar):
        return None
    if form.value == _INFINITY:
        return inf
    return -inf if form.value == algebra.negative(_INFINITY) else form.value.rational


def _ordered(gold: Sequence[Form], given: Sequence[Form]) -> Decision:
    if len(gold) != len(given):
        return False
    return _all([compare(a, b) for a, b in zip(gold, given, strict=True)])


def _unordered(gold: Sequence[Form], given: Sequence[Form]) -> Decision:
    """Whether each answer is that of one reference, none used twice."""
    if len(gold) != len(given):
        return False
    left, open_ = list(given), False
    for reference in gold:
        decided = [compare(reference, answer) for answer in left]
        if True in decided:
            del left[decided.index(True)]
        elif None in decided:
            open_ = True
        else:
            return False
    return None if open_ else True


def _all(decided: Sequence[Decision]) -> Decision:
    if False in decided:
        return False
    return None if None in decided else True


def _key(text: str) -> str:
    """Text without blanks and wrappers; case counts for single letters only."""
    unwrapped = _BLANK.sub("", clean(text).replace("\\text", ""))
    squeezed = unwrapped.replace("{", "").replace("}", "")
    return squeezed.lower() if squeezed.isalpha() and len(squeezed) > 1 else squeezed
