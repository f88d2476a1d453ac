"""A budget of tokens that falls while training goes on: what the prompt states and what the reward reads."""

import math

from guerdon.method import paper

TRAIN_LONG = "arXiv:2508.08940"


@paper(TRAIN_LONG)
def decayed_budget(step: int, *, start: int, end: int = 1, decay: float = 0.7, every: int = 150) -> int:
    """The budget at a step: ``max(end, floor(start * decay^floor(step / every)))`` tokens.

    Raises:
        ValueError: a decay outside (0, 1], an end that is not in 1 .. start, or ``every`` below 1.

    Reference: Train Long, Think Short, 2025, https://arxiv.org/abs/2508.08940 (256 tokens, 0.7 every 150 steps).
    """
    if not (0 < decay <= 1 and 1 <= end <= start and every >= 1):
        raise ValueError(
            f"expected a decay in (0, 1], 1 <= end <= start and every of at least 1, got decay={decay}, end={end}, "
            f"start={start}, every={every}"
        )
    exact = start * decay ** (step // every)
    return max(end, math.floor(exact + 1e-6))  # a decay that was computed from the end must reach it


@paper(TRAIN_LONG)
def decay_between(start: int, end: int, times: int) -> float:
    """The factor that leads from ``start`` to ``end`` in so many decays: ``(end / start)^(1 / times)``."""
    return (end / start) ** (1 / times)
