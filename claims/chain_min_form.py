"""PURE on the arithmetic chain: a flawed score of steps is hacked by more steps when it is summed, not by its soft minimum."""

from claims._base import learn
from claims._flawed_chain import LONGEST, TASK, base
from claims._run import Claim, main

FORMS = {"sum": [], "min": [{"use": "min-form"}]}


def measure(arm: str, seed: int) -> dict[str, float]:
    """Held-out accuracy, length and share cut off at the limit, before and after."""
    result = learn(
        {
            "task": {"use": "arithmetic", "max_tokens": LONGEST, **TASK},
            "policy": {"use": "tiny", "checkpoint": base(1500)},
            "reward": [{"use": "final-answer"}, {"use": "claims._flawed_chain:flawed_steps", "name": "flawed"}],
            "pipeline": [
                {"use": "weighted-sum"},
                {"use": "leave-one-out"},
                {"use": "weighted-step-sum"},
                *FORMS[arm],
                {"use": "returns-to-go"},
                {"use": "group-centre", "take": {"rewards": "step_returns"}, "make": "step_advantages"},
                {"use": "add-levels"},
            ],
            "loss": [{"use": "clipped-surrogate"}],
            "training": {
                "iterations": 200,
                "prompts": 16,
                "samples": 8,
                "learning_rate": 3e-3,
                "evaluate_prompts": 300,
                "seed": seed,
            },
        },
        f"{arm}-{seed}",
    )
    return {
        "accuracy_start": result.start.accuracy,
        "accuracy": result.final.accuracy,
        "length_start": result.start.length,
        "length": result.final.length,
        "truncated": result.final.truncated,
    }


def effects(arms):
    """How much longer answers become, and what the two do to accuracy."""
    grown = {arm: arms[arm]["length"] - arms[arm]["length_start"] for arm in FORMS}
    return {
        "length sum - min": grown["sum"] - grown["min"],
        "length sum - start": grown["sum"],
        "length min - start": grown["min"],
        "accuracy min - sum": arms["min"]["accuracy"] - arms["sum"]["accuracy"],
        "accuracy min - start": arms["min"]["accuracy"] - arms["min"]["accuracy_start"],
    }


def judge(effects):
    """The sum writes more, the minimum does not, and is right more often."""
    hacked = effects["length sum - start"].low > 1
    sound = effects["length min - start"].high < 1 and effects["accuracy min - start"].low > 0
    return "reproduced" if hacked and sound and effects["accuracy min - sum"].low > 0 else "not reproduced"


CLAIM = Claim(
    name="chain_min_form",
    paper="arXiv:2504.15275",
    statement="""On the arithmetic chain, in the trainer: a process reward that scores a step of filler .9, a useful one .6
        and a wrong one -.5 is hacked by more steps when it is summed and not when its soft minimum is the return, with the
        verified answer as a second reward in both. Reproduced: with the sum held-out answers grow by more than a token
        (lower end), with the minimum they do not (upper end below one token) and are right more often than at the start
        (lower end above 0), and more often than with the sum (lower end above 0).""",
    arms=tuple(FORMS),
    seeds=4,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=3,
    limits="""Sums and differences of three numbers below ten, and a network of two layers whose training data held a step
        twice in every third answer, so that it knows filler. Of the variants two had a base that is right in a third of
        the cases: 60 iterations at a rate of 1e-3 changed little, and 200 at 3e-3 taught both to stop at once, since most
        steps were wrong and cost. The third, with a base that is right in 88 percent of the cases, is judged. Two of its
        seeds were seen before the thresholds were set.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
