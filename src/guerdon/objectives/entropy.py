"""Stay undecided: a bonus for entropy, and where it matters most."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import logp_and_entropy_of_logits, window_mean
from guerdon.kernels.masked import joint_means
from guerdon.kernels.select import first_largest_and_number
from guerdon.method import method, paper

LIGHT_IF = "arXiv:2508.03178"


@method(makes="token_loss", paper="arXiv:1602.01783", scale_equivariant="entropy")
def entropy_bonus(entropy: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Minus the entropy of the policy at each chosen position, 0 elsewhere: ``loss_t = -H_t``.

    In nats, of the distribution at the sampling temperature. Minimising it keeps the policy from settling too soon;
    the coefficient (0.01 is common, 0 is the default of most trainers of language models) is the recipe's ``weight``.

    Reference: Mnih et al., A3C, 2016, https://arxiv.org/abs/1602.01783.
    """
    return -torch.where(mask, entropy, 0.0)


@method(makes="windowed_entropy", paper="arXiv:2510.08457", scale_equivariant="entropy")
def windowed_entropy(
    entropy: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, width: int = 4
) -> Float[Tensor, "B T"]:
    """Mean entropy of a position and of the chosen ones that follow it, ``width`` together; of fewer at the end of a row.

        W_t = mean(H_t, ..., H_{t + width - 1})

    One unsure token is noise, several in a row are hesitation. What takes an entropy takes this with ``take = {entropy =
    "windowed_entropy"}``; the gradient goes to every position of the window. Of other entropies, and of those at the start of
    the iteration:

        [[pipeline]]
        use = "windowed-entropy"
        take = {entropy = "old_top_entropy"}
        make = "old_windowed_entropy"

    0 at unchosen positions. The windows of ARES begin behind the position (`guerdon.shaping.window_entropy`), since they count what
    follows a word.

    Reference: Chen et al., ARES, 2025, https://arxiv.org/abs/2510.08457 (width 4).

    Raises:
        ValueError: a width below 1.
    """
    return window_mean(entropy, mask, width, empty=0.0)


