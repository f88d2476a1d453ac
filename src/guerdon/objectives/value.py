"""Teach the value function what to expect."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels.compiling import recomputed
from guerdon.kernels.masked import scored
from guerdon.method import method


@method(makes="token_loss", paper="arXiv:1707.06347")
@recomputed
def value_loss(
    values: Float[Tensor, "B T"],
    token_returns: Float[Tensor, "B T"],
    old_values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip: float | None = 0.2,
) -> Float[Tensor, "B T"]:
    """Squared error of the value, pessimistically clipped around the old value.

        loss_t = max((V_t - R_t)^2, (clip(V_t, V_old_t - clip, V_old_t + clip) - R_t)^2) / 2

    ``clip=None`` is the plain squared error. The clip is in units of the return, so it should follow the scale of the
    rewards: with rewards of 10, a clip of 0.2 lets the value move only slowly. The coefficient (0.1 in Tulu 3) is the
    recipe's ``weight``. 0 at unchosen positions; a NaN return shows as NaN and passes no gradient.

    The PPO paper writes the unclipped form; the clip is from its released code.

    Reference: Schulman et al., PPO, 2017, https://arxiv.org/abs/1707.06347.

    Raises:
        ValueError: a clip that is not positive.
    """
    if clip is not None and clip <= 0:
        raise ValueError(f"expected a value clip above 0, got {clip}; leave it out (None) for the plain squared error")
    used = scored(token_returns, mask)
    value, target, old = (torch.where(used, x, 0.0) for x in (values, token_returns, old_values))
    error = (value - target).square()
    if clip is not None:
        near = old + (value - old).clamp(-clip, clip)
        error = torch.maximum(error, (near - target).square())
    return torch.where(mask & ~used, torch.nan, 0.5 * error)
