"""Comments polished by a semantic reward and a price for leaving the supervised policy: better than the supervised ones?"""

import torch

from claims._run import Claim, main
from claims._synonyms import log_chance, sample, world
from guerdon.credit import group_normalise

GROUP, STEPS, RATE, PRICE, DRAWS = 8, 150, 0.3, 0.05, 64


def measure(arm: str, seed: int) -> dict[str, float]:
    """Meaning, overlap and right places of the final policy, and its divergence from the supervised one."""
    generator = torch.Generator().manual_seed(seed)
    given = world(generator)
    reward = given.overlap if arm == "overlap" else given.meaning
    logits = given.supervised.clone()
    group = torch.arange(len(logits)).repeat_interleave(GROUP)
    for _ in range(0 if arm == "supervised" else STEPS):
        words = sample(logits, GROUP, generator)
        logits.requires_grad_()
        logp = log_chance(logits, words)
        total = reward(words) - PRICE * (logp.detach() - log_chance(given.supervised, words))
        advantages = group_normalise(total.flatten(), group).reshape(words.shape[:2])
        (gradient,) = torch.autograd.grad(-(advantages * logp).mean(1).sum(), logits)
        logits = (logits - RATE * gradient).detach()
    words = sample(logits, DRAWS, generator)
    return {
        "right places": float(given.right(words).mean()),
        "meaning": float(given.meaning(words).mean()),
        "overlap": float(given.overlap(words).mean()),
        "divergence": float((log_chance(logits, words) - log_chance(given.supervised, words)).mean()),
    }


def effects(arms):
    """Differences on the same worlds."""
    right = {name: arm["right places"] for name, arm in arms.items()}
    return {
        "right places, semantic - supervised": right["semantic"] - right["supervised"],
        "right places, semantic - overlap": right["semantic"] - right["overlap"],
        "meaning, semantic - supervised": arms["semantic"]["meaning"] - arms["supervised"]["meaning"],
        "overlap, semantic - supervised": arms["semantic"]["overlap"] - arms["supervised"]["overlap"],
        "meaning - right places, semantic": arms["semantic"]["meaning"] - right["semantic"],
        "meaning - right places, overlap": arms["overlap"]["meaning"] - right["overlap"],
    }


def judge(effects):
    """What the reward does not see is better, too."""
    return "reproduced" if effects["right places, semantic - supervised"].low > 0 else "not reproduced"


CLAIM = Claim(
    name="secrepair_comments",
    paper="arXiv:2401.03374",
    statement="""Reinforcement learning with a semantic reward makes comments better than supervised training alone.
        Reproduced: more places of the comment have the reference's meaning, which the reward itself does not look at, for
        all of the interval.""",
    arms=("supervised", "overlap", "semantic"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Sentences of five words from ten meanings with two words each, a table for a policy, group-normalised
        advantages in place of PPO with a value head. Paying for the words themselves puts more places right here than
        paying for their meaning, whatever their place. Nothing here is about vulnerabilities: only the comment's reward is
        tried, neither repair nor identification.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
