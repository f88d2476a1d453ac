"""Does the text say one thing again and again, and how much does it say? Counts of words, without a reference."""

from collections.abc import Sequence
from unicodedata import category

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.ngrams import ngrams

R3 = "arXiv:2402.03469"
LONGEST = 200_000
"""Characters of a completion that are read; what is longer is not paid for the rest."""


@method(makes="parts", paper=R3)
def distinct_n(completions: Sequence[str], *, n: int = 3) -> Float32[Tensor, "B"]:
    """Share of n-grams that are distinct: 1 where no run of ``n`` words comes twice. The RP of R^3, which multiplies.

        part = distinct n-grams / n-grams

    Words are what stands between spaces. A text of fewer than ``n`` words has no n-gram and gets 1, an empty one 0.

    Shapes: [B] in and out, in [0, 1]. References: Li et al., 2016, https://arxiv.org/abs/1510.03055 (distinct-n);
    Kim and Seo, R^3, 2024, https://arxiv.org/abs/2402.03469 (trigrams).

    Raises:
        ValueError: ``n`` below 1.
    """
    return torch.tensor([distinct_share(text[:LONGEST].split(), n) for text in completions], dtype=torch.float32)


@method(makes="parts")
def repetition(completions: Sequence[str], *, n: int = 4) -> Float32[Tensor, "B"]:
    """Share of n-grams that were said before in the same text: seq-rep-n, to be given a negative weight.

        part = 1 - distinct n-grams / n-grams

    0 where there is no n-gram, the empty text included: it repeats nothing.

    Shapes: [B] in and out, in [0, 1]. Reference: Welleck et al., 2019, https://arxiv.org/abs/1908.04319.

    Raises:
        ValueError: ``n`` below 1.
    """
    shares = [distinct_share(words, n) if words else 1.0 for words in (t[:LONGEST].split() for t in completions)]
    return 1 - torch.tensor(shares, dtype=torch.float32)


@method(makes="parts", paper="arXiv:2509.22601")
def unreadable(completions: Sequence[str]) -> Float32[Tensor, "B"]:
    """Share of characters that nobody can read: control, private, unassigned, and what stands for bytes that are no text.

        part = characters of the Unicode categories Cc, Cn, Co, Cs, or U+FFFD / characters

    Line ends and tabs are read. To be given a negative weight, or to filter by (`drop-by-part`). 0 for the empty text.

    Shapes: [B] out, in [0, 1]. Reference: Qin et al., SPEAR, 2025, https://arxiv.org/abs/2509.22601, where what a broken
    tokenizer leaves is meant; the measure is ours.
    """
    return torch.tensor([_broken(text[:LONGEST]) for text in completions], dtype=torch.float32)


def _broken(text: str) -> float:
    bad = sum(c == "\ufffd" or (category(c) in ("Cc", "Cn", "Co", "Cs") and c not in "\n\r\t") for c in text)
    return bad / len(text) if text else 0.0


@method(makes="parts", paper=R3)
def length_incentive(completions: Sequence[str], *, per: float = 100.0) -> Float32[Tensor, "B"]:
    """Words over ``per``: the LI of R^3. It has no ceiling, so the token limit of the rollouts is part of the reward.

    Shapes: [B] in and out, at least 0. Reference: Kim and Seo, R^3, 2024, https://arxiv.org/abs/2402.03469.

    Raises:
        ValueError: ``per`` is not positive.
    """
    if not per > 0:
        raise ValueError(f"expected per above 0, got {per}")
    return torch.tensor([len(text[:LONGEST].split()) / per for text in completions], dtype=torch.float32)


def distinct_share(words: Sequence[str], n: int) -> float:
    """Distinct runs of ``n`` words as a share of all; 1 where there are words but no run, 0 where there are none."""
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}")
    runs = list(ngrams(words, n))
    return len(set(runs)) / len(runs) if runs else float(len(words) > 0)
