"""Shaping and group advantages: 4,096 rollouts with 8 parts in under 5 ms, and under 2% of a trainer's step.

    python -m benchmarks.shaping_stage --json --save

What is measured is `Pipeline.run` as the trainer calls it, with what the signals said already there: a nested combination
of the eight parts (a gate, a product, a minimum, a clip, a scale, two weighted sums), a clip of the reward, and advantages
by group, with validation and lineage. The step is one iteration of the embedded recipe (512 rollouts of some ten tokens, of
a policy of less than a million weights) with those stages scaled to its rows, so the share is an upper bound for larger ones.
``ratio`` is 5 ms over the median.
"""

import statistics
import time
from typing import Any

import torch

from benchmarks._harness import main
from guerdon.batch import Rollouts
from guerdon.pipeline import compile_recipe
from guerdon.recipe import load
from guerdon.signals.scores import Outcome

ROWS, SAMPLES, REPEATS = 4096, 8, 200
BAR_MS, BAR_SHARE = 5.0, 0.02
PARTS = ("layout", "right", "steps", "kind", "safe", "style", "length", "repetition")

RECIPE: dict[str, Any] = {
    "reward": [{"use": "random-reward", "name": name} for name in PARTS],
    "pipeline": [
        {
            "use": "only-if",
            "of": [
                "layout",
                {
                    "use": "weighted-sum",
                    "name": "all",
                    "of": [
                        {"use": "product", "name": "task", "of": ["right", "steps"]},
                        {"use": "minimum", "name": "tone", "of": ["kind", "safe"], "weight": 0.5},
                        {
                            "use": "weighted-sum",
                            "name": "form",
                            "of": [
                                {"use": "clip-rewards", "name": "cut", "of": ["style"], "low": 0.0, "high": 1.0},
                                {"use": "scale-rewards", "name": "short", "of": ["length"], "scale": 0.1},
                                "repetition",
                            ],
                        },
                    ],
                },
            ],
        },
        {"use": "clip-rewards"},
        {"use": "group-normalise"},
    ],
    "loss": [{"use": "reinforce"}],
}


def stage(rows: int) -> float:
    """Seconds of the shaping and group stage on so many rows: the median."""
    draw = torch.Generator().manual_seed(0)
    pipeline = compile_recipe(load(RECIPE))
    batch = Rollouts(
        {
            "completions": [""] * rows,
            "prompts": [""] * rows,
            "group": torch.arange(rows) // SAMPLES,
        }
    )
    said = {name: Outcome({"parts": torch.rand(rows, generator=draw)}, [None] * rows, 0.0) for name in PARTS}
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        out = pipeline.run(batch, said=said)
        seconds.append(time.perf_counter() - began)
    assert out.batch["advantages"].isfinite().all()
    return statistics.median(seconds[REPEATS // 10 :])


def step() -> tuple[float, int]:
    """Seconds of an iteration of the embedded recipe, and its rollouts."""
    import tempfile
    from pathlib import Path

    from guerdon.training import train

    recipe = load(None)
    short = recipe.training.model_copy(update={"iterations": 12, "evaluate_prompts": 0})
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        result = train(recipe.model_copy(update={"training": short}), Path(folder) / "run")
        seconds = [event["seconds"] for event in result.run.events() if "seconds" in event]
    return statistics.median(seconds[2:]), short.prompts * short.samples


def measure() -> dict[str, Any]:
    """The stage at full size and at the size of the step."""
    full = stage(ROWS)
    iteration, rows = step()
    share = stage(rows) / iteration
    met = full * 1e3 <= BAR_MS and share <= BAR_SHARE
    return {
        "ratio": BAR_MS / (full * 1e3),
        "details": {
            "milliseconds": full * 1e3,
            "step_seconds": iteration,
            "share_of_step": share,
            "rows_of_step": rows,
            "met": met,
        },
    }


if __name__ == "__main__":
    main("shaping_stage", measure)
