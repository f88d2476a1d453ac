"""A part by its name, as stages that bend a reward by one of the parts read it."""

from collections.abc import Mapping

from torch import Tensor


def part_named(parts: Mapping[str, Tensor], name: str) -> Tensor:
    """The part.

    Raises:
        ValueError: there is no part of that name.
    """
    if name not in parts:
        raise ValueError(f"expected a part named {name!r}, got {sorted(parts)}; set part to one of them")
    return parts[name]
