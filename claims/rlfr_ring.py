"""RLFR: a flow of reference states scores those that stray from where such states go."""

import math

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import auc
from guerdon.batch import Rollouts
from guerdon.credit import flow_token_reward
from guerdon.reward_models.flow import Flow

ROWS, LENGTH, UPDATES, TURN = 32, 16, 800, 0.6
ARMS = ("fitted", "not fitted")


def walks(rows: int, g: torch.Generator) -> Tensor:
    """Angles [rows, LENGTH] that go round a ring by TURN a step, give or take a little."""
    start = 2 * math.pi * torch.rand(rows, 1, generator=g)
    return start + (TURN + 0.15 * torch.randn(rows, LENGTH, generator=g)).cumsum(-1)


def states(angle: Tensor, radius: Tensor, g: torch.Generator) -> Tensor:
    """Points [rows, LENGTH, 2] near a circle."""
    circle = radius[..., None] * torch.stack([angle.cos(), angle.sin()], -1)
    return circle + 0.05 * torch.randn(circle.shape, generator=g)


def batch(hidden: Tensor) -> Rollouts:
    """All that the flow reads, every answer right."""
    rows = len(hidden)
    return Rollouts(
        {"old_hidden": hidden, "mask": torch.ones(rows, LENGTH, dtype=torch.bool), "correct": torch.ones(rows)}
    )


def measure(arm: str, seed: int) -> dict[str, float]:
    """AUROC of points off the ring, and of points on it at a wrong angle; how much of what is fined is off the ring."""
    g = torch.Generator().manual_seed(seed)
    flow = Flow(states=2, width=64, depth=3, seed=seed)
    if arm == "fitted":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            optimiser = torch.optim.Adam(flow.module.parameters(), lr=1e-3)
            for _ in range(UPDATES):
                known = batch(states(walks(ROWS, g), torch.ones(ROWS, LENGTH), g))
                loss = flow.loss(flow.outputs(known, 1.0, learning=True), known)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    rows = 500
    strange = (torch.rand(rows, LENGTH, generator=g) < 0.2) & (torch.arange(LENGTH) > 0)
    before = torch.cat([torch.zeros(rows, 1, dtype=torch.bool), strange[:, :-1]], 1)
    asked = ~before & (torch.arange(LENGTH) > 0)  # points whose condition is itself a known one
    told: dict[str, float] = {}
    side = torch.where(torch.rand(rows, LENGTH, generator=g) < 0.5, 0.5, 1.5)
    angle, ring = walks(rows, g), torch.ones(rows, LENGTH)
    for name, hidden in {
        "off": states(angle, torch.where(strange, side, ring), g),
        "astray": states(torch.where(strange, angle + math.pi / 2 + torch.rand(rows, 1, generator=g), angle), ring, g),
    }.items():
        given = batch(hidden)
        with torch.no_grad():
            scores = flow.outputs(given, 1.0)["token_scores"]
        told[name] = auc(scores[asked], strange[asked])
        fined = (flow_token_reward(scores, given["mask"]) < 0) & asked
        told[f"{name}_fined"] = float(strange[fined].float().mean())
    told["share"] = float(strange[asked].float().mean())
    return told


def effects(arms):
    """AUROC of both kinds, with and without fitting, and what the reward then fines."""
    fitted, bare = arms["fitted"], arms["not fitted"]
    return {
        "AUROC of points off the ring": fitted["off"],
        "AUROC of points at a wrong angle": fitted["astray"],
        "AUROC off the ring, not fitted": bare["off"],
        "share of fined points that are off the ring": fitted["off_fined"],
        "share of all points that are off the ring": fitted["share"],
    }


def judge(effects):
    """Better than .9, and because of the fitting."""
    found = effects["AUROC of points off the ring"].low > 0.9
    return "reproduced" if found and effects["AUROC off the ring, not fitted"].high < 0.9 else "not reproduced"


CLAIM = Claim(
    name="rlfr_ring",
    paper="arXiv:2510.10201",
    statement="""A flow fitted to reference states, each given the one before, scores states off their manifold higher.
        Reference states go round a ring; a fifth of the points of other walks lie at half or one and a half times its
        radius. Reproduced: the AUROC of those points is above .9 (lower end) after fitting, and below .9 (upper end) for
        a flow that is not fitted.""",
    arms=ARMS,
    seeds=5,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Two dimensions and a made-up manifold: it shows that the score finds strange states, not that such states of a
        language model are worse answers, nor that fining them helps. Points after a strange one are not asked about.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
