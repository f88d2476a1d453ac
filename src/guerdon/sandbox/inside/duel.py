"""Tests that cannot be taken apart: they run in one process and the program in another.

What the tests see of the program are stand-ins. A call goes over a pipe as plain values (`values`), and plain values or
an exception come back; whatever has no plain form stays in the program's process, and the tests hold its number. Neither
process may look into the other: no ptrace, no /proc, not dumpable. The program never sees the tests, and holds no
descriptor on which a verdict could be written.
"""

import ast
import builtins
import importlib
import json
import operator
import os
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from . import values, work

MESSAGE = 2 << 20
_NAMES, _HANDLES = 500, 10_000
_OPERATORS: dict[str, Callable[..., Any]] = {
    "len": len, "iter": iter, "next": next, "str": str, "int": int, "float": float, "bool": bool,
    "getitem": operator.getitem, "setitem": operator.setitem, "delitem": operator.delitem,
    "contains": operator.contains, "neg": operator.neg, "abs": abs, "invert": operator.invert,
    "enter": lambda x: x.__enter__(), "exit": lambda x, *_: x.__exit__(None, None, None),
    "instancecheck": lambda kind, x: isinstance(x, kind),
    "radd": lambda x, y: y + x, "rsub": lambda x, y: y - x, "rmul": lambda x, y: y * x,
    "rtruediv": lambda x, y: y / x,
    **{name: getattr(operator, name) for name in (
        "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lt", "le", "gt", "ge",
    )},
}  # fmt: skip
"""What a stand-in passes on. Not equality: an object of the program does not say itself whether it is what the tests
want; two stand-ins are equal where they stand for one object."""


class Line:
    """One message a line over two pipes."""

    def __init__(self, *, read: int, write: int):
        self.read, self.write = read, write
        self.held = b""
        self.calls = 0

    def send(self, message: Any) -> None:
        """Write one message."""
        text = memoryview(json.dumps(message).encode() + b"\n")
        while text:
            text = text[os.write(self.write, text) :]

    def receive(self) -> Any:
        """The next message; EOFError where the other side ended or floods."""
        while b"\n" not in self.held:
            piece = os.read(self.read, 65536)
            if not piece or len(self.held) > MESSAGE:
                raise EOFError("the program's process ended")
            self.held += piece
        text, self.held = self.held.split(b"\n", 1)
        return json.loads(text)


class Gone(BaseException):
    """The program's process ended: not to be caught by a test's ``except Exception``."""


# The program's side


def serve(program: str, line: Line) -> None:
    """Run a program and answer calls of its names until the tests end."""
    names = work.namespace("solution")
    kept: list[Any] = []
    places: dict[int, int] = {}

    def handle(value: Any) -> Any:
        if len(kept) >= _HANDLES:
            raise values.Unfit(f"more than {_HANDLES} objects")
        at = places.setdefault(id(value), len(kept))
        if at == len(kept):
            kept.append(value)
        kind = type(value).__name__
        if isinstance(value, types.ModuleType):
            kind = f"module {value.__name__}"
        elif isinstance(value, type) and issubclass(value, Exception):
            kind = f"raises {value.__name__}"
        return {"t": "object", "v": at, "n": kind}

    try:
        exec(compile(program, "program.py", "exec"), names)
        line.send({"names": [n for n in names if isinstance(n, str) and not n.startswith("__")][:_NAMES]})
    except BaseException as error:  # noqa: BLE001  told to the tests
        line.send({"load": work.said(error)})
        os._exit(0)
    while True:
        try:
            asked = line.receive()
        except EOFError:
            os._exit(0)
        try:
            made = _do(asked, names, kept)
            reply = {"v": values.encode(made, handle)}
        except BaseException as error:  # noqa: BLE001  told to the tests
            reply = {"e": work.said(error)}
        line.send(reply)


def _do(asked: dict[str, Any], names: dict[str, Any], kept: list[Any]) -> Any:
    target = names[asked["name"]] if "name" in asked else kept[asked["on"]]
    if "attribute" in asked:
        target = getattr(target, asked["attribute"])
    if "arguments" not in asked:
        return target
    arguments, options = values.decode(asked["arguments"], lambda n, _: kept[n])
    if "operator" in asked:
        return _OPERATORS[asked["operator"]](target, *arguments)
    return target(*arguments, **options)


# The tests' side


class Remote:
    """Stands for something in the program's process."""

    def __init__(self, line: Line, where: dict[str, Any], kind: str):
        object.__setattr__(self, "_it", (line, where, kind))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        line, where, _ = object.__getattribute__(self, "_it")
        return _ask(line, {**where, "attribute": name})

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        line, where, _ = object.__getattribute__(self, "_it")
        return _ask(line, {**where, "arguments": _arguments(arguments, options)})

    def __eq__(self, other: object) -> bool:
        mine = object.__getattribute__(self, "_it")[1]
        return isinstance(other, Remote) and object.__getattribute__(other, "_it")[1] == mine

    def __hash__(self) -> int:
        return hash(json.dumps(object.__getattribute__(self, "_it")[1]))

    def __repr__(self) -> str:
        return f"<{object.__getattribute__(self, '_it')[2]} of the program>"


def _passing(name: str) -> Any:
    def method(self: Remote, *arguments: Any) -> Any:
        line, where, _ = object.__getattribute__(self, "_it")
        given = () if name == "exit" else arguments
        return _ask(line, {**where, "operator": name, "arguments": _arguments(given, {})})

    return method


