"""SPARK: what voting over verifications does to the errors of step labels, and what it cannot do."""

import torch

from claims._run import Claim, main
from guerdon.credit import majority_steps, step_augmented

STEPS, RIGHT, SHARED = 40_000, 0.7, 0.1
VOTES = (1, 5, 15)
ARMS = ("independent", "shared bias")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Share of wrong step labels after a vote; and what padding an answer with trivial steps adds to its reward."""
    g = torch.Generator().manual_seed(seed)
    told: dict[str, float] = {}
    truth = (torch.rand(STEPS, generator=g) < 0.5).float()
    fooled = torch.rand(STEPS, generator=g) < SHARED  # steps on which every verifier is wrong
    for votes in (*VOTES, 101):
        right = torch.rand(votes, STEPS, generator=g) < RIGHT
        if arm == "shared bias":
            right &= ~fooled
        label, _ = majority_steps(torch.where(right, truth, 1 - truth), torch.ones(votes, dtype=torch.bool))
        told[f"error_{votes}"] = float((label != truth).float().mean())
    steps = (torch.rand(1000, 4, generator=g) < 0.5).float()
    padded = torch.cat([steps, torch.ones(1000, 8)], 1)  # eight steps that nobody can call wrong
    y = torch.zeros(1000)
    before, after = (step_augmented(y, x, torch.ones(x.shape, dtype=torch.bool)).mean() for x in (steps, padded))
    told["padding"] = float(after - before)
    return told


def effects(arms):
    """Errors after 1, 5 and 15 votes, the floor, and the price of k / n."""
    apart, biased = arms["independent"], arms["shared bias"]
    return {
        "error of 15 votes": apart["error_15"],
        "error of 5 votes": apart["error_5"],
        "error of 1 vote": apart["error_1"],
        "error of 101 votes, shared bias": biased["error_101"],
        "error of 101 votes": apart["error_101"],
        "reward of a wrong answer by 8 trivial steps more": apart["padding"],
    }


def judge(effects):
    """The binomial tail to 0.01, a floor at the shared bias to 0.01, and a gain by padding."""
    known = {"error of 1 vote": 0.3, "error of 5 votes": 0.163, "error of 15 votes": 0.05}
    falls = all(abs(effects[name].mean - value) < 0.01 for name, value in known.items())
    floor = abs(effects["error of 101 votes, shared bias"].mean - SHARED) < 0.01
    padded = effects["reward of a wrong answer by 8 trivial steps more"].low > 0
    return "reproduced" if falls and floor and padded else "not reproduced"


CLAIM = Claim(
    name="spark_votes",
    paper="arXiv:2512.03244",
    statement="""Labels by majority over verifications that are right with chance .7 per step err as the binomial tail says,
        a bias that all verifications share sets a floor, and a share of right steps can be raised by trivial steps.
        Reproduced: errors of .30, .163 and .050 for 1, 5 and 15 votes, each within .01; with a tenth of the steps misread
        by every verifier, 101 votes still err on .10 of them, within .01; and eight trivial steps more raise the
        step-augmented reward of a wrong answer (lower end above 0).""",
    arms=ARMS,
    seeds=5,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Simulated verdicts: it shows what the vote does, not how good the verdicts of a language model are, which are not
        independent. A model trained on voted labels is not part of it.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
