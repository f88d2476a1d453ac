"""Shaping: from what the signals said to the reward that is learned from.

Signals speak in parts, each on its own scale and each possibly silent (NaN). Here parts become one reward, and rewards
are bent before credit is given:

- `combine`: weighted sums of parts, of step parts, of token parts and of advantages per part (GDPO); products, minima, gates
  and an order of importance; clipping and scaling;
- `transforms`: a score against the scores of reference answers (PAR, LSC);
- `running`: a score in units of its own input or of its past (RLPrompt, running moments);
- `ensembles`: several scorers of the same thing: mean, worst case (of parts: `minimum`), mean minus variance;
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
- `kl`: the price of leaving the reference, taken from the reward of each token; `controlled_kl`: one that moves toward a
  target, or shares its weight with constrained parts;
- `products`: rewards that ask for every part: signed geometric means (KRC), penalties that multiply (CaRL);
- `teams`: what an agent earns for itself, for its team and against the others (Lucy-SKG);
- `hybrid`: a rule where there is one and a reward model elsewhere (HARMO);
- `bounds`: process scores with a bounded sum (Clip and Delta);
- `rarity`: unlikely right answers are worth more;
- `difficulty`: advantages scaled by distance from a demonstration (DR-IRL);
- `windows`: hesitation that is paid for on hard prompts (AEPO);
- `selection`: which answers are trained on, and how often (PF-PPO, flat groups, draws).

What comes out is a reward. Some rewards depend on the other answers to the same prompt; their statistics are those of
`guerdon.kernels.groups`. Comparing the rewards of rows, which makes advantages, is the business of `guerdon.credit`.
"""

from guerdon.shaping.bounds import clip_steps, delta_steps
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
from guerdon.shaping.controlled_kl import ConstrainedTokenRewards, ControlledKlInReward
from guerdon.shaping.difficulty import scale_by_gap, scale_by_similarity
from guerdon.shaping.ensembles import (
    ensemble_mean,
    member_disagreement,
    member_mean,
    member_uncertainty_weighted,
    member_worst_case,
    uncertainty_weighted,
)
from guerdon.shaping.gates import gated_sum
from guerdon.shaping.group_lengths import relative_length, shortest_correct_bonus, switched_length
from guerdon.shaping.hybrid import brevity_penalty, hybrid_reward
from guerdon.shaping.kl import kl_in_reward, sequence_kl_in_reward
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
from guerdon.shaping.products import (
    LatchedPenalty,
    distance_reward,
    latch_penalty,
    linear_excess,
    penalised_progress,
    signed_geometric_mean,
)
from guerdon.shaping.rarity import unlikeliness, uplift_by_rank
from guerdon.shaping.running import (
    RunningScale,
    RunningScaleByPool,
    block_maxima,
    z_score_by_pool,
    z_score_of_blocks,
)
from guerdon.shaping.search import NelderMead
from guerdon.shaping.selection import (
    choose_filter,
    drop_flat_groups,
    filter_r2,
    keep_filtered,
    policy_filtration,
    rank_weights,
    refill_groups,
    resample_filtered,
    top_groups,
    top_rows,
)
from guerdon.shaping.teams import team_spirit
from guerdon.shaping.transforms import (
    amplify_by_sign,
    log_sigmoid,
    preference_as_reward,
    reference_quantile,
    sigmoid_rewards,
)
from guerdon.shaping.trust import trust_thinking, trust_weight
from guerdon.shaping.verified import consistency_bonus, fuse_verifier
from guerdon.shaping.windows import (
    DifficultyEffort,
    DifficultyKL,
    difficulty,
    effort_bonus,
    effort_targets,
    entropy_threshold,
    measure_effort,
    moved_alphas,
    window_entropy,
    word_starts,
)

__all__ = [
    "ConstrainedAdvantages",
    "ConstrainedRewards",
    "ConstrainedTokenRewards",
    "ControlledKlInReward",
    "DifficultyEffort",
    "DifficultyKL",
    "LatchedPenalty",
    "NelderMead",
    "RunningScale",
    "RunningScaleByPool",
    "SearchedConstraints",
    "amplify_by_sign",
    "block_maxima",
    "brevity_penalty",
    "choose_filter",
    "clip_rewards",
    "clip_steps",
    "consistency_bonus",
    "cosine_length",
    "delta_steps",
    "difficulty",
    "distance_reward",
    "drop_flat_groups",
    "effort_bonus",
    "effort_targets",
    "ensemble_mean",
    "entropy_threshold",
    "filter_r2",
    "flip_noise",
    "fuse_verifier",
    "gate_rewards",
    "gate_steps",
    "gated_sum",
    "gated_total",
    "gaussian_noise",
    "hybrid_reward",
    "keep_filtered",
    "kl_in_reward",
    "latch_penalty",
    "lexicographic",
    "lift_low_rewards",
    "linear_excess",
    "log_sigmoid",
    "logical_and",
    "logical_or",
    "measure_effort",
    "member_disagreement",
    "member_mean",
    "member_uncertainty_weighted",
    "member_worst_case",
    "minimum",
    "missing_end_penalty",
    "moved_alphas",
    "only_if",
    "overlong_penalty",
    "penalised_progress",
    "phase_entropy",
    "phase_means",
    "phases",
    "piecewise_length",
    "policy_filtration",
    "preference_as_reward",
    "product",
    "rank_weights",
    "reference_quantile",
    "refill_groups",
    "relative_length",
    "renorm",
    "resample_filtered",
    "reward_for_wrong",
    "scale_by_gap",
    "scale_by_similarity",
    "scale_rewards",
    "sequence_kl_in_reward",
    "shortest_correct_bonus",
    "sigmoid_rewards",
    "signed_geometric_mean",
    "soft_length_weight",
    "sum_part_advantages",
    "switched_length",
    "team_spirit",
    "too_short_penalty",
    "top_groups",
    "top_rows",
    "trust_thinking",
    "trust_weight",
    "uncertainty_weighted",
    "unlikeliness",
    "uplift_by_rank",
    "weighted_step_sum",
    "weighted_sum",
    "weighted_token_sum",
    "window_entropy",
    "word_starts",
    "z_score_by_pool",
    "z_score_of_blocks",
]