for _name in _OPERATORS:
    setattr(Remote, f"__{_name.rstrip('_')}__", _passing(_name))


def _arguments(arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    def handle(value: Any) -> Any:
        if isinstance(value, Remote):
            _, where, kind = object.__getattribute__(value, "_it")
            if "on" in where:
                return {"t": "object", "v": where["on"], "n": kind}
        raise values.Unfit(f"{type(value).__name__} cannot be handed to the program, which runs in another process")

    return values.encode([list(arguments), options], handle)


def _ask(line: Line, message: dict[str, Any]) -> Any:
    line.calls += "arguments" in message
    try:
        line.send(message)
        reply = line.receive()
        if "e" not in reply:
            return values.decode(reply["v"], lambda n, kind: _stand_in(line, n, kind))
        name, text = map(str, reply["e"])
    except (
        EOFError,
        OSError,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise Gone(str(error)) from None
    raise _error(name, message.get("operator") == "next")(text)


_RAISED: dict[str, type[Exception]] = {}
"""Exceptions that the program defines, by name, as the tests see them."""


def _stand_in(line: Line, at: int, kind: str) -> Any:
    """A stand-in; for an exception of the program's a class of that name, for a known module the module itself."""
    first, _, name = kind.partition(" ")
    if first == "raises":
        return _error(name, False)
    if first == "module" and (name in sys.stdlib_module_names or name == "numpy") and name in sys.modules:
        return sys.modules[name]
    return Remote(line, {"on": at}, kind)


def _error(name: str, iterating: bool) -> type[Exception]:
    """The class to raise: a plain one of Python's, else one of that name.

    An end of iteration passes only where something iterates: else it would end loops of the tests early.
    """
    known = getattr(builtins, name, None)
    if isinstance(known, type) and issubclass(known, Exception):
        ends = issubclass(known, StopIteration | StopAsyncIteration)
        if not issubclass(known, UnicodeError | Warning) and (iterating or not ends):
            return known
    return _RAISED.setdefault(name, type(name, (RuntimeError,), {}))


def judge(tests: dict[str, Any], line: Line, out: int) -> None:
    """Run tests against the program at the other end; the outcome, with the check's nonce, goes to ``out``."""
    try:
        passed, total, first = _outcome(tests, line)
    except BaseException as error:  # noqa: BLE001  the tests did not come to their end
        passed, total, first = 0, 1, ": ".join(work.said(error))
    told = {"nonce": tests["nonce"], "passed": passed, "total": total, "first": first[:300], "asked": line.calls > 0}
    os.write(out, json.dumps(told).encode() + b"\n")
    os._exit(0)


def _outcome(tests: dict[str, Any], line: Line) -> tuple[int, int, str]:
    hello = line.receive()
    if "load" in hello:
        return 0, 1, ": ".join(map(str, hello["load"]))
    module, real = types.ModuleType("solution"), _modules(tests["tests"])
    for name in map(str, hello["names"]):
        if name in real and name != tests.get("entry"):
            module.__dict__[name] = real[name]
        elif name == tests.get("entry") or not hasattr(builtins, name):
            module.__dict__[name] = _ask(line, {"name": name})
    for alias in ("solution", "program", "main"):
        sys.modules[alias] = module
    names = work.namespace("tests")
    names.update({k: v for k, v in module.__dict__.items() if not k.startswith("__")})
    exec(compile(tests["tests"], "tests.py", "exec"), names)
    runs = list(_runs(names, tests.get("entry")))
    passed, first = 0, ""
    for label, run in runs:
        try:
            run()
            passed += 1
        except Gone:
            raise
        except BaseException as error:  # noqa: BLE001  a test that fails
            first = first or f"{label}: {': '.join(work.said(error))}"
    return (passed, len(runs), first) if runs else (1, 1, "")


def _modules(tests: str) -> dict[str, Any]:
    """Modules that tests use as ``name.something``: the real ones, whatever the program calls by that name."""
    bases = {
        n.value.id for n in ast.walk(ast.parse(tests)) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)
    }
    found = {}
    for name in bases:
        real = "numpy" if name == "np" else name
        if real in sys.stdlib_module_names or real == "numpy":
            with suppress(ImportError):
                found[name] = importlib.import_module(real)
    return found


def _runs(names: dict[str, Any], entry: str | None) -> Iterator[tuple[str, Any]]:
    """``check(entry)`` where there is one, functions ``test_..``, and cases of unittest."""
    check = names.get("check")
    if isinstance(check, types.FunctionType) and entry:
        yield "check", lambda: check(names[entry])
    unittest = sys.modules.get("unittest")
    for name, value in list(names.items()):
        if isinstance(value, types.FunctionType) and name.startswith("test"):
            yield name, value
        elif unittest and isinstance(value, type) and issubclass(value, unittest.TestCase):
            for case in unittest.defaultTestLoader.loadTestsFromTestCase(value):
                yield str(case), _case(case)


def _case(case: Any) -> Any:
    def run() -> None:
        result = sys.modules["unittest"].TestResult()
        case.run(result)
        trouble = [*result.failures, *result.errors, *[(t, "unexpected success") for t in result.unexpectedSuccesses]]
        if trouble:
            raise AssertionError(trouble[0][1].strip().rsplit("\n", 1)[-1])

    return run
