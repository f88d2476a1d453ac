"""G-RA: rewards of steps that are there for the taking keep a policy from finishing, unless the outcome gates them."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, Paths, groups, train_table
from guerdon.credit import group_normalise
from guerdon.shaping import gated_total

LEFT, RIGHT, FIDGET, SUBMIT = range(4)
CELLS, TURNS = 8, 20
ROWS, SIZE, UPDATES, RATE = 256, 8, 300, 0.05
GROUP = groups(ROWS, SIZE)
LEVEL = torch.cat([torch.full((CELLS,), -1.0), torch.tensor([-0.5, *[0.0] * (CELLS - 2), 1.0])])
"""Outcome of the last state: not submitted, and submitted in each cell (empty, failing, passing)."""
PAID = 0.05
ARMS = ("direct", "gated", "outcome alone", "gate at the top")
GATES = {"direct": float("-inf"), "gated": -0.25, "gate at the top": 0.5}


def _corridor() -> Machine:
    cell = torch.arange(CELLS)
    follow = torch.stack([(cell - 1).clamp(min=0), (cell + 1).clamp(max=CELLS - 1), cell, cell + CELLS], 1)
    closed = torch.arange(CELLS, 2 * CELLS)
    return Machine(torch.cat([follow, closed[:, None].expand(-1, 4)]), torch.arange(2 * CELLS) >= CELLS, TURNS)


WORLD = _corridor()


def measure(arm: str, seed: int) -> dict[str, float]:
    """Share of games that are submitted, that pass, and what was paid by steps, in the last tenth of training."""
    g = torch.Generator().manual_seed(seed)
    lean = torch.tensor([0.0, 0.0, 0.0, -3.0])  # about a quarter of the games of the base are submitted
    table = (lean + 0.3 * torch.randn(2 * CELLS, 4, generator=g)).requires_grad_()
    submitted, passed, idle = [], [], []

    def credit(update: int, paths: Paths) -> Tensor:
        outcome = LEVEL[paths.ends]
        steps = torch.where(paths.mask, (paths.actions == FIDGET) * PAID, torch.nan)
        submitted.append(float((outcome > -1).float().mean()))
        passed.append(float((outcome == 1).float().mean()))
        idle.append(float(steps.nansum(-1).mean()))
        if arm == "outcome alone":
            return group_normalise(outcome, GROUP)
        return group_normalise(gated_total(outcome, steps, paths.mask, threshold=GATES[arm]), GROUP)

    train_table(WORLD, lambda: table, [table], credit, updates=UPDATES, rows=ROWS, rate=RATE, generator=g)
    tail = UPDATES // 10
    return {
        "submitted, start": submitted[0],
        "submitted": sum(submitted[-tail:]) / tail,
        "passed": sum(passed[-tail:]) / tail,
        "passed along the way": sum(passed) / UPDATES,
        "paid by steps": sum(idle[-tail:]) / tail,
    }


def effects(arms):
    """The gate against direct accumulation, on the same base."""
    direct, gated, alone, top = (arms[name] for name in ARMS)
    return {
        "submitted, gated - direct": gated["submitted"] - direct["submitted"],
        "submitted, gated": gated["submitted"],
        "submitted, direct": direct["submitted"],
        "passed, gated - direct": gated["passed"] - direct["passed"],
        "passed along the way, gated - outcome alone": gated["passed along the way"] - alone["passed along the way"],
        "passed along the way, gated - gate at the top": gated["passed along the way"] - top["passed along the way"],
    }


def judge(effects):
    """Below a fifth with direct accumulation, above four fifths with the gate."""
    held = effects["submitted, gated"].low > 0.8 and effects["submitted, direct"].high < 0.2
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="g_ra_gate",
    paper="arXiv:2508.10548",
    statement="""Adding the rewards of steps to the outcome as they come teaches to collect them; gated by the outcome they do no
        harm. In a corridor of eight cells a turn may move, fidget (paid 0.05), or submit: -1 never, -0.5 in the first cell,
        0 on the way, 1 at the end; at most 20 turns. Reproduced: after 300 updates less than a fifth of the games are
        submitted with direct accumulation (upper end), more than four fifths with a gate between -0.5 and 0 (lower end).""",
    arms=ARMS,
    seeds=20,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""A table over cells that does not count turns. The reward of a step is for nothing useful, so the outcome alone is the
        better teacher; that gated steps help to explore is not tested. A first variant had five cells, where the end is found
        soon: nine games in ten passed with and without the gate.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
