"""Qwen2.5-Math: a reward model under a verifier against each alone, and best-of-8 by the model against a vote of 8."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from claims._run import Claim, main
from claims._sums import MODULUS, Problems, writer
from guerdon.credit import group_normalise
from guerdon.reward_models.losses import listwise_ranking
from guerdon.shaping import fuse_verifier

LEAN = 3.0
QUESTIONS, LIST, FITS = 256, 6, 300
UPDATES, EARLY, PROMPTS, SAMPLES, RATE = 200, 50, 16, 8, 0.03
TEST, VOTES = 500, 8
ARMS = ("model", "verifier", "fused")


def reward_model(table: Tensor, g: torch.Generator) -> Tensor:
    """A score [MODULUS, MODULUS, MODULUS] for each step, from lists of six answers of the first writer."""
    answers = Problems.draw(QUESTIONS, g, LIST).answer(table, g)
    group = torch.arange(QUESTIONS).repeat_interleave(LIST)
    scores = torch.zeros(MODULUS, MODULUS, MODULUS, requires_grad=True)
    optimiser = torch.optim.Adam([scores], lr=0.05)
    for _ in range(FITS):
        loss = listwise_ranking(answers.read(scores).sum(-1), answers.correct, group)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return scores.detach()


@lru_cache(maxsize=1)
def start(seed: int) -> tuple[Tensor, Tensor, dict[str, float]]:
    """The first writer, the reward model, and how well eight of its answers are chosen from."""
    g = torch.Generator().manual_seed(seed)
    table = writer(LEAN, g)
    model = reward_model(table, g)
    answers = Problems.draw(TEST, g, VOTES).answer(table, g)
    right = answers.correct.reshape(TEST, VOTES)
    last = answers.numbers[:, -1].reshape(TEST, VOTES)
    votes = torch.nn.functional.one_hot(last, MODULUS).sum(1).gather(1, last)
    best = answers.read(model).sum(-1).reshape(TEST, VOTES).argmax(-1)
    told = {
        "voted": float(right.gather(1, votes.argmax(-1, keepdim=True)).mean()),  # first of the most frequent
        "chosen": float(right.gather(1, best[:, None]).mean()),
        "any": float(right.amax(-1).mean()),
    }
    return table, model, told


def measure(arm: str, seed: int) -> dict[str, float]:
    """Accuracy before, early on (mean) and after GRPO; the model's mean score before and after."""
    first, model, told = start(seed)
    g = torch.Generator().manual_seed(1000 + seed)
    test = Problems.draw(TEST, g)
    table = first.clone().requires_grad_()
    optimiser = torch.optim.Adam([table], lr=RATE)
    group = torch.arange(PROMPTS).repeat_interleave(SAMPLES)
    accuracy, scored = [], []
    for _ in range(UPDATES):
        answers = Problems.draw(PROMPTS, g, SAMPLES).answer(table, g)
        score, correct = answers.read(model).sum(-1), answers.correct
        reward = {"model": score, "verifier": correct, "fused": fuse_verifier(score, correct)}[arm]
        loss = -(group_normalise(reward, group) * answers.logp(table).sum(-1)).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        accuracy.append(test.accuracy(table))
        scored.append(float(score.mean()))
    return {
        "accuracy_start": test.accuracy(first),
        "accuracy_early": float(np.mean(accuracy[:EARLY])),
        "accuracy": accuracy[-1],
        "score_start": scored[0],
        "score": float(np.mean(scored[-10:])),
        **told,
    }


def effects(arms):
    """The choice by the model against the vote; the fused reward against the verifier and against the model."""
    model, verifier, fused = (arms[arm] for arm in ARMS)
    return {
        "accuracy of 8, model - vote": fused["chosen"] - fused["voted"],
        "early accuracy, fused - verifier": fused["accuracy_early"] - verifier["accuracy_early"],
        "final accuracy, fused - verifier": fused["accuracy"] - verifier["accuracy"],
        "final accuracy, fused - model": fused["accuracy"] - model["accuracy"],
        "score gained, model alone": model["score"] - model["score_start"],
        "accuracy gained, model alone": model["accuracy"] - model["accuracy_start"],
    }


def judge(effects):
    """The model chooses better than a vote; fused learns faster than the verifier and ends no worse."""
    chooses = effects["accuracy of 8, model - vote"].low > 0
    faster = effects["early accuracy, fused - verifier"].low > 0
    no_worse = effects["final accuracy, fused - verifier"].low > -0.01
    return "reproduced" if chooses and faster and no_worse else "not reproduced"


CLAIM = Claim(
    name="qwen_fused_reward",
    paper="arXiv:2409.12122",
    statement="""The best of 8 answers by the reward model is right more often than a vote of 8, and a reward that fuses the
        model with a verifier serves reinforcement learning. Reproduced: on sums of six numbers modulo 7, the choice of a
        model trained on lists of six answers beats the vote (lower end above 0), GRPO on the fused reward is ahead of
        GRPO on the verifier alone over the first 50 updates (lower end above 0), and is not behind after 200 (lower end
        above -0.01).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""The writer and the model are tables, and the model adds up a score for each step, so that it can learn the task
        as such. The paper compares its fused reward with no other; that comparison is ours.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
