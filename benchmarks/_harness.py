"""What every benchmark shares: fair timing, the name of the machine, and the JSON that is kept.

A benchmark is a module with a ``measure() -> dict`` that holds ``ratio`` (time of the other over time of ours, or
whatever its bar is about) and ``details``; ``main(name, measure)`` does the rest.

Run one as ``python -m benchmarks.<name> [--json] [--save]`` from the root of the repository. Every side gets the threads
that a user gets, torch's own choice. On a shared machine several threads wait for each other, and times then say more
about the neighbours than about the code: wait for a quiet one, or say ``--threads 1``.
"""

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).with_name("results")


def times(sides: Mapping[str, Callable[[], Any]], repetitions: int, *, warm_up: int = 1) -> dict[str, dict[str, float]]:
    """Milliseconds of each side, interleaved: every repetition runs all of them, so that all see the same machine.

    The median is what a user gets on this machine as it was; the minimum what the code can do when left alone.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for repetition in range(warm_up + repetitions):
        for name, run in sides.items():
            start = time.perf_counter()
            run()
            if repetition >= warm_up:
                taken[name].append(1e3 * (time.perf_counter() - start))
    return {
        name: {"median_ms": statistics.median(ms), "min_ms": min(ms), "repetitions": repetitions}
        for name, ms in taken.items()
    }


def ratio(measured: Mapping[str, Mapping[str, float]], theirs: str, ours: str, of: str = "median_ms") -> float:
    return measured[theirs][of] / measured[ours][of]


def beside_a_copy(call: Callable[[], Any], repetitions: int, megabytes: int = 64) -> tuple[float, float]:
    """Least milliseconds of a call, and bytes per second, read and written, of a large copy made in turns with it.

    A shared machine's memory is as fast as its neighbours let it be, and that changes within a second.
    """
    source = torch.ones(megabytes << 18)
    target = torch.empty_like(source)
    taken = times({"copy": lambda: target.copy_(source), "call": call}, repetitions, warm_up=2)
    return taken["call"]["min_ms"], 2 * source.numel() * source.element_size() / (taken["copy"]["min_ms"] / 1e3)


def copy_bandwidth() -> float:
    """Bytes per second, read and written, of a large copy: best of ten."""
    return beside_a_copy(lambda: None, 10)[1]


def hardware() -> str:
    """Processor and number of cores as a slug, such as ``intel-xeon-platinum-8481c-2-cores``."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    model = re.sub(r"\((r|tm)\)|@.*|\bcpu\b", "", found[1].lower()) if found else "unknown-cpu"
    return re.sub(r"[^a-z0-9]+", "-", f"{model} {os.cpu_count()} cores").strip("-")


def main(name: str, measure: Callable[[], dict[str, Any]]) -> None:
    """Parse the command line, measure, print, and with ``--save`` keep the result under the name of the machine."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}")
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.add_argument("--save", action="store_true", help=f"write it to {RESULTS.name}/{name}-<hardware>.json")
    parser.add_argument(
        "--threads", type=int, help="threads of torch, and of our compiled walks (default: torch's own choice)"
    )
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    result = {"name": name, "hardware": hardware(), **_rounded(measure())}
    text = json.dumps(result, indent=2)
    print(text if options.json else f"{name}: ratio {result['ratio']}\n{text}")
    if options.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}-{result['hardware']}.json").write_text(text + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    return float(f"{value:.4g}") if isinstance(value, float) else value
