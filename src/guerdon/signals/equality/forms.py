r"""The shapes that a final answer has: a number with or without unit, a list, interval, matrix, equation, range, word.

`parse` reads one answer (a reference, or what stands in a box), not a whole completion. It gives None for what it
cannot read. Work is linear in the text per level of nesting, levels are bounded, and so is the length.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from guerdon.signals.equality import algebra
from guerdon.signals.equality.algebra import Number, TooLarge
from guerdon.signals.equality.plain import finished_number
from guerdon.signals.equality.reader import Unreadable, read
from guerdon.signals.equality.spelling import MAX_LEVELS, WRAPPED, clean, encloses, split, squeezed
from guerdon.signals.equality.units import SCALES, read_unit, unit_of_sign
from guerdon.signals.extract import LIMIT

MAX_ITEMS = 64
MAX_WORDS = 5


@dataclass(frozen=True, slots=True)
class Scalar:
    """A number or formula. ``finished``: written as a number with nothing left to evaluate."""

    value: Number
    unit: str | None = None
    finished: bool = False
    percent: bool = False
    operations: int = 0
    sums: int = 0


@dataclass(frozen=True, slots=True)
class Items:
    """Several answers: ``kind`` is the pair of brackets around them, ``{}`` for a set, ``:`` for a ratio, or empty."""

    kind: str
    items: tuple["Form", ...]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of equal length."""

    rows: tuple[tuple["Form", ...], ...]


@dataclass(frozen=True, slots=True)
class Union:
    """Intervals or sets joined by a union sign."""

    parts: tuple["Form", ...]


@dataclass(frozen=True, slots=True)
class Word:
    """Text that is no formula, in lower case."""

    text: str


@dataclass(frozen=True, slots=True)
class Equation:
    """``name = right``, or with ``name`` None an equation of formulas; ``moved`` is left minus right where known."""

    name: str | None
    right: "Form | None"
    moved: Number | None
    consistent: bool = True


@dataclass(frozen=True, slots=True)
class Range:
    """Values of a variable: ``x > 3``, ``1 <= x < 2``, ``x \\in [1, 2]``."""

    name: str
    values: "Form"


Form = Scalar | Items | Matrix | Union | Word | Equation | Range

_JOINT = re.compile(r"\s+(?:or|and)\s+|\s*\\text\s*\{\s*(?:or|and)\s*\}\s*|\\(?:lor|land|vee|wedge)(?![A-Za-z])")
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")
_RELATION = re.compile(r"(\\le(?![a-z])|\\ge(?![a-z])|<=|>=|≤|≥|<|>|\\lt(?![a-z])|\\gt(?![a-z]))")
_WRITTEN = {"\\le": "<=", "\\ge": ">=", "≤": "<=", "≥": ">=", "\\lt": "<", "\\gt": ">"}
_NAME = re.compile(r"(?:\\text\s*\{)?[A-Za-z\\][A-Za-z0-9_\\{}'^(), |]{0,40}")
_BASE = re.compile(r"([0-9]+)_\{?([0-9]{1,2})\}?")
_PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z' -]*")
_MATRIX = re.compile(r"\\begin\s*\{([pbvB]?matrix|array)\}(?:\s*\{[clr| ]*\})?(.*)\\end\s*\{\1\}", re.DOTALL)
_UNIT = re.compile(
    r"\s*(?:\\text\s*\{([A-Za-z0-9 .,/^²³-]{1,60})\}((?:\^\{?[23]\}?)?)|([A-Za-z][A-Za-z ./]{0,60}(?:\^\{?[23]\}?|[²³])?))"
)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz /."
_RAISED = frozenset(["^2", "^3", "^{2}", "^{3}", "²", "³"])
_SHORT_WORDS = frozenset(["yes", "no", "odd", "even", "true", "all", "none", "any", "red", "blue", "left"])
_EMPTY = frozenset(["\\emptyset", "\\varnothing", "∅", "\\{\\}"])


@lru_cache(maxsize=16384)
def parse(text: str) -> Form | None:
    """An answer as one of the shapes above; None where it is not understood or too large."""
    if len(text) > LIMIT or not text:
        return None
    number = finished_number(text)
    if number is not None:
        return Scalar(algebra.rational(number), finished=True)
    try:
        return _parse(clean(text), 0)
    except (Unreadable, TooLarge):
        return None


def _parse(text: str, level: int) -> Form:
    if not text or level > MAX_LEVELS:
        raise Unreadable
    number = finished_number(text)
    if number is not None:
        return Scalar(algebra.rational(number), finished=True)
    for attempt in (_word, _amount, _relation, _several, _bracketed, _matrix, _quantity):
        form = attempt(text, level)
        if form is not None:
            return form
    found = read(text)
    return Scalar(found.value, operations=found.operations, sums=found.sums)


