"""Factors of steps as code that a language model writes: asked for, merged, checked and run in a sandbox (LaRe)."""

import ast
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from guerdon.method import paper
from guerdon.sandbox import Limits, LocalSandbox, Request, Sandbox
from guerdon.sandbox.inside.values import Unfit, loads

FACTORS, CODE = 32, 16_384
"""Most factors of a step, and most bytes of a program."""
_NAME, _CHUNK = "factors", 64
_HOT, _COOL = 1.0, 0.3

Row = tuple[Sequence[str], Mapping[str, Any]]
"""The steps of a completion as texts, and the columns of its row."""


@runtime_checkable
class Proposer(Protocol):
    """Whatever writes the code: a language model behind a function, or a person's own rules."""

    def __call__(self, prompt: str, *, temperature: float) -> str:
        """The reply to a prompt: JSON with the code under ``Functions``, or a block of Python, or bare Python."""
        ...


class FactorsFailed(ValueError):
    """Code that is no function of factors; the message says why, as its writer needs to hear it."""


class FactorProgram:
    """Runs one program of factors, ``def factors(steps, **columns)``, on rows; what it said is remembered.

    Args:
        code: the program; it may import numpy and the standard library.
        sandbox: what runs it.
        limits: of one run over up to 64 rows.
    """

    def __init__(self, code: str, sandbox: Sandbox, limits: Limits | None = None):
        self.code, self.sandbox, self.limits = code, sandbox, limits or Limits()
        self.known: dict[str, list[list[float]] | str] = {}

    def __call__(self, rows: Sequence[Row]) -> list[list[list[float]] | str]:
        """For each row one list of numbers per step, or why it has none.

        Raises:
            RuntimeError: there is no sandbox any more.
        """
        calls = [_call(steps, columns) for steps, columns in rows]
        if len(self.known) > 64 * _CHUNK:
            self.known.clear()
        new = [
            (call, len(steps))
            for call, (steps, _) in dict(zip(calls, rows, strict=True)).items()
            if call not in self.known
        ]
        for start in range(0, len(new), _CHUNK):
            part = new[start : start + _CHUNK]
            seen = self.sandbox.observe(Request("calls", self.code, tuple(call for call, _ in part), self.limits))
            if seen.ending == "unavailable":
                raise RuntimeError(seen.detail)
            for i, (call, steps) in enumerate(part):
                self.known[call] = (
                    _read(seen.lines[i], steps) if i < len(seen.lines) else f"it {_ENDS.get(seen.ending, 'crashed')}"
                )
        return [self.known[call] for call in calls]

    def check(self, rows: Sequence[Row]) -> int:
        """Run it on sample rows; the number of factors.

        Raises:
            FactorsFailed: it cannot be run, or gives something else than one list of finite numbers per step, always of
                the same length.
        """
        if len(self.code.encode()) > CODE:
            raise FactorsFailed(f"expected at most {CODE} bytes of code, got {len(self.code.encode())}; shorten it")
        try:
            tree = ast.parse(self.code)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise FactorsFailed(f"expected Python, got {type(error).__name__}: {error}; correct it") from error
        if not any(isinstance(s, ast.FunctionDef) and s.name == _NAME for s in tree.body):
            raise FactorsFailed(f"expected a function {_NAME}(steps, **columns), got none; define it")
        made = self(rows)
        for row, told in zip(rows, made, strict=True):
            if isinstance(told, str):
                raise FactorsFailed(f"{told}, called as {_call(*row)[:300]}; correct the function")
        widths = {len(step) for row in made for step in row}
        if len(widths) != 1 or not 0 < min(widths) <= FACTORS:
            raise FactorsFailed(
                f"expected as many factors of every step, 1 to {FACTORS}, got {sorted(widths)}; correct the function"
            )
        return widths.pop()


@paper("arXiv:2412.11120")
def propose_factors(
    propose: Proposer,
    task: str,
    rows: Sequence[Row],
    sandbox: Sandbox,
    *,
    candidates: int = 5,
    rounds: int = 5,
    limits: Limits | None = None,
) -> FactorProgram:
    """Ask for a program of factors until one runs on sample rows.

    ``candidates`` programs are asked for, at temperature 1; where there are several, a second question asks to merge them
    into one, at 0.3. The answer is run on ``rows`` in the sandbox; what went wrong is told to the proposer, at most
    ``rounds`` times. Checked are syntax, name, shape, finiteness and that all steps have as many factors. The released
    code runs it without a sandbox and does not look for infinities.

    Reference: Qu et al., LaRe, 2024, https://arxiv.org/abs/2412.11120.

    Raises:
        ValueError: no answer ran, with the last error.
    """
    question = first_question(task, rows)
    replies = [_text(propose(question, temperature=_HOT)) for _ in range(candidates)]
    reply = replies[0] if candidates == 1 else _text(propose(merge_question(question, replies), temperature=_COOL))
    for left in reversed(range(rounds + 1)):
        program = FactorProgram(read_code(reply), sandbox, limits)
        try:
            program.check(rows)
            return program
        except FactorsFailed as error:
            if not left:
                raise ValueError(
                    f"expected factors that run from the proposer within {rounds} corrections, got {error}"
                ) from error
            reply = _text(propose(repair_question(question, program.code, str(error)), temperature=_COOL))
    raise AssertionError("unreachable")


