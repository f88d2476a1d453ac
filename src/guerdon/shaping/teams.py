"""Several agents in one match: how much of a reward is one's own, and how much one's team's."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guerdon.kernels import group_count, group_mean, group_sum, joint_ids
from guerdon.method import method
from guerdon.shaping.products import KRC
from guerdon.shaping.running import pool_ids, pool_names


@method(makes="rewards", paper=KRC, scale_equivariant="rewards")
def team_spirit(
    rewards: Float[Tensor, "B *rest"],
    group: Int64[Tensor, " B"],
    team: Tensor | Sequence[Any],
    *,
    tau: float = 0.3,
    opponents: bool = True,
) -> Float[Tensor, "B *rest"]:
    """Lucy-SKG: an agent is paid for itself, for its team, and against the other side.

        r'_i = (1 - tau) r_i + tau * mean(own team) - mean(the rest of the match)

    A row is an agent, its ``group`` the match that it plays, its ``team`` any column of the data set; equal values within a
    match are a team, the agent itself included. At tau = 0 agents are paid for themselves and learn fast who did it; at 1
    all of a team are paid alike and nobody hogs the ball, so tau mostly rises: give it a schedule. The mean of the
    opponents makes a match of two teams zero-sum between them, as long as tau is the same for all; ``opponents = false``
    leaves it out (a game that is played together).

    Stands after the parts are one reward, and before baselines: the mean of a match taken off afterwards is mostly 0
    already. Of step rewards with ``take = {rewards = "step_rewards"}``, ``make = "step_rewards"``: step k of an agent is
    mixed with step k of the others, so the agents of a match must act at the same times.

    Shapes: [B, ...] in and out. NaN stays NaN and is in no mean; without scored opponents nothing is taken off.

    Reference: Moschopoulos et al., Lucy-SKG, 2023, https://arxiv.org/abs/2305.15801 (team spirit, tau 0.3).
    """
    sides = joint_ids(group, pool_ids(pool_names(team)).to(group.device))
    mixed = rewards.lerp(group_mean(rewards, sides), tau)
    if not opponents:
        return mixed
    others = group_count(rewards, group) - group_count(rewards, sides)
    theirs = group_sum(rewards, group) - group_sum(rewards, sides)
    return mixed - torch.where(others > 0, theirs / others, 0.0)
