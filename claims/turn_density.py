"""meow-tea-taro: a reward after each turn helps PPO, which reads where it stands, more than GRPO and RLOO."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, Paths, ascend, first, groups
from guerdon.credit import gae, group_normalise, leave_one_out, place_step_rewards, turn_rewards, whiten
from guerdon.objectives import value_loss

LEFT, RIGHT, TAKE, OPEN = range(4)
CELLS, TURNS, ROWS, SIZE, UPDATES = 4, 12, 128, 8, 150
KEY, DOOR, START = 0, 2, 1  # the door stands between cell 2 and cell 3, the goal
GOAL = 4 * CELLS
ARMS = tuple(f"{how} {name}" for how in ("sparse", "dense") for name in ("ppo", "grpo", "rloo"))


def _world() -> tuple[Machine, Tensor]:
    """A corridor; states hold the cell, the key and the door. And what each step adds to the score."""
    follow, score = torch.full((GOAL + 1, 4), GOAL), torch.zeros(GOAL + 1, 4)
    for cell in range(CELLS - 1):
        for key in range(2):
            for door in range(2):
                here = cell + CELLS * (key + 2 * door)
                follow[here] = here
                follow[here, LEFT] = here - (cell > 0)
                if cell + 1 < CELLS - 1:
                    follow[here, RIGHT] = here + 1
                elif door:
                    follow[here, RIGHT], score[here, RIGHT] = GOAL, 1.0
                if cell == KEY and not key:
                    follow[here, TAKE], score[here, TAKE] = here + CELLS, 1.0
                if cell == DOOR and key and not door:
                    follow[here, OPEN], score[here, OPEN] = here + 2 * CELLS, 1.0
    return Machine(follow, torch.arange(GOAL + 1) == GOAL, TURNS, START), score


WORLD, SCORE = _world()
IDS = torch.arange(TURNS).expand(ROWS, TURNS).contiguous()


def credit(arm: str, paths: Paths, values: Tensor) -> tuple[Tensor, Tensor]:
    """Advantages of the turns, and the returns that the values should learn."""
    how, name = arm.split()
    states, mask = paths.states[:, :-1], paths.mask
    won = (paths.ends == GOAL).float()
    layout = "dense" if how == "dense" else "sparse"
    turns = turn_rewards(
        torch.where(mask, SCORE[states, paths.actions], torch.nan), mask, won, layout=layout, maximum=3.0
    )
    rewards = place_step_rewards(turns, IDS, mask, mask)
    if name == "ppo":
        never = torch.zeros(ROWS, dtype=torch.bool)
        made, returns = gae(rewards, values[states], mask, ~never, never, torch.zeros(ROWS), lam=1.0)
        return whiten(made, mask), returns
    compare = group_normalise if name == "grpo" else leave_one_out
    return compare(rewards.sum(-1), groups(ROWS, SIZE))[:, None].expand(-1, TURNS) * mask, rewards


def measure(arm: str, seed: int) -> dict[str, float]:
    """Games won along the way and at the end, and updates to win half of them."""
    g = torch.Generator().manual_seed(seed)
    table = (0.3 * torch.randn(GOAL + 1, 4, generator=g)).requires_grad_()
    values = torch.zeros(GOAL + 1, requires_grad=True)
    optimiser, critic = torch.optim.Adam([table], lr=0.05), torch.optim.Adam([values], lr=0.05)
    curve = []
    for _ in range(UPDATES):
        paths = WORLD.draw(table.softmax(-1), ROWS, g)
        curve.append(float((paths.ends == GOAL).float().mean()))
        old, states = values.detach().clone(), paths.states[:, :-1]
        made, returns = credit(arm, paths, old)
        ascend(optimiser, paths.logp(table), made, paths.mask)
        if arm.endswith("ppo"):
            loss = value_loss(values[states], returns, old[states], paths.mask).sum() / ROWS
            critic.zero_grad()
            loss.backward()
            critic.step()
    return {"start": curve[0], "won": sum(curve) / UPDATES, "end": curve[-1], "half": first(curve, 0.5, UPDATES)}


def effects(arms):
    """What density adds to each algorithm."""
    gain = {name: arms[f"dense {name}"]["won"] - arms[f"sparse {name}"]["won"] for name in ("ppo", "grpo", "rloo")}
    return {
        "won along the way, ppo, dense - sparse": gain["ppo"],
        "gain of ppo - gain of grpo": gain["ppo"] - gain["grpo"],
        "gain of ppo - gain of rloo": gain["ppo"] - gain["rloo"],
        "won along the way, grpo, dense - sparse": gain["grpo"],
        "won along the way, rloo, dense - sparse": gain["rloo"],
        "updates to win half, ppo, sparse / dense": arms["sparse ppo"]["half"] / arms["dense ppo"]["half"],
    }


def judge(effects):
    """Dense rewards help PPO, and more than the other two."""
    names = ("won along the way, ppo, dense - sparse", "gain of ppo - gain of grpo", "gain of ppo - gain of rloo")
    return "reproduced" if all(effects[name].low > 0 for name in names) else "not reproduced"


CLAIM = Claim(
    name="turn_density",
    paper="arXiv:2510.01132",
    statement="""Paying each turn helps, most of all with an algorithm that reads where the reward stands. A corridor of four
        cells: fetch the key at one end, open the door near the other, go through; at most 12 turns, with a point each
        for key, door and goal. Reproduced: games won, averaged over 150 updates, are more with dense than with sparse
        rewards for PPO with values, and the gain is larger than that of GRPO and than that of RLOO (lower ends of all
        three above 0).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Tables for policy and values, one update per batch of 128 games (so PPO's clip never binds), the same
        optimiser and rate for all; lambda is 1, as in the paper. No text and no transfer between games. What was seen:
        every arm wins half of the games within 30 updates, so there was little to gain: PPO gains less than one percent
        from dense rewards, and GRPO and RLOO lose one or two, by which the order is met.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
