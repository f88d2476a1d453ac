"""A step with a judge that takes two seconds: does anything but the judge take time?

512 rollouts of the embedded policy; a judge that answers each row two seconds after it is asked (it awaits, as a client
of a remote model does), two further remote signals of one second, and the exact verifier. The bar: the whole step, from
the first sampled token to the end of the update, in under 1.3 times of what the slowest signal alone takes for the same
512 rows. ``one after another`` is the same step without overlap, as far as a recipe can say so: signals run in turn,
after all of the generation (measured as the sum of their own times and the rest of the step).
"""

import asyncio
import time
from typing import Any

from benchmarks._harness import main
from guerdon.recipe import load
from guerdon.training.cast import Cast
from guerdon.training.counters import Counters
from guerdon.training.optimise import make_optimiser, update
from guerdon.training.parts import build
from guerdon.training.rollouts import collect

ROWS, SECONDS, CHUNKS, STEPS = 512, 2.0, 4, 3


async def judge(prompts: list[str], completions: list[str], *, seconds: float = SECONDS, **columns: Any) -> list[float]:
    """Scores a row ``seconds`` after it is asked, all rows of a call at once."""

    async def one(text: str) -> float:
        await asyncio.sleep(seconds)
        return float(len(text) % 2)

    return list(await asyncio.gather(*[one(text) for text in completions]))


def recipe(chunks: int) -> dict[str, Any]:
    here = "benchmarks.slow_judge:judge"
    return {
        "preset": "grpo",
        "task": {"use": "arithmetic"},
        "rollouts": {"chunks": chunks},
        "reward": [
            {"use": "final-answer"},
            {"use": here, "name": "judge", "weight": 0.1},
            {"use": here, "name": "style", "seconds": 1.0, "weight": 0.1},
            {"use": here, "name": "safety", "seconds": 1.0, "weight": 0.1, "batch": 64, "concurrency": 8},
        ],
        "training": {"prompts": ROWS // 8, "samples": 8, "evaluate_prompts": 0},
    }


def measure() -> dict[str, Any]:
    texts = {"prompts": ["?"] * ROWS, "completions": ["7"] * ROWS}
    began = time.perf_counter()
    asyncio.run(judge(**texts))
    alone = time.perf_counter() - began
    steps: dict[int, list[float]] = {}
    rest: list[float] = []
    for chunks in (1, CHUNKS):
        parts = build(load(recipe(chunks)))
        cast = Cast.of(parts)
        optimiser, counters = make_optimiser(cast.policy, parts.recipe.training), Counters()
        steps[chunks] = []
        for iteration in range(STEPS + 1):
            began = time.perf_counter()
            outcome, _ = collect(parts, cast, iteration)
            update(
                cast.policy,
                parts.pipeline,
                outcome.batch,
                optimiser,
                counters,
                iteration=iteration,
                temperature=parts.sampling.temperature,
            )
            whole = time.perf_counter() - began
            if iteration:  # the first pays for warm-up
                steps[chunks].append(whole)
                if chunks == 1:
                    slowest = max(said.seconds for said in outcome.said.values())
                    rest.append(whole - slowest + sum(said.seconds for said in outcome.said.values()))
    middle = {chunks: sorted(taken)[STEPS // 2] for chunks, taken in steps.items()}
    return {
        "ratio": middle[CHUNKS] / alone,
        "details": {
            "bar": "step / slowest signal alone < 1.3",
            "rows": ROWS,
            "judge_alone_s": alone,
            "step_s": {f"{chunks} chunks" if chunks > 1 else "1 chunk": taken for chunks, taken in steps.items()},
            "ratio_of_one_chunk": middle[1] / alone,
            "one_after_another_s": sorted(rest)[STEPS // 2],
        },
    }


if __name__ == "__main__":
    main("slow_judge", measure)
