"""Credit: who earned the reward?

A reward says how good a whole answer was. Learning needs to know which answers, which steps and which tokens deserve
to become more likely, and by how much. The files of this room ask that question in turn:

- `groups`: compared with the other answers to the same prompt (GRPO, Dr. GRPO, RLOO);
- `baselines`: compared with something else, such as the greedy answer (ReMax) or a running mean;
- `pooled`: compared with every step of the group's answers (iStar, IGPO);
- `returns`: counted from here on, over positions or steps, with or without a value function (GAE);
- `minform`: a return that is the worst of what follows, not its sum (PURE);
- `progress`: what a step adds to the value of its prefix (PAV, MRT);
- `implicit`: what the log-ratio of two language models says of tokens and steps (Implicit PRM, PRIME, RTO, iStar);
- `contributions`: learned shares of the final reward (SPA);
- `thoughts`: what thinking adds to the likelihood of the text that follows (RLP);
- `importance`: which tokens of a right or wrong answer the loss should weigh (OREAL);
- `mismatch`: what a sample of another program, or of older weights, counts (truncated importance sampling, IcePop);
- `steps`: which step of the answer, or which turn, a token belongs to;
- `trees`: compared with what else was tried at the same fork (PORTool);
- `modulation`: bent by how sure the policy was (EMPG) and how strange its states are (RLFR);
- `rank`: bent by how many directions the hidden states span (VERL);
- `turns`: what the environment paid for a turn (meow-tea-taro), or what it taught about the answer (IGPO);
- `belief`: paid in bits of a belief (Nous);
- `potentials`: progress as a potential, and shaping that leaves the best policy alone (Robo-Dopamine);
- `verdicts`: judges of steps, voted on, combined and used as a reward (SPARK, Fin-PRM);
- `levels`: from rows and steps down to tokens, where the objective reads it;
- `selection`: the right or the wrong answers only, the best of a group (PSR and NSR, RAFT);
- `whiten`: put on one scale over the whole batch (REINFORCE++, and the last stage of GDPO).

Group and batch methods take ``[B]`` or ``[B, S]`` alike, so a recipe may rebind them from rows to steps: column k of
a row is then compared with column k of its group. Unscored is NaN everywhere, and a NaN row equals a deleted row.
"""

from guerdon.credit.baselines import (
    MovingAverageBaseline,
    greedy_baseline,
    greedy_baseline_discounted,
    moving_average,
)
from guerdon.credit.belief import Belief, entropy_reduction
from guerdon.credit.contributions import fuse_contributions
from guerdon.credit.groups import accuracy_filter, difficulty_weight, group_centre, group_normalise, leave_one_out
from guerdon.credit.implicit import (
    implicit_step_reward,
    implicit_token_reward,
    return_max_norm,
    rloo_tokens,
    rto_reward,
    step_max_norm,
)
from guerdon.credit.importance import balance_outcomes, running_mean_importance
from guerdon.credit.levels import (
    add_levels,
    add_outcome,
    add_outcome_return,
    place_rewards,
    place_step_rewards,
    step_credit,
)
from guerdon.credit.minform import mask_step_ends, min_form, min_return, step_token_baseline
from guerdon.credit.mismatch import icepop, sequence_mask, truncated_importance, truncated_sequence_importance
from guerdon.credit.modulation import confidence_gain, entropy_modulated, flow_token_reward, scale_entropy
from guerdon.credit.pooled import pooled_normalise
from guerdon.credit.potentials import (
    consistency_filter,
    fuse_progress,
    hop,
    integrate_hops,
    potential_shaping,
    success_reward,
    value_order_correlation,
)
from guerdon.credit.progress import (
    best_of_k,
    effective_reward,
    most_progress,
    normalised_regret,
    progress,
    termination_baseline,
    voting_regret,
)
from guerdon.credit.rank import EffectiveRankBonus, bounded_bonus, effective_rank, rank_dynamics
from guerdon.credit.returns import discounted_returns, gae, returns_to_go
from guerdon.credit.selection import (
    best_of_group,
    best_share,
    drop_by_part,
    drop_truncated,
    sample_reinforcement,
)
from guerdon.credit.steps import (
    split_code_lines,
    split_lines,
    split_sentences,
    split_steps,
    split_tags,
    split_turns,
    steps_of_cuts,
    turns_as_steps,
)
from guerdon.credit.thoughts import thought_information_gain
from guerdon.credit.trees import fork_relative, node_weights, tree_step_reward
from guerdon.credit.turns import information_gain, turn_rewards
from guerdon.credit.verdicts import (
    combine_step_sources,
    majority_steps,
    processbench_f1,
    rank_score,
    select_consistent,
    selective_advantage,
    step_augmented,
)
from guerdon.credit.whiten import advantage_filter, whiten, whiten_rows

__all__ = [
    "Belief",
    "EffectiveRankBonus",
    "MovingAverageBaseline",
    "accuracy_filter",
    "add_levels",
    "add_outcome",
    "add_outcome_return",
    "advantage_filter",
    "balance_outcomes",
    "best_of_group",
    "best_of_k",
    "best_share",
    "bounded_bonus",
    "combine_step_sources",
    "confidence_gain",
    "consistency_filter",
    "difficulty_weight",
    "discounted_returns",
    "drop_by_part",
    "drop_truncated",
    "effective_rank",
    "effective_reward",
    "entropy_modulated",
    "entropy_reduction",
    "flow_token_reward",
    "fork_relative",
    "fuse_contributions",
    "fuse_progress",
    "gae",
    "greedy_baseline",
    "greedy_baseline_discounted",
    "group_centre",
    "group_normalise",
    "hop",
    "icepop",
    "implicit_step_reward",
    "implicit_token_reward",
    "information_gain",
    "integrate_hops",
    "leave_one_out",
    "majority_steps",
    "mask_step_ends",
    "min_form",
    "min_return",
    "most_progress",
    "moving_average",
    "node_weights",
    "normalised_regret",
    "place_rewards",
    "place_step_rewards",
    "pooled_normalise",
    "potential_shaping",
    "processbench_f1",
    "progress",
    "rank_dynamics",
    "rank_score",
    "return_max_norm",
    "returns_to_go",
    "rloo_tokens",
    "rto_reward",
    "running_mean_importance",
    "sample_reinforcement",
    "scale_entropy",
    "select_consistent",
    "selective_advantage",
    "sequence_mask",
    "split_code_lines",
    "split_lines",
    "split_sentences",
    "split_steps",
    "split_tags",
    "split_turns",
    "step_augmented",
    "step_credit",
    "step_max_norm",
    "step_token_baseline",
    "steps_of_cuts",
    "success_reward",
    "termination_baseline",
    "thought_information_gain",
    "tree_step_reward",
    "truncated_importance",
    "truncated_sequence_importance",
    "turn_rewards",
    "turns_as_steps",
    "value_order_correlation",
    "voting_regret",
    "whiten",
    "whiten_rows",
]
