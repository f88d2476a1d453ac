"""The price of leaving the reference, as part of the reward."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels.divergence import Estimator, kl_estimate
from guerdon.kernels.ratios import row_log_ratio
from guerdon.method import method


@method(makes="token_rewards", paper="arXiv:2203.02155")
def kl_in_reward(
    token_rewards: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    coefficient: float = 0.05,
    estimator: Estimator = "k1",
) -> Float[Tensor, "B T"]:
    """Each token pays for its own divergence from the reference.

        r_t - coefficient * k(old_logp_t - ref_logp_t)

    Follow it with `discounted-returns` or `gae`, so that a token also answers for the divergence that it leads to.
    As a *reward* only k1 has the gradient of the reverse KL in expectation; see `guerdon.objectives.kl` for the table,
    and for the KL as a loss.

    0 at unchosen positions, whose log-probabilities are never read. NaN rewards stay NaN.

    Reference: the form of InstructGPT, Ouyang et al., 2022, https://arxiv.org/abs/2203.02155; the default coefficient
    is that of Tulu 3, 2024, https://arxiv.org/abs/2411.15124.
    """
    kl = kl_estimate(torch.where(mask, old_logp, 0.0), torch.where(mask, ref_logp, 0.0), estimator)
    return torch.where(mask, token_rewards - coefficient * kl, 0.0)


@method(makes="rewards", paper="arXiv:2304.06767")
def sequence_kl_in_reward(
    rewards: Float[Tensor, " B"],
    old_logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    coefficient: float = 0.1,
) -> Float[Tensor, " B"]:
    """The whole answer pays at once for its divergence from the reference.

        r - coefficient * sum over chosen t of (old_logp_t - ref_logp_t)

    For what ranks answers, such as `best-of-group`, where only the order of rewards matters. `kl-in-reward` lets each token
    pay by itself. NaN rewards stay NaN.

    Reference: Dong et al., RAFT, 2023, https://arxiv.org/abs/2304.06767 (the KL-aware variant).
    """
    return rewards - coefficient * row_log_ratio(old_logp, ref_logp, mask)
