"""Shaping: from what the signals said to the reward that is learned from.

Signals speak in parts, each on its own scale and each possibly silent (NaN). Here parts become one reward, and rewards
are bent before credit is given:

- `combine`: weighted sums of parts, of step parts, of token parts and of advantages per part (GDPO); clipping and scaling;
- `lengths`: answers that do not end, are too short or too long (Tulu 3, DAPO, Text2Grad);
- `noise`: rewards that are wrong on purpose, and help for a reward that is too low;
- `verified`: a reward model that ranks only within right and within wrong answers (Qwen2.5-Math);
- `kl`: the price of leaving the reference, taken from the reward of each token.

Nothing here compares rows with each other; that is the business of `guerdon.credit`.
"""

from guerdon.shaping.combine import (
    clip_rewards,
    gate_rewards,
    scale_rewards,
    sum_part_advantages,
    weighted_step_sum,
    weighted_sum,
    weighted_token_sum,
)
from guerdon.shaping.kl import kl_in_reward, sequence_kl_in_reward
from guerdon.shaping.lengths import (
    cosine_length,
    missing_end_penalty,
    overlong_penalty,
    soft_length_weight,
    too_short_penalty,
)
from guerdon.shaping.noise import flip_noise, gaussian_noise, lift_low_rewards, reward_for_wrong
from guerdon.shaping.verified import consistency_bonus, fuse_verifier

__all__ = [
    "clip_rewards",
    "consistency_bonus",
    "cosine_length",
    "flip_noise",
    "fuse_verifier",
    "gate_rewards",
    "gaussian_noise",
    "kl_in_reward",
    "lift_low_rewards",
    "missing_end_penalty",
    "overlong_penalty",
    "reward_for_wrong",
    "scale_rewards",
    "sequence_kl_in_reward",
    "soft_length_weight",
    "sum_part_advantages",
    "too_short_penalty",
    "weighted_step_sum",
    "weighted_sum",
    "weighted_token_sum",
]
