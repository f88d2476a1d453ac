"""Estimators of KL(policy || reference) from one sample: k1, k2, k3; and the plain distance.

On the ground floor because two rooms need them: shaping subtracts them from rewards, objectives add them to losses.
What each one's value and gradient are in expectation stands in `guerdon.objectives.kl`.
"""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Estimator = Literal["k1", "k2", "k3", "absolute"]


def kl_estimate(
    logp: Float[Tensor, "*shape"], ref_logp: Float[Tensor, "*shape"], kind: Estimator = "k3"
) -> Float[Tensor, "*shape"]:
    """Single-sample estimate of KL(policy || reference), elementwise, from tokens that the policy drew.

        d = logp - ref_logp;   k1 = d,   k2 = d^2 / 2,   k3 = exp(-d) - 1 + d,   absolute = |d|

    Differentiable in both arguments. k1 may be negative; the others never are. The absolute difference estimates no
    KL; its gradient has the same size however near both are, and is 0 where they are equal. k3 grows like the exponential where the
    reference likes a token far more than the policy does and overflows float32 at a difference of 88; it is not
    clamped here, because a clamp would silently change its gradient.

    Reference: Schulman, Approximating KL divergence, 2020, http://joschu.net/blog/kl-approx.html.
    """
    difference = logp - ref_logp
    if kind == "k1":
        return difference
    if kind == "k2":
        return 0.5 * difference.square()
    if kind == "k3":
        return torch.expm1(-difference) + difference
    if kind == "absolute":
        return difference.abs()
    raise ValueError(f"expected a KL estimator of k1, k2, k3 or absolute, got {kind!r}")


def masked_k3(
    logp: Float[Tensor, "*shape"], ref_logp: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """k3 of `kl_estimate` where the mask is True; 0 elsewhere, with gradient 0, whatever stands there. Differentiable twice.

    The mask is applied to what comes out of the exponential, forward and backward. Applied to what goes into it, it holds up
    a processor that waits for the mask before it can begin: compiled, that takes twice as long.
    """
    return _MaskedK3.apply(logp, ref_logp, mask)


class _MaskedK3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logp, ref_logp, mask):
        ctx.save_for_backward(logp, ref_logp, mask)
        return torch.where(mask, kl_estimate(logp, ref_logp, "k3"), 0.0)

    @staticmethod
    def backward(ctx: Any, *grads):
        logp, ref_logp, mask = ctx.saved_tensors
        difference = logp - ref_logp
        if torch.is_grad_enabled():  # for a gradient of this one, which may meet an infinity under a False mask
            difference = torch.where(mask, difference, 0.0)
        slope = torch.where(mask, -grads[0] * torch.expm1(-difference), 0.0)
        return slope, -slope if ctx.needs_input_grad[1] else None, None
