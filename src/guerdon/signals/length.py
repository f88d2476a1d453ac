"""How long is the completion? The plainest signal of all, in tokens."""

import torch
from jaxtyping import Float32, Int64
from torch import Tensor

from guerdon.method import method


@method(makes="parts")
def length(lengths: Int64[Tensor, "B"], *, maximum: int = 256, target: int | None = None) -> Float32[Tensor, "B"]:
    """Reward short completions, or completions near a target length, between 0 and 1.

        no target:   1 - min(L, maximum) / maximum
        target:      1 - min(|L - target|, maximum) / maximum

    L counts the positions that the policy chose, the end token included. So each token costs 1 / maximum until the
    part is 0. A truncated completion is judged by what it said. A length asked for in the prompt is another method:
    it needs a column.

    Shapes: [B] int64 in, [B] out.

    Raises:
        ValueError: ``maximum`` is not positive or ``target`` is negative.
    """
    if maximum < 1 or (target is not None and target < 0):
        raise ValueError(
            f"expected maximum of at least 1 and target of at least 0, got maximum={maximum}, target={target}"
        )
    return 1 - ((lengths - (target or 0)).abs().clamp(max=maximum) / maximum).to(torch.float32)
