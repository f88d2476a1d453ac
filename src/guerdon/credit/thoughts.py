"""Was it worth thinking? Text itself as the verifier."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.method import method


@method(makes="rewards", paper="arXiv:2510.01265", shift_invariant=("answer_logp", "model_answer_logp"))
def thought_information_gain(
    answer_logp: Float[Tensor, "B P"], step_mask: Bool[Tensor, "B S"], model_answer_logp: Float[Tensor, " B"]
) -> Float[Tensor, " B"]:
    """RLP: how much a thought raises the log-probability of the text that really follows.

        r = log p(x | context, thought) - log p_ema(x | context)

    x is the column ``answer``, one token or several; both are means per token. ``answer_logp`` is read at the boundary
    after the last step that the row has, under the policy with its thought; ``model_answer_logp`` comes from a slowly
    moving average of the policy that does not think. Against the policy itself the reward would shrink to 0, against a
    frozen one it would grow without better thoughts.

    NaN where either is NaN, and for a row without a step (an empty thought). The paper's advantage, G / (G - 1) times the
    distance to the mean of the group, is `leave-one-out`; it divides by no spread and adds no KL.

    Reference: Hatamizadeh et al., RLP, 2025, https://arxiv.org/abs/2510.01265.
    """
    number = torch.arange(1, answer_logp.shape[1], device=step_mask.device)
    boundary = F.pad(torch.where(step_mask, number, 0), (1, 0)).amax(-1, keepdim=True)
    with_thought = answer_logp.gather(1, boundary).squeeze(1)
    return torch.where(boundary.squeeze(1) > 0, with_thought - model_answer_logp, torch.nan)
