"""PAV on the arithmetic chain, in the trainer: progress under the best of four of the base, against the outcome alone."""

from typing import Any

from claims._base import scratch
from claims._run import Claim, main
from claims._slipping_chain import TASK, base
from guerdon.training import train

PROMPTS, SAMPLES, MOST, EVERY, LEVEL = 32, 8, 500, 10, 0.8
OUTCOME: dict[str, Any] = {
    "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}],
    "loss": [{"use": "clipped-surrogate"}],
}
ALPHA, DRAWS = 3.0, 8


def recipe(arm: str) -> dict[str, Any]:
    """What an arm adds: the outcome, the preset pav with a prover's exact values, or with those that draws estimate."""
    if arm == "outcome":
        return OUTCOME
    if arm == "own, drawn":
        return {"preset": "pav", "set": {"best-of-k.k": 1}, "rollouts": {"prefix_draws": DRAWS}}
    if arm == "best of 4, drawn":
        prover = {"use": "tiny", "checkpoint": base()}
        return {"preset": "pav", "rollouts": {"prefix_draws": DRAWS, "prover": prover}}
    own = [{"use": "progress", "make": "step_advantages"}]
    if arm == "best of 4":
        own = [{"use": "progress"}, {"use": "group-centre", "take": {"rewards": "step_rewards"}, "make": "step_advantages"}]
    return {
        "pipeline": [
            *OUTCOME["pipeline"],
            {"use": "claims._slipping_chain:writer_values"},
            {"use": "best-of-k", "k": 4},
            *own,
            {"use": "add-levels", "step_weight": ALPHA},
        ],
        "loss": OUTCOME["loss"],
    }


class Reached(Exception):
    """The level is reached: the rest of the run is not needed."""


def measure(arm: str, seed: int) -> dict[str, float]:
    """Answers drawn until the held-out accuracy first stands at the level; looked at every ``EVERY`` iterations."""
    seen: list[dict[str, Any]] = []

    def observe(event: str, data: dict[str, Any]) -> None:
        if event == "evaluation":
            seen.append(data)
            if data["accuracy"] >= LEVEL:
                raise Reached

    common = {
        "task": {"use": "arithmetic", **TASK},
        "policy": {"use": "tiny", "checkpoint": base()},
        "reward": [{"use": "final-answer"}],
        "training": {
            "iterations": MOST,
            "prompts": PROMPTS,
            "samples": SAMPLES,
            "learning_rate": 1e-3,
            "decay": "none",
            "evaluate_every": EVERY,
            "evaluate_prompts": 512,
            "evaluate_samples": 2,
            "save_rollouts_every": 0,
            "checkpoint_every": 10**6,
            "threads": 1,
            "seed": seed,
        },
    }
    try:
        train({**common, **recipe(arm)}, scratch() / f"{arm}-{seed}", observe=observe)
    except Reached:
        pass
    return {
        "samples": float(PROMPTS * SAMPLES * seen[-1]["iteration"]),
        "accuracy_start": seen[0]["accuracy"],
        "accuracy": seen[-1]["accuracy"],
        "highest": max(data["accuracy"] for data in seen),
    }


def effects(arms):
    """Ratios of answers drawn until the level: above 1, the second needs fewer."""
    samples = {name: got["samples"] for name, got in arms.items()}
    return {
        "samples outcome / best of 4": samples["outcome"] / samples["best of 4"],
        "samples outcome / own, drawn": samples["outcome"] / samples["own"],
        "samples own / best of 4": samples["own"] / samples["best of 4"],
    }


def judge(effects):
    """The distinct prover saves samples."""
    return "reproduced" if effects["samples outcome / best of 4"].low > 1 else "not reproduced"


CLAIM = Claim(
    name="chain_progress",
    paper="arXiv:2410.08146",
    statement="""x""",
    arms=("outcome", "best of 4", "own"),
    seeds=4,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
