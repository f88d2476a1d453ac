"""Credit: who earned the reward?

A reward says how good a whole answer was. Learning needs to know which answers, which steps and which tokens deserve
to become more likely, and by how much. The files of this room ask that question in turn:

- `groups`: compared with the other answers to the same prompt (GRPO, Dr. GRPO, RLOO);
- `baselines`: compared with something else, such as the greedy answer (ReMax) or a running mean;
- `returns`: counted from here on, over positions or steps, with or without a value function (GAE);
- `steps`: which step of the answer a token belongs to;
- `trees`: compared with what else was tried at the same fork (PORTool);
- `modulation`: bent by how sure the policy was (EMPG) and how strange its states are (RLFR);
- `rank`: bent by how many directions the hidden states span (VERL);
- `turns`: what the environment paid for a turn (meow-tea-taro), or what it taught about the answer (IGPO);
- `belief`: paid in bits of a belief (Nous);
- `potentials`: progress as a potential, and shaping that leaves the best policy alone (Robo-Dopamine);
- `verdicts`: judges of steps, voted on, combined and used as a reward (SPARK, Fin-PRM);
- `levels`: from rows and steps down to tokens, where the objective reads it;
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
from guerdon.credit.groups import group_centre, group_normalise, leave_one_out
from guerdon.credit.levels import add_levels, place_rewards, place_step_rewards, step_credit
from guerdon.credit.modulation import confidence_gain, entropy_modulated, flow_token_reward, scale_entropy
from guerdon.credit.potentials import (
    consistency_filter,
    fuse_progress,
    hop,
    integrate_hops,
    potential_shaping,
    success_reward,
    value_order_correlation,
)
from guerdon.credit.rank import EffectiveRankBonus, bounded_bonus, effective_rank, rank_dynamics
from guerdon.credit.returns import discounted_returns, gae, returns_to_go
from guerdon.credit.steps import split_steps
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
from guerdon.credit.whiten import whiten, whiten_rows

__all__ = [
    "Belief",
    "EffectiveRankBonus",
    "MovingAverageBaseline",
    "add_levels",
    "bounded_bonus",
    "combine_step_sources",
    "confidence_gain",
    "consistency_filter",
    "discounted_returns",
    "effective_rank",
    "entropy_modulated",
    "entropy_reduction",
    "flow_token_reward",
    "fork_relative",
    "fuse_progress",
    "gae",
    "greedy_baseline",
    "greedy_baseline_discounted",
    "group_centre",
    "group_normalise",
    "hop",
    "information_gain",
    "integrate_hops",
    "leave_one_out",
    "majority_steps",
    "moving_average",
    "node_weights",
    "place_rewards",
    "place_step_rewards",
    "potential_shaping",
    "processbench_f1",
    "rank_dynamics",
    "rank_score",
    "returns_to_go",
    "scale_entropy",
    "select_consistent",
    "selective_advantage",
    "split_steps",
    "step_augmented",
    "step_credit",
    "success_reward",
    "tree_step_reward",
    "turn_rewards",
    "value_order_correlation",
    "whiten",
    "whiten_rows",
]
