"""Rewards of whole prompts turned upside down at random: how much of the gain is left?"""

from claims._base import learn
from claims._run import Claim, main

RATES = {"clean": 0.0, "flips 0.4": 0.4, "flips 0.5": 0.5}


def measure(arm: str, seed: int) -> dict[str, float]:
    """Held-out accuracy before and after PPO with a critic on four rollouts a prompt."""
    result = learn(
        {
            "task": {"use": "arithmetic"},
            "sampling": {"temperature": 1.4},
            "reward": [{"use": "final-answer"}],
            "pipeline": [
                {"use": "weighted-sum"},
                {"use": "flip-noise", "rate": RATES[arm]},
                {"use": "place-rewards"},
                {"use": "gae", "gamma": 1.0, "lam": 1.0},
                {"use": "whiten"},
            ],
            "loss": [{"use": "clipped-surrogate"}, {"use": "value-loss", "weight": 0.1}],
            "training": {
                "iterations": 45,
                "prompts": 64,
                "samples": 4,
                "learning_rate": 5e-4,
                "evaluate_prompts": 500,
                "seed": seed,
            },
        },
        f"{arm}-{seed}",
    )
    return {"accuracy_start": result.start.accuracy, "accuracy": result.final.accuracy}


def effects(arms):
    """Share of the clean gain that is left under flips."""
    gain = {name: arm["accuracy"] - arm["accuracy_start"] for name, arm in arms.items()}
    return {
        "share of the gain left at 0.4": gain["flips 0.4"] / gain["clean"],
        "share of the gain left at 0.5": gain["flips 0.5"] / gain["clean"],
        "clean gain": gain["clean"],
    }


def judge(effects):
    """At 0.4 more than four fifths of the gain are left, at 0.5 less than one fifth."""
    left, none = effects["share of the gain left at 0.4"], effects["share of the gain left at 0.5"]
    return "reproduced" if left.low > 0.8 and none.high < 0.2 else "not reproduced"


CLAIM = Claim(
    name="noisy_flips",
    paper="arXiv:2505.22653",
    statement="""With the rewards of 40% of the prompts turned around, PPO still gains nearly as much as without noise (5% to
    72% against 75% on maths in the paper), and nothing with 50%. Reproduced: more than four fifths of the clean gain are
    left at 0.4 and less than one fifth at 0.5, for all of the interval.""",
    arms=tuple(RATES),
    seeds=5,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=3,
    limits="""The embedded task and policy, as many steps in every arm. A first variant, with a weaker base of two layers, was
    stopped after three seeds because even the clean arm gained only four points; the second ran for 100 iterations in place of 45,
    which took ten minutes, and had the same verdict: under flips the accuracy fell far below its start. The signal of a flipped reward is 1 - 2 rate of
    the clean one, a fifth at 0.4; the paper trains until the curves are flat.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
