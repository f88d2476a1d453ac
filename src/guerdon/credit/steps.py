"""Which step of the answer a token belongs to, exact on tokens of any tokenizer."""

import re
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from guerdon.method import method


@method(makes="step_ids")
def split_steps(
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    *,
    separator: str = "=",
) -> Int64[Tensor, "B T"]:
    """Number the steps of each completion, which ``separator`` separates, and give every token its step.

    The text is cut after each separator, so a separator belongs to the step that it ends. A position belongs to the
    step that holds its *first* character: a token that covers the end of one step and the start of the next counts
    for the first of them, because that is where the choice was made. A position without characters of its own (an end
    token, or a byte that only begins a character) is placed where its span starts; behind the last character it
    belongs to the last step, also where the text ends with a separator. Unchosen positions get -1.

    Two consequences. A step none of whose characters starts a token has no positions: its number is skipped and
    ``step_mask`` is False there. Separators in a row make steps that hold a separator only.

    Raises:
        ValueError: an empty separator.
    """
    if not separator:
        raise ValueError(
            "expected a separator of at least one character, got ''; for one step per row use no separator stage"
        )
    pattern = re.compile(re.escape(separator))
    ends = [[m.end() for m in pattern.finditer(text)] for text in completions]
    last = [max(0, len(e) - (bool(e) and e[-1] == len(text))) for e, text in zip(ends, completions, strict=True)]

    width = max((len(e) for e in ends), default=0)
    never = torch.iinfo(torch.int64).max
    cuts = torch.tensor([e + [never] * (width - len(e)) for e in ends], dtype=torch.int64).reshape(len(ends), width)
    starts = token_spans[..., 0].contiguous()
    ids = torch.searchsorted(cuts.to(starts.device), starts, right=True)
    ids = torch.minimum(ids, torch.tensor(last, dtype=torch.int64, device=ids.device).unsqueeze(-1))
    return torch.where(mask, ids, -1)
