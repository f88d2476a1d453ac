"""Tests taken apart: what must be observed of the program, and what can be decided without it.

``assert f(3) == 9`` becomes the expression ``f(3)``, which goes into the sandbox, and the comparison with 9, which does
not: the program never meets the value that it should give. This works where a test is a list of assertions over calls
of the program's functions (HumanEval's ``check``, MBPP's lists). Anything else (loops, classes, unittest) is left whole
and runs in a process beside the program's (`inside.duel`).
"""

import ast
import builtins
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from guerdon.sandbox.outside import KNOWN, MODULES, evaluate

PROGRAM = ("solution", "program", "main")
"""Names under which tests may import the program."""
# fmt: off
_PURE_METHODS = frozenset([
    "lower", "upper", "strip", "lstrip", "rstrip", "split", "splitlines", "startswith", "endswith", "join", "replace",
    "title", "count", "index", "find", "keys", "values", "items", "tolist", "copy",
])
# fmt: on


@dataclass(frozen=True)
class Assertion:
    """One assertion: an expression over observed values, of which the i-th stands as the name ``_observed_i``."""

    test: ast.expr
    observed: tuple[int, ...]

    def holds(self, seen: Sequence[Any]) -> bool:
        """Whether it is true of the values.

        Raises:
            Undecided: it raises, or would take too long.
        """
        names = {f"_observed_{i}": seen[i] for i in self.observed}
        return bool(evaluate(self.test, names))


@dataclass(frozen=True)
class Plan:
    """Expressions for the sandbox, in order, and the assertions about them."""

    expressions: tuple[str, ...]
    assertions: tuple[Assertion, ...]


@lru_cache(maxsize=1024)
def plan(tests: str, entry: str | None = None) -> Plan | None:
    """Take tests apart; None where they must run as they are. Remembered, since a group of completions shares its tests.

    Raises:
        ValueError: tests that are no Python.
    """
    try:
        tree = ast.parse(tests)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ValueError(f"expected tests as Python, got {tests[:60]!r} ({error}); correct the data") from error
    try:
        return _Splitter(entry).plan(tree)
    except _Whole:
        return None


def foreign(tests: str, packages: Sequence[str]) -> list[str]:
    """Packages that tests import and the sandbox does not have: then it is the tests that cannot run."""
    wanted = set()
    for node in ast.walk(ast.parse(tests)):
        if isinstance(node, ast.Import):
            wanted |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            wanted.add(node.module.split(".")[0])
    return sorted(wanted - set(sys.stdlib_module_names) - set(packages) - set(PROGRAM))


class _Whole(Exception):
    """The tests cannot be taken apart."""


