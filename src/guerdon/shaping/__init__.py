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
- `lengths`: answers that do not end, are too short or too long (Tulu 3, DAPO, Text2Grad);
- `noise`: rewards that are wrong on purpose, and help for a reward that is too low;
- `verified`: a reward model that ranks only within right and within wrong answers (Qwen2.5-Math);
- `kl`: the price of leaving the reference, taken from the reward of each token.

Except where a stage says so (`z-score-by-pool`, running moments, multipliers), nothing here compares rows with each
other; that is the business of `guerdon.credit`.
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
from guerdon.shaping.kl import kl_in_reward
from guerdon.shaping.lengths import (
    cosine_length,
    missing_end_penalty,
    overlong_penalty,
    soft_length_weight,
    too_short_penalty,
)
from guerdon.shaping.logic import logical_and, logical_or
from guerdon.shaping.noise import flip_noise, gaussian_noise, lift_low_rewards, reward_for_wrong
from guerdon.shaping.running import RunningScale, RunningScaleByPool, z_score_by_pool
from guerdon.shaping.search import NelderMead
from guerdon.shaping.transforms import (
    amplify_by_sign,
    log_sigmoid,
    preference_as_reward,
    reference_quantile,
    sigmoid_rewards,
)
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
    "preference_as_reward",
    "product",
    "reference_quantile",
    "reward_for_wrong",
    "scale_rewards",
    "sigmoid_rewards",
    "soft_length_weight",
    "sum_part_advantages",
    "too_short_penalty",
    "uncertainty_weighted",
    "weighted_step_sum",
    "weighted_sum",
    "weighted_token_sum",
    "worst_case",
    "z_score_by_pool",
]
