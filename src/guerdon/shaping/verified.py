"""What a verdict does to other scores: a reward model under a verifier, and a judge of consistency that pays right answers."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from guerdon.method import PartName, method


@method(makes="rewards", paper="arXiv:2409.12122")
def fuse_verifier(
    rewards: Float[Tensor, " B"], correct: Float[Tensor, " B"], *, alpha: float = 0.5
) -> Float[Tensor, " B"]:
    """Let a reward model rank within right and within wrong answers, never across.

        r = sigmoid(alpha * r_m) + (correct - 1)

    r_m is what ``rewards`` holds before, the score of a reward model; right answers get (0, 1), wrong ones (-1, 0). A
    group that is all right still learns from the model's noise, unlike under the verifier alone. ``alpha`` has to fit
    the model's scale: past about ``10 / alpha`` the sigmoid is flat, and a wrong and a right answer may both round to 0.

    Shapes: [B] in and out. NaN where the score or the verdict is NaN.

    Raises:
        ValueError: ``alpha`` is not positive.

    Reference: Yang et al., Qwen2.5-Math, 2024, https://arxiv.org/abs/2409.12122 (reinforcement learning, reward shaping)
    """
    if not alpha > 0:
        raise ValueError(f"expected a positive alpha, got {alpha}")
    return torch.sigmoid(alpha * rewards) + (correct - 1)


@method(makes="rewards", paper="arXiv:2505.02835")
def consistency_bonus(
    rewards: Float[Tensor, " B"],
    correct: Float[Tensor, " B"],
    parts: Mapping[str, Float[Tensor, " B"]],
    *,
    part: PartName,
    weight: float = 0.5,
    failed: Literal["unscored", "neutral"] = "unscored",
) -> Float[Tensor, " B"]:
    """R1-Reward: a right answer earns more where its reasoning agrees with it, and less where it contradicts it.

        r + weight * correct * c

    c is the part named ``part``: 1 where a judge finds that the last lines of the reasoning agree with the answer, -1 where
    they contradict it. A wrong answer earns nothing by agreeing with itself. With a part for the format (weight 0.5), one
    for the answer (weight 1) and the consistency only watched (weight 0), `weighted-sum` and this make the paper's
    ``R = 0.5 format + accuracy * (1 + 0.5 c)``.

    A right answer whose c is NaN (the judge failed) is NaN, or, with ``failed = "neutral"``, keeps its reward (the
    released code). [B] in and out; NaN where the reward or the verdict is.

    Reference: Zhang et al., R1-Reward, 2025, https://arxiv.org/abs/2505.02835, section 3.3 and released code.

    Raises:
        ValueError: there is no part of that name.
    """
    if part not in parts:
        raise ValueError(f"expected a part named {part!r}, got {sorted(parts)}; set part to one of them")
    agreed = parts[part].nan_to_num(nan=0.0) if failed == "neutral" else parts[part]
    return rewards + torch.where(correct == 0, 0.0, weight * correct * agreed)
