"""Compared with every step of every answer to the same prompt, wherever it stands.

The methods of `groups` compare step k with step k. Where steps have no number that means the same in two rows (turns of
an agent, gains of information) the whole group is one pool.
"""

from typing import Literal

from jaxtyping import Float, Int64
from torch import Tensor

from guerdon.credit.groups import Flat, group_centre, group_normalise, leave_one_out
from guerdon.method import method


@method(
    makes="step_advantages",
    paper=("arXiv:2509.19199", "arXiv:2510.14967"),
    shift_invariant="step_rewards",
    scale_invariant="step_rewards",
)
def pooled_normalise(
    step_rewards: Float[Tensor, "B S"],
    group: Int64[Tensor, " B"],
    *,
    estimator: Literal["normalise", "centre", "rloo"] = "normalise",
    ddof: int = 1,
    eps: float = 1e-6,
    flat: Flat = "zero",
) -> Float[Tensor, "B S"]:
    """The reward of a step against all steps of all rows of its group, each step one vote.

        pool    = {r_{j,u} : rows j of the group, steps u that they have}
        A_{i,s} = (r_{i,s} - mean(pool)) / (std(pool) + eps)      estimator = "normalise"
        A_{i,s} = r_{i,s} - mean(pool)                            estimator = "centre"
        A_{i,s} = r_{i,s} - mean(pool without r_{i,s})            estimator = "rloo"

    IGPO standardises information gains and outcomes of a group together; iStar (OPRL) takes any of the three of its
    implicit step rewards, normalised apart from the outcome, and adds the two with `add-levels` (its released code puts
    `step-max-norm` before). Rows with more steps
    have more votes. In iStar's released code only the first step of a row is in the mean while rows are counted; this
    is the form of the paper.

    NaN steps, those that a row lacks included, are in no statistic and stay NaN. Where all scored steps of the pool are
    equal (a single one included) ``flat`` says 0 or NaN.

    References: Liu et al., iStar, 2025, https://arxiv.org/abs/2509.19199; Wang et al., IGPO, 2025,
    https://arxiv.org/abs/2510.14967.
    """
    pool, entries = group.repeat_interleave(step_rewards.shape[1]), step_rewards.reshape(-1)
    if estimator == "normalise":
        made = group_normalise(entries, pool, ddof=ddof, eps=eps, flat=flat)
    else:
        made = (group_centre if estimator == "centre" else leave_one_out)(entries, pool, flat=flat)
    return made.reshape(step_rewards.shape)
