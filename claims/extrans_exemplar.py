"""A noisy judge that compares with an exemplar, against the same judge on a scale of 100: which teaches more?"""

import torch
from torch import Tensor

from claims._run import Claim, main
from guerdon.credit import group_normalise

PROMPTS, WORDS, SYNONYMS, GROUP, STEPS, RATE = 32, 6, 4, 8, 150, 0.3
NOISE, BIAS = 0.15, 0.2


def measure(arm: str, seed: int) -> dict[str, float]:
    """Hidden quality of the final policy: each word of a sentence has synonyms of unequal worth, and a table chooses."""
    generator = torch.Generator().manual_seed(seed)
    worth = torch.rand(PROMPTS, WORDS, SYNONYMS, generator=generator)
    bias = BIAS * torch.randn(PROMPTS, 1, generator=generator)
    exemplar = worth.mean((1, 2)) + 0.25 * (worth.amax(2).mean(1) - worth.mean((1, 2)))
    logits = torch.zeros_like(worth, requires_grad=True)
    group = torch.arange(PROMPTS).repeat_interleave(GROUP)
    for _ in range(STEPS):
        chance = logits.softmax(-1)
        said = torch.multinomial(chance.detach().flatten(0, 1), GROUP, replacement=True, generator=generator)
        said = said.reshape(PROMPTS, WORDS, GROUP)
        quality = worth.gather(2, said).mean(1)
        noise = NOISE * torch.randn(2, PROMPTS, GROUP, generator=generator)
        reward = _reward(arm, quality, exemplar[:, None], bias, noise)
        advantage = group_normalise(reward.flatten(), group).reshape(PROMPTS, 1, GROUP)
        loss = -(advantage * chance.log().gather(2, said)).mean(2).sum()
        (gradient,) = torch.autograd.grad(loss, logits)
        logits = (logits - RATE * gradient).detach().requires_grad_()
    final = (logits.softmax(-1) * worth).sum(2).mean()
    return {"quality": float(final), "best": float(worth.amax(2).mean())}


def _reward(arm: str, quality: Tensor, exemplar: Tensor, bias: Tensor, noise: Tensor) -> Tensor:
    """The judge's liking of a prompt moves the absolute score of all its answers, and cancels in a comparison."""
    absolute = (100 * (quality + bias + noise[0])).clamp(0, 100).round()
    edges = torch.tensor([-0.2, -0.05, 0.05, 0.2])
    compared = 1.0 + torch.bucketize(quality - exemplar + noise[0], edges)
    second = quality + noise[1]  # another metric, as inexact as the judge, between 0 and 1
    return {"absolute": absolute, "compared": compared, "compared and second": compared + 5 * second}[arm]


def effects(arms):
    """Differences in hidden quality on the same worlds."""
    quality = {name: arm["quality"] for name, arm in arms.items()}
    return {
        "compared - absolute": quality["compared"] - quality["absolute"],
        "second metric adds": quality["compared and second"] - quality["compared"],
        "share of the best, compared": quality["compared"] / arms["compared"]["best"],
    }


def judge(effects):
    """Both the comparison and the second metric help, for all of their intervals."""
    both = effects["compared - absolute"].low > 0 and effects["second metric adds"].low > 0
    return "reproduced" if both else "not reproduced"


CLAIM = Claim(
    name="extrans_exemplar",
    paper="arXiv:2505.12996",
    statement="""A judge that compares a translation with an exemplar on five levels teaches more than one that gives a
        score of 100, and a second metric beside it helps. Reproduced: the final hidden quality is higher with the
        comparison, and higher again with the second metric, each for all of its interval.""",
    arms=("absolute", "compared", "compared and second"),
    seeds=20,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Sentences of six words with four synonyms, a table for a policy, a judge whose noise is normal and of the same
        size in all arms. What the judge thinks of a prompt is the same for all answers of a group, so the group's mean
        takes it away in the absolute arm too; what is left against it is the score's ceiling.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
