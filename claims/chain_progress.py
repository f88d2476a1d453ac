"""PAV on the arithmetic chain, in the trainer: progress under the best of four of the base, against the outcome alone."""

from typing import Any

from claims._base import scratch
from claims._run import Claim, main
from claims._slipping_chain import TASK, base
from guerdon.training import train

PROMPTS, SAMPLES, MOST, LEVEL, ALPHA, DRAWS = 32, 8, 500, 0.8, 3.0, 8
SETTINGS = {"": (1, 10), ", wide": (5, 2)}
"""Ending of an arm's name -> how far off slips are at most, and iterations between two looks."""
OUTCOME: dict[str, Any] = {
    "pipeline": [{"use": "weighted-sum"}, {"use": "group-centre"}],
    "loss": [{"use": "clipped-surrogate"}],
}


def recipe(arm: str, reach: int) -> dict[str, Any]:
    """What an arm adds: the outcome alone, or the process advantage of PAV with one prover or another."""
    if arm == "outcome":
        return OUTCOME
    if arm == "own, drawn":
        return {"preset": "pav", "set": {"best-of-k.k": 1}, "rollouts": {"prefix_draws": DRAWS}}
    if arm == "best of 4, drawn":
        prover = {"use": "tiny", "checkpoint": base(reach)}
        return {"preset": "pav", "rollouts": {"prefix_draws": DRAWS, "prover": prover}}
    against_group = [
        {"use": "progress"},
        {"use": "group-centre", "take": {"rewards": "step_rewards"}, "make": "step_advantages"},
    ]
    return {
        "pipeline": [
            *OUTCOME["pipeline"],
            {"use": "claims._slipping_chain:writer_values", "reach": reach},
            {"use": "best-of-k", "k": 4},
            *([{"use": "progress", "make": "step_advantages"}] if arm == "best of 4, bare" else against_group),
            {"use": "add-levels", "step_weight": ALPHA},
        ],
        "loss": OUTCOME["loss"],
    }


class Reached(Exception):
    """The level is reached: the rest of the run is not needed."""


def measure(arm: str, seed: int) -> dict[str, float]:
    """Answers drawn until the held-out accuracy first stands at the level."""
    wide = ", wide" if arm.endswith(", wide") else ""
    name, (reach, every) = arm.removesuffix(", wide"), SETTINGS[wide]
    seen: list[dict[str, Any]] = []

    def observe(event: str, data: dict[str, Any]) -> None:
        if event == "evaluation":
            seen.append(data)
            if data["accuracy"] >= LEVEL:
                raise Reached

    common = {
        "task": {"use": "arithmetic", **TASK},
        "policy": {"use": "tiny", "checkpoint": base(reach)},
        "reward": [{"use": "final-answer"}],
        "training": {
            "iterations": MOST,
            "prompts": PROMPTS,
            "samples": SAMPLES,
            "learning_rate": 1e-3,
            "decay": "none",
            "evaluate_every": every,
            "evaluate_prompts": 512,
            "evaluate_samples": 2,
            "save_rollouts_every": 0,
            "checkpoint_every": 10**6,
            "threads": 1,
            "seed": seed,
        },
    }
    try:
        train({**common, **recipe(name, reach)}, scratch() / f"{arm}-{seed}", observe=observe)
    except Reached:
        pass
    return {
        "samples": float(PROMPTS * SAMPLES * seen[-1]["iteration"]),
        "accuracy_start": seen[0]["accuracy"],
        "accuracy": seen[-1]["accuracy"],
    }


def effects(arms):
    """Ratios of answers drawn until the level: above 1, the second needs fewer."""
    pairs = [("outcome", "best of 4"), ("outcome, wide", "best of 4, wide")]
    pairs += [("outcome, wide", f"{arm}, wide") for arm in ("best of 4, drawn", "own, drawn")]
    return {f"samples {a} / {b}": arms[a]["samples"] / arms[b]["samples"] for a, b in pairs}


def judge(effects):
    """The distinct prover saves samples in both settings."""
    saves = all(effects[f"samples outcome{s} / best of 4{s}"].low > 1 for s in SETTINGS)
    return "reproduced" if saves else "not reproduced"


CLAIM = Claim(
    name="chain_progress",
    paper="arXiv:2410.08146",
    statement="""x""",
    arms=("outcome", "best of 4", *(f"{a}, wide" for a in ("outcome", "best of 4", "best of 4, drawn", "own, drawn"))),
    seeds=4,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=4,
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
