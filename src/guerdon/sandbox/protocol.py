"""What a sandbox is asked and what it says.

A `Check` is a program and what is asked of it. What is observed of the program (`Observed`) comes out of the sandbox;
whether that is what was wanted is decided outside, so that nothing the program writes is a verdict. Failure is a value:
a `Verdict` says which part of the check passed and, where the sandbox itself failed, that nothing is known (NaN).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

NAN = float("nan")

Ending = Literal["ok", "raised", "timeout", "memory", "crashed", "output", "unavailable"]
"""How a program ended: of itself; with an exception or an exit code; past its time; out of memory; by a signal; with more
output than allowed. ``unavailable``: it did not run, for want of a sandbox."""


@dataclass(frozen=True)
class Limits:
    """What one run of a program may use.

    Attributes:
        wall: seconds from start to end, for all calls of a program together.
        cpu: seconds of processor time; rounded up.
        memory: bytes of address space of a process, the interpreter's own (some 30 MB, numpy's 200) included.
        output: bytes on standard output; more ends the program.
        processes: further processes; 0: none, and no other file may be executed.
    """

    wall: float = 6.0
    cpu: float = 4.0
    memory: int = 1 << 30
    output: int = 1 << 16
    processes: int = 0

    def __post_init__(self):
        for name in ("wall", "cpu", "memory", "output"):
            if not getattr(self, name) > 0:
                raise ValueError(f"expected a positive {name}, got {getattr(self, name)}; give one")
        if self.processes < 0:
            raise ValueError(f"expected processes >= 0, got {self.processes}; give 0 for none")


@dataclass(frozen=True)
class Check:
    """A program and what it should do: tests as code, or pairs of input and output.

    Attributes:
        program: Python, as a policy wrote it.
        tests: Python: ``assert f(1) == 2``, a ``check(candidate)`` function, ``test_`` functions or unittest cases.
        entry: name of the function that ``check`` is given.
        pairs: (standard input, expected standard output) of the program run as a script.
        limits: of each run.
    """

    program: str
    tests: str = ""
    entry: str | None = None
    pairs: tuple[tuple[str, str], ...] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self):
        if bool(self.tests) == bool(self.pairs):
            raise ValueError("expected either tests or pairs in a Check, got both or neither; give one of them")


@dataclass(frozen=True)
class Request:
    """What goes into the sandbox: never an expected value, unless the tests cannot be taken apart.

    Attributes:
        mode: ``calls``: evaluate expressions among the program's names; ``stdin``: run it as a script; ``tests``: run
            test code against it, in a process of its own.
        items: expressions, the standard input, or nothing.
        tests: test code.
    """

    mode: Literal["calls", "stdin", "tests"]
    program: str
    items: tuple[str, ...]
    limits: Limits
    tests: str = ""
    entry: str | None = None


@dataclass(frozen=True)
class Observed:
    """What a sandbox saw.

    Attributes:
        ending: how the run ended.
        lines: of ``calls``: one JSON text for each expression that was evaluated (`inside.work.calls`); of ``tests``:
            the outcome with its nonce.
        stdout: of ``stdin``.
        detail: what helps a person: the end of standard error, or why there is no sandbox.
        nonce: the secret that the tests were given, of ``tests``.
        seconds: of processor time that the program's process took, its start included, as the kernel counts it (the
            program has no say in it); NaN where it is not known.
        memory: most bytes that it held at once, likewise.
    """

    ending: Ending
    lines: tuple[str, ...] = ()
    stdout: str = ""
    detail: str = ""
    nonce: str = ""
    seconds: float = field(default=NAN, compare=False)
    memory: float = field(default=NAN, compare=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check came to.

    Attributes:
        passed: for each assertion, pair or test: whether it holds.
        reason: "" where all hold; else why the first that does not fails (``timeout``, ``memory``, ``crashed``,
            ``output``, ``raised: ...``, ``wrong: ...``), or why nothing is known.
        known: False where the sandbox failed, and not the program.
    """

    passed: tuple[bool, ...]
    reason: str = ""
    known: bool = True

    @property
    def score(self) -> float:
        """1 where everything passed, else 0; NaN where nothing is known."""
        return float(bool(self.passed) and all(self.passed)) if self.known else NAN

    @property
    def share(self) -> float:
        """Share of what passed; NaN where nothing is known."""
        return sum(self.passed) / max(1, len(self.passed)) if self.known else NAN


@runtime_checkable
class Sandbox(Protocol):
    """Runs untrusted programs. Every method may be called from several threads."""

    def observe(self, request: Request) -> Observed:
        """Run a program and say what was seen; never raises for what the program does."""
        ...

    def run(self, check: Check) -> Verdict:
        """Run a check and judge what was seen."""
        ...

    def run_all(self, checks: Sequence[Check]) -> list[Verdict]:
        """Several checks, as many at once as there are workers; verdicts in the order of the checks."""
        ...

    def close(self) -> None:
        """End every process."""
        ...
