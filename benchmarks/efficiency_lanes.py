"""How many programs may be measured at the same time: seconds, and how far their costs come out wrong, by lanes.

Programs whose work is a known share of the reference's, so that the level each deserves is known. ``ratio`` is the wall
clock of one lane over that of as many lanes as cores, where programs whose rounds contradict each other run again alone
(`program_efficiency`'s default); ``details`` say what each way costs in wrong levels and spread.
"""

import os
import statistics
import time
from typing import Any

from benchmarks._harness import main
from guerdon.sandbox import Check, LocalSandbox, SandboxUnavailable
from guerdon.sandbox.measure import costs

SHARES = (1.0, 0.97, 0.95, 0.85, 0.83, 0.75, 1.05, 0.6)
"""Work of each program over that of the reference. A margin of 0.1 calls those below 0.9 cheaper."""
WORK, ROUNDS, MARGIN = 200_000, 6, 0.1
CHECKED = "checked"
KINDS = {
    "arithmetic": "def total(n):\n    made = 0\n    for i in range(int(n * {share})):\n        made += i % 7\n    return n",
    "memory": "def total(n):\n    made = [0] * 1000003\n    for i in range(int(n * {share})):\n        made[i * 7919 % 1000003] += 1\n    return n",
}
"""A loop that lives in registers, and one that walks through 8 MB and shares the cache with its neighbours."""


def measure() -> dict[str, Any]:
    """Both kinds of program: one lane, one per core, and one per core with the check, in turns."""
    try:
        sandbox = LocalSandbox()
    except SandboxUnavailable:
        sandbox = LocalSandbox(unsafe_local=True)
    cores = os.cpu_count() or 1
    test = f"assert total({WORK}) == {WORK}"
    told: dict[str, Any] = {}
    for kind, text in KINDS.items():
        checks = [Check(text.format(share=share), test) for share in SHARES]
        ways = {"1 lane": (1, None), f"{cores} lanes": (cores, None), CHECKED: (cores, MARGIN / 2)}
        seen: dict[str, list[float]] = {way: [] for way in ways}
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(ROUNDS):
            for way, (lanes, agree) in ways.items():
                began = time.perf_counter()
                made = costs(sandbox, checks, repeats=5, lanes=lanes, agree=agree)
                seconds[way].append(time.perf_counter() - began)
                seen[way] += [one.seconds / made[0].seconds / share for one, share in zip(made, SHARES, strict=True)]
        told[kind] = {way: _report(seconds[way], off) for way, off in seen.items()}
    one, many = (sum(told[kind][way]["seconds"] for kind in KINDS) for way in ("1 lane", CHECKED))
    return {"ratio": one / many, "details": {"cores": cores, **told, "isolation": not sandbox.unsafe_local}}


def _report(seconds: list[float], off: list[float]) -> dict[str, float]:
    """``off``: measured over true share of the reference's cost, round after round."""
    shares = SHARES * ROUNDS
    wrong = [(o * s < 1 - MARGIN) != (s < 1 - MARGIN) for o, s in zip(off, shares, strict=True)]
    errors = [abs(o - 1) for o in off]
    return {
        "seconds": statistics.median(seconds),
        "wrong_levels": sum(wrong) / (len(wrong) - ROUNDS),  # the reference against itself is right by itself
        "error_median": statistics.median(errors),
        "error_p95": sorted(errors)[int(0.95 * len(errors))],
    }


if __name__ == "__main__":
    main("efficiency_lanes", measure)
