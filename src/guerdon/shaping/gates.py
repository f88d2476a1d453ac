"""Less important parts count only where the more important ones are good enough."""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from guerdon.method import method
from guerdon.shaping.parts import part_named


@method(makes="rewards", paper="arXiv:2508.10548")
def gated_sum(
    parts: Mapping[str, Float[Tensor, " B"]],
    part_weights: Mapping[str, Float[Tensor, ""] | float],
    *,
    order: tuple[str, ...],
    gates: tuple[float, ...],
) -> Float[Tensor, " B"]:
    """G-RA: a part counts only where every part of higher priority is above its gate.

        r = sum_i w_i part_i prod_{j before i} [part_j > g_j]

    ``order`` names parts from the highest priority down, ``gates`` holds one number for each of them but the last. Gates
    read the raw part, before its weight and before any normalisation (after it, a gate would open for the better half
    of any group). Choose a gate strictly between two levels of a part. Parts that are penalties make failing cheaper
    where they are gated off: gate what is paid, and add penalties outside.

    Shapes: [B] in and out. NaN where any part of the order is NaN, also behind a gate that is shut. Parts outside the
    order must have the weight 0.

    Raises:
        ValueError: an unknown or repeated name, the wrong number of gates, or a part of nonzero weight outside the order.

    Reference: G-RA, 2025, https://arxiv.org/abs/2508.10548.
    """
    if len(set(order)) != len(order) or not order or len(gates) != len(order) - 1:
        raise ValueError(
            f"expected an order of different parts and one gate for each but the last, got {list(order)} and "
            f"{list(gates)}; correct them"
        )
    left = sorted(name for name in parts if name not in order and float(part_weights[name]) != 0)
    if left:
        raise ValueError(
            f"expected every part in the order {list(order)}, got {left} besides; name it or give it weight 0"
        )
    values = [part_named(parts, name) for name in order]
    total, opened = torch.zeros_like(values[0]), torch.ones_like(values[0], dtype=torch.bool)
    for i, (name, value) in enumerate(zip(order, values, strict=True)):
        total = total + torch.where(opened, part_weights[name] * value, 0.0)
        if i < len(gates):
            opened = opened & (value > gates[i])
    return total.masked_fill(torch.stack(values).isnan().any(0), torch.nan)
