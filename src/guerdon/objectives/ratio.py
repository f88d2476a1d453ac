"""How much likelier the policy being updated finds what was said than the one that said it, and how far that is trusted.

A first stage makes the ratio r [B, T], further ones change it, and the surrogates under [[loss]] read what is left:

| makes it          | r_t                                                            | used by                  |
|-------------------|----------------------------------------------------------------|--------------------------|
| `token_ratio`     | exp(logp_t - old_logp_t)                                       | PPO, GRPO, CISPO, SAPO   |
| `sequence_ratio`  | exp(sum over the row of logp - old_logp), at each position     | TOPR                     |
| `geometric_ratio` | exp(mean over the row of logp - old_logp), at each position    | GSPO                     |

A recipe without such a stage gets `token_ratio`. To correct for an engine, or for weights older than this iteration, make
the ratio against what acted: ``take = {old_logp = "sampled_logp"}``.

Changes: `truncate_ratio` (between two bounds), `taper_ratio` (bounds that depend on the sign of the reward), `soft_gate`
(a bump in place of a clip). All are differentiable; where a bound holds the gradient is 0.

Keeps: `keep_ratio` leaves out of every weighted loss what has a ratio out of bounds, of a token or of a row, for any sign of the
advantage or for one. It is a weight, so it goes with every surrogate, and reads the ratio as it stands above it.

Rows are those of the loss: a position that has no credit is not in the ratio of its row. Ratios are 0 at unchosen
positions. Log-ratios are cut at +-20, past every bound that anybody sets, so that values and gradients stay finite.
"""

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels.compiling import recomputed
from guerdon.kernels.placement import broadcast_rows
from guerdon.kernels.ratios import OfRow, log_ratio, row_log_ratio, within
from guerdon.method import method, paper

LARGEST_LOG_RATIO = 20.0
"""exp of more than this is past every clip that anybody sets, and still finite in float32."""
TOPR = "arXiv:2503.14286"
STABLE_REINFORCE = "arXiv:2505.02835"


