"""Process scores whose sum is bounded, so that more steps are not more pay."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import next_step
from guerdon.method import method

CLIP_DELTA = "arXiv:2410.15115"


@method(makes="step_rewards", paper=CLIP_DELTA)
def clip_steps(step_rewards: Float[Tensor, "B S"], *, eta: float) -> Float[Tensor, "B S"]:
    """Clip: a good step earns nothing, a poor one pays.

        r_k = min(R_k - eta, 0)

    Choose ``eta`` so that most steps of right answers are at 0, for example the mean score of those; the paper has no
    number that fits every model. No return is above 0. NaN stays NaN.

    Reference: Gao et al., On designing effective RL reward, 2024, https://arxiv.org/abs/2410.15115 (Clip).
    """
    return (step_rewards - eta).clamp(max=0.0)


@method(makes="step_rewards", paper=CLIP_DELTA)
def delta_steps(step_rewards: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """Delta: what the next step says is taken off, so that the return from a step on is its own score.

        r_k = R_k - R_{k+1}  for k < K - 1,     r_{K-1} = R_{K-1},     r_K = 0
        sum_{j >= k} r_j = R_k  for k < K

    K is the number of steps that the row has. The score of the last step, where the answer is judged anyway, is left
    out; a row of one step gets 0. The sum over the row is the score of its first step, however many steps follow. It
    holds without discount only: take ``gamma = 1``. After `clip_steps` this is Clip-Delta (the preset); the other way
    round it is something else.

    Steps that the row lacks are NaN. A step left unscored makes itself and the step before it NaN.

    Reference: Gao et al., On designing effective RL reward, 2024, https://arxiv.org/abs/2410.15115 (Delta).
    """
    last = step_mask & (step_mask.flip(1).cumsum(1).flip(1) == 1)
    kept = torch.where(last, 0.0, step_rewards)
    return torch.where(step_mask & ~step_rewards.isnan(), kept - next_step(kept, step_mask), torch.nan)
