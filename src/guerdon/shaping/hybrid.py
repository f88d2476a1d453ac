"""HARMO: a rule where there is one, a reward model elsewhere, and the price of a wrong answer that is short."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guerdon.kernels import group_max, group_mean
from guerdon.method import PartName, method

HARMO = "arXiv:2510.05283"


@method(makes="rewards", paper=HARMO)
def hybrid_reward(
    parts: Mapping[str, Float[Tensor, " B"]],
    group: Int64[Tensor, " B"],
    *,
    rule: PartName,
    learned: PartName,
    confidence: PartName | None = None,
) -> Float[Tensor, " B"]:
    """The rule's verdict for prompts that it can judge, the reward model's score for all others.

        r = c * rule + (1 - c) * learned  where the rule scored the prompt
            learned                         elsewhere

    ``rule``, ``learned`` and ``confidence`` name parts; c is the rule's confidence in [0, 1], and 1 without one. What
    decides is the *prompt*: once the rule scored any answer of a group, an answer that it left unscored is NaN and not
    the model's, as two scales within one comparison would say nothing. Across groups too they should have one scale:
    without a division by the spread, prompts of an unbounded model outweigh those of a rule of 0 and 1.

    Shapes: [B] in and out. NaN where what the row is judged by is NaN.

    Reference: HARMO, 2025, https://arxiv.org/abs/2510.05283 (hybrid reward; how a confidence enters is our reading).

    Raises:
        ValueError: there is no part of that name.
    """
    for name in (rule, learned, *([confidence] if confidence is not None else [])):
        if name not in parts:
            raise ValueError(
                f"expected a part named {name!r}, got {sorted(parts)}; set rule, learned and confidence to one"
            )
    ruled, modelled = parts[rule], parts[learned]
    if confidence is not None:
        c = parts[confidence].clamp(0.0, 1.0)
        ruled = torch.where(c == 1, ruled, torch.where(c == 0, modelled, c * ruled + (1 - c) * modelled))
    return torch.where(group_max(parts[rule], group).isnan(), modelled, ruled)


@method(makes="rewards", paper=HARMO, shift_equivariant="rewards")
def brevity_penalty(
    rewards: Float[Tensor, " B"],
    lengths: Int64[Tensor, " B"],
    correct: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    cap: float = 0.5,
    tolerance: float = 0.2,
) -> Float[Tensor, " B"]:
    """A wrong answer pays for being shorter than the right ones of its group.

        d  = (L - n) / L,                    L the mean length of the right answers of the group
        r' = r - cap * clip((d - tolerance) / (1 - tolerance), 0, 1)    where the answer is wrong

    Right answers, and groups without one, pay nothing. It answers a policy that gives up early where it does not know.
    Long nonsense gains by comparison.

    Shapes: [B] in and out. NaN rewards stay NaN and are in no mean; an answer that nothing verified pays nothing.

    Reference: HARMO, 2025, https://arxiv.org/abs/2510.05283. The paper's text gives a cap, a tolerance and the need of a
    right answer; this curve between them, and both defaults, are our reading.

    Raises:
        ValueError: a tolerance outside of [0, 1).
    """
    if not 0 <= tolerance < 1:
        raise ValueError(f"expected a tolerance from 0 to below 1, got {tolerance}")
    n = lengths.to(rewards.dtype)
    right = (correct > 0.5) & ~rewards.isnan()
    usual = group_mean(torch.where(right, n, torch.nan), group)
    short = ((usual - n) / usual.clamp(min=1) - tolerance) / (1 - tolerance)
    pays = (correct <= 0.5) & ~usual.isnan()
    return rewards - torch.where(pays, cap * short.clamp(0.0, 1.0), 0.0)
