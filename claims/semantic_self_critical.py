"""Self-critical training with a reward for meaning, or for the words themselves: what becomes of both?"""

import torch

from claims._run import Claim, main
from claims._synonyms import log_chance, sample, world
from guerdon.credit import greedy_baseline

SAMPLES, STEPS, RATE, DRAWS = 4, 150, 1.0, 64


def measure(arm: str, seed: int) -> dict[str, float]:
    """Meaning, overlap and right places of the final policy; and how the greedy baseline changes the gradient's variance."""
    generator = torch.Generator().manual_seed(seed)
    given = world(generator)
    reward = given.overlap if arm == "overlap" else given.meaning
    logits = given.supervised.clone()
    for _ in range(0 if arm == "likelihood" else STEPS):
        words = sample(logits, SAMPLES, generator)
        logits = logits - RATE * _gradient(logits, words, _advantages(reward, logits, words))
    words = sample(logits, DRAWS, generator)
    made = {name: float(f(words).mean()) for name, f in (("meaning", given.meaning), ("overlap", given.overlap))}
    start = sample(given.supervised, DRAWS, generator)
    advantages = _advantages(given.meaning, given.supervised, start)
    spread = [_variance(given.supervised, start, a) for a in (given.meaning(start), advantages)]
    return {**made, "right places": float(given.right(words).mean()), "variance ratio": spread[0] / spread[1]}


def _advantages(reward, logits, words):
    greedy = reward(logits.argmax(-1)[:, None]).expand(-1, words.shape[1])
    return greedy_baseline(reward(words).flatten(), greedy.flatten()).reshape(words.shape[:2])


def _gradient(logits, words, advantages):
    logits = logits.clone().requires_grad_()
    loss = -(advantages * log_chance(logits, words)).mean(1).sum()
    return torch.autograd.grad(loss, logits)[0]


def _variance(logits, words, advantages) -> float:
    """Total variance of the gradient of one sample for each prompt."""
    each = [_gradient(logits, words[:, i : i + 1], advantages[:, i : i + 1]) for i in range(words.shape[1])]
    return float(torch.stack(each).var(0).sum())


def effects(arms):
    """Differences on the same worlds, and the ratio of variances without and with the baseline."""
    meaning = {name: arm["meaning"] for name, arm in arms.items()}
    overlap = {name: arm["overlap"] for name, arm in arms.items()}
    return {
        "meaning, semantic - likelihood": meaning["semantic"] - meaning["likelihood"],
        "overlap, semantic - overlap": overlap["semantic"] - overlap["overlap"],
        "overlap, semantic - likelihood": overlap["semantic"] - overlap["likelihood"],
        "meaning, semantic - overlap": meaning["semantic"] - meaning["overlap"],
        "right places, semantic - likelihood": arms["semantic"]["right places"] - arms["likelihood"]["right places"],
        "variance without the greedy baseline / with it": arms["semantic"]["variance ratio"],
    }


def judge(effects):
    """Meaning rises, and the words are less the reference's than where words are rewarded."""
    held = effects["meaning, semantic - likelihood"].low > 0 and effects["overlap, semantic - overlap"].high < 0
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="semantic_self_critical",
    paper="arXiv:2108.12026",
    statement="""A semantic reward, with the greedy completion's as the baseline, keeps or raises the meaning of a policy
        fitted by likelihood while it takes other words than the reference. Reproduced: the semantic score is higher than
        after likelihood alone, and the overlap of words lower than where overlap is the reward, each for all of its
        interval.""",
    arms=("likelihood", "overlap", "semantic"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Sentences of five words from ten meanings with two words each, whose vectors have a cosine of 0.9; a table
        for a policy; no likelihood term is kept beside the reward, and no grammar can be lost. The first policy is weak,
        so overlap rises over it under either reward; it does not fall as it may in the paper. The semantic score is also
        what is trained on: right places is what it does not see.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
