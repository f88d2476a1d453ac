"""What a critique says of phrases, put on the tokens that they cover.

A judge names good and poor phrases of a completion. `parse_critique` reads them from its text and finds them in the
completion; `critique_spans` marks tokens. Judges and policies write whatever they like, so sizes are capped and the
time is linear.
"""

import json
import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor

from guerdon.method import method, paper
from guerdon.signals.answers import same_rows

TEXT2GRAD = "arXiv:2505.22338"
LIMIT = 20_000
"""Longest critique, in characters, that is read at all."""
SPANS = 64
"""Most spans of one completion that are read; more make it unreadable."""
NAN = float("nan")
_NEVER = torch.iinfo(torch.int64).max
Span = tuple[int, int, float]


@method(makes="token_parts", paper=TEXT2GRAD)
def critique_spans(
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    spans: Sequence[object],
) -> Float32[Tensor, "B T"]:
    """Text2Grad: +1 for each token of a phrase that was called good, -1 for each of one called poor, else 0.

        delta_t = -1 if token t overlaps a poor span, +1 if it overlaps a good one and no poor one, else 0

    The column ``spans`` holds one list per row, of ``[start, end, score]`` (characters of the completion) or of
    ``{"text": phrase, "score": score}`` (found in the completion, each repetition at its next occurrence; a phrase that
    is not there marks nothing). Above 0 is good, below 0 poor, 0 neutral. The text of a critique is read with
    `parse_critique`. Tokens are matched by the characters that they stand for; the released code glues up to nine
    tokens together until they equal a word, and loses its place after a failure. A token without characters (an end
    token) overlaps nothing.

    Shapes: [B, T] out, 0 at unchosen positions. A row whose spans are None or cannot be read is unscored: NaN
    everywhere. An empty list is a critique that names nothing: 0.

    A long answer with many good phrases collects more than a short one: see `soft-length-weight`.

    Reference: Wang et al., Text2Grad, 2025, https://arxiv.org/abs/2505.22338.

    Raises:
        ValueError: as many entries of ``spans`` as completions are expected.
    """
    same_rows(completions, spans=spans)
    read = [locate(entry, text) for entry, text in zip(spans, completions, strict=True)]
    good = _covered(token_spans, [[] if r is None else [s for s in r if s[2] > 0] for r in read])
    poor = _covered(token_spans, [[] if r is None else [s for s in r if s[2] < 0] for r in read])
    delta = torch.where(poor, -1.0, torch.where(good, 1.0, 0.0))
    unread = torch.tensor([r is None for r in read], dtype=torch.bool, device=mask.device)
    return torch.where(unread[:, None], NAN, torch.where(mask, delta, 0.0))


@paper(TEXT2GRAD)
def parse_critique(critique: str, completion: str) -> list[Span] | None:
    """The good and poor phrases that a judge named, as ``(start, end, score)``; None where the text cannot be read.

    Expected, with any text around it: ``{"good": ["phrase", ...], "poor": ["phrase", ...]}``, one of which may be
    missing, with phrases copied from the completion letter for letter. A phrase that the completion does not hold is
    left out. Longer than `LIMIT`, more than `SPANS` phrases, not JSON, or another form: None.
    """
    if len(critique) > LIMIT:
        return None
    start, end = critique.find("{"), critique.rfind("}")
    if start < 0 or end < start:
        return None
    try:
        said = json.loads(critique[start : end + 1])
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or not {"good", "poor"} & said.keys():
        return None
    entries = []
    for name, score in (("good", 1.0), ("poor", -1.0)):
        phrases = said.get(name, [])
        if not isinstance(phrases, list):
            return None
        entries += [{"text": phrase, "score": score} for phrase in phrases]
    return locate(entries, completion)


def locate(entries: object, completion: str) -> list[Span] | None:
    """Spans given as characters or as phrases, as ``(start, end, score)`` within the completion; None: unreadable."""
    if not isinstance(entries, (list, tuple)) or len(entries) > SPANS:
        return None
    found, searched = [], {}
    for entry in entries:
        if isinstance(entry, Mapping):
            text, score = entry.get("text"), _number(entry.get("score"))
            if not isinstance(text, str) or score is None:
                return None
            if not text:
                continue
            at = completion.find(text, searched.get(text, 0))
            if at >= 0:
                searched[text] = at + len(text)
                found.append((at, at + len(text), score))
        elif isinstance(entry, (list, tuple)) and len(entry) == 3:
            start, end, score = (_number(x) for x in entry)
            if start is None or end is None or score is None or start % 1 or end % 1:
                return None
            found.append((max(0, int(start)), min(len(completion), int(end)), score))
        else:
            return None
    return [span for span in found if span[0] < span[1]]


def _number(x: object) -> float | None:
    if isinstance(x, bool) or not isinstance(x, (int, float)) or abs(x) > 2**53 or not math.isfinite(x):
        return None
    return float(x)


def _covered(token_spans: Tensor, spans: Sequence[Sequence[Span]]) -> Tensor:
    """Which tokens overlap one of their row's spans: the first span that ends behind a token's start begins before its end."""
    merged = [_merge(row) for row in spans]
    width = max((len(row) for row in merged), default=0) + 1
    table = [row + [(_NEVER, _NEVER)] * (width - len(row)) for row in merged]
    edges = torch.tensor(table, dtype=torch.int64, device=token_spans.device).reshape(len(merged), width, 2)
    start, end = token_spans[..., 0].contiguous(), token_spans[..., 1]
    first = torch.searchsorted(edges[..., 1].contiguous(), start, right=True).clamp(max=width - 1)
    return (edges[..., 0].gather(1, first) < end) & (start < end)


def _merge(row: Sequence[Span]) -> list[tuple[int, int]]:
    """Sorted and disjoint."""
    out: list[tuple[int, int]] = []
    for start, end, _ in sorted(row):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out
