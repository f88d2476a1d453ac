"""Checks per second in jailed workers, against a new jailed interpreter for each check. Bars: 300 per second on two cores,
and 5 times as many as the new interpreters; no process, no descriptor and no megabyte left behind after 10,000 checks in
a row, asked for a thousand at a time as an iteration would (what one call returns is the caller's, and is dropped).

The program is the smallest that is worth a check, so that what is timed is the sandbox. ``overhead`` is the whole time of
a check, one at a time, on an idle worker. The other side is the same jail, with the same libraries, around an interpreter
that runs one program and ends.
"""

import gc
import os
import statistics
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil

from benchmarks._harness import main
from guerdon.sandbox import Check, Limits, LocalSandbox
from guerdon.sandbox.jail import jailed

CHECKS, FRESH, SINGLE, ROW, WORKERS = 1000, 40, 500, 10_000, 2
PROGRAM = "def f(x):\n    return x + 1"
CHECK = Check(PROGRAM, "assert f(1) == 2\nassert f(2) == 3", limits=Limits(wall=30.0))


def fresh(command: list[str], environment: dict[str, str]) -> None:
    """One check in an interpreter of its own."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "3"]


def held(sandbox: LocalSandbox) -> dict[str, float]:
    """Processes, descriptors and megabytes of the sandbox and of this process."""
    gc.collect()
    own = psutil.Process()
    workers = [psutil.Process(w.process.pid) for w in sandbox._pool.workers]
    below = [p for w in workers for p in w.children(recursive=True)]
    return {
        "processes": len(workers) + len(below),
        "descriptors": own.num_fds() + sum(p.num_fds() for p in below),
        "own_mb": own.memory_info().rss / 2**20,
        "workers_mb": sum(p.memory_info().rss for p in [*workers, *below]) / 2**20,
    }


def measure() -> dict[str, Any]:
    start = jailed()
    inside = start.command[: start.command.index("-s")]
    command = [*inside, "-s", "-S", "-c", f"{PROGRAM}\nprint(f(1), f(2))"]
    with LocalSandbox(workers=WORKERS) as sandbox, ThreadPoolExecutor(WORKERS) as pool:
        sandbox.run_all([CHECK] * 20)
        rates, peers = [], []
        for _ in range(3):
            began = time.perf_counter()
            assert all(v.score == 1 for v in sandbox.run_all([CHECK] * CHECKS))
            rates.append(CHECKS / (time.perf_counter() - began))
            began = time.perf_counter()
            list(pool.map(lambda _: fresh(command, start.environment), range(FRESH)))
            peers.append(FRESH / (time.perf_counter() - began))
        single = []
        for _ in range(SINGLE):
            began = time.perf_counter()
            sandbox.run(CHECK)
            single.append(1e3 * (time.perf_counter() - began))
        before = held(sandbox)
        for _ in range(ROW // CHECKS):
            assert all(v.score == 1 for v in sandbox.run_all([CHECK] * CHECKS))
        after = held(sandbox)
    single.sort()
    rate, peer = statistics.median(rates), statistics.median(peers)
    return {
        "ratio": rate / peer,
        "bars": {"ratio": 5.0, "checks_per_second": 300.0, "left_processes": 0, "left_descriptors": 0, "left_mb": 1.0},
        "checks_per_second": rate,
        "best_checks_per_second": max(rates),
        "left_processes": after["processes"] - before["processes"],
        "left_descriptors": after["descriptors"] - before["descriptors"],
        "left_mb": max(0.0, after["own_mb"] - before["own_mb"]) + max(0.0, after["workers_mb"] - before["workers_mb"]),
        "details": {
            "fresh_interpreters_per_second": peer,
            "overhead_ms_median": statistics.median(single),
            "overhead_ms_p99": single[int(0.99 * SINGLE)],
            "checks_in_a_row": ROW,
            "grown_own_mb": after["own_mb"] - before["own_mb"],
            "grown_workers_mb": after["workers_mb"] - before["workers_mb"],
            "workers": WORKERS,
            "load_average": os.getloadavg()[0],
        },
    }


if __name__ == "__main__":
    main("sandbox", measure)
