"""Seconds that ``import guerdon`` takes beyond ``import torch``, in fresh interpreters. Bar: 0.5 s.

Also holds that no optional dependency is imported along with it.
"""

import subprocess
import sys
from statistics import median
from typing import Any

from benchmarks._harness import main

REPETITIONS = 7
BAR = 0.5
OPTIONAL = ["transformers", "datasets", "peft", "trl", "numba", "pandas", "reasoning_gym", "gymnasium", "tensorboard"]
PROGRAM = f"""
import sys, time
import torch
start, before = time.perf_counter(), time.process_time()
import guerdon
print(time.perf_counter() - start, time.process_time() - before)
found = sorted(set({OPTIONAL}) & set(sys.modules))
assert not found, f"import guerdon also imports {{found}}"
"""


def measure() -> dict[str, Any]:
    taken = []
    for _ in range(1 + REPETITIONS):  # the first one writes the byte code
        run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
        if run.returncode:
            raise SystemExit(run.stderr)
        taken.append([float(part) for part in run.stdout.split()])
    wall, cpu = zip(*taken[1:], strict=True)
    return {
        "ratio": BAR / median(wall),
        "bars": {"ratio": 1.0},
        "details": {
            "median_s": median(wall),
            "min_s": min(wall),
            "median_cpu_s": median(cpu),
            "bar_s": BAR,
            "repetitions": REPETITIONS,
            "not_imported": OPTIONAL,
        },
    }


if __name__ == "__main__":
    main("import_time", measure)
