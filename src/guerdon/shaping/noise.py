"""Rewards that are wrong on purpose, to learn how much wrongness training bears, and help for a reward that is too low.

A wrapper stands below the signal: what the signal said stays among the parts, and the lineage keeps what became of it.
The draw is made once, with the rollouts, and not again when an epoch repeats them.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from guerdon.kernels import numbered
from guerdon.method import PartName, method
from guerdon.shaping.parts import part_named

NOISY = "arXiv:2505.22653"


@method(makes="rewards", paper=NOISY)
def flip_noise(
    rewards: Float[Tensor, " B"],
    group: Int[Tensor, " B"],
    answered: Float[Tensor, " B"] | None = None,
    *,
    rate: float = 0.4,
    per: Literal["group", "row"] = "group",
    low: float = 0.0,
    high: float = 1.0,
    generator: torch.Generator,
) -> Float[Tensor, " B"]:
    """Turn a reward between ``low`` and ``high`` upside down with probability ``rate``.

        r' = low + high - r  with probability rate,   so   E[r'] = r (1 - 2 rate) + (low + high) rate

    ``per="group"``: all completions of a prompt flip together, as in the paper. Under a group baseline that turns the
    gradient of the prompt around, while flips of single rows only add variance. The signal shrinks with 1 - 2 rate;
    at 1/2 nothing is left. NaN stays NaN and takes no draw.

    A completion without an answer is wrong whatever the noise: with ``take = {answered = "parts.PART"}`` a row whose part
    is 0 keeps its reward, as in the released code. By default all flip.

    Shapes: [B] in and out; NaN where ``answered`` is. Reference: Lv et al., 2025, https://arxiv.org/abs/2505.22653 (rates 0
    to 0.5).

    Raises:
        ValueError: a rate outside [0, 1].
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"expected a rate in [0, 1], got {rate}")
    scored = ~rewards.isnan() if answered is None else ~(rewards + answered).isnan()
    flips = torch.zeros_like(scored)
    if per == "row":
        flips[scored] = _chances(int(scored.sum()), generator, rewards.device) < rate
    else:
        place, n = numbered(group[scored])
        flips[scored] = (_chances(n, generator, rewards.device) < rate)[place]
    return _unless_silent(torch.where(flips, low + high - rewards, rewards), rewards, answered)


@method(makes="rewards", paper=NOISY, shift_equivariant="rewards")
def gaussian_noise(
    rewards: Float[Tensor, " B"], *, scale: float = 0.1, generator: torch.Generator
) -> Float[Tensor, " B"]:
    """Add normal noise of standard deviation ``scale`` to every scored reward: a reward model that is merely inexact.

    Shapes: [B] in and out; NaN stays NaN and takes no draw.

    Raises:
        ValueError: a negative scale.

    Reference: Lv et al., 2025, https://arxiv.org/abs/2505.22653.
    """
    if scale < 0:
        raise ValueError(f"expected a scale of at least 0, got {scale}")
    scored = ~rewards.isnan()
    noise = torch.randn(int(scored.sum()), generator=generator).to(rewards)
    return rewards.masked_scatter(scored, rewards[scored] + scale * noise)


@method(makes="rewards", paper=NOISY)
def lift_low_rewards(
    rewards: Float[Tensor, " B"],
    parts: Mapping[str, Float[Tensor, " B"]],
    *,
    part: PartName = "reasoning-pattern",
    threshold: float = 0.5,
    weight: float = 0.1,
) -> Float[Tensor, " B"]:
    """Help a noisy reward model with its false negatives: a low score is raised by how the completion reasons.

        r' = min(1, r + weight * p)  where r < threshold,   r elsewhere

    with p the part named ``part``, between 0 and 1. High scores are left alone, so false positives are not touched.

    Shapes: [B] in and out. NaN in the reward stays NaN; a low reward whose part is NaN is NaN. Reference: Lv et al.,
    2025, https://arxiv.org/abs/2505.22653 (reward-model calibration: 0.5 and 0.1, of a score in [0, 1] that is 0 without a
    thought and an answer; p by `reasoning-pattern` with ``phrases = "chat"``, ``blocks = true`` and ``turn = ""``).

    Raises:
        ValueError: there is no part of that name.
    """
    return torch.where(rewards < threshold, (rewards + weight * part_named(parts, part)).clamp(max=1.0), rewards)


@method(makes="rewards", paper=NOISY)
def reward_for_wrong(
    rewards: Float[Tensor, " B"],
    parts: Mapping[str, Float[Tensor, " B"]],
    answered: Float[Tensor, " B"] | None = None,
    *,
    part: PartName = "reasoning-pattern",
) -> Float[Tensor, " B"]:
    """Pay a wrong answer for how it reasons: where the reward is 0, the part named ``part`` takes its place.

        r' = p  where r = 0,   r elsewhere

    With ``take = {answered = "parts.PART"}`` only rows whose part is not 0 are paid so, as in the released code: what gives
    no answer earns nothing. Below `flip-noise` a right answer that was flipped is paid too, there as here.

    Shapes: [B] in and out. NaN in the reward stays NaN; a zero whose part is NaN is NaN, and so is a row whose ``answered``
    is NaN. Reference: Lv et al., 2025,
    https://arxiv.org/abs/2505.22653 (without the annealing that the released code leaves empty).

    Raises:
        ValueError: there is no part of that name.
    """
    return _unless_silent(torch.where(rewards == 0, part_named(parts, part), rewards), rewards, answered)


def _unless_silent(changed: Tensor, rewards: Tensor, answered: Tensor | None) -> Tensor:
    """The old reward where nothing was answered, NaN where that is not known."""
    if answered is None:
        return changed
    return torch.where(answered == 0, rewards, changed).masked_fill(answered.isnan(), torch.nan)


def _chances(n: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(n, generator=generator).to(device)
