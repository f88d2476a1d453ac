"""What reward models learn from outcomes: pure functions of their outputs, one number each.

Rows whose outcome is NaN, and rows without anything to score, are in no loss and in no denominator. Where nothing is
left the loss is 0 and has no gradient. Nothing here touches a model.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import group_mean
from guerdon.method import paper


def _mean(x: Tensor, keep: Tensor) -> Tensor:
    """Mean over ``keep``; 0 where nothing is kept."""
    return torch.where(keep, x, 0.0).sum() / keep.sum().clamp(min=1)


def log_ratio_sum(logp: Float[Tensor, "B T"], ref_logp: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Tensor:
    """``sum_t (logp_t - ref_logp_t)`` over the chosen positions of each row, [B]."""
    return torch.where(mask, logp - ref_logp, 0.0).sum(-1)


def _scores(logp: Tensor, ref_logp: Tensor, mask: Tensor, correct: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """``beta * log_ratio_sum`` of each row, and the rows with an outcome and something said."""
    return beta * log_ratio_sum(logp, ref_logp, mask), ~correct.isnan() & mask.any(-1)


@paper("arXiv:2412.01981", "arXiv:2502.01456")
def implicit_prm_ce(
    logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    correct: Float[Tensor, " B"],
    *,
    beta: float = 0.05,
) -> Float[Tensor, ""]:
    """Outcome cross-entropy of a reward that is a log-likelihood ratio.

        r_i = beta * sum_t (logp_it - ref_it),    L = mean_i -[o_i log s(r_i) + (1 - o_i) log(1 - s(r_i))]

    with s the logistic function and o the outcome in [0, 1].

    Reference: Yuan et al., Free Process Rewards without Process Labels, 2024, https://arxiv.org/abs/2412.01981; in the
    loop: Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456.
    """
    score, keep = _scores(logp, ref_logp, mask, correct, beta)
    return _mean(F.binary_cross_entropy_with_logits(score, torch.where(keep, correct, 0.0), reduction="none"), keep)


@paper("arXiv:2502.01456")
def detached_dpo(
    logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    correct: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    beta: float = 0.05,
    threshold: float = 0.5,
    best_of_n: Literal["none", "correct", "score"] = "none",
) -> Float[Tensor, ""]:
    """PRIME's alternative: each answer against the mean score of its group's answers with the other outcome.

        L_i = -log s( sign_i * (Q_i - mean of Q_j over mates j of the other outcome) ),   sign_i = +1 if right else -1
        L   = mean_i L_i                                                                          best_of_n = "none"
            = sum_i n * (share of the group's answers j with x_j <= x_i)^(n - 1) * L_i            otherwise

    The mates' mean has no gradient, and counts as 0 where the group has none. ``best_of_n`` weighs an answer by how likely
    it is the best of n, by outcome (x is ``correct``) or by the score as it is (x is Q); n is the size of its group. It is
    a sum over the batch, as released.

    Reference: Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456 (released recipe).
    """
    score, keep = _scores(logp, ref_logp, mask, correct, beta)
    fixed, right = score.detach(), correct > threshold
    of_right = group_mean(torch.where(keep & right, fixed, torch.nan), group)
    of_wrong = group_mean(torch.where(keep & ~right, fixed, torch.nan), group)
    other = torch.where(right, of_wrong, of_right).nan_to_num(nan=0.0)
    loss = -F.logsigmoid(torch.where(right, 1.0, -1.0) * (score - other))
    if best_of_n == "none":
        return _mean(loss, keep)
    x = correct if best_of_n == "correct" else fixed
    mates = (group[:, None] == group) & keep
    n = mates.sum(-1)
    share = (mates & (x <= x[:, None])).sum(-1) / n.clamp(min=1)
    return torch.where(keep, n * share ** (n - 1) * loss, 0.0).sum()


@paper("arXiv:2509.19199", "arXiv:2412.01981")
def trajectory_dpo(
    logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    correct: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    beta: float = 0.05,
    reduce: Literal["sum", "mean"] = "sum",
    steps: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Preferences between the trajectories of a group, ranked by outcome.

        L = mean over pairs (i better than j, same group) of -log s( R_i - R_j ),   R = beta * sum_t (logp_t - ref_t)

    ``reduce="mean"`` divides R by the number of ``steps`` of the row, as the released code does. A group whose outcomes
    are all equal gives no pair.

    Reference: Liu et al., Agentic RL with Implicit Step Rewards, 2025, https://arxiv.org/abs/2509.19199.
    """
    score, keep = _scores(logp, ref_logp, mask, correct, beta)
    if reduce == "mean":
        if steps is None:
            raise ValueError('expected the number of steps of each row for reduce="mean", got none; pass steps')
        score = score / steps.clamp(min=1)
    pair = _better(torch.where(keep, correct, torch.nan), group)
    return _mean(-F.logsigmoid(score[:, None] - score), pair)


def _better(outcome: Tensor, group: Tensor) -> Tensor:
    """Pairs of a group of which the first has the better outcome, [B, B]."""
    return (group[:, None] == group) & (outcome[:, None] > outcome)  # NaN compares false


@paper("arXiv:2412.01981")
def implicit_prm_nca(
    logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    correct: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    beta: float = 0.05,
) -> Float[Tensor, ""]:
    """Noise contrastive alignment: a better answer is likely by itself, and a worse one is not.

        L = mean over pairs (w better than l, same group) of -log s(r_w) - 1/2 [ log s(-r_w) + log s(-r_l) ]

    with r = beta * sum_t (logp_t - ref_t). Unlike the difference of `trajectory_dpo`, it holds the scores near 0.

    Reference: Chen et al., 2024, https://arxiv.org/abs/2402.05369, for rewards of steps in Yuan et al., Free Process Rewards
    without Process Labels, 2024, https://arxiv.org/abs/2412.01981.
    """
    score, keep = _scores(logp, ref_logp, mask, correct, beta)
    pair = _better(torch.where(keep, correct, torch.nan), group)
    of_better = -F.logsigmoid(score) - 0.5 * F.logsigmoid(-score)
    return _mean(of_better[:, None] - 0.5 * F.logsigmoid(-score), pair)


@paper("arXiv:2412.01981")
def implicit_prm_kto(
    logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    correct: Float[Tensor, " B"],
    *,
    beta: float = 0.05,
    threshold: float = 0.5,
) -> Float[Tensor, ""]:
    """Kahneman-Tversky optimisation: gains and losses against a reference point, without pairs.

        L = mean_i 1 - s( sign_i * (r_i - z) ),   z = max(0, mean_i r_i) without gradient,   sign_i = +1 if right else -1

    z stands for beta times the divergence of the model from the reference.

    Reference: Ethayarajh et al., 2024, https://arxiv.org/abs/2402.01306, for rewards of steps in Yuan et al., Free Process
    Rewards without Process Labels, 2024, https://arxiv.org/abs/2412.01981.
    """
    score, keep = _scores(logp, ref_logp, mask, correct, beta)
    point = _mean(score.detach(), keep).clamp(min=0)
    return _mean(torch.sigmoid(-torch.where(correct > threshold, 1.0, -1.0) * (score - point)), keep)


@paper("arXiv:2409.12122")
def listwise_ranking(
    scores: Float[Tensor, " B"], correct: Float[Tensor, " B"], group: Int64[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Right answers of a question above wrong ones, all pairs, each question counted once.

        L = mean over questions of  1 / (k (n - k)) * sum over (i right, j wrong) of -log s( r_i - r_j )

    with k right answers of n. Questions whose answers are all right or all wrong are left out.

    Reference: Yang et al., Qwen2.5-Math, 2024, https://arxiv.org/abs/2409.12122.
    """
    pair = _better(correct, group)
    pair &= ~(scores[:, None].isnan() | scores.isnan())
    gap = torch.where(pair, scores[:, None] - scores, 0.0)  # the logarithm of a NaN would put one into every gradient
    losses = torch.where(pair, -F.logsigmoid(gap), 0.0).sum(-1)
    first, inverse = torch.unique(group, return_inverse=True)
    total = losses.new_zeros(len(first)).index_add(0, inverse, losses)
    pairs = losses.new_zeros(len(first)).index_add(0, inverse, pair.sum(-1).to(losses.dtype))
    return _mean(total / pairs.clamp(min=1), pairs > 0)


@paper("arXiv:2310.02743")
def ensemble_loss(
    scores: Float[Tensor, "B K"],
    target: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    counts: Float[Tensor, "B K"] | None = None,
    *,
    kind: Literal["outcome", "squared", "preference"] = "outcome",
    l2: float = 0.0,
) -> Float[Tensor, ""]:
    """What the members of an ensemble learn, each from its own sample of the rows; the mean over members.

        outcome     mean_i  n_ik BCE( s(R_ik), y_i )                                  y in [0, 1]
        squared     mean_i  n_ik ( R_ik - y_i )^2
        preference  mean over pairs (y_i > y_j, same group) of  n_ik -log s( R_ik - R_jk )
        and         + l2 * mean_i n_ik R_ik^2

    ``counts`` n_ik says how often row i stands in member k's sample (`guerdon.reward_models.ensemble.bootstrap`; by default
    once), so this is the loss on the sample itself; means divide by the sum of the counts. For the preference they are those
    of whole groups. A member whose sample is empty or holds no pair counts 0 for that term. The preference leaves the level of a group open, which l2 holds near 0.

    Reference: Coste et al., ICLR 2024, https://arxiv.org/abs/2310.02743 (preference, l2 of 0.001; its members see the same
    pairs in another order); Bradley and Terry, 1952.
    """
    keep = ~target.isnan()
    n = torch.ones_like(scores) if counts is None else counts.to(scores)
    n, y = n * keep[:, None], torch.where(keep, target, 0.0)
    size = l2 * _weighted_mean(scores.square(), n)
    if kind == "preference":
        above = keep[:, None] & keep & (group[:, None] == group) & (y[:, None] > y)
        better, worse = above.nonzero(as_tuple=True)
        return (_weighted_mean(-F.logsigmoid(scores[better] - scores[worse]), n[better]) + size).mean()
    wanted = y[:, None].expand_as(scores)
    if kind == "outcome":
        return (_weighted_mean(F.binary_cross_entropy_with_logits(scores, wanted, reduction="none"), n) + size).mean()
    return (_weighted_mean((scores - wanted).square(), n) + size).mean()


def _weighted_mean(x: Tensor, n: Tensor) -> Tensor:
    """Mean over the first axis with weights; 0 where they are all 0."""
    return (x * n).sum(0) / n.sum(0).clamp(min=1)


@paper("arXiv:2502.06781")
def running_mean_bce(
    token_scores: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], correct: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """OREAL's token reward model: the mean of the token scores of an answer tells whether it is right.

        L = mean_i BCE( s( mean_t w_it ), o_i )

    Reference: Lyu et al., OREAL, 2025, https://arxiv.org/abs/2502.06781.
    """
    keep = ~correct.isnan() & mask.any(-1)
    mean = torch.where(mask, token_scores, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)
    return _mean(F.binary_cross_entropy_with_logits(mean, torch.where(keep, correct, 0.0), reduction="none"), keep)


@paper("arXiv:2503.18991")
def demonstration_loss(
    demonstrated: Float[Tensor, " N"],
    generated: Float[Tensor, " N"],
    *,
    beta: float = 1.0,
    form: Literal["linear", "logistic"] = "logistic",
) -> Float[Tensor, ""]:
    """Maximum-likelihood inverse RL, the reward's half: demonstrations above what the policy says now.

        L = -mean (R(demonstration) - R(answer)) / beta            linear, the gradient of the likelihood
        L = -mean log s((R(demonstration) - R(answer)) / beta)     logistic, bounded below

    Alternates with improving the policy on the reward. The linear form has no minimum of its own: it needs a bound on the
    reward or few steps at a time. Pairs with a NaN are left out.

    Reference: DR-IRL, 2025, https://arxiv.org/abs/2503.18991.

    Raises:
        ValueError: beta is not positive.
    """
    if not beta > 0:
        raise ValueError(f"expected a positive beta, got {beta}")
    gap = (demonstrated - generated) / beta
    keep = ~gap.isnan()
    gap = torch.where(keep, gap, 0.0)
    return _mean(-gap if form == "linear" else -F.logsigmoid(gap), keep)


@paper("arXiv:2505.20732")
def contribution_mse(
    step_scores: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"], rewards: Float[Tensor, " B"], *, l2: float = 0.0
) -> Float[Tensor, ""]:
    """SPA: contributions of the steps that add up to the reward of the whole.

        L = mean_i ( sum_s c_is - R_i )^2  +  l2 * mean of c^2

    The second term is no part of the paper; a little of it keeps steps from cancelling each other.

    Reference: Wang et al., SPA-RL, 2025, https://arxiv.org/abs/2505.20732.
    """
    keep = ~rewards.isnan() & step_mask.any(-1)
    parts = torch.where(step_mask, step_scores, 0.0)
    missed = parts.sum(-1) - torch.where(keep, rewards, 0.0)
    return _mean(missed.square(), keep) + l2 * _mean(parts.square(), step_mask & keep[:, None])


@paper("arXiv:2412.11120")
def return_decomposition(
    step_scores: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"], rewards: Float[Tensor, " B"]
) -> Float[Tensor, ""]:
    """Proxy rewards of the steps whose mean is the reward per step.

        L = mean_i ( (1 / T_i) sum_t r_it - R_i / T_i )^2

    Reference: Efroni et al., 2021, in the mean form of Qu et al., LaRe, 2024, https://arxiv.org/abs/2412.11120.
    """
    count = step_mask.sum(-1)
    keep = ~rewards.isnan() & (count > 0)
    total = torch.where(step_mask, step_scores, 0.0).sum(-1)
    return _mean(((total - torch.where(keep, rewards, 0.0)) / count.clamp(min=1)).square(), keep)


@paper("arXiv:2412.11120")
def randomised_return_decomposition(
    step_scores: Float[Tensor, "B S"],
    step_mask: Bool[Tensor, "B S"],
    rewards: Float[Tensor, " B"],
    *,
    draws: int = 64,
    unbiased: bool = False,
    generator: torch.Generator | None = None,
) -> Float[Tensor, ""]:
    """Return decomposition from ``draws`` random steps K of each row instead of all.

        L = mean_i [ ( mean_{t in I} r_it - R_i / T_i )^2  -  (unbiased) Var_I(r_i) * max(0, 1 - K / T_i) / K ]

    Drawn without replacement; a row of at most ``draws`` steps uses them all, which is `return_decomposition`. The
    released code draws with replacement there and lets the correction change its sign.

    Reference: Ren et al., 2021; Qu et al., LaRe, 2024, https://arxiv.org/abs/2412.11120.
    """
    count = step_mask.sum(-1)
    keep = ~rewards.isnan() & (count > 0)
    dice = torch.rand(step_mask.shape, generator=generator).to(step_scores.device).masked_fill(~step_mask, 2.0)
    drawn = step_mask & (dice.argsort(-1).argsort(-1) < draws)
    return _mean(_subset_loss(step_scores, drawn, count, torch.where(keep, rewards, 0.0), unbiased), keep)


def _subset_loss(scores: Tensor, drawn: Tensor, count: Tensor, rewards: Tensor, unbiased: bool) -> Tensor:
    k = drawn.sum(-1).clamp(min=1)
    mean = torch.where(drawn, scores, 0.0).sum(-1) / k
    loss = (mean - rewards / count.clamp(min=1)).square()
    if not unbiased:
        return loss
    spread = torch.where(drawn, scores - mean[:, None], 0.0).square().sum(-1) / (k - 1).clamp(min=1)
    return loss - spread * (1 - k / count.clamp(min=1)).clamp(min=0) / k


__all__ = [
    "contribution_mse",
    "detached_dpo",
    "ensemble_loss",
    "implicit_prm_ce",
    "implicit_prm_kto",
    "implicit_prm_nca",
    "log_ratio_sum",
    "randomised_return_decomposition",
    "return_decomposition",
    "running_mean_bce",
    "trajectory_dpo",
]