@method(makes="ratio", paper="arXiv:1707.06347")
def token_ratio(
    logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """The ratio of each position by itself: ``r_t = exp(logp_t - old_logp_t)``, 0 at unchosen positions.

    Leaves out what the positions before t would have needed, as PPO does: right to first order in the distance.

    Reference: Schulman et al., PPO, 2017, https://arxiv.org/abs/1707.06347.
    """
    moved = log_ratio(logp, old_logp, mask).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    return torch.where(mask, moved, 0.0)


@method(makes="ratio", paper=TOPR, row_ratio=True)
def sequence_ratio(
    logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """The ratio of the whole completion, at each of its chosen positions: the product of its token ratios.

        r = exp(sum over the row's chosen positions of logp - old_logp)

    The right importance weight of a completion, and the one with the largest spread: it grows exponentially with the
    length. Bound it (`taper_ratio`, `truncate_ratio`). Under `weighted_likelihood` the row has the gradient of its importance
    weight; under `surrogate` that times its length, as each position repeats it. 0 at unchosen positions.

    Reference: Le Roux et al., TOPR, 2025, https://arxiv.org/abs/2503.14286, section 3.
    """
    return _of_row(logp, old_logp, mask, "product")


@method(makes="ratio", paper="arXiv:2507.18071", row_ratio=True)
def geometric_ratio(
    logp: Float[Tensor, "B T"], old_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """GSPO: the geometric mean of the row's token ratios, at each of its chosen positions.

        r = exp(mean over the row's chosen positions of logp - old_logp)

    The gradient goes through all of them. It moves far less than a token's ratio: the paper clips it at 3e-4 and 4e-4,
    with the aggregation sequence-mean, and an advantage that is the same on all tokens of the row. 0 at unchosen
    positions.

    Reference: Zheng et al., GSPO, 2025, https://arxiv.org/abs/2507.18071, equation 7.
    """
    return _of_row(logp, old_logp, mask, "geometric-mean")


@method(makes="ratio", paper=(STABLE_REINFORCE, "arXiv:2506.13585"))
@recomputed
def truncate_ratio(
    ratio: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, low: float = 1e-3, high: float = 1e3
) -> Float[Tensor, "B T"]:
    """The ratio between two bounds, with gradient 0 where one holds: ``min(max(r_t, low), high)``.

    - The defaults are StableReinforce's pre-clip, which cuts the log-ratio at log 1e-3 and log 1e3 before any surrogate
      sees it; it matters where A < 0 and r is huge, since PPO's pessimistic minimum does not bound that side.
    - CISPO: before `weighted_likelihood`, ``low = 0`` and ``high = 1 + epsilon``; nothing loses its gradient there.
    - Truncated importance sampling of the policy: before `weighted_likelihood`, ``low = 0``, ``high = 1``.
    - A two-sided clip: before `surrogate`, ``low = 1 - epsilon`` and ``high = 1 + epsilon``, whatever the sign of A.

    0 at unchosen positions.

    References: Zhang et al., R1-Reward, 2025, https://arxiv.org/abs/2505.02835, equation 5; MiniMax, MiniMax-M1 (CISPO),
    2025, https://arxiv.org/abs/2506.13585.

    Raises:
        ValueError: bounds that are not 0 <= low <= high.
    """
    _check("low", low, "high", high)
    return torch.where(mask, ratio.clamp(low, high), 0.0)


@method(makes="ratio", paper=TOPR)
@recomputed
def taper_ratio(
    ratio: Float[Tensor, "B T"],
    rewards: Float[Tensor, "B *rest"],
    mask: Bool[Tensor, "B T"],
    *,
    positive_low: float = 1.0,
    positive_high: float = 1.0,
    negative_low: float = 0.0,
    negative_high: float = 1.0,
) -> Float[Tensor, "B T"]:
    """TOPR: bounds that depend on the sign of the reward.

        r_t <- min(max(r_t, positive_low), positive_high)    where R >= 0
            <- min(max(r_t, negative_low), negative_high)    where R < 0

    With the defaults a good completion is learnt like a demonstration, whatever the policy thinks of it, and a bad one is
    unlearnt only as long as the policy still says it: with ``negative_low`` above 0 the push away from it never ends and
    logits diverge. Other rows of the paper's table: naive REINFORCE (all 1), truncated importance sampling (0 and 1 for
    both), full importance sampling (0 and inf for both), positives only (``negative_high = 0``).

    The paper's form: `sequence_ratio` above, `weighted_likelihood` under [[loss]], rewards of +1 and -1 (of 0 and 1 there is
    nothing bad), no group statistics, aggregation sequence-mean. With `token_ratio` above it is the form of some trainers,
    of which ROLL counts a reward of 0 as bad: ``take`` a reward lowered by 0.5 for that.
    Of advantages rather than rewards: ``take = {rewards = "token_advantages"}``.

    ``rewards`` [B], or [B, T]; NaN gives NaN. 0 at unchosen positions.

    Reference: Le Roux et al., TOPR, 2025, https://arxiv.org/abs/2503.14286, equations 6 to 8.

    Raises:
        ValueError: bounds that are not 0 <= low <= high.
    """
    _check("positive_low", positive_low, "positive_high", positive_high)
    _check("negative_low", negative_low, "negative_high", negative_high)
    signs = rewards if rewards.ndim == 2 else broadcast_rows(rewards, mask)
    tapered = torch.where(signs < 0, ratio.clamp(negative_low, negative_high), ratio.clamp(positive_low, positive_high))
    return torch.where(mask, torch.where(signs == signs, tapered, torch.nan), 0.0)


@paper(TOPR)
def tapered(ratio: Float[Tensor, "*shape"], low: float, high: float) -> Float[Tensor, "*shape"]:
    """What has the clipped ratio as its weight: the gradient of this is ``clip(r, low, high) * grad log r``.

        rho(r) = r                        where low <= r <= high
               = high * (1 + log(r/high)) above
               = low * (1 + log(r/low))   below

    So TOPR is ordinary maximisation of ``R * rho(r)`` without any stop of gradient; ``low = high = 1`` gives 1 + log r.

    Reference: Le Roux et al., TOPR, 2025, https://arxiv.org/abs/2503.14286, section 3.3.
    """
    _check("low", low, "high", high)
    log = ratio.clamp(
        min=torch.finfo(ratio.dtype).tiny
    ).log()  # ratios of unchosen positions are 0, and keep a gradient of 0
    above = high * (1 + log - math.log(high)) if 0 < high < math.inf else ratio
    below = low * (1 + log - math.log(low)) if low > 0 else ratio
    return torch.where(ratio > high, above, torch.where(ratio < low, below, ratio))


@paper(TOPR)
def effective_positive_share(share: float, baseline: float) -> float:
    """Share of the pull that good completions have, of which ``share`` are good, when rewards of +1 and -1 are lowered by
    ``baseline``: ``p (1 - c) / (1 + c (1 - 2p))``.

    The paper finds 0.1 to 0.2 best, whatever share the data have; -1 discards what is bad.

    Reference: Le Roux et al., TOPR, 2025, https://arxiv.org/abs/2503.14286, section 4.
    """
    return share * (1 - baseline) / (1 + baseline * (1 - 2 * share))


@method(makes="ratio", paper="arXiv:2511.20347")
@recomputed
def soft_gate(
    ratio: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    positive: float = 1.0,
    negative: float = 1.05,
) -> Float[Tensor, "B T"]:
    """SAPO: a smooth gate in place of a clip; to be followed by `surrogate`.

        r_t <- 4 / tau * sigmoid(tau * (r_t - 1)),   tau = positive where A_t > 0, negative elsewhere

    Its slope is 1 where the policies agree and fades to 0 on both sides, faster where tau is larger. 0 at unchosen
    positions.

    Reference: Gao et al., Soft Adaptive Policy Optimization, 2025, https://arxiv.org/abs/2511.20347.

    Raises:
        ValueError: a temperature that is not positive.
    """
    if positive <= 0 or negative <= 0:
        raise ValueError(f"expected positive temperatures, got {positive} and {negative}")
    tau = torch.where(token_advantages > 0, positive, negative)
    return torch.where(mask, 4 / tau * torch.sigmoid(tau * (ratio - 1)), 0.0)


@method(makes="token_weights", paper=("arXiv:2512.02556", "arXiv:2510.18855"))
def keep_ratio(
    ratio: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float = 0.0,
    high: float = math.inf,
    over: Literal["token"] | OfRow = "token",
    sign: Literal["any", "positive", "negative"] = "any",
) -> Float[Tensor, "B T"]:
    """Leaves out of the loss what the policy being updated finds far likelier, or less likely, than the one that acted did.

        w_t = 0    where the advantage has the sign, and not low <= k_t <= high
            = 1    at the other chosen positions
        k_t = r_t                                              over = "token"
            = product of r over the row's chosen positions     over = "product"
            = its root of their number                         over = "geometric-mean"

    A clip leaves out only what would move further; this leaves out both directions, and by the ratio of the row where wanted.

    - IcePop with the policy as it is now: ``low = 0.5``, ``high = 5``, with the ratio against ``sampled_logp``.
    - Off-policy sequence masking (DeepSeek-V3.2): ``over = "geometric-mean"``, ``sign = "negative"``, ``low = exp(-delta)``:
      a bad row goes where the mean of ``log(pi_old / pi)`` is above delta.
    - In place of a dual clip: ``sign = "negative"``, ``high = 3``: no pull from where its loss would stand still.
    - The ratio may be another than that of the surrogate: a `token_ratio` with ``take = {old_logp = "sampled_logp"}``, this, and a
      second `token_ratio` below.

    Bounds that depend on the sign are two such stages with different names: their weights multiply. What is left out stays in the
    denominator. Shapes: [B, T] in and out; 0 at unchosen positions, NaN where the advantage is.

    References: DeepSeek-AI, DeepSeek-V3.2, 2025, https://arxiv.org/abs/2512.02556; Ling Team, Every Step Evolves (IcePop), 2025,
    https://arxiv.org/abs/2510.18855; Ye et al., dual clip, 2019, https://arxiv.org/abs/1912.09729.

    Raises:
        ValueError: bounds that are not 0 <= low <= high.
    """
    _check("low", low, "high", high)
    used = mask & ~torch.isnan(token_advantages)
    held = torch.where(mask, ratio.detach(), 1.0)
    if over != "token":
        log = held.clamp(min=torch.finfo(held.dtype).tiny).log()
        held = row_log_ratio(log, torch.zeros_like(log), mask, over).exp()[:, None].expand_as(held)
    kept = within(torch.ones_like(held), held, low, high)
    if sign != "any":
        kept = torch.where(token_advantages > 0 if sign == "positive" else token_advantages < 0, kept, 1.0)
    return torch.where(used, kept, torch.where(mask, torch.nan, 0.0))


def _of_row(logp: Tensor, old_logp: Tensor, mask: Tensor, how: OfRow) -> Tensor:
    moved = row_log_ratio(logp, old_logp, mask, how).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO).exp()
    return torch.where(mask, moved[:, None], 0.0)


def _check(name: str, low: float, other: str, high: float) -> None:
    if not 0 <= low <= high:
        raise ValueError(f"expected 0 <= {name} <= {other}, got {low} and {high}")