@paper(LIGHT_IF)
def covariance(
    token_advantages: Float[Tensor, "B T"], logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """How far advantage and log-probability of each chosen position lie to the same side of their means.

        cov_t = (A_t - mean A) * (logp_t - mean logp)

    Means run over all chosen positions of the batch that have an advantage. A large value marks a token that is likely
    and rewarded: what entropy collapse feeds on (Cui et al., 2025, https://arxiv.org/abs/2505.22617). 0 at unchosen
    positions, NaN where the advantage is.
    """
    return torch.where(mask, co_deviation(token_advantages, logp, mask), 0.0)


@paper(LIGHT_IF)
def scored_covariance(
    token_advantages: Float[Tensor, "B T"], logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`covariance`, but NaN at unchosen positions too: who reads on needs no mask."""
    return torch.where(mask, co_deviation(token_advantages, logp, mask), torch.nan)


@paper(LIGHT_IF)
def co_deviation(
    token_advantages: Float[Tensor, "B T"], logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, "B T"]:
    """`covariance`, but at unchosen positions whatever comes of what stands there: who reads on applies the mask, once."""
    mean_advantage, mean_logp = joint_means(mask, token_advantages, logp)
    return (token_advantages - mean_advantage) * (logp - mean_logp)


@method(makes="token_weights", paper=LIGHT_IF, across=True, for_penalty=True)
def tea_coefficients(
    logp: Float[Tensor, "B T"],
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    alpha: float | None = None,
    cap: float = 5.0,
    temperature: float = 1.0,
) -> Float[Tensor, "B T"]:
    """Token-wise entropy-adaptive weights (TEA): entropy is kept up where probability and advantage rise together.

        w_t = softmax over the row's chosen positions of cov_t / temperature      (`covariance`)
        c_t = min(n * w_t, cap)         n the row's chosen positions: 1 on average before the cap
        c_t = min(alpha * w_t, cap)     with ``alpha``: 10 in the released code, so that long rows get less

    They weight an `entropy-bonus`; the objective that follows the advantage is told to leave them aside:

        [[pipeline]]
        use = "tea-coefficients"
        [[loss]]
        use = "clipped-surrogate"
        weighted = false
        [[loss]]
        use = "entropy-bonus"
        weight = 0.01

    Taken without gradient, once over the mini-batch; the released code lets the gradient through the covariance. With
    ``alpha = 10`` its bonus has the coefficient 1. The released actor reaches this branch through a name that is not
    defined there, so that its reported runs may not have used it.

    Shapes: [B, T] in and out; 0 at unchosen positions, NaN where the advantage is. Rows of equal covariance get 1
    everywhere (alpha / n with ``alpha``).

    Reference: Wang et al., Light-IF, 2025, https://arxiv.org/abs/2508.03178 (TEA-RL; the released coefficients).

    Raises:
        ValueError: temperature, cap or alpha is not positive.
    """
    if temperature <= 0 or cap <= 0 or (alpha is not None and alpha <= 0):
        raise ValueError(f"expected positive temperature, cap and alpha, got {temperature}, {cap} and {alpha}")
    cov = scored_covariance(token_advantages, logp, mask).detach()
    used = cov == cov
    share = torch.where(used, cov / temperature, -torch.inf).softmax(-1)
    scale = used.sum(-1, keepdim=True) if alpha is None else alpha
    weights = torch.where(used, (scale * share).clamp(max=cap), torch.nan)
    return torch.where(mask, weights, 0.0)


@method(makes="token_weights", paper=LIGHT_IF, across=True)
def surprise_selection(
    logp: Float[Tensor, "B T"],
    entropy: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    ratio: float = 0.8,
    coefficient: float = 0.8,
) -> Float[Tensor, "B T"]:
    """Entropy-SFT as weights: learn the demonstrated tokens of which the policy is wrong and sure.

        d_t = -logp_t - coefficient * H_t
        w_t = N / k at the k = max(floor(ratio * N), 1) positions of largest d, 0 at the others

    Over all N chosen positions of the mini-batch, so that with the aggregation token-mean the loss is the mean over the
    kept ones. Tokens of which the policy is unsure are left alone, and so entropy survives the cold start; it enters the
    selection only, never the gradient. On demonstrations with advantage 1, `reinforce` under these weights is
    `entropy_sft_loss`. What is kept depends on which rows share a mini-batch. Of equals at the threshold the first are kept.

    Shapes: [B, T] in and out; 0 at unchosen positions.

    Reference: Wang et al., Light-IF, 2025, https://arxiv.org/abs/2508.03178 (Entropy-SFT).

    Raises:
        ValueError: a ratio outside of (0, 1].
    """
    kept, number = _surprising(-logp.detach(), entropy.detach(), mask, ratio, coefficient)
    return torch.where(kept, (mask.sum() / number.clamp(min=1)).to(logp.dtype), 0.0)


@paper(LIGHT_IF)
def select_surprising(
    cross_entropy: Float[Tensor, "*shape"],
    entropy: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    *,
    ratio: float = 0.8,
    coefficient: float = 0.8,
) -> Bool[Tensor, "*shape"]:
    """The positions with the largest ``cross_entropy - coefficient * entropy``: see `surprise_selection`."""
    return _surprising(cross_entropy, entropy, mask, ratio, coefficient)[0]


def _surprising(
    cross_entropy: Tensor, entropy: Tensor, mask: Tensor, ratio: float, coefficient: float
) -> tuple[Tensor, Tensor]:
    """What is selected, and how many."""
    if not 0 < ratio <= 1:
        raise ValueError(f"expected a ratio above 0 and up to 1, got {ratio}")
    return first_largest_and_number(torch.where(mask, cross_entropy - coefficient * entropy, torch.nan), ratio)


@paper(LIGHT_IF)
def entropy_sft_loss(
    logits: Float[Tensor, "B T V"],
    labels: Int64[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    ratio: float = 0.8,
    coefficient: float = 0.8,
) -> Float[Tensor, ""]:
    """Mean cross-entropy over the positions that `select_surprising` keeps; 0 where nothing is chosen.

    ``logits`` are those that predict ``labels``, already shifted. Reference: Light-IF, 2025,
    https://arxiv.org/abs/2508.03178.
    """
    logp, entropy = logp_and_entropy_of_logits(logits, torch.where(mask, labels, 0))
    assert entropy is not None  # asked for
    kept = select_surprising(-logp.detach(), entropy.detach(), mask, ratio=ratio, coefficient=coefficient)
    return -torch.where(kept, logp, 0.0).sum() / kept.sum().clamp(min=1)
