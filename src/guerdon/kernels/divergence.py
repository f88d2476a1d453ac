"""Estimators of KL(policy || reference) from one sample: k1, k2, k3; and the plain distance.

On the ground floor because two rooms need them: shaping subtracts them from rewards, objectives add them to losses.
What each one's value and gradient are in expectation stands in `guerdon.objectives.kl`.
"""

from typing import Literal

import torch
from jaxtyping import Float
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
