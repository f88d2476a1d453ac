"""Make good tokens likelier: REINFORCE, surrogates of the ratio, and cloning of right answers or of demonstrations.

`surrogate`, `clipped_surrogate` and `weighted_likelihood` read ``ratio``, which stages under [[pipeline]] make and change
(`guerdon.objectives.ratio`); without one it is that of each token.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels.compiling import recomputed
from guerdon.kernels.masked import scored
from guerdon.method import method


@method(makes="token_loss", scale_equivariant="token_advantages", zero_advantage_zero_loss=True)
@recomputed
def reinforce(
    logp: Float[Tensor, "B T"], token_advantages: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """REINFORCE: log-likelihood weighted by the advantage.

        loss_t = -A_t * logp_t

    The right gradient only for tokens of the very policy that is updated, so for one epoch of one mini-batch; use
    `clipped_surrogate` when a batch is used more than once. 0 at unchosen positions.

    Reference: Williams, Simple statistical gradient-following algorithms, Machine Learning 8, 1992,
    https://doi.org/10.1007/BF00992696.
    """
    used, advantages = _usable(token_advantages, mask)
    return _show(-advantages * torch.where(used, logp, 0.0), used, mask)


@method(makes="token_loss", scale_equivariant="token_advantages", zero_advantage_zero_loss=True)
@recomputed
def surrogate(
    ratio: Float[Tensor, "B T"], token_advantages: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """The importance-weighted objective as it is: ``loss_t = -r_t * A_t``.

    Unbiased for the ratio it is given, and without any bound: give it a ratio that has one (`truncate_ratio`, `soft_gate`),
    or take one step per batch. A pessimistic clip is `clipped_surrogate`. 0 at unchosen positions.

    Reference: Kakade and Langford, Approximately optimal approximate reinforcement learning, ICML 2002.
    """
    used, advantages = _usable(token_advantages, mask)
    return _show(-advantages * torch.where(used, ratio, 0.0), used, mask)


@method(
    makes="token_loss",
    paper=("arXiv:2503.14286", "arXiv:2506.13585"),
    scale_equivariant="token_advantages",
    zero_advantage_zero_loss=True,
)
@recomputed
def weighted_likelihood(
    ratio: Float[Tensor, "B T"],
    logp: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """Log-likelihood weighted by the advantage and by the ratio, which passes no gradient itself.

        loss_t = -sg(r_t) * A_t * logp_t

    A bound on the ratio bounds the weight of a token and never silences it, as a clip does. With `truncate_ratio`: CISPO,
    truncated importance sampling; with `sequence_ratio` and `taper_ratio`: TOPR. With the token's plain ratio the gradient
    is that of `surrogate`. 0 at unchosen positions.

    References: Le Roux et al., TOPR, 2025, https://arxiv.org/abs/2503.14286, equation 8; MiniMax, MiniMax-M1 (CISPO),
    2025, https://arxiv.org/abs/2506.13585, equation 4.
    """
    used, advantages = _usable(token_advantages, mask)
    weight = torch.where(used, ratio, 0.0).detach()
    return _show(-weight * advantages * torch.where(used, logp, 0.0), used, mask)


@method(
    makes="token_loss",
    paper=("arXiv:1707.06347", "arXiv:1912.09729", "arXiv:2503.14476", "arXiv:2507.18071"),
    scale_equivariant="token_advantages",
    zero_advantage_zero_loss=True,
)
@recomputed
def clipped_surrogate(
    ratio: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    dual_clip: float | None = None,
) -> Float[Tensor, "B T"]:
    """PPO's pessimistic surrogate: no reward for moving further than the clip range.

        loss_t = -min(r_t * A_t, clip(r_t, 1 - clip_low, 1 + clip_high) * A_t)

    - PPO and GRPO: both clips 0.2. DAPO ("clip-higher"): ``clip_high = 0.28``, more room for unlikely tokens to rise.
      One-sided: ``clip_low = 1`` or ``clip_high = inf`` leaves that side open.
    - ``dual_clip = c`` > 1 (the paper: 3): where A < 0 the loss is at most ``-c * A``, so that one token that the old
      policy found very unlikely cannot dominate the batch.
    - GSPO: the stage `geometric-ratio` above, ``clip_low = 3e-4``, ``clip_high = 4e-4``, aggregation sequence-mean.

    Where the new policy still equals the old one the gradient is that of `reinforce`. 0 at unchosen positions.

    References: Schulman et al., PPO, 2017, https://arxiv.org/abs/1707.06347; Ye et al., dual clip, 2019,
    https://arxiv.org/abs/1912.09729; Yu et al., DAPO, 2025, https://arxiv.org/abs/2503.14476; Zheng et al., GSPO,
    2025, https://arxiv.org/abs/2507.18071.

    Raises:
        ValueError: a negative clip, or a dual clip of 1 or less.
    """
    if clip_low < 0 or clip_high < 0:
        raise ValueError(f"expected clip_low and clip_high of at least 0, got {clip_low} and {clip_high}")
    if dual_clip is not None and dual_clip <= 1:
        raise ValueError(f"expected dual_clip above 1 (the paper uses 3), got {dual_clip}; leave it out for none")
    used, advantages = _usable(token_advantages, mask)
    moved = torch.where(used, ratio, 1.0)
    loss = torch.maximum(-advantages * moved, -advantages * moved.clamp(1 - clip_low, 1 + clip_high))
    if dual_clip is not None:
        loss = torch.where(advantages < 0, torch.minimum(loss, -dual_clip * advantages), loss)
    return _show(torch.where(used, loss, 0.0), used, mask)


@method(
    makes="token_loss",
    paper="arXiv:2502.06781",
    scale_equivariant="token_advantages",
    zero_advantage_zero_loss=True,
)
@recomputed
def oreal(
    logp: Float[Tensor, "B T"], token_advantages: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """OREAL: clone the answers that are right, move away from those that are wrong.

        loss_t = -A_t * logp_t                        where A_t > 0
               = -A_t * exp(logp_t - sg(logp_t))      elsewhere; its value is -A_t

    Both have the gradient of `reinforce`; the value of the second does not grow as a wrong token becomes unlikely. The
    rest of the paper's objective are weights: of tokens (`running-mean-importance`) and of the two kinds of row
    (`balance-outcomes`, which gives each its own denominator and the wrong ones half the weight), with the aggregation
    token-mean, and `kl-loss` with k3, coefficient 0.01 and ``weighted = false``. There is no clip, so one update per
    batch. 0 at unchosen positions.

    Reference: Lyu et al., OREAL, 2025, https://arxiv.org/abs/2502.06781.
    """
    used, advantages = _usable(token_advantages, mask)
    chosen = torch.where(used, logp, 0.0)
    one = 1 + (chosen - chosen.detach())  # in value and gradient, as the exponential of the difference is
    loss = -advantages * torch.where(advantages > 0, chosen, one)
    return _show(loss, used, mask)


@method(makes="token_loss")
def likelihood_loss(
    demonstration_logp: Float[Tensor, "B T"], demonstration_mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """Say what the data say: the negative log-likelihood of a demonstration of each prompt, in nats.

        loss_t = -logp_t

    Beside a policy gradient it is the second term of a mixture, ``(1 - w) L_RL + w L_ML``: the weights are those of the two
    [[loss]] tables, each a number or a schedule. ``rollouts.demonstration`` names the column with the completion to be said;
    a prompt without one is not in the loss and not in its denominator, and whether its rollouts are scored plays no part.
    A demonstration is spoken at temperature 1 and ends with the policy's end token, unless one of ``sampling.stop`` ends it
    or ``sampling.max_tokens`` cuts it off. Each is read once per epoch, however many rollouts its prompt has. ``sequence-sum``
    with ``constant = 1`` gives the likelihood of whole completions, ``token-mean`` cross-entropy as it is usual in
    fine-tuning. 0 at positions that are not there.

    Reference: Paulus et al., A deep reinforced model for abstractive summarization, ICLR 2018,
    https://arxiv.org/abs/1705.04304, equation 16.
    """
    return -torch.where(demonstration_mask, demonstration_logp, 0.0)


def _usable(advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Chosen positions with an advantage, and the advantages with 0 elsewhere."""
    used = scored(advantages, mask)
    return used, torch.where(used, advantages, 0.0)


def _show(loss: Tensor, used: Tensor, mask: Tensor) -> Tensor:
    """NaN at chosen positions without an advantage: visible, but a constant, so it passes no gradient."""
    return torch.where(mask & ~used, torch.nan, loss)
