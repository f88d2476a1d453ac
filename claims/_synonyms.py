"""Sentences of words that have a synonym each: a table for a policy, a reference, rewards by surface and by meaning."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from guerdon.signals import bleuberi, greedy_matching

PROMPTS, SLOTS, MEANINGS = 12, 5, 10
LIKENESS = 0.9
"""Cosine of the two words of one meaning; words of different meanings are orthogonal."""

Reward = Callable[[Tensor], Tensor]
"""Words [P, G, SLOTS] -> rewards [P, G]."""


@dataclass(frozen=True)
class World:
    """References [P, SLOTS], the logits [P, SLOTS, W] of a policy that was fitted to them imperfectly, vectors [W, D]."""

    gold: Tensor
    supervised: Tensor
    vectors: Tensor

    def meaning(self, words: Tensor) -> Tensor:
        """F1 of matched vectors: what `bert-score` pays with an encoder that has these vectors."""
        said = self.vectors[words].flatten(0, 1)
        wanted = self.vectors[self.gold].repeat_interleave(words.shape[1], 0)
        return greedy_matching(list(said), list(wanted)).f1.reshape(words.shape[:2])

    def overlap(self, words: Tensor) -> Tensor:
        """Smoothed BLEU of the words themselves."""
        said = [_text(row) for row in words.flatten(0, 1).tolist()]
        wanted = [_text(row) for row in self.gold.tolist() for _ in range(words.shape[1])]
        return bleuberi(said, wanted).reshape(words.shape[:2])

    def right(self, words: Tensor) -> Tensor:
        """Share of places whose word has the reference's meaning: what no reward sees as such."""
        return (words // 2 == self.gold[:, None] // 2).float().mean(-1)


def world(generator: torch.Generator) -> World:
    """Words 2m and 2m + 1 have the meaning m."""
    gold = torch.randint(0, 2 * MEANINGS, (PROMPTS, SLOTS), generator=generator)
    logits = torch.randn(PROMPTS, SLOTS, 2 * MEANINGS, generator=generator)
    logits.scatter_add_(2, gold[..., None], torch.full((PROMPTS, SLOTS, 1), 2.0))
    logits.scatter_add_(2, (gold ^ 1)[..., None], torch.full((PROMPTS, SLOTS, 1), 1.0))
    shared = torch.eye(MEANINGS).repeat_interleave(2, 0) * LIKENESS**0.5
    return World(gold, logits, torch.cat([shared, torch.eye(2 * MEANINGS) * (1 - LIKENESS) ** 0.5], 1))


def sample(logits: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Words [P, count, SLOTS]."""
    chance = logits.softmax(-1).flatten(0, 1)
    words = torch.multinomial(chance, count, replacement=True, generator=generator)
    return words.reshape(*logits.shape[:2], count).transpose(1, 2)


def log_chance(logits: Tensor, words: Tensor) -> Tensor:
    """Log-probability [P, G] of the words."""
    return logits.log_softmax(-1)[:, None].expand(-1, words.shape[1], -1, -1).gather(3, words[..., None]).sum((2, 3))


def _text(words: list[int]) -> str:
    return " ".join(f"w{word}" for word in words)
