"""Is the completion in the language that was asked for?"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.signals.answers import NAN, same_rows

LONGEST = 4_000
"""Characters that are looked at."""


@method(makes="parts", paper="arXiv:2505.12996")
def language_match(completions: Sequence[str], language: Sequence[object], *, after: str = "") -> Float32[Tensor, "B"]:
    """Give 1 where the completion is in the row's ``language`` (ISO 639-1, such as ``de``), 0 where it is in another.

    ``after``: only what stands behind the last of these marks is looked at (``</think>``); without the mark 0. ExTrans
    rewards directions without an exemplar by this alone: the right language is kept, quality comes over from the
    directions that are judged. Text without a letter gives 0. Short texts are easily taken for a neighbour's language.

    Shapes: [B] out; NaN where the row names no language that py3langid knows (extra ``text``). Reference: Wang et al.,
    ExTrans, 2025, https://arxiv.org/abs/2505.12996.

    Raises:
        ImportError: without py3langid.
    """
    same_rows(completions, language=language)
    known, _ = _identifier()
    scores = []
    for text, wanted in zip(completions, language, strict=True):
        said = text if not after else text.rpartition(after)[2] if after in text else ""
        scores.append(float(language_of(said) == wanted) if wanted in known else NAN)
    return torch.tensor(scores, dtype=torch.float32)


def language_of(text: str) -> str | None:
    """The language of a text as ISO 639-1, looking at its first `LONGEST` characters; None where there is no letter.

    Raises:
        ImportError: without py3langid.
    """
    said = text.strip()[:LONGEST]
    return _identifier()[1](said)[0] if any(c.isalpha() for c in said) else None


@lru_cache
def _identifier() -> tuple[frozenset[object], Callable[[str], tuple[str, float]]]:
    try:
        import py3langid
    except ImportError as error:
        raise ImportError(
            "expected py3langid to tell languages apart, got none; install the extra: pip install guerdon[text]"
        ) from error
    return frozenset(language for language, _ in py3langid.rank("a")), py3langid.classify
