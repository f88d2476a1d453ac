"""Thinking that stays undecided: entropy before and after the mark that ends it."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import placement
from guerdon.method import method, paper

PEAR = "arXiv:2510.08026"
THINKING, ANSWER = 0, 1


@method(makes="rewards", paper=PEAR)
def phase_entropy(
    rewards: Float[Tensor, " B"],
    correct: Float[Tensor, " B"],
    old_entropy: Float[Tensor, "B T"],
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    *,
    marker: str = "</think>",
    which: Literal["first", "last"] = "first",
    alpha: float = 1.0,
    floor: float | None = None,
) -> Float[Tensor, " B"]:
    """PEAR: a right answer pays for thinking that was more undecided than its answer.

        r - max(0, H_think - alpha H_answer)   for right answers;   r for wrong ones

    H are mean entropies (in nats) of the policy that sampled, over the chosen positions before and after the ``marker``
    that ends the thinking (`phases`), which is itself in neither; an empty phase has 0, so thinking that never ends
    pays all of its entropy. A negative alpha presses harder and compresses more. Nothing keeps a right answer above a
    wrong one where entropy is large, unless ``floor`` does: no right answer falls below it.

    The reward moves with the policy: never cache it. It does not count tokens, so watch the length, of the answer too:
    an answer that is undecided on purpose buys undecided thinking.

    Shapes: [B] out; positions outside ``mask`` are never read. NaN where the reward, the correctness or an entropy that
    counts is NaN. With 0 and 1 for rewards it is the paper's, whose cap at 1 never binds.

    Reference: PEAR, 2025, https://arxiv.org/abs/2510.08026.
    """
    thinking, answer = phase_means(
        old_entropy, phases(completions, token_spans, mask, marker=marker, which=which), mask
    )
    paid = rewards - (thinking - alpha * answer).clamp(min=0.0)
    if floor is not None:
        paid = torch.where(paid < floor, floor, paid)
    return torch.where(correct > 0.5, paid, rewards).masked_fill(correct.isnan() | rewards.isnan(), torch.nan)


@paper(PEAR)
def phases(
    completions: Sequence[str],
    token_spans: Int64[Tensor, "B T 2"],
    mask: Bool[Tensor, "B T"],
    *,
    marker: str = "</think>",
    which: Literal["first", "last"] = "first",
) -> Int64[Tensor, "B T"]:
    """The phase of each position: 0 before the marker, 1 behind it, -1 on it or where nothing was chosen.

    A token that shares a character with the marker is on it. All is thinking where the completion lacks the marker.
    ``which`` of several markers counts.

    Raises:
        ValueError: an empty marker.
    """
    if not marker:
        raise ValueError("expected a marker of at least one character, got ''; name what ends the thinking")
    found = [text.find(marker) if which == "first" else text.rfind(marker) for text in completions]
    never = torch.iinfo(torch.int64).max // 2
    begin = torch.tensor([never if at < 0 else at for at in found], device=token_spans.device)[:, None]
    start, end = token_spans.unbind(-1)
    phase = torch.where(end <= begin, THINKING, torch.where(start >= begin + len(marker), ANSWER, -1))
    return torch.where(mask, phase, -1)


@paper(PEAR)
def phase_means(
    entropy: Float[Tensor, "B T"], phase: Int64[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Mean entropy of the thinking and of the answer, each [B]; 0 for a phase without positions."""
    means = placement.reduce_to_steps(entropy, phase, mask, 2, "mean")
    there = torch.stack([(mask & (phase == k)).any(-1) for k in (THINKING, ANSWER)], -1)
    thinking, answer = torch.where(there, means, 0.0).unbind(-1)
    return thinking, answer
