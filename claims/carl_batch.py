"""Progress times penalties, or a sum of progress and good conduct: which one gets a driver off the kerb with large batches?"""

import torch

from claims._run import Claim, main
from claims._tabular import ascend, groups
from guerdon.credit import group_centre, returns_to_go
from guerdon.shaping import linear_excess, penalised_progress

SPEEDS, LIMIT, HORIZON, SAMPLES, RATE, CROSSING = 5, 3, 16, 16384, 0.2, 0.3
BATCHES = {"small": 64, "large": 1024}
ARMS = tuple(f"{reward}, {size}" for reward in ("product", "sum") for size in BATCHES)
BEST = LIMIT * HORIZON
HINT = 0.01
"""The paper counts the route in percent and takes 1 off for a crash."""


def drive(table, rows, generator):
    """States [N, H], actions [N, H], the mask, and progress, conduct and crashes of every step.

    A state is a speed and whether something crosses ahead; actions are to brake hard, to keep on, to speed up. Moving while
    something crosses is a crash and ends the drive.
    """
    speed, alive = torch.zeros(rows, dtype=torch.int64), torch.ones(rows, dtype=torch.bool)
    seen = []
    for _ in range(HORIZON):
        crossing = torch.rand(rows, generator=generator) < CROSSING
        state = 2 * speed + crossing
        action = torch.multinomial(table.detach().softmax(-1)[state], 1, generator=generator)[:, 0]
        speed = torch.where(action == 0, 0, (speed + (action == 2).long()).clamp(max=SPEEDS - 1))
        crash = alive & crossing & (speed > 0)
        moved = torch.where(crash, 0, speed).float() / BEST
        seen.append((state, action, alive, moved, speed.float(), (action == 1).float(), crash.float()))
        alive = alive & ~crash
    return [torch.stack(column, 1) for column in zip(*seen, strict=True)]


def reward(kind, moved, speed, smooth, crash):
    """By the step: progress adds up to 1 over a drive at the limit without a stop."""
    lawful = linear_excess(speed, float(LIMIT), 1.0)
    comfort = 0.5 + 0.5 * smooth
    parts = {"progress": moved, "speed": lawful, "comfort": comfort, "crash": crash}
    if kind == "product":
        weights = {**dict.fromkeys(parts, 1.0), "crash": HINT}
        return penalised_progress(parts, weights, progress="progress", infractions=["crash"])
    free = 1 - crash  # what is satisfied is paid for, and the time that a crash takes away with it
    return (5 * moved + (5 * free + 4 * lawful + 2 * comfort) / HORIZON) / 16


def measure(arm: str, seed: int) -> dict[str, float]:
    """Distance of the last drives in shares of the best, and how often they crash."""
    kind, size = arm.split(", ")
    rows, g = BATCHES[size], torch.Generator().manual_seed(seed)
    table = (0.1 * torch.randn(2 * SPEEDS, 3, generator=g)).requires_grad_()
    optimiser = torch.optim.Adam([table], lr=RATE)
    for _ in range(SAMPLES // rows):
        states, actions, mask, *told = drive(table, rows, g)
        rewards = torch.where(mask, reward(kind, *told), torch.nan)
        returns = returns_to_go(rewards, mask)
        advantages = group_centre(returns, groups(rows, rows))
        logp = table.log_softmax(-1)[states, actions]
        ascend(optimiser, logp, advantages * BEST / 4, mask & ~advantages.isnan())
    _, _, _, moved, _, _, crash = drive(table, 1000, g)
    return {"completion": float(moved.sum(1).mean()), "crashes": float(crash.sum(1).mean())}


def effects(arms):
    """How far one comes with either reward."""
    done = {arm: numbers["completion"] for arm, numbers in arms.items()}
    return {
        "completion with large batches, product - sum": done["product, large"] - done["sum, large"],
        "completion with small batches, product - sum": done["product, small"] - done["sum, small"],
        "completion of the product, large - small": done["product, large"] - done["product, small"],
        "completion of the sum, large - small": done["sum, large"] - done["sum, small"],
    }


def judge(effects):
    """With large batches the product comes further, and the sum loses more by large batches than the product does."""
    further = effects["completion with large batches, product - sum"].low > 0
    stuck = (
        effects["completion of the sum, large - small"].mean < effects["completion of the product, large - small"].mean
    )
    return "reproduced" if further and stuck else "not reproduced"


CLAIM = Claim(
    name="carl_batch",
    paper="arXiv:2504.17838",
    statement="""With large batches a driver that is paid a sum of progress and good conduct is stuck, while one that is paid
        progress times penalties goes on learning. A road with things that cross it, five speeds, 16384 drives in batches of
        64 or of 1024. Reproduced: with large batches the product completes more of the route than the sum for all of the
        interval, and the sum loses more by large batches than the product.""",
    arms=ARMS,
    seeds=6,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=3,
    limits="""Two variants had a crash cost as much as a whole route, where no large batch learned to drive with either reward; the
        first had an eighth of the drives. Plain policy gradient on a table and not PPO; ten states. The best possible
        completion is below 1, as one has to stop for what crosses.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
