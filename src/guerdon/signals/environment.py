"""What the environment paid: the scores of the turns as rewards of the row or of its steps."""

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from guerdon.method import method


@method(makes=("parts", "correct"))
def environment_score(
    turn_scores: Float32[Tensor, "B S"], *, threshold: float = 0.0
) -> tuple[Float32[Tensor, "B"], Float32[Tensor, "B"]]:
    """Give each row what its environment paid, and call it correct where the last turn paid more than ``threshold``.

        part_i    = sum_s score_is
        correct_i = 1[ score_i,last > threshold ]        last: the row's last turn with a score

    Turns without a score (NaN) are left out; a row without any is unscored, such as one whose environment failed.
    ``correct`` fits environments that pay at the goal; where every turn earns something, watch the part instead.
    Shapes: [B, S] in, two times [B] out.
    """
    scored = ~turn_scores.isnan()
    some = scored.any(-1)
    at = torch.arange(1, turn_scores.shape[1] + 1, device=turn_scores.device)
    last = turn_scores.gather(1, (scored * at).amax(-1, keepdim=True).sub(1).clamp(min=0)).squeeze(-1)
    part = torch.where(some, turn_scores.nansum(-1), torch.nan)
    return part, torch.where(some, (last > threshold).to(part.dtype), torch.nan)


@method(makes="step_parts")
def environment_steps(turn_scores: Float32[Tensor, "B S"]) -> Float32[Tensor, "B S"]:
    """Give each turn what its environment paid for it: ``out_is = score_is``.

    The steps are the turns, as the trainer numbers them. NaN where the row has no such turn, or the environment did not
    score it. Shapes: [B, S] in and out.
    """
    return turn_scores.clone()


@method(makes="parts", paper="arXiv:2509.22601")
def turn_bonus(turn_mask: Bool[Tensor, "B S"], *, per_turn: float = 0.1, cap: float = 1.0) -> Float32[Tensor, "B"]:
    """Pay for every turn that a row has taken, up to a cap: ``min(cap, per_turn * n)``.

    Where a turn is the call of a tool this is SPEAR's bonus for trying tools at all. Kept up, it teaches calls for their
    own sake; its weight is to fall to 0 early on, ``weight = {schedule = "cosine", start = 1.0, end = 0.0, finish =
    0.5}``. A second released form, for another model, pays a right answer as much for one call as for many; that one is not
    here. Shapes: [B, S] in, [B] out.

    Reference: Qin et al., SPEAR, 2025, https://arxiv.org/abs/2509.22601.
    """
    return (per_turn * turn_mask.sum(-1).float()).clamp(max=cap)
