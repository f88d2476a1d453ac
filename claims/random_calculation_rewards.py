"""RandomCalculation: on problems that never leaked, only the correct reward helps; random and inverted ones do not."""

from functools import lru_cache

from claims._base import keep, learn, supervise
from claims._run import Claim, main
from guerdon.policies.tiny import Tiny
from guerdon.tasks.arithmetic import Arithmetic
from guerdon.tasks.derivation import worked

TASK = {"operands": [2, 3], "largest": 9, "smallest": 1, "operators": "+-", "limit": 999}
REWARD = {"correct": "random-calculation-reward", "random": "random-reward", "inverted": "inverted-reward"}


@lru_cache
def base() -> str:
    """One young base for all arms and seeds: it answers about a quarter of the held-out problems."""
    policy = Tiny(width=32, layers=2, heads=2, seed=0)
    supervise(policy, Arithmetic(**TASK), lambda expression, value, index: "=".join(worked(expression)), steps=400)
    return keep(policy, "base")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Held-out accuracy before and after GRPO on this reward."""
    result = learn(
        {
            "preset": "grpo",
            "task": {"use": "arithmetic", **TASK},
            "policy": {"use": "tiny", "checkpoint": base()},
            "reward": [{"use": "final-answer", "weight": 0.0}, {"use": REWARD[arm]}],
            "training": {
                "iterations": 120,
                "prompts": 64,
                "samples": 8,
                "learning_rate": 3e-4,
                "evaluate_prompts": 1000,
                "seed": seed,
            },
        },
        f"{arm}-{seed}",
    )
    return {"start": result.start.accuracy, "final": result.final.accuracy, "length": result.final.length}


def effects(arms):
    """Change of held-out accuracy under each reward."""
    return {f"gain {arm}": arms[arm]["final"] - arms[arm]["start"] for arm in REWARD}


def judge(effects):
    """Correct clearly up, random within 5 points of the start, inverted clearly down."""
    correct, random, inverted = (effects[f"gain {arm}"] for arm in REWARD)
    held = correct.low > 0.05 and abs(random.mean) < 0.05 and inverted.high < -0.05
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="random_calculation_rewards",
    paper="arXiv:2507.10532",
    statement="""Where no problem has leaked into pre-training, reinforcement learning improves accuracy with a correct
        reward only. Reproduced: on sums and differences of two or three digits, held-out accuracy rises by more than 5 points
        with the correct reward (lower end of the interval), moves by less than 5 points on average with a random one,
        and falls by more than 5 points with an inverted one (upper end).""",
    arms=tuple(REWARD),
    seeds=5,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=3,
    limits="""Two earlier variants, on one seed each, had sums of two numbers up to 20 (learning rates 1e-3 and 3e-4): correct
        rose by 2 to 3 points only, random fell by 11 to 22, inverted by 26 to 29. "Within 5 points" was set beforehand for
        the random reward; the paper calls it unstable, and here it does harm.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
