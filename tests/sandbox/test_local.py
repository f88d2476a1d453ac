"""Honest programs, and programs that fail, in the jail and without one."""

import math

import pytest

from guerdon.sandbox import Check, Limits, LocalSandbox, Sandbox, SandboxUnavailable, jail

HUMAN_EVAL = """
METADATA = {"author": "somebody"}

def check(candidate):
    assert candidate([1, 2]) == 3, "two numbers"
    assert abs(candidate([1.5, 2]) - 3.5) < 1e-6
    assert True
    assert set(candidate([[1], [2]])) == {1, 2}
"""
SUM = "def total(xs):\n    first, *rest = xs\n    for x in rest:\n        first = first + x\n    return first"


@pytest.fixture(scope="module", params=["jailed", "unsafe"])
def sandbox(request):
    with LocalSandbox(workers=2, unsafe_local=request.param == "unsafe") as made:
        yield made


def test_it_is_a_sandbox(sandbox):
    assert isinstance(sandbox, Sandbox)


@pytest.mark.parametrize(
    ("check", "passed"),
    [
        (Check("def f(x): return x + 1", "assert f(1) == 2\nassert f(2) in (3, 4)\nassert f(3) == 5"), (1, 1, 0)),
        (Check(SUM, HUMAN_EVAL, entry="total"), (1, 1, 1)),
        (Check("def f(x): return x + 1", "for i in range(3):\n    assert f(i) == i + 1"), (1,)),
        (Check("print(int(input()) + 1)", pairs=(("1", "2\n"), ("2", " 3"), ("3", "4  \n\n"))), (1, 0, 1)),
        (Check("import sys\nprint(sum(map(int, sys.stdin)))", pairs=(("1\n2\n", "3"),)), (1,)),
        (Check("class S:\n    def __init__(self): self.v = 3", "assert S().v == 3"), (1,)),
    ],
)
def test_what_passes(sandbox, check, passed):
    verdict = sandbox.run(check)
    assert verdict.passed == tuple(map(bool, passed)), verdict.reason
    assert verdict.share == pytest.approx(sum(passed) / len(passed))


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("def f(x):\n    while True: pass", "timeout"),
        ("def f(x): return [0] * 10**11", "raised: MemoryError"),
        ("def f(x): raise KeyError(x)", "raised: KeyError: 1"),
        ("def f(x: return", "raised: SyntaxError"),
        ("import os\ndef f(x): os._exit(0)", "crashed"),
        ("def g(x): return 2", "raised: NameError"),
        ("def f(x): return 3", "wrong: an assertion fails"),
    ],
)
def test_why_it_fails(sandbox, program, reason):
    verdict = sandbox.run(Check(program, "assert f(1) == 2", limits=Limits(wall=1.0)))
    assert verdict.reason.startswith(reason)
    assert verdict.known
    assert verdict.score == 0


def test_tests_that_ask_nothing(sandbox):
    """They hold whatever the program is: nothing is known of it."""
    verdict = sandbox.run(Check("def total(x): return 3", "assert sum([1, 2]) == 3"))
    assert not verdict.known
    assert "ask nothing" in verdict.reason


OBJECTS = """
import unittest
class Empty(Exception): pass
class Stack:
    def __init__(self, *items): self.items = list(items)
    def push(self, item): self.items.append(item); return self
    def pop(self):
        if not self.items: raise Empty('nothing left')
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __getitem__(self, i): return self.items[i]
    def __contains__(self, x): return x in self.items
LIMIT = 7
def numbers(n):
    yield from range(n)
"""

WHOLE = """
from solution import Stack
import unittest

class TestStack(unittest.TestCase):
    def setUp(self):
        self.stack = Stack(1, 2)

    def test_items(self):
        self.assertEqual(len(self.stack), 2)
        self.assertEqual(list(self.stack), [1, 2])
        self.assertIn(2, self.stack)
        self.assertEqual(self.stack[0], 1)
        self.assertIs(type(self.stack.items), list)

    def test_identity(self):
        self.assertEqual(self.stack.push(3), self.stack)
        self.assertNotEqual(self.stack, Stack(1, 2, 3))
        self.assertIsInstance(self.stack, Stack)

    def test_its_own_exception(self):
        with self.assertRaises(Empty):
            Stack().pop()
        with self.assertRaises(IndexError):
            self.stack[9]

def test_generator():
    assert list(numbers(3)) == [0, 1, 2]
    assert LIMIT == 7
"""


def test_objects_stay_where_they_are(sandbox):
    verdict = sandbox.run(Check(OBJECTS, WHOLE))
    assert verdict.passed == (True,) * 4, verdict.reason


def test_more_output_than_allowed(sandbox):
    verdict = sandbox.run(Check("while True: print('x' * 1000)", pairs=(("", "x"),)))
    assert (verdict.score, verdict.reason) == (0, "output")


def test_order_of_many(sandbox):
    checks = [Check(f"def f(x): return {i}", "assert f(0) % 2 == 0") for i in range(8)]
    assert [v.score for v in sandbox.run_all(checks)] == [1, 0] * 4


def test_without_a_jail_nothing_is_known(monkeypatch):
    """No bubblewrap: a clear error at once, and NaN where it vanishes later."""
    sandbox = LocalSandbox(workers=1)
    monkeypatch.setattr(jail, "find_bubblewrap", refuse)
    with pytest.raises(SandboxUnavailable, match="unsafe_local=True"):
        LocalSandbox()
    verdict = sandbox.run(Check("def f(x): return 2", "assert f(1) == 2"))
    assert math.isnan(verdict.score)
    assert math.isnan(verdict.share)
    assert verdict.reason.startswith("unavailable: ")
    sandbox.close()


def refuse():
    raise SandboxUnavailable(f"expected bubblewrap, got none; {jail.ADVICE}")


@pytest.mark.parametrize("wrong", [{"wall": 0.0}, {"memory": -1}, {"processes": -1}])
def test_limits_that_are_none(wrong):
    with pytest.raises(ValueError, match="expected"):
        Limits(**wrong)


def test_a_check_asks_one_thing():
    with pytest.raises(ValueError, match="either tests or pairs"):
        Check("x = 1")