def first_question(task: str, rows: Sequence[Row]) -> str:
    """What asks for a program: the task, what a step looks like, and the form of the answer."""
    steps, columns = rows[0]
    names = "".join(f", {name}" for name in _plain(columns))
    return f"""A policy is trained by reinforcement learning and sees one reward at the end of each completion. Say which
qualities of a single step matter for that reward, so that a small network can learn to weigh them.

Task: {task}
A completion is a list of steps, each a text, such as {json.dumps(list(steps)[:6])}.
Other things known of it: {json.dumps(_plain(columns))[:1000]}

Answer with one JSON object of three entries: "Understand", the task in your words; "Analyze", which behaviour in a step
is good or bad and how it shows; "Functions", the text of a Python function
    def {_NAME}(steps{names}, **others): ...
that returns one list of numbers per step, the same qualities in the same order for every step, at most {FACTORS}.
Use nothing but its arguments, the standard library and numpy. Numbers are finite for any text, an empty one included."""


def merge_question(question: str, replies: Sequence[str]) -> str:
    """What asks to make one program of several."""
    listed = "\n\n".join(f"Answer {i + 1}:\n{reply}" for i, reply in enumerate(replies))
    return f"{question}\n\nThese answers were given:\n\n{listed}\n\nMake one answer of the same form that holds every useful quality once, and add what is missing."


def repair_question(question: str, code: str, error: str) -> str:
    """What asks to correct a program."""
    return f"{question}\n\nThis was answered:\n\n{code}\n\nIt does not work: {error}\n\nAnswer again in the same form, corrected."


def read_code(reply: str) -> str:
    """The program in a reply: under ``Functions`` of a JSON object, in the last block of code, or all of it."""
    for text in (reply, *re.findall(r"```(?:json)?\s*\n(\{.*?\})\s*\n```", reply, re.DOTALL)):
        try:
            said = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(said, dict) and isinstance(said.get("Functions"), str):
            reply = said["Functions"]
            break
    blocks = re.findall(r"```(?:python)?[ \t]*\n(.*?)```", reply, re.DOTALL)
    return blocks[-1] if blocks else reply


def plain_sandbox(unsafe_local: bool) -> LocalSandbox:
    """One worker that has numpy.

    Raises:
        ValueError: there is no jail to be had here.
    """
    try:
        return LocalSandbox(workers=1, packages=("numpy",), unsafe_local=unsafe_local)
    except RuntimeError as error:
        raise ValueError(str(error)) from error


_ENDS = {"timeout": "took too long", "memory": "ran out of memory", "output": "returned too much"}


def _call(steps: Sequence[str], columns: Mapping[str, Any]) -> str:
    return f"{_NAME}({list(steps)!r}, **{_plain(columns)!r})"


def _plain(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that can be written down."""
    kept = {}
    for name, value in columns.items():
        try:
            if ast.literal_eval(repr(value)) == value:
                kept[name] = value
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return kept


def _read(line: str, steps: int) -> list[list[float]] | str:
    """One list of numbers per step out of what a call gave, or what is wrong with it."""
    try:
        said = json.loads(line)
    except ValueError:
        return "it wrote something else than a value"
    for key in ("load", "e"):
        if key in said:
            return f"it raised {': '.join(map(str, said[key]))}"
    try:
        made = loads(json.dumps(said["v"]))
        rows = [[float(number) for number in row] for row in made]
    except (Unfit, KeyError, TypeError, ValueError, OverflowError):
        return "it gave something else than one list of numbers per step"
    if len(rows) != steps:
        return f"it gave {len(rows)} lists for {steps} steps"
    if not all(math.isfinite(number) for row in rows for number in row):
        return "it gave a number that is not finite"
    if len({len(row) for row in rows}) > 1:
        return "it gave more factors of one step than of another"
    return rows


def _text(reply: Any) -> str:
    if not isinstance(reply, str):
        raise ValueError(f"expected text from the proposer, got {type(reply).__name__}; return the reply as it is")
    return reply
