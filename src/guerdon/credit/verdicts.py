"""Verdicts on steps: voted on, combined from several judges, and used as a reward without being farmed.

A verdict is 1 where a step was judged right and 0 where it was judged wrong (or a probability in between).
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import placement
from guerdon.method import method, paper

SPARK = "arXiv:2512.03244"
FIN_PRM = "arXiv:2508.15202"


@paper(SPARK)
def majority_steps(
    verdicts: Float[Tensor, "N S"], valid: Bool[Tensor, " N"]
) -> tuple[Float[Tensor, " S"], Float[Tensor, ""]]:
    """The verdict of each step by majority of N verifications of one solution, and 1 overall if all steps are right.

        v_s = 1[ more than half of the valid verdicts on step s are 1 ],   y = min_s v_s

    A tie counts as wrong. Verifications that are not ``valid`` (could not be read) and NaN verdicts are not in the
    vote; a step without any vote is NaN, and then so is y, unless some step is wrong. No step at all: y is NaN.
    """
    voting = valid[:, None] & ~torch.isnan(verdicts)
    votes = voting.sum(0)
    right = (voting & (verdicts > 0.5)).sum(0)
    steps = torch.where(votes > 0, (2 * right > votes).to(verdicts.dtype), torch.nan)
    if steps.numel() == 0:
        return steps, steps.new_tensor(torch.nan)
    unknown = torch.isnan(steps).any() & ~(steps == 0).any()
    return steps, torch.where(unknown, torch.nan, (~(steps == 0).any()).to(verdicts.dtype))


@paper(SPARK)
def select_consistent(
    verdicts: Float[Tensor, "N S"],
    overall: Float[Tensor, " N"],
    valid: Bool[Tensor, " N"],
    *,
    by: Literal["step", "outcome"] = "step",
) -> Bool[Tensor, " N"]:
    """Which of N verifications of one solution to keep as labels: those that agree with the majority.

    ``step`` keeps a verification whose verdicts equal `majority_steps` at every step that was voted on and whose
    overall verdict equals theirs; ``outcome`` compares the overall verdicts with their own majority only (a tie counts
    as wrong). One that is not valid, or lacks a verdict, is not kept.
    """
    valid = valid & ~torch.isnan(overall)
    if by == "outcome":
        yes = 2 * (valid & (overall > 0.5)).sum() > valid.sum()
        return valid & ((overall > 0.5) == yes)
    steps, y = majority_steps(verdicts, valid)
    known = ~torch.isnan(steps)
    agree = ((~known) | ((verdicts > 0.5) == (steps > 0.5)) & ~torch.isnan(verdicts)).all(-1)
    return valid & agree & ((overall > 0.5) == (y > 0.5)) & ~torch.isnan(y)


@method(makes="rewards", paper=SPARK)
def step_augmented(
    rewards: Float[Tensor, " B"],
    step_rewards: Float[Tensor, "B S"],
    step_mask: Bool[Tensor, "B S"],
    form: Float[Tensor, " B"] | None = None,
    *,
    step_weight: float = 0.4,
    outcome_weight: float = 0.6,
) -> Float[Tensor, " B"]:
    """SPARK: the overall verdict and the share of steps judged right, both worth nothing where the form is wrong.

        r = f * (step_weight * k / n + outcome_weight * y)

    y is ``rewards``, the overall verdict; k / n the mean of the verdicts ``step_rewards`` over the row's steps; f the
    part that the recipe takes for ``form`` (``take = {form = "parts.format"}``), 1 without one. The form must multiply:
    added, it would pay for empty answers. k / n can be raised by trivial steps, so its weight is the smaller one.
    ``step_weight=0, outcome_weight=1`` is the paper's process reward.

    Shapes: [B] and [B, S] in, [B] out. NaN where the verdict, the form or any step that the row has is NaN, and in a
    row without steps.

    Reference: SPARK, 2025, https://arxiv.org/abs/2512.03244.
    """
    share = _mean(step_rewards, step_mask)
    combined = step_weight * share + outcome_weight * rewards
    return combined if form is None else form * combined


@method(makes="token_advantages", paper=SPARK, scale_equivariant="advantages")
def selective_advantage(
    advantages: Float[Tensor, " B"],
    step_rewards: Float[Tensor, "B S"],
    step_ids: Int64[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """SPARK: a good answer pushes its right steps only, a bad answer its wrong ones only.

        A_t = A  if (A >= 0 and step(t) is right) or (A < 0 and step(t) is wrong),  else 0

    A step is right where its verdict ``step_rewards`` is above 1/2. A must be normalised within its group *before*: the
    selection unbalances groups on purpose, and their mean is no longer 0. Positions of no step get 0.

    Shapes: [B], [B, S] and [B, T] in, [B, T] out. A NaN advantage is NaN at every chosen position, a NaN verdict at the
    positions of its step. 0 at unchosen positions.

    Reference: SPARK, 2025, https://arxiv.org/abs/2512.03244.
    """
    nothing = 0.0 * advantages  # NaN where the row has no advantage
    right = (step_rewards > 0.5) == (advantages[:, None] >= 0)
    of_step = torch.where(right, advantages[:, None], nothing[:, None]).masked_fill(step_rewards.isnan(), torch.nan)
    return placement.broadcast_to_tokens(of_step, step_ids, mask, outside=nothing)


@paper(SPARK)
def processbench_f1(predicted: Int64[Tensor, " N"], gold: Int64[Tensor, " N"]) -> tuple[float, float, float]:
    """Accuracy on solutions with an error, accuracy on those without, and their harmonic mean.

    Both tensors hold the index of the first wrong step, -1 for none. NaN where one of the two kinds is missing.
    """
    right, wrong = (predicted == gold).double(), gold >= 0
    a, b = right[wrong].mean().item(), right[~wrong].mean().item()
    return a, b, 0.0 if a + b == 0 else 2 * a * b / (a + b)


@method(makes="step_rewards", paper=FIN_PRM)
def combine_step_sources(
    step_parts: Mapping[str, Float[Tensor, "B S"]],
    part_weights: Mapping[str, Float[Tensor, ""] | float],
    *,
    mode: Literal["softmax", "mean", "weights"] = "softmax",
) -> Float[Tensor, "B S"]:
    """Fin-PRM: one label per step from several judges, who count more the higher they score.

        softmax:   R = sum_k softmax_k(r) * r_k
        mean:      R = mean_k r_k
        weights:   R = sum_k w_k r_k / sum_k w_k       (`weighted-step-sum` does not divide)

    Judges of weight 0 are only watched; in the first two modes the weights say nothing else. The softmax is taken over
    the judges of each step and is optimistic: one over-confident judge passes a wrong step. The paper's formula is
    known from secondary text; its labels are R above a threshold.

    Shapes: [B, S] each in, [B, S] out. NaN where a judge of nonzero weight is NaN.

    Reference: Fin-PRM, 2025, https://arxiv.org/abs/2508.15202.

    Raises:
        ValueError: no judge of nonzero weight, or one without a weight.
    """
    missing = sorted(set(step_parts) - set(part_weights))
    if missing:
        raise ValueError(f"expected a weight for each entry of step_parts, got none for {missing}")
    used = [name for name in step_parts if float(part_weights[name]) != 0]
    if not used:
        raise ValueError("expected at least one step part of nonzero weight, got none; add a reward to the recipe")
    r = torch.stack([step_parts[name] for name in used])
    if mode == "softmax":
        return (r.softmax(0) * r).sum(0)
    if mode == "mean":
        return r.mean(0)
    weight = r.new_tensor([float(part_weights[name]) for name in used])
    return torch.einsum("k,kbs->bs", weight / weight.sum(), r)


@method(makes="rewards", paper=FIN_PRM)
def rank_score(
    step_rewards: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"], rewards: Float[Tensor, " B"], *, w: float = 0.5
) -> Float[Tensor, " B"]:
    """Fin-PRM: what a trajectory is ranked by, from the scores of its steps and its own.

        r = (1 - w) * mean_s p_s + w * p

    p_s is ``step_rewards`` and p ``rewards``; the mean runs over the steps that the row has. The paper's w is not
    known; one half is a reading. NaN where any of them is NaN, and in a row without steps.

    Shapes: [B, S] and [B] in, [B] out. The released reinforcement learning worker scores the whole answer as one step.

    Reference: Fin-PRM, 2025, https://arxiv.org/abs/2508.15202.
    """
    return (1 - w) * _mean(step_rewards, step_mask) + w * rewards


def _mean(x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask, x, 0.0).sum(-1) / mask.sum(-1)  # 0 / 0 where there is no step
