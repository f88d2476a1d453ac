"""Rewards that a language model implies: the log-ratio of a tuned model to its reference.

A model trained as an outcome reward ``r(y) = beta log(p_model(y) / p_ref(y))`` carries a reward for every prefix: the sum
of its log-ratios up to there is the exact soft value of the prefix, ``beta log E_ref[exp(r(y) / beta) | prefix]``,
whatever loss trained it. So a preference model (RTO), a classifier of outcomes (Implicit PRM), or one that keeps learning
in the loop (PRIME, iStar) gives dense rewards without labels of steps.

The reference must be the model that it was trained against: ``ref_logp`` by default; iStar, and a variant of PRIME, use
the policy as it sampled (``take = {ref_logp = "old_logp"}``). The models share one tokenizer.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.credit.levels import add_outcome, place_rewards
from guerdon.kernels import groups, placement, pointwise, scan
from guerdon.method import method

RTO, IMPLICIT_PRM, PRIME, ISTAR = "arXiv:2404.18922", "arXiv:2412.01981", "arXiv:2502.01456", "arXiv:2509.19199"


@method(
    makes="token_rewards",
    paper=(RTO, IMPLICIT_PRM, PRIME),
    shift_invariant=("model_logp", "ref_logp"),
)
def implicit_token_reward(
    model_logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    beta: float = 0.05,
    clip: float | None = None,
    level: Literal["token", "sequence"] = "token",
) -> Float[Tensor, "B T"]:
    """The log-ratio of a model to its reference, as a reward of each token.

        r_t = clip(beta * (model_logp_t - ref_logp_t), -clip, clip)      level = "token"
        the sum of all r_t on the last chosen position, 0 elsewhere      level = "sequence"

    Scaled first, clipped second. RTO clips at 0.05, so that a rare token with a large ratio cannot outweigh the answer;
    the others do not. ``"sequence"`` is the outcome reward itself (RTO's comparison DDPO, PRIME's ``whole``). For one
    reward per step use `implicit-step-reward` and `place-step-rewards`. The released code of PRIME leaves out beta, which
    `return-max-norm` cancels; its maintained copy leaves out the last token.

    0 at unchosen positions, whose log-probabilities are never read; NaN at a chosen position stays there, or, at the
    level of the sequence, makes the sum NaN.

    References: Zhong et al., RTO, ICML 2025, https://arxiv.org/abs/2404.18922; Yuan et al., Implicit PRM, ICML 2025,
    https://arxiv.org/abs/2412.01981; Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456.

    Raises:
        ValueError: a clip that is not positive.
    """
    if clip is not None and clip <= 0:
        raise ValueError(f"expected a clip above 0, got {clip}; leave it out for none")
    ratio = torch.where(mask, model_logp - ref_logp, 0.0).mul_(beta)
    if clip is not None:
        ratio = ratio.clamp_(-clip, clip)
    if level == "token":
        return ratio
    total = ratio.sum(-1)
    del ratio  # its memory can serve what comes next
    return place_rewards(total, mask)


@method(makes="step_rewards", paper=(IMPLICIT_PRM, ISTAR), shift_invariant=("model_logp", "ref_logp"))
def implicit_step_reward(
    model_logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    step_ids: Int64[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    step_mask: Bool[Tensor, "B S"],
    *,
    beta: float = 0.05,
    mode: Literal["single", "accumulative"] = "single",
) -> Float[Tensor, "B S"]:
    """The log-ratio of a model to its reference, summed over each step.

        r_s = beta * sum_{chosen t of step s} (model_logp_t - ref_logp_t)      mode = "single"
        q_s = r_0 + ... + r_s                                                  mode = "accumulative"

    ``"single"`` is what a step added, and the reward of a step; ``"accumulative"`` is the soft value of the prefix that
    ends with it, which Implicit PRM also ranks answers by. The minimum over the second is not the worst step. Scores of
    different prompts are not comparable; compare within groups (iStar: `pooled-normalise`).

    NaN at a chosen position makes its step NaN (and later ones, if accumulated). Steps that the row lacks are NaN, and
    positions of no step count for none.

    References: Yuan et al., Implicit PRM, ICML 2025, https://arxiv.org/abs/2412.01981; Liu et al., iStar, 2025,
    https://arxiv.org/abs/2509.19199.
    """
    single = beta * placement.reduce_to_steps(model_logp - ref_logp, step_ids, mask, step_mask.shape[1])
    if mode == "accumulative":
        single = torch.where(step_mask, single, 0.0).cumsum(-1)
    return torch.where(step_mask, single, torch.nan)


@method(makes="token_rewards", paper=RTO)
def rto_reward(
    token_rewards: Float[Tensor, "B T"],
    rewards: Float[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    clip: float = 10.0,
    shaping: bool = False,
) -> Float[Tensor, "B T"]:
    """RTO: implicit token rewards, with the clipped reward of the whole answer on its last token.

        r'_t = r_t + [t is the last chosen position] * clip(R, -clip, clip)

    Stands between `implicit-token-reward` (with ``clip = 0.05``) and `kl-in-reward` (coefficient 0.01, against the same
    reference); then `gae`. Do not whiten the sum before that: the ratio of the two would change. With ``shaping`` the
    sum of the token rewards is taken off at the last position, so that the total of a row stays R: the paper's variant
    in which they only shape.

    NaN of R is NaN at the last position, a NaN token at its own (and, with ``shaping``, at the last). 0 at unchosen
    positions.

    Reference: Zhong et al., RTO, ICML 2025, https://arxiv.org/abs/2404.18922 (in the order of its released code).
    """
    outcome = rewards.clamp(-clip, clip)
    if shaping:
        outcome = outcome - torch.where(mask, token_rewards, 0.0).sum(-1)
    return add_outcome(token_rewards, outcome, mask)


@method(makes="token_rewards", paper=PRIME, scale_invariant="token_rewards")
def return_max_norm(
    token_rewards: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, eps: float = 1e-6
) -> Float[Tensor, "B T"]:
    """PRIME: token rewards divided by the largest return of the batch, so that every return is in [-1, 1].

        r'_t = r_t / (max_{rows i, positions u} |sum_{v >= u} r_{i,v}| + eps)

    The sum of implicit rewards grows with the length of an answer; this brings it to the scale of a 0/1 outcome, and
    cancels beta. Over the whole batch of an iteration, not per group and not per mini-batch.

    A NaN return is not in the maximum; NaN rewards stay NaN, unchosen positions are 0. Where all rewards are 0 they stay
    0.

    Reference: Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456.
    """
    if mask.numel() == 0:
        return torch.zeros_like(token_rewards)
    scale = 1 / (scan.largest_sum(token_rewards, mask).amax() + eps)
    return pointwise.scaled(token_rewards, mask, scale.expand(len(mask)), torch.zeros_like(scale).expand(len(mask)))


@method(makes="step_rewards", paper=ISTAR, scale_invariant="step_rewards")
def step_max_norm(
    step_rewards: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"], *, eps: float = 1e-6
) -> Float[Tensor, "B S"]:
    """iStar as released: step rewards divided by the largest of the batch in size, so that all are in [-1, 1].

        r'_s = r_s / (max_{rows i, steps u} |r_{i,u}| + eps)

    `return_max_norm` of rows that hold one step each. It brings implicit step rewards, which are small and cancel with
    beta, to the scale of an outcome; the formula of the paper has no such stage. NaN steps are not in the maximum and stay
    NaN; steps that the row lacks are NaN. Where all rewards are 0 they stay 0.

    Reference: Liu et al., iStar, 2025, https://arxiv.org/abs/2509.19199 (the default of its released code).
    """
    size = torch.where(step_mask, step_rewards, 0.0).nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf).abs()
    largest = size.amax() if size.numel() else size.new_zeros(())
    return torch.where(step_mask, step_rewards / (largest + eps), torch.nan)


@method(makes="token_rewards", paper=PRIME, shift_invariant="token_rewards", scale_equivariant="token_rewards")
def rloo_tokens(
    token_rewards: Float[Tensor, "B T"],
    group: Int64[Tensor, " B"],
    mask: Bool[Tensor, "B T"],
    *,
    form: Literal["paper", "released"] = "paper",
    flat: Literal["zero", "nan"] = "zero",
) -> Float[Tensor, "B T"]:
    """PRIME: each token's reward minus the mean token reward of the other answers.

        r'_t = r_t - 1 / (n - 1) * sum_{j != i} m_j                        form = "paper"
        r'_t = r_t * n / (n - 1) - 1 / (n - 1) * sum_j m_j                 form = "released"

    m_j is the mean over the chosen positions of row j, so a long answer has one vote like a short one; n counts the
    scored rows of the group. The two differ by ``(r_t - m_i) / (n - 1)``: the released form is a little steeper.
    `discounted-returns` after it makes the advantage of this source; add that of the outcome with `add-outcome` before
    the returns, and `whiten` once after them, not per source.

    A row with a NaN token, or without a chosen position, has no mean and no vote; its other tokens keep theirs. Without
    another scored row there is no baseline: ``flat`` says whether the tokens get 0 or NaN. 0 at unchosen positions.

    Reference: Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456.
    """
    mean = pointwise.row_mean(token_rewards, mask)  # 0 / 0 where nothing was chosen
    baseline = groups.leave_one_out_mean(mean, group, unscored="mean")
    scale = torch.ones_like(baseline)
    if form == "released":
        others = torch.where(torch.isnan(mean), torch.inf, groups.group_count(mean, group) - 1)
        scale = 1 + 1 / others
        baseline = baseline + mean.nan_to_num() / others
    if flat == "zero":
        alone = torch.isnan(baseline)
        scale, baseline = scale.masked_fill(alone, 0.0), baseline.masked_fill(alone, 0.0)
    return pointwise.scaled(token_rewards, mask, scale, -baseline)
