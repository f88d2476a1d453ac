"""What programs cost: processor time and memory of their processes, as the kernel counts them.

One run says little. So each program runs several times, in rounds that take every program once, so that a slow minute
of the machine falls on all of them; the least of its runs counts, for noise only adds, and where its rounds contradict each
other it runs again, alone. What an empty program costs under the same tests (starting, reading the tests) is taken off.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from guerdon.sandbox.judge import Judging, judge
from guerdon.sandbox.protocol import Check, Observed, Request, Verdict
from guerdon.sandbox.threads import side_by_side

_SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True)
class Cost:
    """What a check of a program costs beyond that of an empty one: processor seconds of all its runs, and the most bytes
    of any. NaN where the sandbox does not say."""

    seconds: float
    memory: float


def observed(sandbox: Judging, check: Check) -> tuple[Verdict, Cost]:
    """The verdict on a program, and what it took with everything counted."""
    seen: list[Observed] = []

    def look(request: Request) -> Observed:
        seen.append(sandbox.observe(request))
        return seen[-1]

    verdict = judge(check, look, sandbox.packages)
    memory = max((one.memory for one in seen), default=math.nan)
    return verdict, Cost(sum(one.seconds for one in seen) if seen else math.nan, memory)


def costs(
    sandbox: Judging, checks: Sequence[Check], *, repeats: int = 5, lanes: int = 1, agree: float | None = None
) -> list[Cost]:
    """What each of several programs costs, as many as ``lanes`` measured at the same time.

    Programs that run side by side share caches and memory, so that each may cost more; they share no processor as long as
    there are enough. Every round begins with another program, so that no program always has the same neighbours.

    ``agree``: the least processor times of a program's odd and of its even rounds are two measurements of one number. Where
    they differ by more than this share of it, the program and its empty one are measured ``repeats`` times more, one at a
    time. None, or fewer than 2 repeats: that is not looked at.

    Raises:
        ValueError: fewer than 1 repeat, or fewer than 1 lane.
    """
    if repeats < 1 or lanes < 1:
        raise ValueError(f"expected at least 1 repeat and 1 lane, got {repeats} and {lanes}")
    empty = [replace(check, program="pass") for check in checks]
    seen: dict[Check, list[Cost]] = {check: [] for check in (*empty, *checks)}
    _rounds(sandbox, list(seen), seen, repeats, lanes)
    if agree is not None and repeats > 1:
        pairs = zip(checks, empty, strict=True)
        again = [(own, bare) for own, bare in pairs if _apart(seen[own]) > agree * _net(seen[own], seen[bare])]
        _rounds(sandbox, list(dict.fromkeys(check for pair in again for check in pair[::-1])), seen, repeats, 1)
    return [
        Cost(_net(seen[own], seen[bare]), max(0.0, _least(seen[own], "memory") - _least(seen[bare], "memory")))
        for own, bare in zip(checks, empty, strict=True)
    ]


def physical_cores(most: int) -> int:
    """Cores that this process may use, threads of one core counted once, at least 1 and at most ``most``.

    Where the kernel does not say which processors are threads of one core, each counts for half.
    """
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    try:
        siblings = {_SIBLINGS.format(cpu) for cpu in allowed}
        cores = len({Path(file).read_text("utf-8").strip() for file in siblings})
    except OSError:
        cores = len(allowed) // 2
    return max(1, min(most, cores))


def _rounds(sandbox: Judging, programs: list[Check], seen: dict[Check, list[Cost]], repeats: int, lanes: int) -> None:
    for turn in range(repeats):
        first = turn % max(1, len(programs))
        order = programs[first:] + programs[:first]
        told = side_by_side([partial(observed, sandbox, check) for check in order], lanes)
        for check, (_, cost) in zip(order, told, strict=True):
            seen[check].append(cost)


def _apart(runs: list[Cost]) -> float:
    """How far the least seconds of the odd rounds are from those of the even ones."""
    return abs(_least(runs[::2], "seconds") - _least(runs[1::2], "seconds"))


def _net(runs: list[Cost], bare: list[Cost]) -> float:
    return _least(runs, "seconds") - _least(bare, "seconds")


def _least(runs: list[Cost], what: Literal["seconds", "memory"]) -> float:
    return min((value for run in runs if not math.isnan(value := getattr(run, what))), default=math.nan)
