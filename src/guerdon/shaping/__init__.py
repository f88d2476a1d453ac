"""Shaping: from what the signals said to the reward that is learned from.

Signals speak in parts, each on its own scale and each possibly silent (NaN). Here parts become one reward, and rewards
are bent before credit is given:

- `combine`: weighted sums of parts, of step parts, of token parts and of advantages per part (GDPO); products, minima, gates
  and an order of importance; clipping and scaling;
- `transforms`: a score against the scores of reference answers (PAR, LSC);
- `running`: a score in units of its own input or of its past (RLPrompt, running moments);
- `ensembles`: several scorers of the same thing: mean, worst case, mean minus variance;
- `logic`: good in every respect, good in at least one;
- `constraints`: parts held at thresholds by Lagrange multipliers; `search`: where the thresholds should be;
- `gates`, `process`: what counts only where something more important is good enough, parts among parts and steps under
  the outcome (G-RA, ReNorm);
- `lengths`: answers that do not end, are too short or too long (Tulu 3, DAPO, Text2Grad), or any line of the length;
- `group_lengths`: shorter right answers are paid more, in all groups or in some (Observe-R1, GRPO-lambda);
- `trust`: a judge of the thinking, believed as far as the outcomes of the group bear it out (SophiaVL-R1);
- `phases`: thinking that is more undecided than its answer pays for it (PEAR);
- `noise`: rewards that are wrong on purpose, and help for a reward that is too low;
- `verified`: a reward model that ranks only within right and within wrong answers (Qwen2.5-Math);
- `kl`: the price of leaving the reference, taken from the reward of each token.

What comes out is a reward. Some rewards depend on the other answers to the same prompt; their statistics are those of
`guerdon.kernels.groups`. Comparing the rewards of rows, which makes advantages, is the business of `guerdon.credit`.
"""

from guerdon.shaping.combine import (
    clip_rewards,
    gate_rewards,
    lexicographic,
    minimum,
    only_if,
    product,
    scale_rewards,
    sum_part_advantages,
    weighted_step_sum,
    weighted_sum,
    weighted_token_sum,
)
from guerdon.shaping.constraints import ConstrainedAdvantages, ConstrainedRewards, SearchedConstraints
from guerdon.shaping.ensembles import ensemble_mean, uncertainty_weighted, worst_case
from guerdon.shaping.gates import gated_sum
from guerdon.shaping.group_lengths import relative_length, shortest_correct_bonus, switched_length
from guerdon.shaping.kl import kl_in_reward
from guerdon.shaping.lengths import (
    cosine_length,
    missing_end_penalty,
    overlong_penalty,
    piecewise_length,
    soft_length_weight,
    too_short_penalty,
)
from guerdon.shaping.logic import logical_and, logical_or
from guerdon.shaping.noise import flip_noise, gaussian_noise, lift_low_rewards, reward_for_wrong
from guerdon.shaping.phases import phase_entropy, phase_means, phases
from guerdon.shaping.process import gate_steps, gated_total, renorm
from guerdon.shaping.running import RunningScale, RunningScaleByPool, z_score_by_pool
from guerdon.shaping.search import NelderMead
from guerdon.shaping.transforms import (
    amplify_by_sign,
    log_sigmoid,
    preference_as_reward,
    reference_quantile,
    sigmoid_rewards,
)
from guerdon.shaping.trust import trust_thinking, trust_weight
from guerdon.shaping.verified import fuse_verifier

__all__ = [
    "ConstrainedAdvantages",
    "ConstrainedRewards",
    "NelderMead",
    "RunningScale",
    "RunningScaleByPool",
    "SearchedConstraints",
    "amplify_by_sign",
    "clip_rewards",
    "cosine_length",
    "ensemble_mean",
    "flip_noise",
    "fuse_verifier",
    "gate_rewards",
    "gate_steps",
    "gated_sum",
    "gated_total",
    "gaussian_noise",
    "kl_in_reward",
    "lexicographic",
    "lift_low_rewards",
    "log_sigmoid",
    "logical_and",
    "logical_or",
    "minimum",
    "missing_end_penalty",
    "only_if",
    "overlong_penalty",
    "phase_entropy",
    "phase_means",
    "phases",
    "piecewise_length",
    "preference_as_reward",
    "product",
    "reference_quantile",
    "relative_length",
    "renorm",
    "reward_for_wrong",
    "scale_rewards",
    "shortest_correct_bonus",
    "sigmoid_rewards",
    "soft_length_weight",
    "sum_part_advantages",
    "switched_length",
    "too_short_penalty",
    "trust_thinking",
    "trust_weight",
    "uncertainty_weighted",
    "weighted_step_sum",
    "weighted_sum",
    "weighted_token_sum",
    "worst_case",
    "z_score_by_pool",
]
