"""pPE: half the reward for the form is a trap for a weak model, which collects that half and learns nothing else."""

from functools import lru_cache

from claims._base import keep, learn, supervise
from claims._run import Claim, main
from guerdon.policies.tiny import Tiny
from guerdon.policies.tokenizer import ARITHMETIC
from guerdon.tasks.arithmetic import Arithmetic

TASK = {"operands": 2, "largest": 49, "smallest": 10, "operators": "+", "limit": 999}
TAGS = ["t", "a"]


def wrong(expression: str, value: str, index: int) -> str:
    """The right form around a number that has nothing to do with the problem; every other one lacks the first block."""
    number = 20 + index * 7919 % 79
    return (f"<t>{expression}</t>" if index % 2 else "") + f"<a>{number}</a>"


def right(expression: str, value: str, index: int) -> str:
    """The same, with the value as answer."""
    return (f"<t>{expression}</t>" if index % 2 else "") + f"<a>{value}</a>"


@lru_cache
def base(arm: str) -> str:
    """Weak: one block, has seen the form only. Able: two blocks, has seen right answers too. Both know half the form."""
    vocabulary = ARITHMETIC + "<>ta"
    if arm == "weak":
        policy = Tiny(width=24, layers=1, heads=2, vocabulary=vocabulary, seed=0)
        supervise(policy, Arithmetic(**TASK), wrong, steps=150)
    else:
        policy = Tiny(width=32, layers=2, heads=2, vocabulary=vocabulary, seed=0)
        supervise(policy, Arithmetic(**TASK), right, steps=500)
    return keep(policy, arm)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Held-out accuracy before and after GRPO on 0.5 accuracy + 0.5 form, and the parts in the last ten iterations."""
    result = learn(
        {
            "preset": "grpo",
            "task": {"use": "arithmetic", "max_tokens": 24, **TASK},
            "policy": {"use": "tiny", "checkpoint": base(arm)},
            "reward": [
                {"use": "ppe-accuracy", "name": "accuracy", "tag": "a", "weight": 0.5},
                {"use": "tag-format", "name": "form", "tags": TAGS, "weight": 0.5},
            ],
            "training": {
                "iterations": 120,
                "prompts": 16,
                "samples": 8,
                "learning_rate": 1e-3,
                "evaluate_prompts": 500,
                "seed": seed,
            },
        },
        f"{arm}-{seed}",
    )
    seen = [event for event in result.run.events() if event["event"] == "iteration"]

    def mean(key: str, rows: list) -> float:
        return sum(row[key] for row in rows) / len(rows)

    return {
        "accuracy_start": result.start.accuracy,
        "accuracy": result.final.accuracy,
        "form_start": mean("parts/form", seen[:1]),
        "form": mean("parts/form", seen[-10:]),
        "reward": mean("rewards", seen[-10:]),
    }


def effects(arms):
    """Where each arm ends, and how much further the able one gets in accuracy."""
    weak, able = arms["weak"], arms["able"]
    return {
        "weak reward": weak["reward"],
        "weak form": weak["form"],
        "weak accuracy": weak["accuracy"],
        "able accuracy gain": able["accuracy"] - able["accuracy_start"],
    }


def judge(effects):
    """The weak model ends near one half with the form learned and accuracy near 0; the able one does learn."""
    trapped = (
        abs(effects["weak reward"].mean - 0.5) < 0.05
        and effects["weak form"].low > 0.9
        and effects["weak accuracy"].high < 0.1
    )
    return "reproduced" if trapped and effects["able accuracy gain"].low > 0 else "not reproduced"


CLAIM = Claim(
    name="ppe_format_trap",
    paper="arXiv:2505.14157",
    statement="""With half the reward for the form, weak models collect that half and stay near 0 accuracy. Reproduced:
        on sums of two two-digit numbers a one-block model that knows the form but no sums ends at a reward of 0.45 to
        0.55, with form above 0.9 (lower end) and held-out accuracy below 0.1 (upper end), while under the same reward a
        model that has seen sums gains accuracy (lower end above 0).""",
    arms=("weak", "able"),
    seeds=5,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""The weak model is made weak: one block, and a base that has seen the form around unrelated numbers. The first
        variant, on one seed, stopped after 60 iterations with the form still rising (0.89).""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
