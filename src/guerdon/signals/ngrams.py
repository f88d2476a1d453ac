"""How near is the text to a reference, by its surface? BLEU, chrF and ROUGE, and the reward that BLEUBERI trains on.

References come in ``answer``: one text, or a list of which the metric makes what it makes of several. Texts are read up
to `LONGEST` characters, counted from the opening mark where an answer is read.
"""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method, paper
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.lcs import rouge_l

BLEUBERI = "arXiv:2505.11080"
LONGEST = 20_000
"""Characters of a text that are read."""
_WORDS = re.compile(r"[a-z0-9]+")


@dataclass(frozen=True)
class BleuDetails:
    """What BLEU is made of: precisions of order 1 to 4, brevity penalty, tokens said, tokens of the reference."""

    score: float
    precisions: tuple[float, ...]
    brevity: float
    said: int
    reference: int


@method(makes="parts", paper=BLEUBERI)
def bleuberi(
    completions: Sequence[str],
    answer: Sequence[object],
    *,
    tag: str | None = "answer",
    block: Literal["first", "last"] = "first",
    with_rouge: bool = False,
) -> Float32[Tensor, "B"]:
    """Reward the completion by smoothed sentence BLEU against strong references.

        p_n  = (m_n + 1) / (h_n + 1),   n = 1 .. 4
        part = BP (p_1 p_2 p_3 p_4)^(1/4),   BP = min(1, exp(1 - r / c))

    h_n counts the n-grams said, m_n those of them that a reference has (clipped by the largest count in one reference),
    c the tokens said, r those of the *shortest* reference; tokens as mteval-v13a cuts them. An order longer than the
    completion has p_n = 1, so only BP holds short completions back. `bleu` is the usual sentence BLEU, which differs in
    all of this. With ``with_rouge`` the part is the harmonic mean of it and the best ROUGE-L, the paper's variant, and NaN
    where no reference has a word of a-z and 0-9 for ROUGE. The paper's mixture with a reward model is `group-normalise` on
    each part (``eps = 1e-6``) and `sum-part-advantages`, half of each; the released code takes all completions of a device for one group there.

    Where the completion has an opening ``<tag>``, only what follows the first one is read, up to the next mark, as in the
    released code; ``block = "last"`` reads behind the last one, which a mark named in the reasoning does not mislead.
    ``tag=None`` reads everything.

    Shapes: [B] in and out, in [0, 1]. 0 where nothing is said; NaN where the row has no reference with a token in it.
    Reference: Chang et al., BLEUBERI, 2025, https://arxiv.org/abs/2505.11080.

    Raises:
        ImportError: without sacrebleu, whose tokenizer is used (extra ``text``).
        ValueError: as many answers as completions are expected.
    """
    inside = [_inside(text, tag, block) for text in completions]
    return _scores(inside, answer, lambda said, gold: _bleuberi(said, gold, with_rouge))


@method(makes="parts")
def bleu(completions: Sequence[str], answer: Sequence[object]) -> Float32[Tensor, "B"]:
    """Sentence BLEU of sacrebleu: 13a tokens, exponential smoothing, effective order, closest reference length.

    Shapes: [B] in and out, in [0, 1] (sacrebleu's number over 100); NaN where the row has no reference. References:
    Papineni et al., 2002; Post, A Call for Clarity in Reporting BLEU Scores, 2018, https://arxiv.org/abs/1804.08771.

    Raises:
        ImportError: without sacrebleu (extra ``text``).
    """
    metric = _sacrebleu().BLEU(effective_order=True)
    return _scores(completions, answer, lambda said, gold: metric.sentence_score(said, gold).score / 100)


@method(makes="parts")
def chrf(
    completions: Sequence[str], answer: Sequence[object], *, characters: int = 6, words: int = 0, beta: float = 2.0
) -> Float32[Tensor, "B"]:
    """chrF of sacrebleu: F-score of character n-grams (and word n-grams: chrF++ with ``words=2``), recall ``beta`` times.

    It needs no tokenizer, so it also serves languages without spaces. Several references: the best one counts.

    Shapes: [B] in and out, in [0, 1]; NaN where the row has no reference. Reference: Popović, 2015 and 2017.

    Raises:
        ImportError: without sacrebleu (extra ``text``).
        ValueError: ``characters`` below 1, or ``words`` or ``beta`` negative.
    """
    if characters < 1 or words < 0 or beta < 0:
        raise ValueError(
            f"expected characters of at least 1 and words and beta of at least 0, got {characters}, {words} and {beta}"
        )
    # sacrebleu takes a whole number, although the formula needs none.
    metric = _sacrebleu().CHRF(char_order=characters, word_order=words, beta=beta)  # pyright: ignore[reportArgumentType]
    return _scores(completions, answer, lambda said, gold: metric.sentence_score(said, gold).score / 100)


@method(makes="parts")
def rouge(
    completions: Sequence[str], answer: Sequence[object], *, kind: Literal["1", "2", "L"] = "L"
) -> Float32[Tensor, "B"]:
    """ROUGE F1: of words (``1``), pairs of words (``2``), or the longest common subsequence (``L``).

        F1 = 2 common / (said + reference)

    Words are runs of a-z and 0-9 in lower case, unstemmed, as in the `rouge-score` package. The best of several
    references counts.

    Shapes: [B] in and out, in [0, 1]; 0 where nothing is said or, for pairs, where either is a single word; NaN where
    the row has no reference with a word in it. Reference: Lin, ROUGE, 2004.
    """
    return _scores(completions, answer, lambda said, gold: _rouge(said, gold, kind))


