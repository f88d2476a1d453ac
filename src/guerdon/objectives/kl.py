"""Stay near the reference: the KL divergence as a loss, and which estimator does what.

With tokens x drawn from the policy pi that is being updated, d = log pi(x) - log ref(x), and sg the stop of gradient:

| estimator         | value in expectation | gradient as a loss, E[grad k] | as a reward, E[sg(k) grad log pi]   |
|-------------------|----------------------|-------------------------------|-------------------------------------|
| k1 = d            | KL(pi, ref)          | 0: it does nothing            | grad KL(pi, ref)                    |
| k2 = d^2 / 2      | E[d^2] / 2 (*)       | grad KL(pi, ref)              | grad E[d^2] / 2 - grad KL(pi, ref)  |
| k3 = e^-d - 1 + d | KL(pi, ref)          | grad KL(ref, pi): the other   | grad KL(pi, ref) - grad KL(ref, pi) |

(*) near KL(pi, ref) while the policies are close.
(The reward column is the gradient of the penalty, before the minus sign of a reward.) So: to penalise the reverse KL
that RLHF writes down, use k1 in the reward (`kl-in-reward`) or k2 as a loss. GRPO's k3 as a loss has the right value
to look at, and pulls like the forward KL. As a per-token loss each of them sees only its own position: it does not
make early tokens answer for the divergence of later ones, which a reward with a return does. All of this holds for
tokens of the current policy; on a batch used several times it is approximate.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels.compiling import recomputed
from guerdon.kernels.divergence import Estimator, kl_estimate, masked_k3
from guerdon.method import method

__all__ = ["kl_estimate", "kl_loss"]


@method(makes="token_loss", paper="arXiv:2402.03300")
def kl_loss(
    logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    estimator: Estimator = "k3",
) -> Float[Tensor, "B T"]:
    """Estimate of KL(policy || reference) at each chosen position, 0 elsewhere.

        k1 = d,   k2 = d^2 / 2,   k3 = exp(-d) - 1 + d,   absolute = |d|,   d = logp - ref_logp

    The default is GRPO's; the table at the top of this file says what each pulls towards. The coefficient (0.04 in
    GRPO) is the recipe's ``weight``. k3 overflows where the reference finds a token e^88 times likelier than the
    policy does; public trainers clamp there, which silently sets the gradient to 0.

    Reference: Shao et al., DeepSeekMath, 2024, https://arxiv.org/abs/2402.03300; Schulman, Approximating KL
    divergence, 2020, http://joschu.net/blog/kl-approx.html.
    """
    return masked_k3(logp, ref_logp, mask) if estimator == "k3" else _estimate(logp, ref_logp, mask, estimator)


@recomputed
def _estimate(logp: Tensor, ref_logp: Tensor, mask: Tensor, estimator: Estimator) -> Tensor:
    return kl_estimate(torch.where(mask, logp, 0.0), torch.where(mask, ref_logp, 0.0), estimator)
