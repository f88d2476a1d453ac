"""A process reward model that likes filler: does a policy learn to fill the page, and do Clip and Delta stop it?"""

import torch

from claims._run import Claim, main
from claims._tabular import Machine, ascend
from guerdon.credit import leave_one_out, returns_to_go
from guerdon.shaping import clip_steps, delta_steps

NEEDED, HORIZON, ROWS, UPDATES, RATE, ALPHA, ETA = 3, 20, 64, 150, 0.1, 0.1, 0.8
RIGHT, WRONG, FILLER, STOP = range(4)
SPOILT, SOLVED, FAILED = NEEDED + 1, NEEDED + 2, NEEDED + 3
"""States: 0 .. NEEDED right steps so far; spoilt by a wrong one; ended well; ended badly."""
SCORES = torch.tensor([0.9, 0.3, 0.8, 0.0])
ARMS = ("outcome", "raw", "clip", "delta", "clip-delta")


def world() -> Machine:
    """Right steps lead on, wrong ones spoil the answer, filler changes nothing, stopping answers."""
    follow = torch.arange(NEEDED + 4)[:, None].repeat(1, 4)
    for done in range(NEEDED + 1):
        follow[done] = torch.tensor([min(done + 1, NEEDED), SPOILT, done, SOLVED if done == NEEDED else FAILED])
    follow[SPOILT, STOP] = FAILED
    return Machine(follow, torch.arange(NEEDED + 4) >= SOLVED, HORIZON)


def shaped(actions, mask, arm):
    """Process rewards [N, H] of the steps, by the arm."""
    scores = torch.where(mask, SCORES[actions], torch.nan)
    if "clip" in arm:
        scores = clip_steps(scores, eta=ETA)
    return delta_steps(scores, mask) if "delta" in arm else scores


def measure(arm: str, seed: int) -> dict[str, float]:
    """Exact success, and mean number of steps over the last tenth of training."""
    g, machine = torch.Generator().manual_seed(seed), world()
    start = torch.tensor([0.5, 0.0, -0.5, -1.0]) + 0.1 * torch.randn(NEEDED + 4, 4, generator=g)
    table = start.clone().requires_grad_()
    optimiser, lengths = torch.optim.Adam([table], lr=RATE), []
    group = torch.zeros(ROWS, dtype=torch.int64)
    for _ in range(UPDATES):
        paths = machine.draw(table.detach().softmax(-1), ROWS, g)
        outcome = (paths.ends == SOLVED).float()
        last = paths.mask.sum(-1, keepdim=True) - 1 == torch.arange(HORIZON)
        rewards = torch.where(paths.mask, outcome[:, None] * last, torch.nan)
        if arm != "outcome":
            rewards = rewards + ALPHA * shaped(paths.actions, paths.mask, arm)
        advantages = leave_one_out(returns_to_go(rewards, paths.mask), group)
        ascend(optimiser, paths.logp(table), advantages, paths.mask & ~advantages.isnan())
        lengths.append(float(paths.mask.sum(-1).float().mean()))
    solved = (torch.arange(NEEDED + 4) == SOLVED).float()
    tail = lengths[-UPDATES // 10 :]
    success = float(machine.values(table.detach().softmax(-1), solved)[0, 0])
    return {"success": success, "steps": sum(tail) / len(tail)}


def effects(arms):
    """Against the outcome alone."""
    made = {}
    for arm in ("clip-delta", "raw", "clip", "delta"):
        made[f"success, {arm} - outcome"] = arms[arm]["success"] - arms["outcome"]["success"]
        made[f"steps, {arm} - outcome"] = arms[arm]["steps"] - arms["outcome"]["steps"]
    return made


def judge(effects):
    """Raw scores are farmed; clipped and differenced ones are not, and do no harm."""
    farmed = effects["success, raw - outcome"].high < -0.2 and effects["steps, raw - outcome"].low > 5
    safe = effects["success, clip-delta - outcome"].low > -0.02 and effects["steps, clip-delta - outcome"].high < 2
    return "reproduced" if farmed and safe else "not reproduced"


CLAIM = Claim(
    name="clip_delta_filler",
    paper="arXiv:2410.15115",
    statement="""A sum of raw process scores teaches to fill the page and success collapses (30.6 to 11.2 on MATH in the paper);
        after Clip and Delta the same scores do no harm. Three right steps and a stop solve a problem; filler is scored 0.8.
        Reproduced: with raw scores success is lower by more than 0.2 and answers longer by more than 5 steps than from the
        outcome alone; with Clip-Delta success is lower by less than 0.02 and length grows by less than 2 steps, each for
        all of its interval.""",
    arms=ARMS,
    seeds=8,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Answers have at most 20 steps, so the weight of the process scores is 0.1 for a page of filler to be worth more
        than the outcome. That Clip-Delta is a little better than the outcome alone is reported, not judged.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
