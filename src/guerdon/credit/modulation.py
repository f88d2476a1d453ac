"""Bent by what the model itself knows: how sure the policy was, and how far its states lie from known ones."""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import groups, masked, placement
from guerdon.kernels.select import outliers
from guerdon.method import method, paper

EMPG = "arXiv:2509.09265"
Normalise = Literal["minmax", "quantile"]


@method(makes="step_advantages", paper=EMPG)
def entropy_modulated(
    advantages: Float[Tensor, " B"],
    old_entropy: Float[Tensor, "B T"],
    step_ids: Int64[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    step_mask: Bool[Tensor, "B S"],
    *,
    k: float = 1.0,
    k_future: float = 1.0,
    zeta: float = 0.1,
    centre: bool = True,
    normalise: Normalise = "minmax",
) -> Float[Tensor, "B S"]:
    """EMPG: the row's advantage spread over its steps, more to confident ones, with a bonus for leading to confidence.

        A_s = A * g(H_s) + zeta * f(H_next(s)),    then A_s - mean over all steps of the batch
        g   = exp(-k h) / mean over the batch of exp(-k h),    f = exp(-k_future h),    h = H in [0, 1]

    H_s is the mean entropy of the step's chosen tokens under the policy that sampled them; `scale_entropy` brings it
    into [0, 1]. The last step of a row gets no bonus. A confident step is pushed harder either way, right or wrong; an
    uncertain one is damped. Take ``turn_ids`` and ``turn_mask`` where turns are the steps.

    Shapes: [B] and [B, T] in, [B, S] out. NaN where the row lacks the step or the advantage is NaN; such a step is in
    no statistic. Means run over steps, so long rows weigh more. Rows of a group without spread (A = 0) still get
    differences of the bonus: where all are such, only the entropy is trained, downwards. Two public copies take
    minimum and maximum over tokens and use them for steps; the formula here is the paper's. The bonus is 0.1 in its
    listing and 0.05 in a reproduction.

    Reference: Wang et al., EMPG, 2025, https://arxiv.org/abs/2509.09265.
    """
    entropy = placement.reduce_to_steps(old_entropy, step_ids, mask, step_mask.shape[1], "mean")
    scored = step_mask & ~torch.isnan(advantages)[:, None]
    h = scale_entropy(entropy, scored, how=normalise)
    modulated = advantages[:, None] * confidence_gain(h, scored, k=k) + zeta * placement.next_step(
        torch.exp(-k_future * h), step_mask
    )
    modulated = torch.where(scored, modulated, torch.nan)
    return modulated - masked.masked_mean(modulated, scored) if centre else modulated


@paper(EMPG)
def scale_entropy(
    entropy: Float[Tensor, "B S"], mask: Bool[Tensor, "B S"], *, how: Normalise = "minmax"
) -> Float[Tensor, "B S"]:
    """Entropies of steps on a scale from 0, the surest of the batch, to 1.

        minmax:     (H - min) / (max - min + 1e-8)
        quantile:   rank / (n - 1), ties sharing the mean of their ranks

    The first is the paper's; one outlying step presses all others together, which the second does not mind. NaN and
    masked entries are in no statistic and NaN in the result. Where all are equal the first gives 0, the second 1/2.
    """
    flat = torch.where(mask, entropy, torch.nan).reshape(-1)
    one = torch.zeros_like(flat, dtype=torch.int64)
    if how == "quantile":
        scaled = groups.group_rank(flat, one) / (groups.group_count(flat, one) - 1).clamp(min=1)
    elif how == "minmax":
        low = groups.group_min(flat, one)
        scaled = (flat - low) / (groups.group_max(flat, one) - low + 1e-8)
    else:
        raise ValueError(f"expected normalise to be minmax or quantile, got {how!r}")
    return scaled.reshape(entropy.shape)


@paper(EMPG)
def confidence_gain(scaled: Float[Tensor, "B S"], mask: Bool[Tensor, "B S"], *, k: float = 1.0) -> Float[Tensor, "B S"]:
    """``g = exp(-k h) / mean(exp(-k h))``: its mean over the steps under the mask that are not NaN is 1."""
    raw = torch.exp(-k * scaled)
    return raw / masked.masked_mean(raw, mask)


@method(makes="token_rewards", paper="arXiv:2510.10201")
def flow_token_reward(
    model_token_scores: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    token_rewards: Float[Tensor, "B T"] | None = None,
    *,
    coefficient: float = 0.01,
    threshold: float = 0.6,
    topk: int = 15,
    power: float = 1.0,
    bilateral: bool = False,
) -> Float[Tensor, "B T"]:
    """RLFR: the tokens whose hidden states lie furthest from those of known good answers pay for it.

        m_t = ((s_t - min s) / (max s - min s))^power       over the chosen positions of the row
        r_t = -coefficient * m_t    where m_t > threshold and among the topk largest of the row, else 0

    The scores are the errors of a flow model of reference states (any score that is large for strange positions
    serves). ``bilateral`` uses ``2 m - 1`` in place of m and selects by its size, so that familiar positions are paid.
    Take ``token_rewards`` to add the result to them (the placed advantage, say); follow with `discounted-returns`, so
    that a token also answers for what it leads to. Early tokens of long answers then collect more.

    Shapes: [B, T] in and out. 0 at unchosen positions, whose scores are never read. A NaN score is NaN at its position
    and in no statistic. Where all scores of a row are equal (one position included), nothing stands out: 0. Ties at
    the topk-th place all stay. With ``bilateral`` the released code takes the ``topk // 2`` largest and the ``topk // 2``
    smallest, and takes the power last. It leaves the smallest score of each row out of the minimum, a slip in
    its handling of padding that is not repeated here, and divides by 0 where all are equal.

    Reference: RLFR, 2025, https://arxiv.org/abs/2510.10201.
    """
    if topk < 1:
        raise ValueError(f"expected topk of at least 1, got {topk}; use threshold = 1 to select nothing")
    paid = outliers(
        model_token_scores, mask, threshold=threshold, topk=topk, power=power, bilateral=bilateral, factor=-coefficient
    )
    return paid if token_rewards is None else paid + torch.where(mask, token_rewards, 0.0)
