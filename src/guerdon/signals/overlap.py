"""How much of the answer is there? Overlap of words, for answers that are phrases."""

import string
from collections.abc import Sequence

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import same_rows
from guerdon.signals.extract import in_tag

NAN = float("nan")
_SPACES = str.maketrans(string.punctuation, " " * len(string.punctuation))


@method(makes="parts", paper="arXiv:2510.14967")
def answer_f1(
    completions: Sequence[str],
    answer: Sequence[object],
    *,
    tag: str | None = "answer",
    format_penalty: float = -2.0,
    exact: bool = False,
) -> Float32[Tensor, "B"]:
    """Give the F1 of the completion's answer against the reference, as sets of words.

        F1 = 2 P R / (P + R),   P = |common| / |said|,   R = |common| / |reference|

    Words are what stands between spaces once letters are lower-case and every ASCII punctuation mark is a space. They
    are sets, not multisets, as in the released code of IGPO: saying a word twice changes nothing. Several references
    (a list) give the largest F1. Only the last ``<tag>`` block is read; ``tag=None`` reads the whole completion. A
    completion without a block, or with more opening than closing marks or the reverse, gets ``format_penalty``.
    ``exact`` gives 1 where the word sequences are equal, else 0.

    Shapes: [B] in, [B] out, in [0, 1] or the penalty. A reference without any word is unscored, NaN (of several, it is
    left out). Linear time in the text.

    Reference: Wang et al., IGPO, 2025, https://arxiv.org/abs/2510.14967.

    Raises:
        ValueError: as many answers as completions are expected.
    """
    same_rows(completions, answer=answer)
    scores = []
    for text, gold in zip(completions, answer, strict=True):
        several = list(gold) if isinstance(gold, (list, tuple)) else [gold]
        references = [w for w in (words(str(g)) for g in several if g is not None) if w]
        said = text if tag is None else _answer(text, tag)
        if not references:
            scores.append(NAN)
        elif said is None:
            scores.append(format_penalty)
        else:
            score = _exact if exact else _f1
            mine = words(said)
            scores.append(max(score(mine, reference) for reference in references))
    return torch.tensor(scores, dtype=torch.float32)


def words(text: str) -> list[str]:
    """The words of a text in lower case, punctuation being space."""
    return text.lower().translate(_SPACES).split()


def _answer(text: str, tag: str) -> str | None:
    return in_tag(text, tag) if text.count(f"<{tag}>") == text.count(f"</{tag}>") else None


def _f1(said: list[str], reference: list[str]) -> float:
    mine, gold = set(said), set(reference)
    return 2 * len(mine & gold) / (len(mine) + len(gold))


def _exact(said: list[str], reference: list[str]) -> float:
    return float(said == reference)
