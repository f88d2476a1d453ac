"""Compared with the other answers to the same prompt: the baseline is the group.

All three take ``[B]`` rewards, or ``[B, S]`` step rewards when a recipe rebinds them (column k is then compared with
column k, and a row that lacks the step, NaN, is no member of that comparison). Groups are ragged and in any order.

``flat`` says what a member of a degenerate group gets, that is, one whose scored members all have the same reward (a
group of one included). Nothing can be learned from comparing them, so the choice is between ``"zero"``, no push but
still in the denominator of the loss, and ``"nan"``, filtered out of both (the dynamic sampling of DAPO, without its
resampling).
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guerdon.kernels import groups as kernel
from guerdon.method import method

Flat = Literal["zero", "nan"]


@method(
    makes="advantages",
    paper="arXiv:2402.03300",
    shift_invariant="rewards",
    scale_invariant="rewards",
)
def group_normalise(
    rewards: Float[Tensor, "B *rest"],
    group: Int64[Tensor, " B"],
    *,
    ddof: int = 1,
    eps: float = 1e-4,
    eps_at: Literal["outside", "inside", "floor"] = "outside",
    flat: Flat = "zero",
    alone: Literal["flat", "reward"] = "flat",
) -> Float[Tensor, "B *rest"]:
    """GRPO: the reward standardised within its group.

        A_i = (r_i - mean(r_group)) / (std(r_group) + eps)

    ``eps_at`` puts eps outside the root as above, inside it, ``sqrt(var + eps)``, or makes it a floor,
    ``max(std, eps)``. The paper writes no eps and does not say which standard deviation it means; ``ddof=1`` and
    ``eps=1e-4`` are what its public implementations compute, and ``ddof=0`` is the population form.

    NaN rewards are in no statistic and stay NaN. Degenerate groups: see ``flat`` above; they never divide by eps. A lone
    member of a group is one of these, or with ``alone="reward"`` is compared with nothing: a mean of 0 and a deviation of
    1, ``r / (1 + eps)``, as in verl and what was built on it.

    Dividing by the spread weighs prompts by how hard they are (a group with one success in eight counts more per
    answer than an even one); `group_centre` leaves that out.

    Raises:
        ValueError: ``alone`` is neither of the two.

    Reference: Shao et al., DeepSeekMath, 2024, https://arxiv.org/abs/2402.03300.
    """
    made = kernel.standardise(rewards, group, scale=True, ddof=ddof, eps=eps, eps_at=eps_at, flat=flat)
    if alone == "flat":
        return made
    if alone != "reward":
        raise ValueError(f"expected alone to be flat or reward, got {alone!r}; choose one")
    return torch.where(kernel.group_count(rewards, group) == 1, rewards / (1 + eps), made)


@method(
    makes="advantages",
    paper="arXiv:2503.20783",
    shift_invariant="rewards",
    scale_equivariant="rewards",
)
def group_centre(
    rewards: Float[Tensor, "B *rest"], group: Int64[Tensor, " B"], *, flat: Flat = "zero"
) -> Float[Tensor, "B *rest"]:
    """Dr. GRPO: the reward minus the mean of its group, without dividing by the spread.

        A_i = r_i - mean(r_group)

    Equals (n - 1) / n times `leave_one_out` in a group of n, so it is an unbiased direction with a slightly smaller
    step. NaN rewards are in no mean and stay NaN; degenerate groups: see ``flat`` above.

    Reference: Liu et al., Understanding R1-Zero-like training, 2025, https://arxiv.org/abs/2503.20783. The other half
    of that paper, no division by the length of the answer, is the aggregation ``sequence-sum`` over a constant.
    """
    return kernel.standardise(rewards, group, scale=False, flat=flat)


@method(
    makes="advantages",
    paper="arXiv:2402.14740",
    shift_invariant="rewards",
    scale_equivariant="rewards",
)
def leave_one_out(
    rewards: Float[Tensor, "B *rest"], group: Int64[Tensor, " B"], *, flat: Flat = "zero"
) -> Float[Tensor, "B *rest"]:
    """RLOO: the reward minus the mean of the *other* members of its group.

        A_i = r_i - sum_{j != i} r_j / (n - 1)

    The baseline does not depend on the answer that it is subtracted from, so the gradient is unbiased for every n.
    NaN rewards are in no mean and stay NaN. A lone member has no others: it counts as degenerate (``flat`` above).
    The paper adds the KL to the reference to r; put `kl-in-reward` or a loss where you want it.

    Reference: Ahmadian et al., Back to Basics, 2024, https://arxiv.org/abs/2402.14740.
    """
    advantages = rewards - kernel.leave_one_out_mean(rewards, group)
    nothing = 0.0 if flat == "zero" else float("nan")
    same = kernel.degenerate(rewards, group) & ~torch.isnan(rewards)
    return torch.where(same, nothing, advantages)


@method(makes="advantages", paper="arXiv:2505.12432", scale_equivariant="advantages")
def difficulty_weight(
    advantages: Float[Tensor, " B"], correct: Float[Tensor, " B"], group: Int64[Tensor, " B"], *, sigma: float = 1.8
) -> Float[Tensor, " B"]:
    """Observe-R1: the advantages of a group count most where half of its answers are right.

        w A,    w = 4 sigma d (1 - d),    d the share of the group's answers that are right

    0 in groups that are all right or all wrong (what shaping would tell apart in them is ignored), sigma at one half.
    Place it after `group-normalise`: a weight of the rewards themselves would be divided out again. That division
    already favours lopsided groups, whose spread is small, and the two multiply.

    Shapes: [B] in and out. NaN stays NaN. An answer of unknown correctness is in no share; a group of such only is NaN.

    Reference: Observe-R1, 2025, https://arxiv.org/abs/2505.12432.
    """
    known = ~(advantages.isnan() | correct.isnan())
    d = kernel.group_mean(torch.where(known, (correct > 0.5).to(advantages.dtype), torch.nan), group)
    return 4 * sigma * d * (1 - d) * advantages


@method(makes="rewards", paper="arXiv:2502.01456")
def accuracy_filter(
    rewards: Float[Tensor, " B"],
    correct: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    *,
    low: float = 0.2,
    high: float = 0.8,
) -> Float[Tensor, " B"]:
    """PRIME: answers count only where the group is neither too hard nor too easy.

        r_i      where low <= mean of the group's outcomes <= high
        NaN      elsewhere: filtered

    What a filtered row would cost later can be saved as well: ``rollouts.where`` in the recipe. Outcomes that are NaN
    are in no mean; a group without any is filtered.

    Reference: Cui et al., PRIME, 2025, https://arxiv.org/abs/2502.01456.

    Raises:
        ValueError: low above high.
    """
    if low > high:
        raise ValueError(f"expected low at most high, got low={low} and high={high}; swap them")
    share = kernel.group_mean(correct, group)
    return torch.where((share >= low - 1e-6) & (share <= high + 1e-6), rewards, torch.nan)
