"""Expressions over values that a program gave, evaluated outside the sandbox.

The expressions are the tests' own; the values are hostile data: plain, but of any size. So operations that blow up
(long products and powers, repeated text, hashing of thousands of long integers) are refused.
"""

import ast
import cmath
import collections
import decimal
import fractions
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from guerdon.sandbox.inside.values import spread

_BITS, _POWER = 20_000, 1_000_000


class Undecided(Exception):
    """The expression raises, or is too dear."""


def _hashing(make: Callable[..., Any]) -> Callable[..., Any]:
    def made(*values: Any, **named: Any) -> Any:
        for value in values:
            if isinstance(value, list | tuple | set | frozenset) and not spread(_keys(value)):
                raise Undecided("too many long numbers to be hashed")
        return make(*values, **named)

    return made


def _keys(values: Any) -> list[Any]:
    return [v[0] if isinstance(v, list | tuple) and v else v for v in values] + list(values)


def _text(value: Any = "") -> str:
    if isinstance(value, int) and value.bit_length() > 10_000:
        raise Undecided("a number too long to be written")
    return str(value)


KNOWN: dict[str, Any] = {
    **{
        f.__name__: f
        for f in (abs, all, any, bool, isinstance, len, list, max, min, reversed, sorted, sum, tuple, type)
    },
    **{f.__name__: f for f in (int, float, complex, bytes, enumerate, zip, ord, chr)},
    **{f.__name__: _hashing(f) for f in (set, frozenset, dict)},
    "str": _text,
    "round": round,
}
"""Names that mean Python's own in tests."""
_TYPES = {"set": set, "frozenset": frozenset, "dict": dict, "str": str}
MODULES: dict[str, dict[str, Any]] = {
    "math": {
        name: getattr(math, name)
        for name in ("isclose", "isnan", "isinf", "isfinite", "sqrt", "pi", "e", "inf", "nan", "floor", "ceil", "log", "exp", "sin", "cos", "tan", "fabs")
    },
    "cmath": {"isclose": cmath.isclose},
    "collections": {name: _hashing(getattr(collections, name)) for name in ("Counter", "OrderedDict", "deque")},
    "fractions": {"Fraction": fractions.Fraction},
    "decimal": {"Decimal": decimal.Decimal},
    "typing": {},
    "random": {},
    "copy": {},
}  # fmt: skip
"""Modules that tests may import and still be taken apart, and the names of each that are evaluated here."""

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.Not: operator.not_,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Invert: operator.invert,
}
_Number = int | float | complex | fractions.Fraction | decimal.Decimal


def evaluate(node: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value of an expression over ``names`` and what is `KNOWN`.

    Raises:
        Undecided: it raises, uses something else, or would take too long.
    """
    try:
        return _value(node, names)
    except Undecided:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise Undecided(f"{type(error).__name__}: {str(error)[:200]}") from error


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    def of(part: ast.expr) -> Any:
        return _value(part, names)

    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return names[name] if name in names else _TYPES.get(name, KNOWN[name])
        case ast.Attribute(value=ast.Name(id=module), attr=attribute):
            return MODULES[module][attribute]
        case ast.Call(func=function, args=arguments, keywords=keywords):
            called = KNOWN[function.id] if isinstance(function, ast.Name) else of(function)
            return called(*map(of, arguments), **{k.arg: of(k.value) for k in keywords if k.arg})
        case ast.Compare(left=left, ops=ops, comparators=others):
            values = [of(left), *map(of, others)]
            return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, values, values[1:], strict=False))
        case ast.BoolOp(op=op, values=parts):
            result: Any = None
            for part in parts:
                result = of(part)
                if bool(result) != isinstance(op, ast.And):
                    break
            return result
        case ast.UnaryOp(op=op, operand=operand):
            return _UNARY[type(op)](of(operand))
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(op, of(left), of(right))
        case ast.List(elts=elements):
            return [of(e) for e in elements]
        case ast.Tuple(elts=elements):
            return tuple(of(e) for e in elements)
        case ast.Set(elts=elements):
            return KNOWN["set"]([of(e) for e in elements])
        case ast.Dict(keys=keys, values=values):
            return KNOWN["dict"]([(of(k), of(v)) for k, v in zip(keys, values, strict=True) if k is not None])
        case _:
            raise Undecided(f"{type(node).__name__} is not decided here")


def _binary(op: ast.operator, a: Any, b: Any) -> Any:
    if type(op) not in _BINARY:
        raise Undecided(f"{type(op).__name__} is not decided here")
    if not isinstance(op, ast.Add | ast.Sub) and not (isinstance(a, _Number) and isinstance(b, _Number)):
        raise Undecided("only numbers are multiplied or divided here")
    if isinstance(op, ast.Mult | ast.Pow | ast.Mod | ast.FloorDiv) and max(map(_bits, (a, b))) > _BITS:
        raise Undecided("a number too long")
    if isinstance(op, ast.Pow) and (not isinstance(b, int | float) or abs(b) * max(1, _bits(a)) > _POWER):
        raise Undecided("a power too high")
    return _BINARY[type(op)](a, b)


def _bits(value: Any) -> int:
    if isinstance(value, fractions.Fraction):
        return max(value.numerator.bit_length(), value.denominator.bit_length())
    return value.bit_length() if isinstance(value, int) else 0
