"""Tests taken apart: what goes into the sandbox holds no expected value, and what is decided outside is decided right."""

import ast

import pytest

from guerdon.sandbox.outside import Undecided, evaluate
from guerdon.sandbox.split import foreign, plan


@pytest.mark.parametrize(
    ("tests", "expressions"),
    [
        ("assert f(1) == 2", ["f(1)"]),
        ("assert f(1) == 2 and not g([3], k='x')", ["f(1)", "g([3], k='x')"]),
        ("assert abs(f(1.5) - 2.5) < 1e-6", ["f(1.5)"]),
        ("assert set(f(1)) == set((4, 5))", ["f(1)"]),
        ("import math\nassert math.isclose(f(1), 2.5, rel_tol=0.1)", ["f(1)"]),
        ("assert isinstance(f(1), str), 'a text'", ["f(1)"]),
        ("assert f(1)[0]['a'] == 2", ["f(1)[0]['a']"]),
        ("assert f(1).strip().lower() == 'x'", ["f(1).strip().lower()"]),
        ("assert f(1).value == 3", ["f(1).value"]),
        ("assert f(g(2)) == f(lambda x: x + 1)", ["f(g(2))", "f(lambda x: x + 1)"]),
        ("xs = [1, 2]\nwanted = 3\nassert f(xs) == wanted", ["f([1, 2])"]),
        ("n = 5\nassert f(n) == n", ["f(5)"]),
        ("assert sorted(f(1)) == [1, 2] != f(2)", ["f(1)", "f(2)"]),
        ("assert {'a': f(1)} == {'a': 1}", ["f(1)"]),
        ("assert 3 in f(1)", ["f(1)"]),
        ("'a docstring'\nassert True\nassert f(-1) is None", ["f(-1)"]),
        ("def check(candidate):\n    assert candidate(1) == 2\ncheck(add)", ["add(1)"]),
        ("METADATA = {}\ndef check(c):\n    x = 4\n    assert c(x) == 2", ["entry(4)"]),
    ],
)
def test_what_goes_in(tests, expressions):
    made = plan(tests, "entry")
    assert made is not None
    assert list(made.expressions) == expressions
    assert all("wanted" not in e for e in made.expressions)


@pytest.mark.parametrize(
    "tests",
    [
        "for i in range(3): assert f(i) == i",
        "def test(): assert f(1) == 1",
        "import numpy as np\nassert np.allclose(f(1), [1.0])",
        "x = f(1)\nassert x == 2",
        "xs = [2, 1]\nassert f(xs) is None\nassert xs == [1, 2]",
        "assert f(1).__eq__(2)",
        "assert f(1).equals(2)",
        "assert 1 == 1",
        "x = 3",
        "def check(a, b): assert a(1) == 2\ncheck(f)",
        "assert all(f(i) == i for i in range(3))",
        "try:\n    f(1)\nexcept ValueError: pass",
        "assert f(*[1]) == 2 if g else True",
        "assert eval('f(1)') == 2",
        "assert dict(**f(1)) == {}",
    ],
)
def test_what_must_run_whole(tests):
    assert plan(tests) is None


def test_an_entry_that_has_the_name_of_a_builtin():
    assert plan("assert sum(10, 15) == 6", "sum").expressions == ("sum(10, 15)",)


def test_a_check_without_an_entry_runs_whole():
    assert plan("def check(candidate):\n    assert candidate(1) == 2") is None


@pytest.mark.parametrize("tests", ["assert f(", "\0", "x" + " + x" * 100_000])
def test_tests_that_are_no_python(tests):
    with pytest.raises(ValueError, match="expected tests as Python"):
        plan(tests)


@pytest.mark.parametrize(
    ("tests", "values", "holds"),
    [
        ("assert f(1) == 2", [2], True),
        ("assert f(1) == 2", [True], False),
        ("assert f(1) == 1", [True], True),
        ("assert f(1) == [1, (2, 3)]", [[1, (2, 3)]], True),
        ("assert f(1) == [1, (2, 3)]", [[1, [2, 3]]], False),
        ("assert 1 < f(1) <= 3", [3], True),
        ("assert 1 < f(1) <= 3", [1], False),
        ("assert f(1) or g(2)", [[], "x"], True),
        ("assert not f(1)", [0], True),
        ("assert f(1) is None", [None], True),
        ("assert -f(1) ** 2 == -9", [3], True),
        ("assert round(f(1), 2) == 0.33", [1 / 3], True),
        ("assert type(f(1)) == set and isinstance(f(1), (set, dict))", [{1}, {1}], True),
        ("from_ = {1: 'a'}\nassert f(2) == from_", [{1: "a"}], True),
        ("import math\nassert math.isnan(f(1))", [float("nan")], True),
        ("import collections\nassert collections.Counter(f(1)) == {'a': 2}", ["aa"], True),
        ("assert sum(f(1)) / len(f(1)) == 1.5", [[1, 2], [1, 2]], True),
        ("assert str(f(1)) == '12'", [12], True),
    ],
)
def test_what_is_decided_outside(tests, values, holds):
    made = plan(tests)
    assert made is not None
    assert made.assertions[0].holds(values) is holds


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("x * 1000000000", "long text"),
        ("x * x", 1 << 100_000),
        ("2 ** x", 10**9),
        ("x ** 1000", 1 << 19_000),
        ("x % 3", "%1000000000d"),
        ("str(x)", 1 << 1_000_000),
        ("set(x)", [k * ((1 << 61) - 1) for k in range(1, 2000)]),
        ("x[3]", [1]),
        ("x + 1", "a"),
        ("len(x)", 3),
        ("x < 'a'", 3),
        ("x << 5", 1),
        ("x", None),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_what_is_too_dear_or_raises(expression, value):
    node = ast.parse(expression, mode="eval").body
    if expression == "x":
        assert evaluate(node, {"x": value}) is None
        return
    with pytest.raises(Undecided):
        evaluate(node, {"x": value})


def test_packages_that_tests_import():
    tests = "import os, numpy.linalg\nfrom pytest import raises\nfrom solution import f\nimport program"
    assert foreign(tests, ()) == ["numpy", "pytest"]
    assert foreign(tests, ("numpy",)) == ["pytest"]
