"""How long is the completion? The plainest signals of all, in tokens."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from guerdon.method import method
from guerdon.signals.scores import FAILED, Scores


@method(makes="parts")
def length(lengths: Int64[Tensor, "B"], *, maximum: int = 256, target: int | None = None) -> Float32[Tensor, "B"]:
    """Reward short completions, or completions near a target length, between 0 and 1.

        no target:   1 - min(L, maximum) / maximum
        target:      1 - min(|L - target|, maximum) / maximum

    L counts the positions that the policy chose, the end token included. So each token costs 1 / maximum until the
    part is 0. A truncated completion is judged by what it said. A length that the prompt asks for is `budget_length`.

    Shapes: [B] int64 in, [B] out.

    Raises:
        ValueError: ``maximum`` is not positive or ``target`` is negative.
    """
    if maximum < 1 or (target is not None and target < 0):
        raise ValueError(
            f"expected maximum of at least 1 and target of at least 0, got maximum={maximum}, target={target}"
        )
    return 1 - ((lengths - (target or 0)).abs().clamp(max=maximum) / maximum).to(torch.float32)


@method(makes="parts", paper="arXiv:2508.08940")
def budget_length(
    lengths: Int64[Tensor, "B"], budget: Sequence[object], *, shape: Literal["triangle", "band"] = "triangle"
) -> Scores:
    """Is the completion as long as its prompt asked for? 1 at the budget, 0 from twice the budget on.

        triangle:   n / L for n <= L,   2 - n / L up to 2 L,   0 beyond     the budget is to be used
        band:       1 for n <= L,       the same beyond                     the budget is not to be passed

    n counts the positions that the policy chose, the end token included; L is the column ``budget``, which the prompt
    states. A curriculum moves the column and the prompt together, in the task (``budget`` of the arithmetic task), and
    never this. A wrong answer of the right length is paid in full, as in the paper; `gate-rewards` or a nested sum
    gates it. Let completions be at least 2 L long, or one that was cut off looks like a hit.

    Shapes: [B] int64 in, [B] out. A budget that is no positive number is a failure of the row. Reference: Train Long,
    Think Short, 2025, https://arxiv.org/abs/2508.08940 (weights of correctness and length 0.6 and 0.3 or 0.3 and 0.6).
    """
    tokens = [_positive(b) for b in budget]
    used = lengths.to(torch.float32) / torch.tensor(tokens, dtype=torch.float32, device=lengths.device)
    rising = used if shape == "triangle" else torch.ones_like(used)
    reasons = [
        f"{FAILED}expected a budget of more than 0 tokens, got {given!r}" if math.isnan(read) else None
        for given, read in zip(budget, tokens, strict=True)
    ]
    return Scores(torch.where(used <= 1, rising, (2 - used).clamp(min=0.0)), reasons)


def _positive(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if 0 < value < math.inf else math.nan
