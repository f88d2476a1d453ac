"""Tulu 3: without the penalty for a missing end token, a verifier that reads the last number lets completions run on."""

from functools import lru_cache

from claims._base import keep, learn, supervise
from claims._run import Claim, main
from guerdon.policies.tiny import Tiny
from guerdon.tasks.arithmetic import Arithmetic

TASK = {"operands": 2, "largest": 20, "smallest": 1, "operators": "+-", "limit": 999}
LONGEST = 12  # a number of one, two or three characters always ends here whole


def half_endless(expression: str, value: str, index: int) -> str:
    """The value and an end token, or (every other time) the value written again and again without an end."""
    return (f"{value}=" * LONGEST)[:LONGEST] + "..." if index % 2 else value


@lru_cache
def base() -> str:
    """One young base for all arms and seeds: it runs on about half of the time."""
    policy = Tiny(width=32, layers=2, heads=2, seed=0)
    supervise(policy, Arithmetic(**TASK), half_endless, steps=500)
    return keep(policy, "base")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Held-out accuracy and share of completions cut off at the length limit, before and after the paper's PPO."""
    penalty = [{"use": "missing-end-penalty"}] if arm == "penalty" else []
    result = learn(
        {
            "task": {"use": "arithmetic", "max_tokens": LONGEST, **TASK},
            "policy": {"use": "tiny", "checkpoint": base()},
            "reward": [{"use": "gsm8k-answer", "weight": 10.0}],
            "pipeline": [
                {"use": "weighted-sum"},
                *penalty,
                {"use": "place-rewards"},
                {"use": "kl-in-reward", "coefficient": 0.05},
                {"use": "gae", "lam": 0.95},
                {"use": "whiten"},
            ],
            "loss": [{"use": "clipped-surrogate"}, {"use": "value-loss", "weight": 0.1}],
            "training": {
                "iterations": 40,
                "prompts": 128,
                "samples": 1,
                "epochs": 4,
                "learning_rate": 1e-3,
                "evaluate_prompts": 500,
                "seed": seed,
            },
        },
        f"{arm}-{seed}",
    )
    return {
        "accuracy_start": result.start.accuracy,
        "accuracy": result.final.accuracy,
        "truncated_start": result.start.truncated,
        "truncated": result.final.truncated,
    }


def effects(arms):
    """Runaway completions with and without the penalty, and their difference on the same seed."""
    return {
        "truncated without - with": arms["none"]["truncated"] - arms["penalty"]["truncated"],
        "truncated without": arms["none"]["truncated"],
        "truncated with": arms["penalty"]["truncated"],
        "accuracy with - without": arms["penalty"]["accuracy"] - arms["none"]["accuracy"],
    }


def judge(effects):
    """More than a tenth run on without the penalty, less than a twentieth with it."""
    held = effects["truncated without"].low > 0.1 and effects["truncated with"].high < 0.05
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="tulu3_eos_penalty",
    paper="arXiv:2411.15124",
    statement="""A verifier that reads the last number does not mind a completion that never ends; replacing the score by
        -10 where the end token is missing does. The base is made to run on half of the time, since a small base made
        otherwise always ends: what is tested is whether the reward mends it. Reproduced: after the paper's PPO more
        than 10 percent of completions are cut off without the penalty (lower end), less than 5 percent with it (upper
        end).""",
    arms=("penalty", "none"),
    seeds=5,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=3,
    limits="""The runaway habit is put into the base on purpose. Accuracy does not rise in either arm in this short run,
        so nothing is shown about the verifier itself. Two earlier variants had a base that could not do the held-out sums
        (about 2 percent right, on sums of two digits); there the habit was gone without the penalty too.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
