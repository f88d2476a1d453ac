"""Which tokens made the answer right or wrong: weights for the loss from a reward model of tokens."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import pointwise, scan
from guerdon.method import method

OREAL = "arXiv:2502.06781"


@method(makes="token_weights", paper=OREAL)
def running_mean_importance(
    model_token_scores: Float[Tensor, "B T"],
    correct: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    threshold_positive: float = 0.5,
    threshold_negative: float = 0.5,
    top_k: float | None = None,
) -> Float[Tensor, "B T"]:
    """OREAL: how surely the answer was right, or wrong, by the time of each token.

        P_t = sigmoid(mean of the scores of the chosen positions up to t)
        w_t = clip((P_t - a) / (1 - a), 0, 1)             rows that are correct,  a = threshold_positive
            = clip((1 - P_t - b) / (1 - b), 0, 1)         rows that are not,      b = threshold_negative

    The scores come from a model whose mean over an answer predicts correctness. Early in training P is near one half and
    every weight near 0, so let that model learn alone at first (``warm_up``). A running mean hardly moves late in a long
    answer: it is more a value than a local score. The weights carry no gradient.

    With ``top_k``, a share in (0, 1], the largest ``floor(top_k * n)`` of a row's n chosen values of P (or 1 - P) are
    kept (at least one, and ties with the last of them), brought to [0, 1] by their minimum and maximum (all equal: 1),
    and the rest is 0; the thresholds are not used.

    ``correct`` above one half is correct. NaN of it is NaN at every chosen position, which takes the row out of the
    loss; a NaN score is NaN from there on. 0 at unchosen positions.

    Reference: Lyu et al., OREAL, 2025, https://arxiv.org/abs/2502.06781.

    Raises:
        ValueError: a threshold outside [0, 1), or top_k outside (0, 1].
    """
    if not (0 <= threshold_positive < 1 and 0 <= threshold_negative < 1):
        raise ValueError(f"expected thresholds in [0, 1), got {threshold_positive} and {threshold_negative}")
    if top_k is not None and not 0 < top_k <= 1:
        raise ValueError(f"expected top_k as a share in (0, 1], got {top_k}; leave it out for thresholds")
    right = (correct > 0.5)[:, None]
    sign = torch.where(right, 1.0, -1.0).masked_fill(torch.isnan(correct)[:, None], torch.nan).to(model_token_scores)
    mean = scan.running_mean(model_token_scores.detach(), mask)
    if top_k is None:
        low = torch.where(right[:, 0], threshold_positive, threshold_negative).to(mean)
        return pointwise.rise(mean, mask, sign[:, 0], low)
    likely = mean.mul_(sign).sigmoid_()  # 1 - P = sigmoid(-mean)
    scored = mask & ~torch.isnan(likely)
    if not scored.numel():
        return torch.zeros_like(likely)
    kept = (top_k * scored.sum(-1, keepdim=True) + 1e-6).long().clamp(min=1)  # 0.3 * 10 is 3, whatever floats say
    ordered = torch.where(scored, likely, -torch.inf).sort(-1, descending=True).values
    low, high = ordered.gather(1, kept - 1), ordered[:, :1]
    rescaled = torch.where(high > low, (likely - low) / (high - low), 1.0)
    return torch.where(mask, torch.where(scored & (likely < low), 0.0, rescaled + 0.0 * likely), 0.0)


@method(makes="weights", paper=OREAL)
def balance_outcomes(
    correct: Float[Tensor, " B"],
    lengths: Int64[Tensor, " B"],
    advantages: Float[Tensor, " B"] | None = None,
    *,
    positive: float = 1.0,
    negative: float = 0.5,
) -> Float[Tensor, " B"]:
    """OREAL: a denominator of their own for right and for wrong answers.

        w_i = positive * n / n_right      rows that are correct
            = negative * n / n_wrong      rows that are not

    n counts chosen positions of the scored rows, n_right and n_wrong those of each kind. In a loss with the aggregation
    token-mean the sums over right and over wrong answers are then divided by n_right and n_wrong instead of n, and
    weighted by ``positive`` and ``negative``. Counted over the batch it is given, which is the whole batch of an
    iteration: with one mini-batch this is exact. Take ``advantages`` where rows without one are left out of the loss (the
    paper drops prompts that are always or never answered): they are then in no count.

    ``correct`` above one half is correct; NaN gives NaN, which takes the row out of the loss, and is in no count.

    Reference: Lyu et al., OREAL, 2025, https://arxiv.org/abs/2502.06781.
    """
    if advantages is not None:
        correct = correct.masked_fill(torch.isnan(advantages), torch.nan)
    right, scored = correct > 0.5, ~torch.isnan(correct)
    count = lengths.to(correct)
    n_right = torch.where(right, count, 0.0).sum()
    n = torch.where(scored, count, 0.0).sum()
    share = torch.where(right, positive / n_right.clamp(min=1), negative / (n - n_right).clamp(min=1))
    return torch.where(scored, share * n, torch.nan)
