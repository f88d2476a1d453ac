"""Answers that do not end, are too short, or too long."""

from itertools import pairwise

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


@method(makes="rewards", paper="arXiv:2508.03178")
def cosine_length(
    rewards: Float[Tensor, " B"],
    lengths: Int64[Tensor, " B"],
    *,
    limit: int = 8192,
    good: float = 0.2,
    value: float = -2.0,
) -> Float[Tensor, " B"]:
    """Light-IF: a longer answer earns more where it is good, and costs more where it is not.

        g = (1 - cos(pi * n / limit)) / 2       from 0 for no token to 1 at the limit
        r = 2 * g * r    where r >= good
            -g           elsewhere
            value        from limit tokens on

    A cure for lazy thinking: a good answer is worth its reward at half the limit and twice that near it. A poor answer
    is paid for being short, whatever it was worth below ``good``. ``lengths`` counts the tokens that the policy chose.
    The reward is that of `dense-instructions`. NaN stays NaN.

    Shapes: [B] in and out. Reference: Wang et al., Light-IF, 2025, https://arxiv.org/abs/2508.03178 (Zero-RL).

    Raises:
        ValueError: a limit below 1.
    """
    if limit < 1:
        raise ValueError(f"expected a limit of at least 1 token, got {limit}")
    grown = (1 - torch.cos(torch.pi * lengths.to(rewards.dtype) / limit)) / 2
    return _replace(torch.where(rewards < good, -grown, 2 * grown * rewards), lengths >= limit, value)


@method(makes="rewards", shift_equivariant="rewards")
def piecewise_length(
    rewards: Float[Tensor, " B"],
    lengths: Int64[Tensor, " B"],
    correct: Float[Tensor, " B"] | None = None,
    *,
    points: tuple[tuple[float, float], ...] = ((0.0, 1.0), (256.0, 0.0)),
    weight: float = 1.0,
) -> Float[Tensor, " B"]:
    """A bonus that is a line from point to point of the length: ``r + weight * f(n)``.

        f(n) = v_k + (v_{k+1} - v_k) (n - n_k) / (n_{k+1} - n_k)     for n_k <= n <= n_{k+1}

    ``points`` are pairs (n_k, v_k) in order of length in tokens, by default from 1 at none down to 0 at 256; before the
    first and after the last f rests. Any shape is written so: a ramp, a plateau with edges, the soft buffer of
    `overlong_penalty` ((limit - buffer, 0), (limit, -1)). With ``take = {correct = "correct"}`` only right answers get it; without, a wrong answer of a good
    length is paid as well. Unverified rows are then NaN.

    Shapes: [B] in and out. NaN stays NaN.

    Raises:
        ValueError: no points, or lengths that do not rise.
    """
    at = [n for n, _ in points]
    if not points or any(b <= a for a, b in pairwise(at)):
        raise ValueError(
            f"expected points (length, value) in rising order of length, got {points}; sort or complete them"
        )
    x = lengths.to(rewards.dtype).clamp(at[0], at[-1])
    knots, values = rewards.new_tensor(at), rewards.new_tensor([value for _, value in points])
    right = torch.searchsorted(knots, x).clamp(min=min(1, len(at) - 1))
    left = (right - 1).clamp(min=0)
    share = (x - knots[left]) / (knots[right] - knots[left]).clamp(min=torch.finfo(x.dtype).tiny)
    bonus = weight * (values[left] + share * (values[right] - values[left]))
    if correct is None:
        return rewards + bonus
    return rewards + torch.where(correct > 0.5, bonus, 0.0).masked_fill(correct.isnan(), torch.nan)


@method(makes="token_rewards", paper="arXiv:2505.22338", scale_equivariant="token_rewards")
def soft_length_weight(
    token_rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, limit: int = 48, alpha: float = 1.0
) -> Float[Tensor, "B T"]:
    """Text2Grad: all token rewards of a row shrink as it grows past a limit.

        w = 1 / (1 + exp(clip(alpha * (n - limit) - 6, -10, 6)))

    n counts the chosen positions from the first whose reward is not 0. At ``limit`` w is still 0.9975, 6 / alpha
    positions later 1/2, and 12 / alpha later 0.0025, where it stays. The limit of 48 is that of one dataset of short
    summaries. It shrinks penalties as well as rewards, so a poor answer escapes by being long: keep an end to it.

    Shapes: [B, T] in and out; 0 at unchosen positions. NaN stays NaN at its position and counts as not 0.

    Reference: Wang et al., Text2Grad, 2025, https://arxiv.org/abs/2505.22338.
    """
    rewards = torch.where(mask, token_rewards, 0.0)
    begun = (rewards != 0).cummax(-1).values if rewards.shape[-1] else mask
    n = (begun & mask).sum(-1, keepdim=True).to(rewards.dtype)
    return rewards * torch.sigmoid(-(alpha * (n - limit) - 6).clamp(-10.0, 6.0))


def _replace(rewards: Tensor, where: Tensor, value: float) -> Tensor:
    return torch.where(where & ~torch.isnan(rewards), value, rewards)
