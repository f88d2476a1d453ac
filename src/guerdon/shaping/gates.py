"""Less important parts count only where the more important ones are good enough."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from guerdon.method import method


@method(makes="rewards", paper="arXiv:2508.10548")
def gated_sum(
    parts: Mapping[str, Float[Tensor, " B"]],
    part_weights: Mapping[str, Float[Tensor, ""] | float],
    *,
    gates: tuple[float, ...] | None = None,
) -> Float[Tensor, " B"]:
    """G-RA: a part counts only where every part before it is above its gate.

        r = sum_i w_i part_i prod_{j < i} [part_j > g_j]

    ``of = [...]`` names the parts from the highest priority down, ``gates`` holds one number for each of them but the
    last, by default 0. Gates read the raw part, before its weight and before any normalisation (after it, a gate would open for the
    better half of any group). Choose a gate strictly between two levels of a part. Parts that are penalties make failing
    cheaper where they are gated off: gate what is paid, and add penalties outside. `lexicographic` cuts each part at its
    threshold and takes no weights.

    Shapes: [B] in and out. What is behind a closed gate is not looked at and may be unscored; NaN in a part that is
    reached gives NaN.

    Raises:
        ValueError: no part, a part without a weight, or not one gate for each part but the last.

    Reference: G-RA, 2025, https://arxiv.org/abs/2508.10548.
    """
    gates = (0.0,) * (len(parts) - 1) if gates is None else gates
    if not parts or len(gates) != len(parts) - 1:
        raise ValueError(
            f"expected one gate for each of the parts {list(parts)} but the last, got {list(gates)}; correct gates, or "
            "say with of = [...] which parts count"
        )
    missing = sorted(set(parts) - set(part_weights))
    if missing:
        raise ValueError(f"expected a weight for each part, got none for {missing}; known: {sorted(part_weights)}")
    total: Tensor | float = 0.0
    opened: Tensor | None = None
    for (name, value), gate in zip(parts.items(), (*gates, -torch.inf), strict=True):
        weighed = part_weights[name] * value
        total = total + (weighed if opened is None else torch.where(opened, weighed, 0.0))
        opened = value > gate if opened is None else opened & (value > gate)
    assert isinstance(total, Tensor)
    return total
