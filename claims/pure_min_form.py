"""PURE: a process reward that likes filler is hacked by the sum of its scores, and not by their soft minimum."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, Paths, ascend, groups
from guerdon.credit import (
    effective_reward,
    group_centre,
    leave_one_out,
    min_form,
    returns_to_go,
    step_credit,
    step_token_baseline,
)

STEPS, ROWS, SIZE, UPDATES = 8, 256, 8, 200
SCORES = torch.tensor([0.6, 0.9, -0.5])  # useful, filler, wrong
ENOUGH, SPOILT = 2, 3  # after 0, 1, 2 useful steps; 3: a wrong step was taken
SOLVED, FAILED = 8 * STEPS, 8 * STEPS + 1
STEP_IDS = torch.arange(2 * STEPS - 1) // 2


def _world() -> tuple[Machine, Tensor]:
    """Two decisions to a step: what to write, then (but after the last) whether to go on or to end. The base's logits."""
    number = torch.arange(8 * STEPS).reshape(STEPS, 2, 4)
    follow = torch.full((8 * STEPS + 2, 3), FAILED)
    for i in range(STEPS):
        for u in range(4):
            for a, then in enumerate((min(u + 1, ENOUGH), u, SPOILT)):
                then = SPOILT if u == SPOILT else then
                follow[number[i, 0, u], a] = number[i, 1, then] if i + 1 < STEPS else FAILED
            if i + 1 < STEPS:
                follow[number[i, 1, u], 0] = number[i + 1, 0, u]
                follow[number[i, 1, u], 1] = SOLVED if u == ENOUGH else FAILED
    ended = torch.arange(8 * STEPS + 2) >= SOLVED
    base = torch.zeros(8 * STEPS + 2, 3)
    base[number[:, 0].flatten()] = torch.tensor([0.0, 0.0, -1.5])
    base[number[:, 1].flatten()] = torch.tensor([0.0, -1.0, -1e9])
    return Machine(follow, ended, 2 * STEPS - 1), base


WORLD, BASE = _world()


def credit(arm: str, paths: Paths) -> Tensor:
    """Advantages of the tokens: returns of the steps, compared with the group's."""
    scored = paths.mask[:, ::2]
    steps = torch.where(scored, SCORES[paths.actions[:, ::2]], torch.nan)
    group = groups(ROWS, SIZE)
    outcome = (paths.ends == SOLVED).float() - 1
    if "min" in arm:
        steps = min_form(steps, scored)
    if "token baseline" in arm:
        steps = step_token_baseline(steps, group, STEP_IDS.expand(ROWS, -1).contiguous(), paths.mask)
        outcome = leave_one_out(outcome, group)
    if "scores only" not in arm:
        steps = effective_reward(outcome, steps, scored, alpha=1.0)
    returns = returns_to_go(steps, scored)
    if "token baseline" not in arm:
        returns = group_centre(returns, group)
    return step_credit(returns, STEP_IDS.expand(ROWS, -1).contiguous(), paths.mask)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Steps per answer and share of solved answers, before and after."""
    generator = torch.Generator().manual_seed(seed)
    table = (BASE + 0.3 * torch.randn(BASE.shape, generator=generator)).requires_grad_()
    optimiser = torch.optim.Adam([table], lr=0.05)
    told: dict[str, float] = {}
    for update in range(UPDATES + 1):
        if update in (0, UPDATES):
            paths = WORLD.draw(table.softmax(-1), 4000, generator)
            name = "_start" if update == 0 else ""
            told["steps" + name] = float(paths.mask[:, ::2].sum(-1).float().mean())
            told["solved" + name] = float((paths.ends == SOLVED).float().mean())
        paths = WORLD.draw(table.softmax(-1), ROWS, generator)
        ascend(optimiser, paths.logp(table), credit(arm, paths), paths.mask)
    return told


def effects(arms):
    """Length with the sum and with the minimum; how the share of solved answers changed."""
    return {
        "steps sum - min": arms["sum"]["steps"] - arms["min"]["steps"],
        "steps sum": arms["sum"]["steps"],
        "steps min": arms["min"]["steps"],
        "solved sum - start": arms["sum"]["solved"] - arms["sum"]["solved_start"],
        "solved min - start": arms["min"]["solved"] - arms["min"]["solved_start"],
        "solved min - sum, scores only": arms["min, scores only"]["solved"] - arms["sum, scores only"]["solved"],
        "solved min - sum, token baseline": arms["min, token baseline"]["solved"]
        - arms["sum, token baseline"]["solved"],
    }


def judge(effects):
    """The sum runs to the cap and solves less than at the start; the minimum stays under half and solves more."""
    hacked = effects["steps sum"].low > 0.9 * STEPS and effects["solved sum - start"].high < 0
    sound = effects["steps min"].high < 0.5 * STEPS and effects["solved min - start"].low > 0
    return "reproduced" if hacked and sound else "not reproduced"


CLAIM = Claim(
    name="pure_min_form",
    paper="arXiv:2504.15275",
    statement="""A process reward that gives filler .9, a useful step .6 and a wrong one -.5 is hacked when its scores
        are summed and not when their soft minimum is the return. An answer of at most 8 steps is solved when it ends by
        itself with two useful steps and no wrong one; the verifier adds 0 or -1. Reproduced: with the sum answers grow to
        more than 90 percent of the cap (lower end) and fewer are solved than at the start (upper end of the difference
        below 0); with the minimum they stay under half of the cap (upper end) and more are solved (lower end above 0).""",
    arms=("sum", "min", "sum, scores only", "min, scores only", "sum, token baseline", "min, token baseline"),
    seeds=6,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=3,
    limits="""A tabular policy in a world made for the question; an answer that is cut off at the cap has no end and is
        not solved. Three settings ran, all kept here, and the first is judged: REINFORCE against the group's mean
        return of the same step, with the verifier; the same without the verifier; the paper's baseline per token,
        with the verifier. With the scores alone the best answer under either return is filler, since its score is
        higher than a useful step's, so nothing was expected of the minimum there. What was seen: with the verifier
        five of six seeds of the sum run to the cap and solve nothing, and one finds answers that solve and are as
        long as they can be; the minimum solves in every seed but its answers grow as well, from 3 to 6 steps. Without
        the verifier every answer of the sum runs to the cap, and the minimum falls to one step of filler. The
        baseline per token helps the sum (four of six seeds solve) and lets the minimum fall to one step in half of
        the seeds.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