def _word(text: str, level: int) -> Form | None:
    if text in _EMPTY:
        return Word("empty set")
    wrapped = WRAPPED.fullmatch(text)
    inner = wrapped[1].strip() if wrapped else text
    if wrapped and not inner:
        raise Unreadable
    if wrapped and not _PLAIN_WORD.fullmatch(inner):
        return _parse(inner.strip("()") if re.fullmatch(r"\([A-Za-z]\)", inner) else inner, level + 1)
    if not _PLAIN_WORD.fullmatch(inner) or len(inner) == 1 or (_JOINT.search(inner) and not wrapped):
        return None
    words = inner.split()
    if len(words) > MAX_WORDS:
        return None
    longest = max(map(len, words))
    if wrapped or longest > 3 or inner.lower() in _SHORT_WORDS or (inner[0].isupper() and inner[1:].islower()):
        return Word(" ".join(inner.lower().split()))
    return None


def _amount(text: str, level: int) -> Form | None:
    """Money, before its thousands are taken for a list."""
    number = finished_number(text[2:]) if text.startswith("\\$") else None
    return None if number is None else Scalar(algebra.rational(number), "dollar", finished=True)


def _relation(text: str, level: int) -> Form | None:
    if "∈" in text:
        name, _, values = text.partition("∈")
        return Range(squeezed(name), _parse(values.strip(), level + 1))
    if _JOINT.search(text) or len(split(text, ",;")) > 1:
        return None
    pieces = _RELATION.split(text)
    if len(pieces) in (3, 5):
        return _range(pieces)
    if len(pieces) > 1:
        raise Unreadable
    if "=" not in text:
        return None
    sides = [side.strip() for side in text.split("=")]
    if not all(sides) or len(sides) > MAX_ITEMS or "\\ne" in text or "!" in text:
        raise Unreadable
    return _equation(sides, level)


def _equation(sides: list[str], level: int) -> Equation:
    values = [_number(side) for side in sides]
    first, last = values[0], values[-1]
    moved = algebra.add(first, algebra.negative(last)) if len(sides) == 2 and first and last else None
    known = [value.rational for value in values if value is not None and value.rational is not None]
    name = None
    if _NAME.fullmatch(sides[0]) and (first is None or first.rational is None):
        name = squeezed(sides[0])
    elif first is not None and first.rational is not None and len(known) == len(sides):
        name = ""  # a calculation: 3+4 = 7
    try:
        right = _parse(sides[-1], level + 1)
    except (Unreadable, TooLarge):
        right = None
    return Equation(name, right, moved, consistent=len(set(known)) <= 1)


def _range(pieces: list[str]) -> Form:
    sides = [side.strip() for side in pieces[::2]]
    signs = [_WRITTEN.get(sign, sign) for sign in pieces[1::2]]
    if len({sign[0] for sign in signs}) > 1:
        raise Unreadable
    if signs[0][0] == ">":  # read it from the other end
        sides, signs = sides[::-1], [sign.replace(">", "<") for sign in signs[::-1]]
    values = [read(side).value for side in sides]
    infinity = algebra.symbol("\\infty")
    if len(sides) == 3:
        low, middle, high = values
        ends = [low, high]
        name = sides[1]
        closed = ["=" in sign for sign in signs]
    elif values[0].rational is None and _is_letter(values[0]):
        ends, name, closed = [algebra.negative(infinity), values[1]], sides[0], [False, "=" in signs[0]]
        middle = values[0]
    else:
        ends, name, closed = [values[0], infinity], sides[1], ["=" in signs[0], False]
        middle = values[1]
    if not _is_letter(middle) or not all(end.constant or end in (infinity, algebra.negative(infinity)) for end in ends):
        raise Unreadable
    kind = "(["[closed[0]] + ")]"[closed[1]]
    return Range(squeezed(name), Items(kind, tuple(Scalar(end, finished=end.rational is not None) for end in ends)))


def _is_letter(value: Number) -> bool:
    if value.bottom is not None or len(value.top) != 1 or value.opaque:
        return False
    [((radicand, powers), factor)] = value.top.items()
    return radicand == 1 and factor == 1 and len(powers) == 1 and powers[0][1] == 1


def _several(text: str, level: int) -> Form | None:
    if "±" in text and text.count("±") == 1 and len(split(text, ",;")) == 1:
        before, _, after = text.partition("±")
        return Items("", (_parse(f"{before}+{after}", level + 1), _parse(f"{before}-{after}", level + 1)))
    if "∪" in text:
        pieces = split(text, "∪")
        if len(pieces) > 1:
            return Union(tuple(_parse(piece.strip(), level + 1) for piece in pieces))
    joined = _JOINT.split(text)
    if len(joined) > 1:
        items = _flatten([_parse(piece.strip(" ,;"), level + 1) for piece in joined])
        ranges = [item for item in items if isinstance(item, Range)]
        if len(ranges) == len(items) and len({item.name for item in ranges}) == 1:
            return Range(ranges[0].name, Union(tuple(item.values for item in ranges)))
        return Items("", items)
    pieces = _pieces(text)
    if len(pieces) > 1:
        return Items("", tuple(_parse(piece, level + 1) for piece in pieces))
    if ":" in text and "\\" not in text:
        pieces = [piece.strip() for piece in text.split(":")]
        return Items(":", tuple(_parse(piece, level + 1) for piece in pieces))
    return None


