"""Which tokens spend the entropy: by covariance of advantage and log-probability, and by the change to first order.

Raising the logit of a sampled token lowers the entropy where the token was likelier than is typical, and raises it
where it was not; so entropy collapses through tokens that are likely and rewarded. The weights here leave some of them
out (`clip_cov`), choose them for a penalty (`kl_cov`), or let them count for less (`entropy_change_weights`,
`exact_entropy_change_weights`). All look across the rows of a mini-batch and pass no gradient.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels.select import drop_some_, extremes, first_largest, seed_of
from guerdon.method import method, paper
from guerdon.objectives.entropy import co_deviation, scored_covariance

MECHANISM = "arXiv:2505.22617"
STEER = "arXiv:2510.10150"
Shape = Literal["linear", "exponential"]
_LEAST_SPREAD = 0.02
_CANDIDATE = 2.0  # stands for 1 until some are dropped
_LOG_BOUNDS = math.log(1e-8), math.log1p(-1e-8)  # of a probability that is divided by, or whose logarithm is taken


@method(makes="token_weights", paper=MECHANISM, across=True)
def clip_cov(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    share: float = 2e-4,
    low: float = 1.0,
    high: float = 5.0,
    clip_low: float = 1.0,
    clip_high: float = 1.0,
    generator: torch.Generator | Int64[Tensor, ""],
) -> Float[Tensor, "B T"]:
    """Clip-Cov: a few tokens of high covariance, drawn at random, are left out of the loss.

        w_t = 0 at n = max(1, floor(share * N)) of the candidates, 1 at the other chosen positions
        candidates: low < cov_t < high (`covariance`), and the surrogate with these clips still has a gradient

    N are the chosen positions with an advantage; where there are fewer candidates all of them go. Weights enter no
    denominator, so the loss is averaged over all N as in the paper. Give ``clip_low`` and ``clip_high`` of the
    `clipped-surrogate` that follows (the paper: 1 and 1; SPEAR uses share 0.02, high 40). The thresholds are meant for
    advantages normalised to a spread of 1.

    Statistics are those of the mini-batch; with ``training.statistics = "micro-batch"`` those of each forward pass, as
    in the released code, where the least of one token makes the share grow as micro-batches shrink.

    A seed (an int64 scalar from 0 on) may stand for the generator; ``torch.compile`` makes one graph of it then, as no graph
    takes in a generator.

    Shapes: [B, T] in and out; 0 at unchosen positions, NaN where the advantage is.

    Reference: Cui et al., 2025, https://arxiv.org/abs/2505.22617 (Clip-Cov).

    Raises:
        ValueError: a share outside of (0, 1], or ``low`` not below ``high``.
    """
    _check_share(share)
    if not low < high:
        raise ValueError(f"expected low below high, got {low} and {high}")
    seed = seed_of(generator)  # first, so that a graph which ends at a generator has done nothing yet
    cov = co_deviation(token_advantages, logp, mask).detach()
    moved = logp.detach() - old_logp
    highest = math.log1p(clip_high)
    lowest = math.log1p(-clip_low) if clip_low < 1 else -math.inf
    clipped = torch.where(token_advantages > 0, moved > highest, (token_advantages < 0) & (moved < lowest))
    candidate = (cov > low) & (cov < high) & ~clipped
    kept = torch.where(mask, torch.where(candidate, _CANDIDATE, torch.where(cov == cov, 1.0, torch.nan)), 0.0)
    return drop_some_(kept.to(logp.dtype), _CANDIDATE, share, seed)


@method(makes="token_weights", paper=MECHANISM, across=True, for_penalty=True)
def kl_cov(
    logp: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    share: float = 0.002,
) -> Float[Tensor, "B T"]:
    """KL-Cov: chooses the tokens of highest covariance, which alone pay for moving away from the old policy.

        w_t = 1 at the n = max(1, floor(share * N)) chosen positions of largest cov_t (`covariance`), 0 at the others

    The weights are for a `kl-loss` to the policy at the start of the iteration; the surrogate leaves them aside, and is
    not clipped:

        [[pipeline]]
        use = "kl-cov"
        [[loss]]
        use = "clipped-surrogate"
        clip_low = 1.0
        clip_high = inf
        weighted = false
        [[loss]]
        use = "kl-loss"
        take = {ref_logp = "old_logp"}
        estimator = "absolute"

    |logp - old_logp| has no gradient while both are equal: without a second mini-batch or epoch nothing happens.
    ``share`` is a fraction (the released code's 0.2 is a percentage; verl's default is 0.0002). Never more than n
    are chosen: of equal ones the first, so that a mini-batch of one advantage does not pay as a whole.

    Shapes: [B, T] in and out; 0 at unchosen positions, NaN where the advantage is.

    Reference: Cui et al., 2025, https://arxiv.org/abs/2505.22617 (KL-Cov).

    Raises:
        ValueError: a share outside of (0, 1].
    """
    _check_share(share)
    cov = scored_covariance(token_advantages, logp, mask).detach()
    weights = torch.where(cov == cov, first_largest(cov, share).to(logp.dtype), torch.nan)
    return torch.where(mask, weights, 0.0)


@paper(STEER)
def entropy_change(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """How fast the entropy falls with a step on each token, as STEER estimates it.

        Omega_t = A_t / exp(old_logp_t) * p_t * (1 - p_t) * (log p_t + H_t),    p_t = exp(logp_t)

    After a step of size eta the entropy has changed by about ``-eta * Omega_t``, if only the token's own logit moves.
    Probabilities are kept above 1e-8, and what is not finite becomes 0, as in the released code. 0 at unchosen
    positions, NaN where the advantage is.

    Reference: Hao et al., STEER, 2025, https://arxiv.org/abs/2510.10150.
    """
    return torch.where(mask, _estimated_change(logp, old_logp, entropy, token_advantages), 0.0)


@paper(STEER)
def exact_entropy_change(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    entropy_slope: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """The same, exact to first order: every logit of the softmax moves as the policy gradient moves it.

        Omega_t = A_t / exp(old_logp_t) * p_t * (p_t * (log p_t + H_t) + s_t)
        s_t     = entropy_slope = -sum_v p_v^2 (log p_v + H_t)

    A step of size eta on ``A_t * p_t / exp(old_logp_t)`` moves logit v by ``eta A_t p_t / exp(old_logp_t) (1[v = a] -
    p_v)``, and ``dH / dz_v = -p_v (log p_v + H)``: their product is ``-eta * Omega_t``. Limits and NaN are those of
    `entropy_change`.
    """
    return torch.where(mask, _exact_change(logp, old_logp, entropy, entropy_slope, token_advantages), 0.0)


def _estimated_change(logp: Tensor, old_logp: Tensor, entropy: Tensor, token_advantages: Tensor) -> Tensor:
    """`entropy_change` before the mask, which who reads on applies, once."""
    log_p = logp.clamp(*_LOG_BOUNDS)
    p = log_p.exp()
    return _change(p * (1 - p) * (log_p + entropy), old_logp, token_advantages)


def _exact_change(
    logp: Tensor, old_logp: Tensor, entropy: Tensor, entropy_slope: Tensor, token_advantages: Tensor
) -> Tensor:
    log_p = logp.clamp(*_LOG_BOUNDS)
    p = log_p.exp()
    return _change(p * (p * (log_p + entropy) + entropy_slope), old_logp, token_advantages)


def _change(tilt: Tensor, old_logp: Tensor, token_advantages: Tensor) -> Tensor:
    change = token_advantages / old_logp.clamp(_LOG_BOUNDS[0], 0.0).exp() * tilt
    change = torch.where(change.abs() < torch.inf, change, 0.0)
    return torch.where(token_advantages == token_advantages, change, torch.nan)


@method(makes="token_weights", paper=STEER, across=True)
def entropy_change_weights(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    old_entropy: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 0.8,
    high: float = 1.2,
    shape: Shape = "linear",
) -> Float[Tensor, "B T"]:
    """STEER: a token counts for less the more its step is estimated to change the entropy, up or down.

        w_t = high - (|Omega_t| - min) / (max - min) * (high - low)            shape = "linear"; all equal: the middle
            = exp(ln(low) * |Omega_t| / max(max |Omega|, 0.02)), at least low  shape = "exponential", without ``high``

    Omega is `entropy_change`; least and largest are taken over the chosen positions of the mini-batch with an advantage
    (of each forward pass, as released, with ``training.statistics = "micro-batch"``). The size counts, not the sign, so
    what would raise the entropy is damped too. One extreme token pushes all others towards ``high``. The entropy is
    that of the policy at the start of the iteration; ``take = {old_entropy = "entropy"}`` spares that forward pass and
    is the same in the first mini-batch. Weights enter no denominator.

    Shapes: [B, T] in and out; 0 at unchosen positions, NaN where the advantage is.

    Reference: Hao et al., STEER, 2025, https://arxiv.org/abs/2510.10150 (linear 0.8 to 1.2; exponential 0.8;
    the released actor without settings: 0.95 to 1.05).

    Raises:
        ValueError: not 0 < low <= high, or an exponential shape with low above 1.
    """
    change = _estimated_change(logp, old_logp, old_entropy, token_advantages)
    return change_weights(change, mask, low=low, high=high, shape=shape)


@method(makes="token_weights", paper=STEER, across=True)
def exact_entropy_change_weights(
    logp: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    entropy_slope: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 0.8,
    high: float = 1.2,
    shape: Shape = "linear",
) -> Float[Tensor, "B T"]:
    """`entropy-change-weights` by the exact change to first order (`exact_entropy_change`) in place of the estimate.

    Needs ``entropy_slope``, for which the policy looks at all of its logits. Everything else is the same.

    Reference: Hao et al., STEER, 2025, https://arxiv.org/abs/2510.10150.
    """
    change = _exact_change(logp, old_logp, entropy, entropy_slope, token_advantages)
    return change_weights(change, mask, low=low, high=high, shape=shape)


@paper(STEER)
def change_weights(
    change: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, low: float, high: float, shape: Shape
) -> Float[Tensor, "B T"]:
    """Weights that fall with ``|change|``: see `entropy_change_weights`."""
    if not 0 < low <= high or (shape == "exponential" and low > 1):
        raise ValueError(f"expected 0 < low <= high (low up to 1 for exponential), got {low} and {high}")
    size = torch.where(mask, change.detach().abs(), torch.nan)
    used = size == size
    least, largest = extremes(size)
    if shape == "exponential":
        weights = (math.log(low) * size / largest.clamp(min=_LEAST_SPREAD)).exp().clamp(low, 1.0)
    else:
        width = largest - least
        weights = high - (size - least) / torch.where(width > 0, width, 1.0) * (high - low)
        weights = torch.where(width > 0, weights.clamp(low, high), (low + high) / 2)
    return torch.where(mask, torch.where(used, weights, torch.nan), 0.0)


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"expected a share above 0 and up to 1, got {share}")
