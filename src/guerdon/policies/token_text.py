"""From tokens to text and back to positions: which characters of a completion each token stands for."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

_UNKNOWN = "\ufffd"


class TokenText:
    """The text of single tokens of a Hugging Face tokenizer, decoded once each.

    The *piece* of a token is what it adds to a text that it continues. A token that holds a part of a character (a
    byte of byte-level BPE) has no piece of its own; it is decoded together with its neighbours.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer
        self._pieces: dict[int, str | None] = {}
        self._openings: dict[int, str | None] = {}
        self._anchor: list[int] = tokenizer.encode("a", add_special_tokens=False)[-1:]
        self._anchor_text = self.decode([self._anchor])[0] if self._anchor else ""

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Text of each row of token ids, without special tokens."""
        return self.tokenizer.batch_decode(rows, skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def piece(self, token: int) -> str | None:
        """What the token adds to a text; None when it holds only a part of a character."""
        if token not in self._pieces:
            self._learn([token])
        return self._pieces[token]

    def opening(self, token: int) -> str | None:
        """The same at the very beginning, where some tokenizers drop a leading space."""
        if token not in self._openings:
            text = self.decode([[token]])[0]
            self._openings[token] = None if _UNKNOWN in text else text
        return self._openings[token]

    def spans(self, tokens: Tensor, present: Tensor, texts: list[str]) -> Tensor:
        """Characters [start, end) of ``texts`` for every position of tokens [B, T]; (0, 0) where ``present`` is False.

        Starts and ends never decrease and together cover the text. A special token has an empty span (unless it
        stands inside a character); every token of a character that is spread over several has that character's span.
        """
        tokens, present = tokens.cpu(), present.cpu()
        width = self._widths(tokens, present, self.pieces)
        if tokens.shape[1]:
            width[:, :1] = self._widths(tokens[:, :1], present[:, :1], lambda ids: [self.opening(i) for i in ids])
        end = width.cumsum(-1)
        spans = torch.stack([end - width, end], dim=-1)
        whole = torch.tensor([len(text) for text in texts])
        odd = (width < 0).any(-1) | (end[:, -1] != whole)
        for row in odd.nonzero().squeeze(-1).tolist():
            ids = tokens[row][present[row]].tolist()
            spans[row, present[row]] = torch.tensor(self.exact_spans(ids, texts[row])).reshape(-1, 2)
        return spans * present[..., None]

    def pieces(self, tokens: Iterable[int]) -> list[str | None]:
        """The piece of each token, the unknown ones decoded in one go."""
        tokens = list(tokens)
        new = [t for t in tokens if t not in self._pieces]
        if new:
            self._learn(new)
        return [self._pieces[t] for t in tokens]

    def exact_spans(self, ids: Sequence[int], text: str) -> list[tuple[int, int]]:
        """Spans of one row token by token; by decoding every prefix where pieces do not add up to the text."""
        spans: list[tuple[int, int]] = []
        at = i = 0
        while i < len(ids):
            piece = self.opening(ids[i]) if i == 0 else self.piece(ids[i])
            if piece is not None:
                spans.append((at, at + len(piece)))
                at, i = at + len(piece), i + 1
                continue
            j = i + 1
            while j < len(ids) and self.piece(ids[j]) is None:
                j += 1
            lead = self._anchor if i else []
            cut = len(self._anchor_text) if i else 0
            decoded = [d[cut:] for d in self.decode([[*lead, *ids[i:k]] for k in range(i + 1, j + 1)])]
            spans += [(at + start, at + end) for start, end in _spans_of_prefixes(decoded, decoded[-1])]
            at, i = at + len(decoded[-1]), j
        if at != len(text):
            spans = _spans_of_prefixes(self.decode([ids[: k + 1] for k in range(len(ids))]), text)
        return spans

    def _widths(self, tokens: Tensor, present: Tensor, pieces: Any) -> Tensor:
        """Characters of each token [B, T]: 0 where there is none, and hugely negative where the piece is unknown."""
        distinct, at = tokens.masked_fill(~present, -1).unique(return_inverse=True)
        ids = distinct.tolist()
        real = [i for i in ids if i >= 0]
        known = dict(zip(real, pieces(real), strict=True))
        lengths = [0 if i < 0 else (-(1 << 40) if known[i] is None else len(known[i])) for i in ids]
        return torch.tensor(lengths, dtype=torch.int64)[at]

    def _learn(self, tokens: Sequence[int]) -> None:
        cut = len(self._anchor_text)
        for token, text in zip(tokens, self.decode([[*self._anchor, t] for t in tokens]), strict=True):
            plain = text.startswith(self._anchor_text) and _UNKNOWN not in text[cut:]
            self._pieces[token] = text[cut:] if plain else None


class StopStrings:
    """Watches rows that are being drawn for stop strings, decoding a row's tail only when a token may end one."""

    def __init__(self, text: TokenText, stops: Sequence[str]):
        if any(not s for s in stops):
            raise ValueError("expected stop strings of at least one character, got an empty one; remove it")
        self.text, self.stops = text, tuple(stops)
        self._last = {s[-1] for s in stops}
        self._may_end: dict[int, bool] = {}
        # a character takes at most four tokens of a byte-level tokenizer
        self.window = 4 * max((len(s) for s in stops), default=0) + 8

    def hits(self, tokens: Sequence[int], tails: Tensor) -> list[int]:
        """Indices of the rows whose text holds a stop string, now that ``tokens`` were appended.

        ``tails`` [rows, up to ``window``] holds the last token ids of the rows, the new ones included.
        """
        rows = [i for i, token in enumerate(tokens) if self._may(token)]
        if not rows:
            return []
        texts = self.text.decode(tails[rows].tolist())
        return [i for i, text in zip(rows, texts, strict=True) if any(s in text for s in self.stops)]

    def _may(self, token: int) -> bool:
        known = self._may_end.get(token)
        if known is None:
            piece = self.text.piece(token)
            known = self._may_end[token] = piece is None or any(c in piece for c in self._last)
        return known


def _spans_of_prefixes(prefixes: Sequence[str], text: str) -> list[tuple[int, int]]:
    """Spans from the decoded prefixes of a text; a prefix that ends in the middle of a character differs from it."""
    spans, settled = [], 0
    for prefix in prefixes:
        common = _common(prefix, text, settled)
        unfinished = len(prefix) > common
        spans.append((settled, min(common + unfinished, len(text))))
        settled = common
    if spans and spans[-1][1] < len(text):
        spans[-1] = (spans[-1][0], len(text))
    return spans


def _common(prefix: str, text: str, start: int) -> int:
    """Length of the common beginning, known to be at least ``start``."""
    n = min(len(prefix), len(text))
    if prefix[:n] == text[:n]:
        return max(n, start)
    while start < n and prefix[start] == text[start]:
        start += 1
    return start
