"""Relevance as the reward: alone, times length, and with a price for repetition. What does the policy write?"""

import torch
from torch import Tensor

from claims._run import Claim, main
from guerdon.credit import group_normalise
from guerdon.signals import distinct_n, length_incentive, regularised_relevance

PROMPTS, GROUP, STEPS, RATE, LONGEST = 6, 8, 150, 1.0, 16
ASKED, TOPIC, OTHER = 3, 5, 4
WORDS = ASKED + TOPIC + OTHER
END = WORDS
"""A word after the last: the start of a text, and its end."""
VECTORS = torch.cat([torch.eye(WORDS) * 0.5, torch.zeros(WORDS, 1)], 1)
VECTORS[: ASKED + TOPIC, -1] = 0.8


def measure(arm: str, seed: int) -> dict[str, float]:
    """What the final policy writes on open and on closed questions. A table says which word follows which, by prompt."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.zeros(PROMPTS, WORDS + 1, WORDS + 1)
    is_open = (torch.arange(PROMPTS) % 2 == 0).repeat_interleave(GROUP)
    group = torch.arange(PROMPTS).repeat_interleave(GROUP)
    for _ in range(STEPS):
        logits.requires_grad_()
        words, logp = _write(logits, group, generator)
        advantages = group_normalise(_reward(arm, words, is_open), group)
        (gradient,) = torch.autograd.grad(-(advantages * logp).sum() / GROUP, logits)
        logits = (logits - RATE * gradient).detach()
    words, _ = _write(logits, group, generator)
    said = [row for row, open_ in zip(words, is_open.tolist(), strict=True) if open_]
    lengths = torch.tensor([float(len(row)) for row in words])
    return {
        "distinct trigrams": float(distinct_n(_texts(said)).mean()),
        "words": float(lengths[is_open].mean()),
        "words, closed": float(lengths[~is_open].mean()),
        "copies": sum(bool(row) and max(row) < ASKED for row in said) / len(said),
        "on topic": sum(sum(w < ASKED + TOPIC for w in row) / len(row) for row in said if row) / len(said),
    }


def _write(logits: Tensor, prompt: Tensor, generator: torch.Generator) -> tuple[list[list[int]], Tensor]:
    last, total = torch.full_like(prompt, END), torch.zeros(len(prompt))
    words: list[list[int]] = [[] for _ in prompt]
    going = torch.ones(len(prompt), dtype=torch.bool)
    log_chance = logits.log_softmax(-1)
    for _ in range(LONGEST):
        here = log_chance[prompt, last]
        last = torch.multinomial(here.detach().exp(), 1, generator=generator)[:, 0]
        total = total + torch.where(going, here.gather(1, last[:, None])[:, 0], 0.0)
        going = going & (last != END)
        for row, (word, goes) in enumerate(zip(last.tolist(), going.tolist(), strict=True)):
            if goes:
                words[row].append(word)
    return words, total


def _reward(arm: str, words: list[list[int]], is_open: Tensor) -> Tensor:
    texts, vectors = _texts(words), torch.stack([_mean(row) for row in words])
    query = vectors @ _mean(list(range(ASKED)))
    if arm == "relevance":
        return query
    incentive = length_incentive(texts, per=10)
    if arm == "relevance x length":
        return query * incentive
    reference = vectors @ _mean([ASKED, ASKED + 1])
    return regularised_relevance(query, reference, incentive, distinct_n(texts), is_open)


def _mean(words: list[int]) -> Tensor:
    return VECTORS[words].mean(0) if words else torch.zeros(VECTORS.shape[1])


def _texts(words: list[list[int]]) -> list[str]:
    return [" ".join(f"w{word}" for word in row) for row in words]


def effects(arms):
    """Differences on open questions, and open against closed ones."""
    alone, long, full = (arms[name] for name in ("relevance", "relevance x length", "r3"))
    return {
        "distinct trigrams, r3 - without repetition's price": full["distinct trigrams"] - long["distinct trigrams"],
        "words, with length - relevance alone": long["words"] - alone["words"],
        "copies, relevance alone - r3": alone["copies"] - full["copies"],
        "copies, relevance alone": alone["copies"],
        "on topic, r3": full["on topic"],
        "words, r3, open - closed": full["words"] - full["words, closed"],
    }


def judge(effects):
    """Each factor mends what it is there for."""
    names = list(effects)[:3]
    return "reproduced" if all(effects[name].low > 0 for name in names) else "not reproduced"


CLAIM = Claim(
    name="r3_regularised",
    paper="arXiv:2402.03469",
    statement="""Relevance alone is gamed, by copying the question, and the other factors of R^3 mend it: length makes texts
        longer, the share of distinct trigrams keeps length from being farmed by repetition. Reproduced: more distinct
        trigrams with all factors than without the last, more words with length than without, and fewer texts made of the
        question's words alone with all factors than by relevance alone, each for all of its interval.""",
    arms=("relevance", "relevance x length", "r3"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Texts of up to 16 of 12 words, of which three are the question's, five more on its topic and four on
        another; the policy is a table of which word follows which, and the vector of a text the mean of its words'. Length
        is words over 10, not 100. Nothing is compared with reward models of preferences.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
