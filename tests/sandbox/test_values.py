"""Values on their way out: what is plain arrives as it was, and nothing else arrives."""

import json
import math
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from guerdon.sandbox.inside.values import Unfit, dumps, loads

KEYS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.binary())
VALUES = st.recursive(
    st.one_of(KEYS, st.floats(allow_nan=False), st.complex_numbers(allow_nan=False), st.fractions()),
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.sets(KEYS), st.frozensets(KEYS), st.dictionaries(KEYS, inner)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_there_and_back(value):
    text = dumps(value)
    assert text.isascii()
    assert "\n" not in text
    back = loads(text)
    assert back == value
    assert type(back) is type(value)


def test_the_floats_that_json_lacks():
    assert math.isnan(loads(dumps(float("nan"))))
    assert loads(dumps([float("inf"), -0.0])) == [math.inf, 0.0]
    assert math.copysign(1, loads(dumps(-0.0))) == -1


class Liar(int):
    def __eq__(self, other):
        return True

    def __int__(self):
        return 9

    __hash__ = int.__hash__


Pair = namedtuple("Pair", "a b")
Colour = IntEnum("Colour", "RED GREEN")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Liar(3), 3),
        (Pair(1, 2), (1, 2)),
        (Colour.GREEN, 2),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=1), {"a": 1}),
        (defaultdict(list, a=[1]), {"a": [1]}),
        (deque([1, 2]), [1, 2]),
        (bytearray(b"a"), b"a"),
        (Decimal("1.50"), Decimal("1.50")),
        (Fraction(1, 3), Fraction(1, 3)),
        (np.int64(3), 3),
        (np.array([[1.5, 2.0]]), [[1.5, 2.0]]),
        ("\ud800\x00", "\ud800\x00"),
        (-(1 << 200), -(1 << 200)),
    ],
)
def test_subclasses_lose_what_they_add(value, plain):
    back = loads(dumps(value))
    assert type(back) is type(plain)
    assert back == plain


@pytest.mark.parametrize("value", [object(), print, Liar, range(3), iter([]), np.array([object()])])
def test_what_is_not_plain_does_not_leave(value):
    with pytest.raises(Unfit):
        dumps(value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.5",
        "NaN",
        "[" * 100_000,
        '{"v": 1}',
        '{"t": "int", "v": "zz"}',
        '{"t": "int", "v": 3}',
        '{"t": "float", "v": "x"}',
        '{"t": "set", "v": [[1]]}',
        '{"t": "dict", "v": [[1]]}',
        '{"t": "object", "v": 0, "n": "x"}',
        '{"t": "Fraction", "v": ["0x1", "0x0"]}',
        '{"t": "Decimal", "v": "x"}',
        '{"t": "bytes", "v": "x"}',
        '{"t": ["x"], "v": "x"}',
        json.dumps({"t": "Fraction", "v": [hex(1 << 100_000), "0x1"]}),
        json.dumps({"t": "set", "v": [{"t": "int", "v": hex(k * ((1 << 61) - 1))} for k in range(1, 3000)]}),
        json.dumps({"t": "dict", "v": [[{"t": "int", "v": hex(k << 61)}, 1] for k in range(1, 3000)]}),
        "9" * 5000,
    ],
)
def test_forms_that_are_none(text):
    with pytest.raises(Unfit):
        loads(text)


def test_cycles_and_depth():
    cycle: list = []
    cycle.append(cycle)
    with pytest.raises(Unfit, match="deeper"):
        dumps(cycle)
