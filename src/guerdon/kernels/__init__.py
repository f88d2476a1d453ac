"""The ground floor: the arithmetic that methods share, on tensors and nothing else.

A method of this library is a formula of ten lines. What would make it a hundred is always the same: groups of
unequal size in any order, rewards that are missing, responses with holes in them, steps that some rows lack. That part
is solved here once, without a loop over rows, positions or groups, and held equal to plain loops by
`tests/kernels/twins.py`. The rooms above add meaning.

| file           | question that it answers                                                              |
|----------------|---------------------------------------------------------------------------------------|
| `groups`       | How did the other answers to the same prompt do?                                       |
| `scan`         | What comes after this position, over those that the policy chose?                      |
| `placement`    | Which row or step does a position belong to, and back?                                 |
| `potentials`   | What did a step add to a potential?                                                    |
| `masked`       | What are mean and spread of the entries that exist?                                    |
| `windows`      | What is the mean of the chosen positions near this one?                                |
| `select`       | Which entries are the largest, of a row or of all?                                     |
| `best_of_n`    | What is the best of n answers worth, chosen by one score and judged by another?          |
| `logprob`      | How likely was each token, and how undecided the policy, without a table of all logits? |
| `divergence`   | How far from the reference, from one sample?                                           |
| `ratios`       | How much likelier does one policy find it than another?                                |
| `aggregate`    | What is one loss for a batch that arrives in pieces?                                   |
| `compiling`    | What does ``torch.compile`` need to make one fast kernel of it?                        |

Two rules hold everywhere. NaN means unscored: NaN in is NaN out, and a NaN row changes nothing for others. What stands
where a mask is False is never read. Nothing here knows about methods, recipes or models, and no input is changed.

`aggregate` and `best_of_n` are reached through their modules (`guerdon.kernels.aggregate.aggregate`), as they share a name.
"""

from guerdon.kernels.divergence import kl_estimate
from guerdon.kernels.groups import (
    bin_sums,
    degenerate,
    group_count,
    group_max,
    group_mean,
    group_min,
    group_rank,
    group_share,
    group_std,
    group_sum,
    joint_ids,
    leave_one_out_mean,
    numbered,
    standardise,
    top_groups,
)
from guerdon.kernels.last_layer import logp_and_entropy
from guerdon.kernels.logprob import logp_and_entropy_of_logits
from guerdon.kernels.masked import masked_mean, masked_sum, masked_var, whiten
from guerdon.kernels.placement import (
    broadcast_rows,
    broadcast_to_tokens,
    last_chosen,
    next_step,
    place_on_last,
    place_on_tokens,
    reduce_to_steps,
    runs,
    step_counts,
)
from guerdon.kernels.pointwise import added, finite, kept, penalised, ratio, rise, row_mean, row_sum, scaled, settled
from guerdon.kernels.potentials import difference
from guerdon.kernels.scan import decay, discounted_sum, gae, largest_sum, running_mean, suffix_min
from guerdon.kernels.select import kth_largest, largest_share, outliers, upper_quantile, upper_tail
from guerdon.kernels.windows import window_mean

__all__ = [
    "added",
    "bin_sums",
    "broadcast_rows",
    "broadcast_to_tokens",
    "decay",
    "degenerate",
    "difference",
    "discounted_sum",
    "finite",
    "gae",
    "group_count",
    "group_max",
    "group_mean",
    "group_min",
    "group_rank",
    "group_share",
    "group_std",
    "group_sum",
    "joint_ids",
    "kept",
    "kl_estimate",
    "kth_largest",
    "largest_share",
    "largest_sum",
    "last_chosen",
    "leave_one_out_mean",
    "logp_and_entropy",
    "logp_and_entropy_of_logits",
    "masked_mean",
    "masked_sum",
    "masked_var",
    "next_step",
    "numbered",
    "outliers",
    "penalised",
    "place_on_last",
    "place_on_tokens",
    "ratio",
    "reduce_to_steps",
    "rise",
    "row_mean",
    "row_sum",
    "running_mean",
    "runs",
    "scaled",
    "settled",
    "standardise",
    "step_counts",
    "suffix_min",
    "top_groups",
    "upper_quantile",
    "upper_tail",
    "whiten",
    "window_mean",
]
