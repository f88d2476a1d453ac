"""Answers that do not end, are too short, or too long."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.method import method


@method(makes="rewards", paper="arXiv:2411.15124")
def missing_end_penalty(
    rewards: Float[Tensor, " B"], terminated: Bool[Tensor, " B"], *, value: float = -10.0
) -> Float[Tensor, " B"]:
    """Tulu 3: an answer that did not end by itself gets ``value`` instead of its reward.

        r = r where the row terminated, else value

    It *replaces*: a correct answer that never stops gets ``value`` too. So place it after the rewards are scaled and
    before any KL penalty. NaN stays NaN, ended or not.

    Reference: Lambert et al., Tulu 3, 2024, https://arxiv.org/abs/2411.15124 (reward scale 10, value -10).
    """
    return _replace(rewards, ~terminated, value)


@method(makes="rewards", paper="arXiv:2411.15124")
def too_short_penalty(
    rewards: Float[Tensor, " B"], lengths: Int64[Tensor, " B"], *, minimum: int = 1, value: float = -10.0
) -> Float[Tensor, " B"]:
    """Tulu 3: an answer of fewer than ``minimum`` tokens gets ``value`` instead of its reward.

    The end token counts. Replaces, as `missing_end_penalty` does; NaN stays NaN.

    Reference: Lambert et al., Tulu 3, 2024, https://arxiv.org/abs/2411.15124 (the released trainer's minimum length).
    """
    return _replace(rewards, lengths < minimum, value)


@method(makes="rewards", paper="arXiv:2503.14476", shift_equivariant="rewards")
def overlong_penalty(
    rewards: Float[Tensor, " B"],
    lengths: Int64[Tensor, " B"],
    *,
    limit: int = 20480,
    buffer: int = 4096,
    penalty: float = 1.0,
) -> Float[Tensor, " B"]:
    """DAPO's soft overlong punishment, added to the reward.

        r + penalty * p,   p = 0                              up to limit - buffer tokens
                           p = (limit - buffer - n) / buffer  up to limit
                           p = -1                             beyond

    ``lengths`` counts the tokens that the policy chose. Continuous, so that an answer a little too long is told apart
    from one far too long. NaN stays NaN.

    Reference: Yu et al., DAPO, 2025, https://arxiv.org/abs/2503.14476.

    Raises:
        ValueError: a buffer that is not positive or exceeds the limit.
    """
    if not 0 < buffer <= limit:
        raise ValueError(f"expected a buffer of 1 to limit={limit} tokens, got {buffer}")
    over = (lengths - (limit - buffer)).to(rewards.dtype) / buffer
    return rewards - penalty * over.clamp(0.0, 1.0)


def _replace(rewards: Tensor, where: Tensor, value: float) -> Tensor:
    return torch.where(where & ~torch.isnan(rewards), value, rewards)
