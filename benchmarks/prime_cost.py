"""What process rewards that learn in the loop cost: an iteration of PRIME over an iteration of outcome-only RLOO.

Both train the embedded policy on the embedded task with the same batch, in one run, taking turns. PRIME adds a second
network that scores every token and learns from every answer, and a frozen reference. ``cost`` is the median time of its
iterations over that of the others (bar: at most 1.6), ``cost_of_update`` the same for the part after sampling. ``prime,
old`` takes the ratio to the policy as it sampled, a variant of the paper that needs no reference.
"""

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks._harness import main
from guerdon.training import train

ITERATIONS, ROUNDS = 12, 3
OLD = {
    "set": {"prm.reference": "old", "implicit-token-reward.take": {"ref_logp": "old_logp"}},
}
SIDES: dict[str, dict[str, Any]] = {
    "outcome": {"preset": "rloo"},
    "prime": {"preset": "prime"},
    "prime, old": {"preset": "prime", **OLD},
}


def recipe(side: dict[str, Any], seed: int) -> dict[str, Any]:
    return {
        "task": {"use": "arithmetic"},
        "reward": [{"use": "final-answer"}],
        **side,
        "training": {
            "iterations": ITERATIONS,
            "prompts": 128,
            "samples": 4,
            "micro_tokens": 2048,
            "learning_rate": 1e-4,
            "evaluate_prompts": 0,
            "save_rollouts_every": 0,
            "checkpoint_every": ITERATIONS,
            "seed": seed,
        },
    }


def seconds(side: dict[str, Any], seed: int) -> list[dict[str, float]]:
    """Time of each iteration but the first two, sampling and signals, and the rest."""
    seen: list[dict[str, float]] = []

    def observe(event: str, data: dict[str, Any]) -> None:
        if event == "iteration":
            rollouts = data["seconds/rollouts"]
            seen.append({"all": data["seconds"], "rollouts": rollouts, "update": data["seconds"] - rollouts})

    with tempfile.TemporaryDirectory() as folder:
        train(recipe(side, seed), Path(folder) / "run", observe=observe)
    return seen[2:]


def measure() -> dict[str, Any]:
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in SIDES}
    for seed in range(ROUNDS):
        for name, side in SIDES.items():
            taken[name] += seconds(side, seed)
    median = {
        name: {part: 1e3 * statistics.median(t[part] for t in times) for part in ("all", "rollouts", "update")}
        for name, times in taken.items()
    }
    cost = {name: median[name]["all"] / median["outcome"]["all"] for name in SIDES}
    return {
        "ratio": 1 / cost["prime"],
        "bars": {"cost": 1.6},
        "details": {"cost": cost, "milliseconds": median, "iterations": ITERATIONS, "rounds": ROUNDS},
    }


if __name__ == "__main__":
    main("prime_cost", measure)
