"""Does the code that a completion gives do what it should? It is run in a sandbox against tests."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch

from guerdon.method import method
from guerdon.sandbox import Check, Limits, LocalSandbox, RemoteSandbox
from guerdon.sandbox.lines import code_of
from guerdon.sandbox.split import plan
from guerdon.signals.answers import same_rows
from guerdon.signals.scores import FAILED, NAN, Scores

_NOTHING = "no tests"


@method(makes=("parts", "correct"))
def unit_tests(
    completions: Sequence[str],
    tests: Sequence[Any],
    entry: Sequence[str | None] | None = None,
    *,
    partial: bool = False,
    wall: float = 6.0,
    memory_mb: int = 1024,
    workers: int | None = None,
    packages: Sequence[str] = (),
    server: str | None = None,
    unsafe_local: bool = False,
) -> Scores:
    """Run the code of each completion against its row's tests: 1 where all pass, else 0.

        part = (passed / all  if partial  else  1[passed = all]),    correct = 1[passed = all]

    The code is the last block between ``` fences, or the whole text where there is none. ``tests`` of a row is

    - text: Python with ``assert f(1) == 2``, ``def check(candidate)``, ``test_`` functions or unittest cases;
    - a list of such texts (MBPP), of which each counts for the share;
    - pairs of standard input and expected output: ``{"inputs": [...], "outputs": [...]}`` (APPS), or a list of
      ``{"input": ..., "output": ...}``; the code is then run as a script, once for each.

    ``entry`` names the function that ``check`` is given; it is read only where the recipe binds it
    (``take = {entry = "entry_point"}``). Assertions over calls are decided outside the sandbox (`guerdon.sandbox.split`),
    so that the program never meets the values that it should give.

    Shapes: [B] out, each 0 to 1. NaN, not asked: a row without tests. NaN, failed: tests that are no tests, or the sandbox
    failed; a program that fails, hangs or attacks gets 0.

    Args:
        partial: pay the share of tests that pass. It pays programs that special-case the easy ones.
        wall: seconds for the program of a row and all its calls; for each pair where there are pairs.
        memory_mb: address space of a program.
        workers: programs at the same time; None: one per processor, or 16 on a server.
        packages: what programs may import beside the standard library, such as numpy.
        server: the address of a SandboxFusion server to run them on instead of this machine.
        unsafe_local: on this machine without a jail: see `guerdon.sandbox.LocalSandbox`.

    Raises:
        ValueError: as many tests as completions are expected.
        SandboxUnavailable: nothing here can hold untrusted code.
    """
    same_rows(completions, tests=tests)
    checks, reasons = check_rows(completions, tests, entry, wall, memory_mb)
    sandbox = sandbox_for(workers, tuple(packages), server, unsafe_local)
    part, correct = torch.full((len(completions),), NAN), torch.full((len(completions),), NAN)
    for i, verdict in zip(checks, sandbox.run_all(list(checks.values())), strict=True):
        part[i], correct[i] = verdict.share if partial else verdict.score, verdict.score
        if not verdict.known:
            reasons[i] = FAILED + verdict.reason
    return Scores((part, correct), reasons)


def check_rows(
    completions: Sequence[str],
    tests: Sequence[Any],
    entry: Sequence[str | None] | None,
    wall: float,
    memory_mb: int,
) -> tuple[dict[int, Check], list[str | None]]:
    """The check of each row that has tests, and why each other row has none."""
    limits = Limits(wall=wall, cpu=wall, memory=memory_mb << 20)
    names = [None] * len(completions) if entry is None else entry
    checks: dict[int, Check] = {}
    reasons: list[str | None] = [None] * len(completions)
    for i, (text, wanted, name) in enumerate(zip(completions, tests, names, strict=True)):
        try:
            check = _check(code_of(text), wanted, name, limits)
        except (ValueError, TypeError, KeyError) as error:
            reasons[i] = f"{FAILED}expected tests as text or pairs, got {type(error).__name__}: {str(error)[:200]}"
            continue
        if check is None:
            reasons[i] = _NOTHING
        else:
            checks[i] = check
    return checks, reasons


def _check(program: str, tests: Any, entry: str | None, limits: Limits) -> Check | None:
    """The check of a row; None where it has no tests."""
    if isinstance(tests, str) and tests.lstrip()[:1] in ("{", "["):
        tests = _read(tests)
    if not tests:
        return None
    if isinstance(tests, str):
        plan(tests, entry)  # says what is wrong with tests that are none; remembered for the check
        return Check(program, tests, entry, limits=limits)
    if isinstance(tests, Mapping):
        pairs = list(zip(tests["inputs"], tests["outputs"], strict=True))
    elif all(isinstance(t, str) for t in tests):
        return _check(program, "\n".join(tests), entry, limits)
    else:
        pairs = [(t["input"], t["output"]) for t in tests]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise TypeError("inputs and outputs that are no text")
    return Check(program, pairs=tuple(pairs), limits=limits) if pairs else None


def _read(text: str) -> Any:
    """Tests that stand in a column as JSON; text that is none stays text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@lru_cache(maxsize=4)
def sandbox_for(
    workers: int | None, packages: tuple[str, ...], server: str | None, unsafe_local: bool, shared: bool = False
) -> LocalSandbox | RemoteSandbox:
    """One sandbox for a process: its workers stay warm between iterations. One with ``shared`` files is another."""
    if server is not None:
        return RemoteSandbox(server, workers=workers or 16)
    return LocalSandbox(workers=workers, packages=packages, unsafe_local=unsafe_local, shared=shared)
