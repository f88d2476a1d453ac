"""Is it about what was asked? Relevance by a dense encoder, and R^3, which keeps it from being farmed."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from guerdon.method import method, paper
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.diversity import R3, distinct_n, length_incentive
from guerdon.signals.encoders import find_encoder
from guerdon.signals.matching import greedy_matching
from guerdon.signals.ngrams import references


@method(makes="parts", paper=R3)
def query_relevance(
    completions: Sequence[str], prompts: Sequence[Any], *, encoder: str = "minilm"
) -> Float32[Tensor, "B"]:
    """Dot product of the vectors of prompt and completion: the r_x of R^3.

    Rewarded alone it is best served by a copy of the prompt. ``encoder``: `guerdon.signals.encoders`; of a conversation
    the last message of the user is the prompt.

    Shapes: [B] in and out; a cosine with ``minilm`` and ``words``, whose vectors have length 1, and without a bound
    otherwise. 0 where nothing is said. Reference: Kim and Seo, R^3, 2024, https://arxiv.org/abs/2402.03469.

    Raises:
        ImportError: without the encoder's package (extra ``encoder``).
    """
    same_rows(completions, prompts=prompts)
    found = find_encoder(encoder)
    return (found.embed(list(completions)) * found.embed([asked(p) for p in prompts])).sum(-1).float()


@method(makes="parts", paper=R3)
def reference_relevance(
    completions: Sequence[str], answer: Sequence[object], *, encoder: str = "minilm"
) -> Float32[Tensor, "B"]:
    """Dot product of the vectors of reference and completion: the r_y of R^3. Of several references the nearest counts.

    Shapes: [B] in and out, as in `query_relevance`; NaN where the row has no reference. Reference: Kim and Seo, R^3,
    2024, https://arxiv.org/abs/2402.03469.

    Raises:
        ImportError: without the encoder's package (extra ``encoder``).
    """
    same_rows(completions, answer=answer)
    found = find_encoder(encoder)
    wanted = [references(gold) for gold in answer]
    flat = found.embed([text for several in wanted for text in several])
    made, start = torch.full((len(completions),), NAN), 0
    for row, (vector, several) in enumerate(zip(found.embed(list(completions)), wanted, strict=True)):
        if several:
            made[row] = (flat[start : start + len(several)] @ vector).max()
        start += len(several)
    return made


@method(makes="parts", paper="arXiv:2503.18991")
def demonstration_similarity(
    completions: Sequence[str], demonstration: Sequence[str | None], *, encoder: str = "minilm"
) -> Float32[Tensor, "B"]:
    """DR-IRL's similarity to a demonstration: each sentence or clause with the nearest of the demonstration's, on average.

        W = mean_k max_l cos(sentence_k, demonstrated_l)

    What `scale-by-similarity` reads; give it a weight of 0, so that it is no reward. Sentences end at ``. ! ? ;`` and at
    the end of a line. Extra sentences that the demonstration lacks cost, missing ones do not.

    Shapes: [B] in and out, from -1 to 1; NaN where the row has no demonstration, 0 where nothing is said. Reference:
    DR-IRL, 2025, https://arxiv.org/abs/2503.18991 (the data coefficient).

    Raises:
        ImportError: without the encoder's package (extra ``encoder``).
    """
    same_rows(completions, demonstration=demonstration)
    found = find_encoder(encoder)
    texts = [[_clauses(text) for text in side] for side in (completions, [d or "" for d in demonstration])]
    vectors = found.embed([clause for side in texts for row in side for clause in row])
    sides = iter(vectors.split([len(row) for side in texts for row in side]))
    first, second = ([next(sides) for _ in side] for side in texts)
    return greedy_matching(first, second).precision.float()


def _clauses(text: str) -> list[str]:
    return [piece for piece in re.split(r"(?<=[.!?;])\s+|\n+", text) if piece.strip()]


@method(makes="parts", paper=R3)
def r3(
    completions: Sequence[str],
    prompts: Sequence[Any],
    answer: Sequence[object],
    open_ended: Sequence[bool | None],
    *,
    encoder: str = "minilm",
    per: float = 100.0,
    n: int = 3,
    reference_range: tuple[float, float] = (0.0, 1.0),
    open_range: tuple[float, float] = (0.0, 1.0),
    positive: bool = False,
) -> Float32[Tensor, "B"]:
    """Regularised relevance (R^3): relevance, length and no repetition, by whether the question is open.

        part = r_x * LI * RP      where the question is open-ended
               F(r_y) * RP        where it has a closed answer

    r_x is `query_relevance`, r_y `reference_relevance`, LI `length_incentive` (``per`` words), RP `distinct_n`. F maps
    ``reference_range`` onto ``open_range`` linearly and stops at its ends, so that both kinds of question pay alike; the
    paper gives no numbers for it, `r3_ranges` fits them. By default it only stops at 0 and 1. An r_x below 0 makes length
    cost what it should earn; ``positive`` counts it as 0.

    Shapes: [B] in and out; 0 where nothing is said. NaN where ``open_ended`` is None, or where a closed question has no
    reference; an open one needs none. Reference: Kim and Seo, R^3, 2024, https://arxiv.org/abs/2402.03469.

    Raises:
        ImportError: without the encoder's package (extra ``encoder``).
        ValueError: columns of another number of rows, an empty ``reference_range``, ``per`` or ``n`` not positive.
    """
    same_rows(completions, prompts=prompts, answer=answer, open_ended=open_ended)
    return regularised_relevance(
        query_relevance(completions, prompts, encoder=encoder),
        reference_relevance(completions, answer, encoder=encoder),
        length_incentive(completions, per=per),
        distinct_n(completions, n=n),
        torch.tensor([bool(value) for value in open_ended]),
        reference_range=reference_range,
        open_range=open_range,
        positive=positive,
    ).masked_fill(torch.tensor([value is None for value in open_ended]), NAN)


@paper(R3)
def regularised_relevance(
    query: Float32[Tensor, "B"],
    reference: Float32[Tensor, "B"],
    incentive: Float32[Tensor, "B"],
    distinct: Float32[Tensor, "B"],
    is_open: Bool[Tensor, "B"],
    *,
    reference_range: tuple[float, float] = (0.0, 1.0),
    open_range: tuple[float, float] = (0.0, 1.0),
    positive: bool = False,
) -> Float32[Tensor, "B"]:
    """R^3 from its factors (`r3`). A factor that the row's branch does not use may be NaN.

    Raises:
        ValueError: ``reference_range`` is empty.
    """
    (low, high), (bottom, top) = reference_range, open_range
    if not low < high:
        raise ValueError(f"expected a reference_range that grows, got {reference_range}")
    mapped = bottom + (top - bottom) * ((reference - low) / (high - low)).clamp(0, 1)
    near = query.clamp(min=0) if positive else query
    return torch.where(is_open, near * incentive, mapped) * distinct


@paper(R3)
def r3_ranges(
    reference: Float32[Tensor, "N"], open_scores: Float32[Tensor, "M"], *, low: float = 0.05, high: float = 0.95
) -> dict[str, tuple[float, float]]:
    """The options ``reference_range`` and ``open_range`` of `r3`: quantiles of r_y and of r_x * LI * RP on supervised outputs.

    Raises:
        ValueError: nothing but NaN in either.
    """
    made = {}
    for name, scores in {"reference_range": reference, "open_range": open_scores}.items():
        known = scores[~scores.isnan()]
        if not len(known):
            raise ValueError(f"expected scores for {name}, got none; score some supervised outputs first")
        made[name] = (float(known.quantile(low)), float(known.quantile(high)))
    return made


def asked(prompt: Any) -> str:
    """What a prompt asks: its text, or the last message of the user."""
    if isinstance(prompt, str):
        return prompt
    said = [m["content"] for m in prompt if isinstance(m, Mapping) and m.get("role") == "user"]
    return str(said[-1]) if said else ""
