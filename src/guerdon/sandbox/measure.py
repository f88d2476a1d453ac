"""What programs cost: processor time and memory of their processes, as the kernel counts them.

One run says little. So each program runs several times, in rounds that take every program once, so that a slow minute
of the machine falls on all of them; the least of its runs counts, for noise only adds. What an empty program costs under
the same tests (starting, reading the tests) is taken off.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from guerdon.sandbox.judge import Judging, judge
from guerdon.sandbox.protocol import Check, Observed, Request, Verdict


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


def costs(sandbox: Judging, checks: Sequence[Check], *, repeats: int = 5) -> list[Cost]:
    """What each of several programs under the same tests costs, one run at a time.

    Raises:
        ValueError: fewer than 1 repeat.
    """
    if repeats < 1:
        raise ValueError(f"expected at least 1 repeat, got {repeats}")
    if not checks:
        return []
    all_checks = [replace(checks[0], program="pass"), *checks]
    least = [Cost(math.inf, math.inf)] * len(all_checks)
    for _ in range(repeats):
        for i, check in enumerate(all_checks):
            _, cost = observed(sandbox, check)
            least[i] = Cost(min(cost.seconds, least[i].seconds), min(cost.memory, least[i].memory))
    empty, *rest = least
    return [Cost(c.seconds - empty.seconds, max(0.0, c.memory - empty.memory)) for c in rest]
