"""Does it mean what the reference means? Pieces of both texts matched by their vectors, the way of BERTScore."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from guerdon.method import method, paper
from guerdon.signals.answers import NAN, same_rows
from guerdon.signals.encoders import TokenVectors, find_encoder
from guerdon.signals.ngrams import references

SCST = "arXiv:2108.12026"
SECREPAIR = "arXiv:2401.03374"
ROWS = 64
"""Pairs that are compared at once."""


class Match(NamedTuple):
    """Precision, recall and F1 of each pair, [N] each."""

    precision: Tensor
    recall: Tensor
    f1: Tensor


@method(makes="parts", paper=(SCST, SECREPAIR))
def bert_score(
    completions: Sequence[str],
    answer: Sequence[object],
    *,
    encoder: str = "minilm",
    score: Literal["f1", "precision", "recall"] = "f1",
    idf: bool = False,
    floor: float = 0.0,
) -> Float32[Tensor, "B"]:
    """Reward the completion for saying what a reference says, in whatever words.

        P = mean_i max_j e_i . f_j,   R = mean_j max_i e_i . f_j,   F1 = 2 P R / (P + R)
        part = (F1 - floor) / (1 - floor)

    e are the normalised vectors of the completion's pieces, f those of the reference's, special pieces left out. With
    ``idf`` the means are weighted by how few of the batch's distinct references hold the piece (`idf_weights`), so the
    part then depends on the rest of the batch; a single reference has no rare pieces, and all weigh the same. ``floor`` is what
    unrelated texts get (0.8 and more with large models), which spreads the rest; F1 is 0 where P or R is not above 0. Of several references the best counts.

    In the released code of BERTScore a piece may also be matched with the other text's start or end mark, which raises
    some scores by a hundredth or two; here, as in the equation, only with its pieces. `greedy_matching` gives the released
    numbers for vectors with their marks, whose weights are 0. Its idf counts a reference as often as it is given.

    Semantic self-critical training is this part, `greedy-baseline` and `reinforce`; SecRepair's reward for a comment is
    this part on the last token, and a price per token for leaving the reference policy (`kl-in-reward`). It is no proof
    of a fix, does not see negation well, and pays generic wording: put a test, a length or `repetition` beside it.

    Shapes: [B] in and out, at most 1; 0 (before ``floor``) where nothing is said; NaN where the row has no reference.
    References: Zhang et al., BERTScore, 2019, https://arxiv.org/abs/1904.09675 (their models, layers and fitted floors
    are other); Kwate Dassi, 2021, https://arxiv.org/abs/2108.12026; Islam et al., SecRepair, 2024,
    https://arxiv.org/abs/2401.03374.

    Raises:
        ImportError: without the encoder's package (extra ``encoder``).
        ValueError: as many answers as completions are expected; ``floor`` not below 1.
    """
    same_rows(completions, answer=answer)
    if not floor < 1:
        raise ValueError(f"expected floor below 1, got {floor}")
    found = find_encoder(encoder)
    pairs = [(row, text) for row, gold in enumerate(answer) for text in references(gold)]
    said = found.embed_tokens(list(completions))
    wanted = found.embed_tokens([text for _, text in pairs])
    distinct = {text: made.pieces for (_, text), made in zip(pairs, wanted, strict=True)}
    weights = idf_weights(list(distinct.values())) if idf and len(distinct) > 1 else None
    scores = torch.full((len(completions),), NAN)
    for start in range(0, len(pairs), ROWS):
        part = pairs[start : start + ROWS]
        first = [said[row] for row, _ in part]
        second = wanted[start : start + ROWS]
        match = greedy_matching(
            [made.vectors for made in first],
            [made.vectors for made in second],
            _weights(first, weights),
            _weights(second, weights),
        )
        for (row, _), value in zip(part, getattr(match, score), strict=True):
            scores[row] = value if scores[row].isnan() else torch.fmax(scores[row], value)
    return (scores - floor) / (1 - floor)


@paper(SCST, SECREPAIR)
def greedy_matching(
    candidates: Sequence[Float32[Tensor, "_ D"]],
    references: Sequence[Float32[Tensor, "_ D"]],
    candidate_weights: Sequence[Float32[Tensor, "_"]] | None = None,
    reference_weights: Sequence[Float32[Tensor, "_"]] | None = None,
) -> Match:
    """Each piece matched with its most similar one on the other side: weighted means of the best cosines.

    [N] out, each. A candidate without a piece gets 0; a reference without one is NaN. Where all weights of a text are 0
    its pieces weigh the same.
    """
    first, second = (
        torch.nn.functional.normalize(pad_sequence(list(side), batch_first=True), dim=-1)
        for side in (candidates, references)
    )
    here, there = _lengths_mask(candidates), _lengths_mask(references)
    if not first.shape[1] or not second.shape[1]:
        empty = torch.where(there.any(1), 0.0, NAN)
        return Match(empty, empty.clone(), empty.clone())
    similar = first @ second.transpose(1, 2)
    best = similar.masked_fill(~there[:, None], -math.inf).amax(2)
    covered = similar.masked_fill(~here[..., None], -math.inf).amax(1)
    precision, recall = _mean(best, here, candidate_weights), _mean(covered, there, reference_weights)
    silent, unknown = ~here.any(1), ~there.any(1)
    precision, recall = (x.masked_fill(silent, 0.0).masked_fill(unknown, NAN) for x in (precision, recall))
    both = torch.where((precision > 0) & (recall > 0), 2 * precision * recall / (precision + recall), 0.0)
    return Match(precision, recall, both.masked_fill(unknown, NAN))


def idf_weights(texts: Sequence[Sequence[str]]) -> dict[str, float]:
    """Weight of a piece: ``-log((1 + texts that hold it) / (1 + texts))``. A piece that none holds has log(1 + texts)."""
    held: dict[str, int] = {}
    for pieces in texts:
        for piece in set(pieces):
            held[piece] = held.get(piece, 0) + 1
    return {"": math.log(1 + len(texts)), **{p: -math.log((1 + n) / (1 + len(texts))) for p, n in held.items()}}


def _weights(side: Sequence[TokenVectors], weights: Mapping[str, float] | None) -> list[Tensor] | None:
    if weights is None:
        return None
    return [torch.tensor([weights.get(piece, weights[""]) for piece in made.pieces]) for made in side]


def _lengths_mask(side: Sequence[Tensor]) -> Tensor:
    lengths = torch.tensor([len(vectors) for vectors in side])
    return torch.arange(int(lengths.max()) if len(side) else 0) < lengths[:, None]


def _mean(x: Tensor, mask: Tensor, weights: Sequence[Tensor] | None) -> Tensor:
    weight = mask.float()
    if weights is not None:
        given = pad_sequence(list(weights), batch_first=True)
        weight = torch.where(given.sum(1, keepdim=True) > 0, given, weight)
    return torch.where(mask, x, 0.0).mul(weight).sum(1) / weight.sum(1).clamp(min=torch.finfo(torch.float32).tiny)