@paper(BLEUBERI)
def bleu_details(said: str, references: Sequence[str]) -> BleuDetails:
    """BLEUBERI's BLEU of one text with its precisions and lengths.

    Raises:
        ImportError: without sacrebleu (extra ``text``).
        ValueError: no reference has a token.
    """
    cut = _tokenizer()
    wanted = [tokens for tokens in (cut(text[:LONGEST]).split() for text in references) if tokens]
    if not wanted:
        raise ValueError(f"expected a reference with a token in it, got {list(references)[:3]}; leave the row out")
    tokens, shortest = cut(said[:LONGEST]).split(), min(map(len, wanted))
    if not tokens:
        return BleuDetails(0.0, (0.0,) * 4, 0.0, 0, shortest)
    precisions = []
    for n in range(1, 5):
        counts, most = Counter(ngrams(tokens, n)), Counter()
        for reference in wanted:
            most |= Counter(ngrams(reference, n))
        precisions.append(((counts & most).total() + 1) / (counts.total() + 1))
    brevity = min(1.0, math.exp(1 - shortest / len(tokens)))
    return BleuDetails(brevity * math.prod(precisions) ** 0.25, tuple(precisions), brevity, len(tokens), shortest)


@paper(BLEUBERI)
def select_by_score(
    scores: Float32[Tensor, "N"], k: int, *, mode: Literal["hard", "medium", "easy"] = "hard"
) -> Tensor:
    """Indices [k] of the prompts to train on, by the score of one completion of the base model each.

    ``hard`` keeps the lowest scores, ``easy`` the highest, ``medium`` the middle; of equal scores the first are kept. The
    result goes from the highest score to the lowest, the order in which the released data is saved, and equal scores keep
    theirs. Prompts that are NaN are never chosen. BLEUBERI keeps the 5,000 hardest of 50,000.

    Raises:
        ValueError: fewer than ``k`` prompts have a score.
    """
    known = (~scores.isnan()).nonzero()[:, 0]
    if not 0 <= k <= len(known):
        raise ValueError(f"expected k of at most {len(known)}, the prompts with a score, got {k}")
    order = known[scores[known].argsort(stable=True, descending=mode == "easy")]
    start = (len(known) - k) // 2 if mode == "medium" else 0
    chosen = order[start : start + k]
    return chosen[scores[chosen].argsort(stable=True, descending=True)]


@paper(BLEUBERI)
def preference_agreement(
    first: Float32[Tensor, "N"], second: Float32[Tensor, "N"], human: Sequence[Literal["first", "second", "tie"]]
) -> float:
    """Share of pairs in which a metric prefers what people prefer; equal scores are a tie, and a tie agrees with a tie.

    Pairs with a NaN are left out; NaN where none remains. Pairs that people called both bad should not be passed.
    """
    same_rows(human, first=first.tolist(), second=second.tolist())
    kept = [
        ("first" if a > b else "second" if b > a else "tie") == said
        for a, b, said in zip(first.tolist(), second.tolist(), human, strict=True)
        if not (math.isnan(a) or math.isnan(b))
    ]
    return sum(kept) / len(kept) if kept else NAN


def ngrams(tokens: Sequence[str], n: int) -> Iterable[tuple[str, ...]]:
    """Every run of ``n`` tokens, in order."""
    return zip(*(tokens[i:] for i in range(n)), strict=False)


def references(gold: object) -> list[str]:
    """The references of a row: a text, or a list of texts of which None and blank ones are left out."""
    several = gold if isinstance(gold, (list, tuple)) else [gold]
    return [text for text in (str(g) for g in several if g is not None) if text.strip()]


def _scores(
    completions: Sequence[str], answer: Sequence[object], score: Callable[[str, list[str]], float]
) -> Float32[Tensor, "B"]:
    same_rows(completions, answer=answer)
    made = []
    for text, gold in zip(completions, answer, strict=True):
        wanted = [reference[:LONGEST] for reference in references(gold)]
        made.append(score(text[:LONGEST], wanted) if wanted else NAN)
    return torch.tensor(made, dtype=torch.float32)


def _bleuberi(said: str, wanted: list[str], with_rouge: bool) -> float:
    cut = _tokenizer()
    wanted = [text for text in wanted if cut(text).strip()]
    if not wanted:
        return NAN
    by_bleu = bleu_details(said, wanted).score
    if not with_rouge:
        return by_bleu
    by_rouge = _rouge(said, wanted, "L")
    return 2 * by_bleu * by_rouge / (by_bleu + by_rouge) if by_bleu and by_rouge else 0.0


def _rouge(said: str, wanted: list[str], kind: str) -> float:
    mine = _WORDS.findall(said.lower())
    gold = [words for words in (_WORDS.findall(text.lower()) for text in wanted) if words]
    if not gold:
        return NAN
    if kind == "L":
        return max(rouge_l(mine, words) for words in gold)
    counts = Counter(ngrams(mine, int(kind)))
    return max(_f1(counts, Counter(ngrams(words, int(kind)))) for words in gold)


def _f1(said: Counter[Any], gold: Counter[Any]) -> float:
    common = (said & gold).total()
    return 2 * common / (said.total() + gold.total()) if common else 0.0


def _inside(text: str, tag: str | None, block: str) -> str:
    if tag is None or f"<{tag}>" not in text:
        return text
    return text.split(f"<{tag}>")[1 if block == "first" else -1].partition(f"</{tag}>")[0]


@lru_cache
def _tokenizer() -> Callable[[str], str]:
    _sacrebleu()
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    return Tokenizer13a()


def _sacrebleu() -> Any:
    try:
        from sacrebleu import metrics
    except ImportError as error:
        raise ImportError("expected sacrebleu, got none; install the extra: pip install guerdon[text]") from error
    return metrics