class _Splitter:
    def __init__(self, entry: str | None):
        self.entry = entry
        self.outside: dict[str, ast.expr] = {}
        self.inside: set[str] = set()
        self.used: set[str] = set()
        self.expressions: list[str] = []
        self.assertions: list[Assertion] = []
        self.candidate: str | None = None

    def plan(self, tree: ast.Module) -> Plan:
        self._statements(self._unwrapped(tree.body))
        if not self.assertions or any(_may_change(self.outside[name]) for name in self.inside & self.used):
            raise _Whole  # the program may have changed what the tests look at afterwards
        return Plan(tuple(self.expressions), tuple(self.assertions))

    def _unwrapped(self, body: list[ast.stmt]) -> list[ast.stmt]:
        """The body of ``def check(candidate)`` with what stands beside it, where ``check`` is called once, or is to be."""
        checks = [s for s in body if isinstance(s, ast.FunctionDef) and s.name == "check"]
        rest = [s for s in body if s not in checks and not _is_call_of(s, "check")]
        if not checks:
            return rest
        (check, *more), calls = checks, [s for s in body if _is_call_of(s, "check")]
        arguments = check.args
        if more or len(arguments.args) != 1 or arguments.vararg or arguments.kwarg or arguments.kwonlyargs:
            raise _Whole
        named = [s.value.args[0] for s in calls if isinstance(s, ast.Expr) and isinstance(s.value, ast.Call)]
        name = named[0].id if len(named) == 1 and isinstance(named[0], ast.Name) else self.entry
        if len(calls) > 1 or name is None:
            raise _Whole
        self.candidate, self.entry = arguments.args[0].arg, name
        return [*rest, *check.body]

    def _statements(self, body: list[ast.stmt]) -> None:
        for statement in body:
            match statement:
                case ast.Assert(test=ast.Constant(value=True)):
                    pass
                case ast.Assert(test=test):
                    before = len(self.expressions)
                    made = self._taken(test)
                    at = tuple(range(before, len(self.expressions)))
                    if not at:
                        raise _Whole
                    self.assertions.append(Assertion(made, at))
                case ast.Pass() | ast.Expr(value=ast.Constant()):
                    pass
                case ast.Import(names=names) if all(a.name in MODULES and not a.asname for a in names):
                    pass
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if _plain(value):
                    self.outside[name] = value
                case _:
                    raise _Whole

    def _taken(self, node: ast.expr) -> ast.expr:
        """The expression with every part that the program must say replaced by the name of its value."""
        if self._of_program(node):
            self.expressions.append(ast.unparse(_Renamed(self).visit(node)))
            return ast.Name(f"_observed_{len(self.expressions) - 1}", ast.Load())
        match node:
            case ast.Constant():
                return node
            case ast.Name(id=name):
                if name in self.outside:
                    self.used.add(name)
                    return self.outside[name]
                if name not in KNOWN:
                    raise _Whole
                return node
            case ast.Attribute(value=ast.Name(id=module), attr=attribute) if attribute in MODULES.get(module, {}):
                return node
            case ast.Call(func=function, args=arguments, keywords=keywords):
                known = (isinstance(function, ast.Name) and function.id in KNOWN) or (
                    isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name)
                )
                if not known or any(k.arg is None for k in keywords):
                    raise _Whole
                return ast.Call(
                    self._taken(function),
                    [self._taken(a) for a in arguments],
                    [ast.keyword(k.arg, self._taken(k.value)) for k in keywords],
                )
            case ast.Compare(left=left, ops=ops, comparators=others):
                return ast.Compare(self._taken(left), ops, [self._taken(o) for o in others])
            case ast.BoolOp(op=op, values=values):
                return ast.BoolOp(op, [self._taken(v) for v in values])
            case ast.UnaryOp(op=op, operand=operand):
                return ast.UnaryOp(op, self._taken(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return ast.BinOp(self._taken(left), op, self._taken(right))
            case ast.List(elts=elements):
                return ast.List([self._taken(e) for e in elements], ast.Load())
            case ast.Tuple(elts=elements):
                return ast.Tuple([self._taken(e) for e in elements], ast.Load())
            case ast.Set(elts=elements):
                return ast.Set([self._taken(e) for e in elements])
            case ast.Dict(keys=keys, values=values) if None not in keys:
                return ast.Dict([self._taken(k) for k in keys if k], [self._taken(v) for v in values])
            case _:
                raise _Whole

    def _of_program(self, node: ast.expr) -> bool:
        """A call of something of the program's, or a part of what such a call gave."""
        match node:
            case ast.Call(func=ast.Name(id=name)):
                known = name in KNOWN or name in self.outside or name in vars(builtins)
                return name == self.entry or not known
            case ast.Call(func=ast.Attribute(value=value, attr=method)):
                return method in _PURE_METHODS and self._of_program(value)
            case ast.Attribute(value=value, attr=name):
                return not name.startswith("_") and self._of_program(value)
            case ast.Subscript(value=value, slice=index):
                return _plain(index) and self._of_program(value)
            case _:
                return False


class _Renamed(ast.NodeTransformer):
    """Arguments of a call with the tests' own constants in place of their names."""

    def __init__(self, splitter: _Splitter):
        self.splitter = splitter

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id == self.splitter.candidate and self.splitter.entry:
            return ast.Name(self.splitter.entry, ast.Load())
        if node.id in self.splitter.outside:
            self.splitter.inside.add(node.id)
            return self.splitter.outside[node.id]
        return node


def _plain(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _is_call_of(statement: ast.stmt, name: str) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Call)
        and isinstance(statement.value.func, ast.Name)
        and statement.value.func.id == name
    )


def _may_change(node: ast.expr) -> bool:
    return any(isinstance(n, ast.List | ast.Dict | ast.Set) for n in ast.walk(node))
