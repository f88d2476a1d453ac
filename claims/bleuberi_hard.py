"""BLEU as the reward, on the hardest, the middle or the easiest prompts: from which does a policy learn most?"""

from functools import partial

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._slots import train_slots
from guerdon.signals import bleuberi, select_by_score

SLOTS, KINDS, WORDS = 5, 6, 12
POOL, CHOSEN, HELD_OUT, DRAWS = 200, 24, 64, 4
GROUP, STEPS, RATE = 8, 40, 0.1


def measure(arm: str, seed: int) -> dict[str, float]:
    """Gain in BLEU on prompts that were in no pool. What is asked at a place decides its word, whatever else is asked."""
    generator = torch.Generator().manual_seed(seed)
    gold = torch.randint(0, WORDS, (SLOTS, KINDS), generator=generator)
    skill = 1 + 2 * torch.randn(SLOTS, KINDS, generator=generator)
    base = torch.randn(SLOTS, KINDS, WORDS, generator=generator).scatter_add(2, gold[..., None], skill[..., None])
    weights = [table.clone().requires_grad_() for table in base]
    pool = torch.randint(0, KINDS, (POOL, SLOTS), generator=generator)
    held_out = torch.randint(0, KINDS, (HELD_OUT, SLOTS), generator=generator)
    score = partial(_score, gold)
    first = score(pool, _sample(_logits(weights, pool), 1, generator))[:, 0]
    chosen = pool[select_by_score(first, CHOSEN, mode=arm)]  # pyright: ignore[reportArgumentType]
    before = float(score(held_out, _sample(_logits(weights, held_out), DRAWS, generator)).mean())
    spread = []
    train_slots(
        lambda: _logits(weights, chosen),
        weights,
        partial(score, chosen),
        group=GROUP,
        steps=STEPS,
        rate=RATE,
        generator=generator,
        watch=lambda step, choices, rewards: spread.append(float(rewards.std(1).mean())),
    )
    after = float(score(held_out, _sample(_logits(weights, held_out), DRAWS, generator)).mean())
    return {"before": before, "gain": after - before, "spread in a group at first": spread[0]}


def _logits(weights: list[Tensor], asked: Tensor) -> list[Tensor]:
    return [table[asked[:, k]] for k, table in enumerate(weights)]


def _sample(logits: list[Tensor], count: int, generator: torch.Generator) -> Tensor:
    chance = [table.detach().softmax(-1) for table in logits]
    return torch.stack([torch.multinomial(c, count, replacement=True, generator=generator) for c in chance], -1)


def _score(gold: Tensor, asked: Tensor, choices: Tensor) -> Tensor:
    wanted = gold[torch.arange(SLOTS), asked]
    said = [_text(row) for row in choices.flatten(0, 1).tolist()]
    references = [_text(row) for row in wanted.tolist() for _ in range(choices.shape[1])]
    return bleuberi(said, references).reshape(choices.shape[:2])


def _text(words: list[int]) -> str:
    return " ".join(f"w{word}" for word in words)


def effects(arms):
    """Differences in gain, each from the same base policy and pool."""
    gain = {name: arm["gain"] for name, arm in arms.items()}
    spread = {name: arm["spread in a group at first"] for name, arm in arms.items()}
    return {
        "gain, hard - easy": gain["hard"] - gain["easy"],
        "gain, hard - medium": gain["hard"] - gain["medium"],
        "gain, hard": gain["hard"],
        "spread in a group at first, hard - easy": spread["hard"] - spread["easy"],
    }


def judge(effects):
    """Hard prompts teach more than easy ones and than the middle."""
    held = effects["gain, hard - easy"].low > 0 and effects["gain, hard - medium"].low > 0
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="bleuberi_hard",
    paper="arXiv:2505.11080",
    statement="""With BLEU against a reference as the reward, the prompts on which the base policy scores lowest are the best
        ones to train on. Reproduced: the gain in BLEU on other prompts is larger from the hardest prompts than from the
        easiest, and than from the middle, each for all of its interval.""",
    arms=("hard", "medium", "easy"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Sentences of five words, each decided by what is asked at its place, tables for a policy, one reference. The
        paper's larger finding, that BLEU agrees with people about as often as a reward model does, needs people's labels
        and is not tried.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
