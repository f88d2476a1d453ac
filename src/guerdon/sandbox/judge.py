"""From what was observed of a program to a verdict, outside the sandbox."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from guerdon.sandbox.inside.values import Unfit, decode
from guerdon.sandbox.outside import Undecided
from guerdon.sandbox.protocol import Check, Observed, Request, Verdict
from guerdon.sandbox.split import Plan, foreign, plan
from guerdon.sandbox.threads import side_by_side

_FIRST, _TESTS = 300, 100_000


class Judging:
    """``run`` and ``run_all`` of a sandbox, from its ``observe``."""

    workers = 1
    packages: tuple[str, ...] = ()

    def observe(self, request: Request) -> Observed:
        """Run a program and say what was seen."""
        raise NotImplementedError

    def run(self, check: Check) -> Verdict:
        """Run a check and judge what was seen.

        Raises:
            ValueError: tests that are no Python.
        """
        return judge(check, self.observe, self.packages)

    def run_all(self, checks: Sequence[Check]) -> list[Verdict]:
        """Several checks, as many at once as there are workers; verdicts in the order of the checks."""
        return side_by_side([partial(self.run, check) for check in checks], self.workers)

    def share(self, path: str | Path) -> str:
        """Let programs read a file; its path for them."""
        raise ValueError(f"expected a sandbox that shares files, got {type(self).__name__}; use a LocalSandbox")

    def close(self) -> None:
        """End every process."""

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def judge(check: Check, observe: Callable[[Request], Observed], packages: Sequence[str] = ()) -> Verdict:
    """Ask what a check needs to know, and judge the answers."""
    if check.pairs:
        return _pairs(check, observe)
    parts = plan(check.tests, check.entry)
    if parts is None:
        missing = foreign(check.tests, packages)
        if missing:
            told = f"unavailable: the tests import {missing[0]}, which the sandbox does not have; name it in packages"
            return Verdict((), told, known=False)
        request = Request("tests", check.program, (), check.limits, check.tests, check.entry)
        return _outcome(observe(request))
    return _calls(parts, observe(Request("calls", check.program, parts.expressions, check.limits)))


def _pairs(check: Check, observe: Callable[[Request], Observed]) -> Verdict:
    passed, reason = [], ""
    for given, wanted in check.pairs:
        seen = observe(Request("stdin", check.program, (given,), check.limits))
        if seen.ending == "unavailable":
            return Verdict((), f"unavailable: {seen.detail}", known=False)
        right = same_output(seen.stdout, wanted)
        passed.append(right and seen.ending == "ok")
        if not passed[-1] and not reason:
            last = seen.detail.strip().rsplit("\n", 1)[-1]
            told = {"raised": f"raised: {last}", "ok": f"wrong: printed {seen.stdout[:80]!r}"}
            reason = told.get(seen.ending, seen.ending)[:_FIRST]
    return Verdict(tuple(passed), reason)


def same_output(printed: str, wanted: str) -> bool:
    """Whether two texts are equal but for spaces at the ends of lines and empty lines at the end."""
    return [line.rstrip() for line in printed.rstrip().splitlines()] == [
        line.rstrip() for line in wanted.rstrip().splitlines()
    ]


def _calls(parts: Plan, seen: Observed) -> Verdict:
    if seen.ending == "unavailable":
        return Verdict((), f"unavailable: {seen.detail}", known=False)
    values: list[Any] = []
    missing: dict[int, str] = {}
    for i, line in zip(range(len(parts.expressions)), _lines(seen), strict=False):
        try:
            values.append(_value(line))
        except (Unfit, _Raised) as error:
            missing[i] = str(error)
            values.append(None)
    rest = _why(seen)
    passed, reason = [], ""
    for assertion in parts.assertions:
        lost = [missing.get(i, rest) for i in assertion.observed if i in missing or i >= len(values)]
        try:
            told = lost[0] if lost else "" if assertion.holds(values) else "wrong: an assertion fails"
        except Undecided as error:
            told = f"wrong: {error}"
        passed.append(not told)
        reason = reason or told
    return Verdict(tuple(passed), reason[:_FIRST])


class _Raised(Exception):
    """The program raised."""


def _lines(seen: Observed) -> Iterator[dict[str, Any]]:
    for line in seen.lines:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            said = {}
        yield said if isinstance(said, dict) else {}


def _value(line: dict[str, Any]) -> Any:
    if "e" in line or "load" in line:
        raise _Raised("raised: " + ": ".join(str(t) for t in list(line.get("e") or line["load"])[:2]))
    try:
        return decode(line["v"])
    except (ValueError, RecursionError, TypeError, KeyError, ArithmeticError, AttributeError, LookupError) as error:
        raise Unfit(f"wrong: a value that is none ({type(error).__name__})") from error


def _why(seen: Observed) -> str:
    """Why an expression has no value."""
    if seen.lines and '{"load"' in seen.lines[0][:8]:
        return next((str(error) for error in _load(seen)), "raised")
    return seen.ending if seen.ending != "ok" else "crashed"


def _load(seen: Observed) -> Iterator[_Raised | Unfit]:
    try:
        _value(next(_lines(seen)))
    except (_Raised, Unfit, TypeError) as error:
        if not isinstance(error, TypeError):
            yield error


def _outcome(seen: Observed) -> Verdict:
    """Of tests that ran whole: only what carries the nonce counts."""
    if seen.ending == "unavailable":
        return Verdict((), f"unavailable: {seen.detail}", known=False)
    said = next(_lines(seen), {})
    passed, total = said.get("passed"), said.get("total")
    if seen.ending != "ok" or not seen.nonce or said.get("nonce") != seen.nonce:
        return Verdict((False,), seen.ending if seen.ending != "ok" else "crashed")
    if type(passed) is not int or type(total) is not int or not 0 <= passed <= total or not 0 < total < _TESTS:
        return Verdict((False,), "crashed")
    if passed == total and not said.get("asked"):
        return Verdict((), "unavailable: the tests ask nothing of the program; correct the data", known=False)
    told = str(said.get("first", ""))[:_FIRST]
    return Verdict((True,) * passed + (False,) * (total - passed), f"raised: {told}" if passed < total else "")
