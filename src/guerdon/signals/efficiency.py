"""Is a program right, and does it need less time or memory than a reference?"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from guerdon.method import method
from guerdon.sandbox import Check, LocalSandbox
from guerdon.sandbox.measure import Cost, costs, physical_cores
from guerdon.signals.answers import same_rows
from guerdon.signals.programs import check_rows, sandbox_for
from guerdon.signals.scores import FAILED, NAN, Scores

PAPER = "arXiv:2312.05657"
LEVELS = (0.0, 1.0, 1.3, 2.0)
Measure = Literal["time", "memory"]
_UNREADABLE = tuple(f"raised: {name}" for name in ("SyntaxError", "IndentationError", "TabError"))
_LEAST = {"time": (0.002, "2 ms of processor time"), "memory": (float(1 << 20), "1 MiB of memory")}
"""What a reference must cost for a comparison with it to mean anything."""


@method(makes=("parts", "correct"), paper=PAPER)
def program_efficiency(
    completions: Sequence[str],
    tests: Sequence[Any],
    reference: Sequence[str | None],
    *,
    measure: Measure = "time",
    levels: tuple[float, float, float, float] = LEVELS,
    margin: float = 0.1,
    repeats: int = 5,
    lanes: int | None = None,
    wall: float = 6.0,
    memory_mb: int = 1024,
    workers: int | None = None,
    packages: Sequence[str] = (),
    unsafe_local: bool = False,
) -> Scores:
    """Pay a program by level: it does not compile, fails a test, passes, passes and is cheaper than the reference.

        part = levels[0]    it does not compile
               levels[1]    it compiles and fails a test
               levels[2]    all tests pass and cost >= (1 - margin) cost(reference)
               levels[3]    all tests pass and cost <  (1 - margin) cost(reference)
        correct = 1[all tests pass]

    ``tests`` are those of `unit_tests`; ``reference`` is a program that passes them (`efficiency_tiers` is the rule alone).

    The paper compares single times, which is a coin flip near equality. Here the cost is processor time or the most
    memory held, as the kernel counts it for the program's process, less what an empty program takes; the least of
    ``repeats`` runs, in rounds that take every program and reference once; and only more than ``margin`` cheaper is cheaper (0.1 is
    the paper's own threshold when it counts programs as optimised). A reference of less than 2 ms or 1 MiB is too small.
    Rounds measure ``lanes`` programs at a time: as many as there are cores, so that none shares one with another, and what
    remains between neighbours (caches, memory) falls on all, in another order each round. A program whose odd and even
    rounds differ by more than half of the margin is measured as often again, alone (`guerdon.sandbox.measure.costs`).
    ``lanes = 1`` is the least disturbed and the slowest. Only programs that pass are measured. Copying the reference is
    levels[2].

    Shapes: [B] out. NaN, not asked: no tests; no reference or one that is too small, where the program passes. NaN,
    failed: tests that are no tests, a reference that does not pass them, or the sandbox failed.

    Args:
        measure: ``time`` or ``memory``.
        lanes: programs that are measured at the same time; None: one per core (of the threads of one core, one), and no more
            than there are workers.
        wall: seconds for a program and all its calls; for each pair where there are pairs.
        memory_mb: address space of a program.
        workers: programs at the same time, while it is seen which are right; None: one per processor.
        packages: what programs may import beside the standard library.
        unsafe_local: see `guerdon.sandbox.LocalSandbox`.

    Reference: Duan et al., PerfRL, 2023, https://arxiv.org/abs/2312.05657.

    Raises:
        ValueError: as many tests and references as completions are expected; a margin outside [0, 1); fewer than 1 repeat
            or lane.
        SandboxUnavailable: nothing here can hold untrusted code.
    """
    same_rows(completions, tests=tests, reference=reference)
    if not 0 <= margin < 1:
        raise ValueError(f"expected a margin from 0 to below 1, got {margin}")
    checks, reasons = check_rows(completions, tests, None, wall, memory_mb)
    sandbox = sandbox_for(workers, tuple(packages), None, unsafe_local)
    assert isinstance(sandbox, LocalSandbox)
    verdicts = dict(zip(checks, sandbox.run_all(list(checks.values())), strict=True))
    cost, base = torch.full((2, len(completions)), NAN)
    groups = _groups(checks, reference, [i for i in checks if verdicts[i].score == 1])
    told = _references(sandbox, list(groups))
    measured = [(own, i) for own, rows in groups.items() if own not in told for i in rows]
    wanted = list(dict.fromkeys([*(own for own, _ in measured), *(checks[i] for _, i in measured)]))
    made = costs(sandbox, wanted, repeats=repeats, lanes=lanes or physical_cores(sandbox.workers), agree=margin / 2)
    found = {check: _of(one, measure) for check, one in zip(wanted, made, strict=True)}
    least, words = _LEAST[measure]
    for own, i in measured:
        if found[own] >= least:
            cost[i], base[i] = found[checks[i]], found[own]
        else:
            told[own] = f"the reference needs less than {words}: give tests with more work"
    for own, rows in groups.items():
        for i in rows:
            reasons[i] = told.get(own, reasons[i])
    for i in checks:
        if not verdicts[i].known:
            reasons[i] = FAILED + verdicts[i].reason
        elif verdicts[i].score == 1 and not reference[i]:
            reasons[i] = "no reference program"
    passed = torch.tensor([i in checks and verdicts[i].score == 1 for i in range(len(completions))])
    compiled = torch.tensor([i in checks and not _broken(verdicts[i].reason) for i in range(len(completions))])
    part = efficiency_tiers(compiled, passed, cost, base, levels=levels, margin=margin)
    correct = passed.float()
    unknown = torch.tensor(
        [i not in checks or not verdicts[i].known for i in range(len(completions))], dtype=torch.bool
    )
    return Scores((part.masked_fill(unknown, NAN), correct.masked_fill(unknown, NAN)), reasons)


def efficiency_tiers(
    compiled: Bool[Tensor, "*B"],
    passed: Bool[Tensor, "*B"],
    cost: Float32[Tensor, "*B"],
    base_cost: Float32[Tensor, "*B"],
    *,
    levels: tuple[float, float, float, float] = LEVELS,
    margin: float = 0.1,
) -> Float32[Tensor, "*B"]:
    """The level of each program (see `program_efficiency`); ``margin = 0`` is the paper's rule.

    Costs in any one unit; they are read only where ``passed``, and NaN there gives NaN.
    """
    cheaper = torch.where(cost < (1 - margin) * base_cost, levels[3], levels[2])
    cheaper = cheaper.masked_fill(cost.isnan() | base_cost.isnan(), NAN)
    return torch.where(passed, cheaper, torch.where(compiled, levels[1], levels[0]))


def _broken(reason: str) -> bool:
    return reason.startswith(_UNREADABLE)


def _groups(checks: dict[int, Check], reference: Sequence[str | None], rows: Sequence[int]) -> dict[Check, list[int]]:
    """The rows that are compared with one reference under the same tests."""
    groups: dict[Check, list[int]] = {}
    for i in rows:
        program = reference[i]
        if program:
            own = checks[i]
            key = Check(program, own.tests, own.entry, own.pairs, own.limits)
            groups.setdefault(key, []).append(i)
    return groups


def _references(sandbox: LocalSandbox, references: Sequence[Check]) -> dict[Check, str]:
    """What is wrong with those references that do not pass their own tests."""
    verdicts = sandbox.run_all(references)
    return {
        check: f"{FAILED}expected a reference that passes its tests, got {verdict.reason}; correct the data"
        for check, verdict in zip(references, verdicts, strict=True)
        if verdict.score != 1
    }


def _of(cost: Cost, measure: Measure) -> float:
    return cost.seconds if measure == "time" else cost.memory
