"""What each step says: from positions back to text."""

from collections.abc import Sequence

from jaxtyping import Bool, Int64
from torch import Tensor


def step_texts(
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    step_ids: Int64[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> list[dict[int, str]]:
    """The text of every step that a row has, by the step's number in rising order: the characters of its chosen tokens,
    from the first to the last."""
    chosen = mask & (step_ids >= 0)
    texts: list[dict[int, str]] = []
    for i, text in enumerate(completions):
        at: dict[int, list[int]] = {}
        where = chosen[i]
        for step, (start, end) in zip(step_ids[i][where].tolist(), token_spans[i][where].tolist(), strict=True):
            known = at.setdefault(step, [start, end])
            known[1] = max(known[1], end)
        texts.append({step: text[start:end] for step, (start, end) in sorted(at.items())})
    return texts
