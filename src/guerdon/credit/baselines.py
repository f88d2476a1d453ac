"""Compared with something other than the group: the greedy answer, or the recent past.

A baseline lowers the variance of the gradient and, as long as it does not depend on the sampled tokens, leaves its
mean alone. Neither of these needs more than one sample per prompt.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import pointwise, scan
from guerdon.method import method


@method(
    makes="advantages",
    paper="arXiv:2310.10505",
    shift_invariant=("rewards", "greedy_rewards"),
    scale_equivariant=("rewards", "greedy_rewards"),
)
def greedy_baseline(
    rewards: Float[Tensor, " B"], greedy_rewards: Float[Tensor, " B"], *, clip: float = math.inf
) -> Float[Tensor, " B"]:
    """ReMax: the reward minus the reward of the greedy answer to the same prompt.

        A = clip(r - b, -clip, clip),   b = R(x, greedy(x))

    The greedy answer must come from the *current* policy, with the same prompt format and length limit. ``clip`` acts
    on the difference; the paper has none (infinity), the official code uses 5. NaN in either reward gives NaN. Equal
    rewards give 0, so with a 0/1 verifier many rows carry no signal once the greedy answer is as good as the samples.

    With a KL penalty in the reward, follow this by `place-rewards` (of the advantages), `kl-in-reward` and
    `discounted-returns`: that is the form in which other trainers ship it (KL summed to the end).
    `greedy_baseline_discounted` is the form of the official code.

    Reference: Li et al., ReMax, ICML 2024, https://arxiv.org/abs/2310.10505.
    """
    return (rewards - greedy_rewards).clamp(-clip, clip)


@method(makes="token_advantages", paper="arXiv:2310.10505", shift_invariant=("rewards", "greedy_rewards"))
def greedy_baseline_discounted(
    rewards: Float[Tensor, " B"],
    greedy_rewards: Float[Tensor, " B"],
    old_logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    gamma: float = 0.99,
    clip: float = 5.0,
    coefficient: float = 0.05,
) -> Float[Tensor, "B T"]:
    """ReMax as its official code computes it: discounted from the end, with each token's own KL.

        A_t = gamma^(n - t) * clip(r - b, -clip, clip) - coefficient * (old_logp_t - ref_logp_t),   t = 0 .. n - 1

    where n counts the positions that the policy chose. Three details differ from the paper: the last token is already
    discounted once; a token pays for its own KL only, not for the KL that follows; the difference is clipped. The
    paper's formula is ``gamma=1, clip=inf``.

    0 at unchosen positions. A NaN reward gives NaN at every chosen position of its row.

    Reference: Li et al., ReMax, ICML 2024, https://arxiv.org/abs/2310.10505; defaults of its training scripts (its
    argument parser has gamma 0.95 and coefficient 0.1).
    """
    discounted = scan.decay(greedy_baseline(rewards, greedy_rewards, clip=clip), mask, gamma)
    return pointwise.penalised(discounted, old_logp, ref_logp, mask, coefficient)


def moving_average(previous: Float[Tensor, ""], rewards: Float[Tensor, " B"], *, decay: float) -> Float[Tensor, ""]:
    """Exponential moving average of batch means: ``decay * previous + (1 - decay) * mean(rewards)``.

    NaN rewards are not in the mean; without a scored reward nothing moves. A NaN ``previous`` means that there is no
    past yet: the average starts at the mean of this batch, so it needs no correction for a start at zero.
    """
    mean = rewards.nanmean()
    moved = torch.where(torch.isnan(previous), mean, decay * previous + (1 - decay) * mean)
    return torch.where(torch.isnan(mean), previous, moved)


@method(makes="advantages")
class MovingAverageBaseline:
    """REINFORCE with a running baseline: the reward minus the moving average of past batches.

        A_i = r_i - b,   then   b <- decay * b + (1 - decay) * mean(r)

    Reading and moving are apart: calling it changes nothing, ``update`` runs once per iteration after the batch was
    used, so b never depends on the rewards that it is subtracted from. The one exception is the cold start: before
    the first update b is the mean of the batch at hand. NaN rewards stay NaN and move nothing.

    One number serves every prompt, so it removes the level of the rewards but not the difference between easy and
    hard prompts; group baselines do.

    Reference: Williams, Simple statistical gradient-following algorithms, Machine Learning 8, 1992,
    https://doi.org/10.1007/BF00992696.
    """

    def __init__(self, *, decay: float = 0.95):
        self.decay = decay
        self.mean = torch.tensor(math.nan)

    def __call__(self, rewards: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        mean = self.mean.to(rewards)
        return rewards - torch.where(torch.isnan(mean), rewards.nanmean(), mean)

    def update(self, rewards: Float[Tensor, " B"]) -> None:
        """Move the baseline by one batch."""
        self.mean = moving_average(self.mean.to(rewards), rewards, decay=self.decay)

    def state_dict(self) -> dict[str, Tensor]:
        """``{"mean": scalar}``; NaN before the first update."""
        return {"mean": self.mean.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self.mean = state["mean"].clone()
