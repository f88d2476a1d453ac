"""What programs cost: processor time and memory of their processes, as the kernel counts them.

One run says little. So each program runs several times, in rounds that take every program once, so that a slow minute
of the machine falls on all of them; the least of its runs counts, for noise only adds. What an empty program costs under
the same tests (starting, reading the tests) is taken off.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from guerdon.sandbox.judge import Judging, judge
from guerdon.sandbox.protocol import Check, Observed, Request, Verdict
from guerdon.sandbox.threads import side_by_side


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


def costs(sandbox: Judging, checks: Sequence[Check], *, repeats: int = 5, lanes: int = 1) -> list[Cost]:
    """What each of several programs costs, as many as ``lanes`` measured at the same time.

    Programs that run side by side share caches and memory, so that each may cost more; they share no processor as long as
    there are enough. Every round begins with another program, so that no program always has the same neighbours.

    Raises:
        ValueError: fewer than 1 repeat, or fewer than 1 lane.
    """
    if repeats < 1 or lanes < 1:
        raise ValueError(f"expected at least 1 repeat and 1 lane, got {repeats} and {lanes}")
    empty = [replace(check, program="pass") for check in checks]
    programs = list(dict.fromkeys([*empty, *checks]))
    least = dict.fromkeys(programs, Cost(math.inf, math.inf))
    for turn in range(repeats):
        first = turn % max(1, len(programs))
        order = programs[first:] + programs[:first]
        seen = side_by_side([partial(observed, sandbox, check) for check in order], lanes)
        for check, (_, cost) in zip(order, seen, strict=True):
            best = least[check]
            least[check] = Cost(min(cost.seconds, best.seconds), min(cost.memory, best.memory))
    return [
        Cost(least[own].seconds - least[bare].seconds, max(0.0, least[own].memory - least[bare].memory))
        for own, bare in zip(checks, empty, strict=True)
    ]
