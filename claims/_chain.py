"""A chain of decisions small enough to know everything about it: true values, advantages and gradients of a policy.

An answer has ``STEPS`` steps. In each the policy does something useful, something that only fills the page, or something
wrong; a wrong step spoils the answer for good. The answer is right when it is not spoilt and holds at least two useful
steps. A state is the number of useful steps so far (two is enough) and whether the answer is spoilt.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

STEPS, ACTIONS = 5, 3
USEFUL, FILLER, WRONG = range(ACTIONS)
ENOUGH, STATES, SPOILT = 2, 4, 3  # states 0, 1, 2 useful steps; 3: spoilt
NEXT = torch.tensor([[1, 0, SPOILT], [2, 1, SPOILT], [2, 2, SPOILT], [SPOILT] * 3])
SUCCESS = torch.tensor([0.0, 0.0, 1.0, 0.0])


@dataclass(frozen=True)
class World:
    """A tabular policy ``chance`` [STEPS, STATES, ACTIONS] with its exact values."""

    chance: Tensor

    @classmethod
    def random(cls, seed: int, spread: float = 0.7) -> "World":
        """Softmax of random logits, leaning towards filler as a weak writer does."""
        g = torch.Generator().manual_seed(seed)
        logits = spread * torch.randn(STEPS, STATES, ACTIONS, generator=g, dtype=torch.float64)
        return cls((logits + torch.tensor([0.0, 0.7, 0.0])).softmax(-1))

    def values(self, end: Tensor = SUCCESS) -> tuple[Tensor, Tensor]:
        """V [STEPS + 1, STATES] and Q [STEPS, STATES, ACTIONS] of a reward ``end`` on the last state."""
        v = torch.empty(STEPS + 1, STATES, dtype=torch.float64)
        q = torch.empty(STEPS, STATES, ACTIONS, dtype=torch.float64)
        v[STEPS] = end
        for h in reversed(range(STEPS)):
            q[h] = v[h + 1][NEXT]
            v[h] = (self.chance[h] * q[h]).sum(-1)
        return v, q

    def visits(self) -> Tensor:
        """Chance to be in a state before each step, [STEPS, STATES]."""
        d = torch.zeros(STEPS, STATES, dtype=torch.float64)
        d[0, 0] = 1
        for h in range(STEPS - 1):
            d[h + 1].index_add_(0, NEXT.flatten(), (d[h][:, None] * self.chance[h]).flatten())
        return d

    def soft_values(self, beta: float) -> Tensor:
        """beta log E exp(R / beta) from each state on, [STEPS + 1, STATES]: what an implicit reward model converges to."""
        return beta * self.values((SUCCESS.double() / beta).exp())[0].log()

    def draw(
        self, rows: int, generator: torch.Generator, start: tuple[int, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """States [rows, STEPS + 1] and actions [rows, STEPS]; from step ``start[0]`` in states ``start[1]`` on."""
        first, now = (0, torch.zeros(rows, dtype=torch.int64)) if start is None else start
        states = torch.zeros(rows, STEPS + 1, dtype=torch.int64)
        actions = torch.zeros(rows, STEPS, dtype=torch.int64)
        states[:, first] = now
        for h in range(first, STEPS):
            mass = self.chance[h][now].cumsum(-1)
            pick = torch.rand(rows, 1, generator=generator, dtype=torch.float64)
            actions[:, h] = (mass[:, :-1] < pick).sum(-1)
            now = NEXT[now, actions[:, h]]
            states[:, h + 1] = now
        return states, actions

    def greedy_reward(self) -> float:
        """Reward of the most likely answer."""
        now = 0
        for h in range(STEPS):
            now = int(NEXT[now, int(self.chance[h, now].argmax())])
        return float(SUCCESS[now])


def along(table: Tensor, states: Tensor) -> Tensor:
    """``table`` [STEPS + 1, STATES] read along paths of states [rows, STEPS + 1], as float32."""
    return table[torch.arange(STEPS + 1), states].float()


def draw_tree(world: World, groups: int, size: int, forks: int, generator: torch.Generator):
    """States, actions and node ids [groups * size, STEPS] of rollouts that branch.

    After each step every answer of a group proposes ``forks`` next steps, and ``size`` of all the proposals go on.
    """
    rows = groups * size
    states = torch.zeros(rows, STEPS + 1, dtype=torch.int64)
    actions, nodes = (torch.zeros(rows, STEPS, dtype=torch.int64) for _ in range(2))
    for h in range(STEPS):
        if h:
            tried = torch.rand(groups, size * forks, generator=generator).argsort(-1)[:, :size]
            parent = (tried // forks + size * torch.arange(groups)[:, None]).flatten()
            states, actions, nodes = states[parent], actions[parent], nodes[parent]
        mass = world.chance[h][states[:, h]].cumsum(-1)
        pick = torch.rand(rows, 1, generator=generator, dtype=torch.float64)
        actions[:, h] = (mass[:, :-1] < pick).sum(-1)
        states[:, h + 1] = NEXT[states[:, h], actions[:, h]]
        nodes[:, h] = h * rows + torch.arange(rows)
    return states, actions, nodes


def batch(world: World, groups: int, size: int, generator: torch.Generator, *, forks: int = 1) -> dict[str, Any]:
    """Rollouts of ``groups`` prompts with ``size`` answers each, one token per step, with all that a method may take."""
    rows = groups * size
    if forks > 1:
        states, actions, nodes = draw_tree(world, groups, size, forks, generator)
    else:
        states, actions = world.draw(rows, generator)
        nodes = torch.arange(rows * STEPS).reshape(rows, STEPS)
    v, _ = world.values()
    whole = torch.ones(rows, STEPS, dtype=torch.bool)
    logp = world.chance[torch.arange(STEPS), states[:, :-1], actions].log().float()
    entropy = -(world.chance * world.chance.log()).sum(-1)
    return {
        "states": states,
        "actions": actions,
        "node_ids": nodes,
        "group": torch.arange(groups).repeat_interleave(size),
        "mask": whole,
        "attention_mask": whole.clone(),
        "step_mask": whole.clone(),
        "turn_mask": whole.clone(),
        "step_ids": torch.arange(STEPS).expand(rows, STEPS).contiguous(),
        "turn_ids": torch.arange(STEPS).expand(rows, STEPS).contiguous(),
        "step_end": torch.arange(STEPS).expand(rows, STEPS).contiguous(),
        "lengths": torch.full((rows,), STEPS),
        "terminated": torch.ones(rows, dtype=torch.bool),
        "truncated": torch.zeros(rows, dtype=torch.bool),
        "bootstrap_values": torch.zeros(rows),
        "rewards": SUCCESS[states[:, -1]],
        "correct": SUCCESS[states[:, -1]],
        "greedy_rewards": torch.full((rows,), world.greedy_reward()),
        "old_logp": logp,
        "ref_logp": logp.clone(),
        "old_entropy": entropy[torch.arange(STEPS), states[:, :-1]].float(),
        "old_values": along(v, states)[:, :-1].contiguous(),
        "prefix_values": along(v, states),
    }
