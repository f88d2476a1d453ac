"""A reward model under a verifier: what is verified as right always pays more than what is not."""

import torch
from jaxtyping import Float
from torch import Tensor

from guerdon.method import method


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
