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
- `steps`: which step of the answer, or which turn, a token belongs to;
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
from guerdon.credit.contributions import fuse_contributions
from guerdon.credit.groups import accuracy_filter, group_centre, group_normalise, leave_one_out
from guerdon.credit.implicit import (
    implicit_step_reward,
    implicit_token_reward,
    return_max_norm,
    rloo_tokens,
    rto_reward,
)
from guerdon.credit.importance import balance_outcomes, running_mean_importance
from guerdon.credit.levels import add_levels, add_outcome, place_rewards, place_step_rewards, step_credit
from guerdon.credit.minform import min_form, min_return, step_token_baseline
from guerdon.credit.pooled import pooled_normalise
from guerdon.credit.progress import (
    best_of_k,
    effective_reward,
    normalised_regret,
    progress,
    termination_baseline,
)
from guerdon.credit.returns import discounted_returns, gae, returns_to_go
from guerdon.credit.steps import (
    split_lines,
    split_sentences,
    split_steps,
    split_tags,
    split_turns,
    steps_of_cuts,
    turns_as_steps,
)
from guerdon.credit.thoughts import thought_information_gain
from guerdon.credit.whiten import whiten, whiten_rows

__all__ = [
    "MovingAverageBaseline",
    "accuracy_filter",
    "add_levels",
    "add_outcome",
    "balance_outcomes",
    "best_of_k",
    "discounted_returns",
    "effective_reward",
    "fuse_contributions",
    "gae",
    "greedy_baseline",
    "greedy_baseline_discounted",
    "group_centre",
    "group_normalise",
    "implicit_step_reward",
    "implicit_token_reward",
    "leave_one_out",
    "min_form",
    "min_return",
    "moving_average",
    "normalised_regret",
    "place_rewards",
    "place_step_rewards",
    "pooled_normalise",
    "progress",
    "return_max_norm",
    "returns_to_go",
    "rloo_tokens",
    "rto_reward",
    "running_mean_importance",
    "split_lines",
    "split_sentences",
    "split_steps",
    "split_tags",
    "split_turns",
    "step_credit",
    "step_token_baseline",
    "steps_of_cuts",
    "termination_baseline",
    "thought_information_gain",
    "turns_as_steps",
    "whiten",
    "whiten_rows",
]
