"""From rows and steps down to tokens, where the objective reads it.

Rewards are *placed*: they sit on one position, and a return carries them to the earlier ones. Advantages are
*broadcast*: every token of a row or step shares them.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import placement
from guerdon.method import method


@method(makes="token_rewards", scale_equivariant="rewards", unscored="placed")
def place_rewards(rewards: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """The reward of the row on the last position that the policy chose, 0 elsewhere.

    A row without a chosen position has nowhere to put it: all 0. A NaN reward is NaN at that one position.
    """
    return placement.place_on_last(rewards, mask)


@method(makes="token_rewards", scale_equivariant="step_rewards", unscored="placed")
def place_step_rewards(
    step_rewards: Float[Tensor, "B S"],
    step_end: Int64[Tensor, "B S"],
    step_mask: Bool[Tensor, "B S"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """Each step's reward on the last chosen position of the step, 0 elsewhere.

    Steps that the row lacks (``step_mask`` False) place nothing. The NaN reward of a step that it has is NaN at its
    own position only; returns spread it to what came before.
    """
    placed = placement.place_on_tokens(step_rewards, step_end, step_mask, mask.shape[1])
    return torch.where(mask, placed, 0.0)


@method(makes="token_advantages", scale_equivariant="step_advantages")
def step_credit(
    step_advantages: Float[Tensor, "B S"], step_ids: Int64[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Each step's advantage on every chosen position of the step.

        A_t = A_step(t)

    Chosen positions outside of any step (``step_ids`` -1) and unchosen positions get 0. A NaN step spreads to its own
    positions only, so that they are left out of the loss while the rest of the row stays in.
    """
    return placement.broadcast_to_tokens(step_advantages, step_ids, mask)


@method(makes="token_advantages", scale_equivariant=("advantages", "step_advantages"))
def add_levels(
    advantages: Float[Tensor, " B"],
    step_advantages: Float[Tensor, "B S"],
    step_ids: Int64[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    weight: float = 1.0,
    step_weight: float = 1.0,
) -> Float[Tensor, "B T"]:
    """The row's advantage plus the advantage of the position's own step.

        A_t = weight * A_row + step_weight * A_step(t)

    Chosen positions outside of any step get the row's advantage alone; unchosen positions 0. NaN in either level is
    NaN at the positions that it covers.
    """
    advantages = weight * advantages
    both = advantages[:, None] + step_weight * step_advantages
    return placement.broadcast_to_tokens(both, step_ids, mask, outside=advantages)


@method(
    makes="token_rewards", paper="arXiv:2502.01456", scale_equivariant=("token_rewards", "rewards"), unscored="placed"
)
def add_outcome(
    token_rewards: Float[Tensor, "B T"],
    rewards: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    weight: float = 1.0,
) -> Float[Tensor, "B T"]:
    """Rewards of tokens, and the row's number on the last position that the policy chose.

        r'_t = r_t + weight * [t is the last chosen position] * R

    With R an advantage of the outcome (``take = {rewards = "advantages"}``) and the tokens compared with their group
    before, undiscounted returns of the sum are PRIME's advantage: each source has a baseline of its own. With gamma 1 the
    outcome reaches every position in full.

    A row without a chosen position has nowhere to put it. A NaN outcome is NaN at that one position. Unchosen positions
    are 0.

    Reference: Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456.
    """
    return _on_last(torch.where(mask, token_rewards, 0.0), weight * rewards, mask)


@method(
    makes="token_advantages",
    paper="arXiv:2502.01456",
    scale_equivariant=("token_returns", "rewards"),
)
def add_outcome_return(
    token_returns: Float[Tensor, "B T"],
    rewards: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    gamma: float = 1.0,
    weight: float = 1.0,
) -> Float[Tensor, "B T"]:
    """The return of each position from one source, and the discounted outcome of the row from another.

        A_t = G_t + weight * gamma^k_t * R      k_t: chosen positions of the row after t

    The two sources keep discounts of their own: that of G is the gamma of `discounted-returns` above. PRIME adds the
    returns of token rewards and of outcomes in this way, each less its own baseline (``take = {rewards = "advantages"}``
    for the outcome). With both gammas equal it is `add-outcome` followed by `discounted-returns`.

    A NaN outcome is NaN at every chosen position, a NaN return at its own. Unchosen positions are 0.

    Reference: Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456.
    """
    if gamma == 1:
        return torch.where(mask, token_returns + weight * rewards[:, None], 0.0)
    chosen = mask.long()
    after = chosen.sum(-1, keepdim=True) - chosen.cumsum(-1)
    outcome = weight * rewards[:, None] * torch.as_tensor(gamma, dtype=rewards.dtype, device=rewards.device) ** after
    return torch.where(mask, token_returns + outcome, 0.0)


def _on_last(out: Tensor, rewards: Tensor, mask: Tensor) -> Tensor:
    """``out``, a tensor of our own, with the number of each row added at its last chosen position."""
    if mask.shape[1] == 0:
        return out
    last = placement.last_chosen(mask)[:, None]
    return out.scatter_add_(1, last.clamp(min=0), torch.where(last >= 0, rewards[:, None], 0.0))
