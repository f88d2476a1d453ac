"""Stay undecided: a bonus for entropy."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.method import method


@method(makes="token_loss", paper="arXiv:1602.01783", scale_equivariant="entropy")
def entropy_bonus(entropy: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Minus the entropy of the policy at each chosen position, 0 elsewhere: ``loss_t = -H_t``.

    In nats, of the distribution at the sampling temperature. Minimising it keeps the policy from settling too soon;
    the coefficient (0.01 is common, 0 is the default of most trainers of language models) is the recipe's ``weight``.

    Reference: Mnih et al., A3C, 2016, https://arxiv.org/abs/1602.01783.
    """
    return -torch.where(mask, entropy, 0.0)