def _flatten(forms: list[Form]) -> tuple[Form, ...]:
    flat: list[Form] = []
    for form in forms:
        flat += form.items if isinstance(form, Items) and not form.kind else (form,)
    return tuple(flat)


def _pieces(text: str) -> list[str]:
    if ", " in text and _THOUSANDS.search(text):
        text = _THOUSANDS.sub("", text)
    pieces = [piece.strip() for piece in split(text, ",;")]
    if len(pieces) > MAX_ITEMS or not all(pieces):
        raise Unreadable
    return pieces


def _bracketed(text: str, level: int) -> Form | None:
    if text.startswith("\\{") and text.endswith("\\}"):
        return _items("{}", text[2:-2], level)
    if text[0] == "{" and text[-1] == "}" and encloses(text):
        return (
            _items("{}", text[1:-1], level)
            if len(split(text[1:-1], ",")) > 1
            else _parse(text[1:-1].strip(), level + 1)
        )
    if len(text) < 3 or text[0] not in "([⟨" or text[-1] not in ")]⟩" or not encloses(text):
        return None
    if "," not in text and ";" not in text:
        return _parse(text[1:-1].strip(), level + 1) if text[0] + text[-1] == "()" else None
    return _items(text[0] + text[-1], text[1:-1], level)


def _items(kind: str, inside: str, level: int) -> Items:
    return Items(kind, tuple(_parse(piece, level + 1) for piece in _pieces(inside.strip())))


def _matrix(text: str, level: int) -> Form | None:
    if not text.startswith("\\begin"):
        return None
    found = _MATRIX.fullmatch(text)
    if not found or "\\begin" in found[2]:
        raise Unreadable
    lines = [line.split("&") for line in found[2].split("\\\\") if line.strip()]
    if not lines or len({len(line) for line in lines}) > 1 or len(lines) * len(lines[0]) > MAX_ITEMS:
        raise Unreadable
    return Matrix(tuple(tuple(_parse(cell.strip(), level + 1) for cell in line) for line in lines))


def _quantity(text: str, level: int) -> Form | None:
    """A number with a currency sign, a percent sign, degrees, a base, a unit or a scale around it."""
    based = _BASE.fullmatch(text)
    if based:
        return Scalar(algebra.rational(int(based[1])), f"base {int(based[2])}", finished=True)
    text = text.removeprefix("\\approx").removeprefix("≈").strip()
    for sign in ("\\$", "$", "€", "£", "¥", "\\pounds", "\\euro"):
        if text.startswith(sign):
            unit = {"\\$": "dollar", "\\pounds": unit_of_sign("£"), "\\euro": "euro"}.get(sign) or unit_of_sign(sign)
            return _with_unit(text[len(sign) :], unit, level)
    for sign in ("\\%", "%", "\\text{ percent}", " percent"):
        if text.endswith(sign):
            inner = _parse(text[: -len(sign)].strip(), level + 1)
            return _changed(inner, percent=True)
    for sign in ("^\\circ", "^{\\circ}"):
        if text.endswith(sign):
            return _with_unit(text[: -len(sign)], "degree", level)
    return _measured(text, level)


def _measured(text: str, level: int) -> Form | None:
    cut = text.rfind("\\text")
    if cut < 0:
        tail = text.rstrip("0123456789{}^²³")
        at = len(tail) if text[len(tail) :] in _RAISED else len(text)
        cut = len(text[:at].rstrip(_LETTERS))
    found = _UNIT.fullmatch(text, cut)
    if not found or not cut or text[cut - 1] == "\\":
        return None
    words = (found[1] or found[3]).strip()
    if words.lower() in SCALES:
        inner = _parse(text[:cut].strip(), level + 1)
        scale = algebra.rational(SCALES[words.lower()])
        return _changed(inner, value=lambda value: algebra.multiply(value, scale))
    unit = read_unit(words + (found[2] or ""))
    if unit is None or (found[1] is None and len(words) < 2 and not found[0].startswith(" ")):
        return None  # 5m may be a product
    return _with_unit(text[:cut], unit, level)


def _with_unit(text: str, unit: str, level: int) -> Form | None:
    return _changed(_parse(text.strip(), level + 1), unit=unit)


def _changed(
    form: Form,
    *,
    unit: str | None = None,
    percent: bool = False,
    value: Callable[[Number], Number] | None = None,
) -> Form:
    if isinstance(form, Items) and not form.kind:
        return Items("", tuple(_changed(item, unit=unit, percent=percent, value=value) for item in form.items))
    if not isinstance(form, Scalar) or form.percent or (form.unit is not None and unit is not None):
        raise Unreadable
    changed = form.value if value is None else value(form.value)
    return Scalar(changed, unit or form.unit, form.finished, percent or form.percent, form.operations, form.sums)


def _number(text: str) -> Number | None:
    number = finished_number(text)
    if number is not None:
        return algebra.rational(number)
    try:
        return read(text).value
    except (Unreadable, TooLarge):
        return None
