"""Python values as JSON with their types, and back: the only way out of the jail.

Never pickle: what comes back was written by a program that is paid for it. Subclasses lose what they add, so that an
object with an ``__eq__`` of its own arrives as the plain list, number or text that it holds, or not at all.

    plain      null, true, 3, "text", and [..] for a list
    tagged     {"t": kind, "v": ..}: int beyond 53 bits and float as text, bytes, tuple, set, frozenset, dict as pairs,
               complex, Fraction, Decimal
    handle     {"t": "object", "v": 7, "n": "Stack"}: something that stays where it is
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

DEPTH, LARGE, LARGE_KEYS, DIGITS = 60, 1 << 53, 1000, 5000
_CONTAINERS = {"tuple": tuple, "set": set, "frozenset": frozenset}


class Unfit(ValueError):
    """A value that has no plain form, or a text that is none."""


def encode(value: Any, other: Callable[[Any], Any] | None = None, depth: int = 0) -> Any:
    """The JSON form of a value; ``other`` turns what has none into a handle.

    Raises:
        Unfit: nothing plain, or nested deeper than `DEPTH` levels.
    """
    if depth > DEPTH:
        raise Unfit(f"nested deeper than {DEPTH} levels")
    if value is None or value is True or value is False:
        return value
    kind = type(value)
    if kind.__module__ == "numpy":
        return encode(value.tolist(), other, depth + 1)
    if isinstance(value, int):
        number = int.__int__(value)
        return number if -LARGE < number < LARGE else {"t": "int", "v": hex(number)}
    if isinstance(value, float):
        return {"t": "float", "v": float.__repr__(float.__float__(value))}
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list | deque):
        return [encode(v, other, depth + 1) for v in list.__iter__(list(value))]
    if isinstance(value, dict):
        pairs = [[encode(k, other, depth + 1), encode(v, other, depth + 1)] for k, v in dict.items(value)]
        return {"t": "dict", "v": pairs}
    for name, container in _CONTAINERS.items():
        if isinstance(value, container):
            return {"t": name, "v": [encode(v, other, depth + 1) for v in container.__iter__(value)]}
    if isinstance(value, bytes | bytearray):
        return {"t": "bytes", "v": bytes(value).hex()}
    if isinstance(value, complex):
        return {"t": "complex", "v": [repr(value.real), repr(value.imag)]}
    if isinstance(value, Fraction):
        return {"t": "Fraction", "v": [hex(value.numerator), hex(value.denominator)]}
    if isinstance(value, Decimal):
        return {"t": "Decimal", "v": str(value)}
    if other is not None:
        return other(value)
    raise Unfit(f"{kind.__name__} is no plain value")


def dumps(value: Any, other: Callable[[Any], Any] | None = None) -> str:
    """`encode` as one line of ASCII.

    Raises:
        Unfit: as `encode`.
    """
    return json.dumps(encode(value, other), separators=(",", ":"))


def loads(text: str | bytes, other: Callable[[int, str], Any] | None = None) -> Any:
    """The value that a text says; ``other`` makes something of a handle's number and type.

    Raises:
        Unfit: no text that `dumps` writes.
    """
    try:
        return decode(json.loads(text), other)
    except (ValueError, RecursionError, TypeError, KeyError, ArithmeticError, AttributeError) as error:
        raise Unfit(f"expected a value as JSON with types, got {text[:60]!r} ({type(error).__name__})") from error


def decode(form: Any, other: Callable[[int, str], Any] | None = None) -> Any:
    """The value of a JSON form, never running anything that it says.

    Raises:
        Unfit, ValueError, TypeError, KeyError, ArithmeticError: no such form.
    """
    if form is None or isinstance(form, bool | int | str):
        return form
    if isinstance(form, list):
        return [decode(v, other) for v in form]
    if not isinstance(form, dict):
        raise Unfit("a bare float")
    kind, held = form["t"], form["v"]
    if kind == "int":
        return int(held, 16)
    if kind == "float":
        return float(held)
    if kind == "dict":
        pairs = [(decode(k, other), decode(v, other)) for k, v in held]
        return dict(pairs) if spread(k for k, _ in pairs) else _refuse()
    if kind == "tuple":
        return tuple(decode(v, other) for v in held)
    if kind in ("set", "frozenset"):
        items = [decode(v, other) for v in held]
        return _CONTAINERS[kind](items) if spread(items) else _refuse()
    if kind == "bytes":
        return bytes.fromhex(held)
    if kind == "complex":
        return complex(float(held[0]), float(held[1]))
    if kind == "Fraction" and max(map(len, held)) <= DIGITS:
        return Fraction(int(held[0], 16), int(held[1], 16))
    if kind == "Decimal" and len(held) <= DIGITS:
        return Decimal(held)
    if kind == "object" and other is not None:
        return other(int(held), str(form["n"]))
    raise Unfit(f"unknown kind {str(kind)[:20]!r}")


def spread(keys: Iterable[Any]) -> bool:
    """Whether keys are fit for hashing: thousands of long integers may all have one hash, which costs hours."""
    return sum(map(_large, keys)) <= LARGE_KEYS


def _large(key: Any) -> int:
    if isinstance(key, tuple | frozenset):
        return sum(map(_large, key))
    return int(isinstance(key, Fraction | Decimal) or (isinstance(key, int) and key.bit_length() > 60))


def _refuse() -> Any:
    raise Unfit(f"more than {LARGE_KEYS} long numbers to be hashed")
