"""A lock of several turns that is opened by chance at first: with and without a second helping of what opened it."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, descend, first, groups
from guerdon.batch import Rollouts
from guerdon.credit import group_centre
from guerdon.objectives import clipped_surrogate, token_mean, token_ratio
from guerdon.recipe import ReplaySpec
from guerdon.training.replay import Replay

TURNS, ACTIONS, GROUPS, SIZE, UPDATES, RATE = 5, 5, 4, 8, 150, 0.05
BUFFER = ReplaySpec(size=8, fill=0.1, baselines=64, tolerance=10)
RAMP = 50


def lock() -> Machine:
    """State k: k turns were right; the last two states are open and stuck. Action 0 is always right."""
    ahead = torch.full((TURNS + 2, ACTIONS), TURNS + 1)
    ahead[:TURNS, 0] = torch.arange(1, TURNS + 1)
    return Machine(ahead, torch.arange(TURNS + 2) >= TURNS, TURNS)


def rows(states: Tensor, actions: Tensor, mask: Tensor, logp: Tensor, advantages: Tensor) -> Rollouts:
    """As the losses see them; the states stand where prompts would."""
    return Rollouts(
        {
            "prompt_tokens": states,
            "prompt_mask": torch.ones_like(states, dtype=torch.bool),
            "tokens": actions,
            "attention_mask": mask,
            "mask": mask,
            "old_logp": logp,
            "token_advantages": torch.where(mask, advantages[:, None], 0.0),
        }
    )


def surrogate(table: Tensor, data: Rollouts) -> Tensor:
    """Mean over tokens of the clipped surrogate."""
    width = data["mask"].shape[1]
    logp = table.log_softmax(-1)[data["prompt_tokens"][:, -width - 1 : -1], data["tokens"]]
    ratio = token_ratio(logp, data["old_logp"], data["mask"])
    loss = clipped_surrogate(ratio, data["token_advantages"], data["mask"], clip_high=0.28)
    return token_mean(loss, data["mask"])


def measure(arm: str, seed: int) -> dict[str, float]:
    """Updates until half of the answers open the lock, and how many do on average over training."""
    g = torch.Generator().manual_seed(seed)
    machine, table = lock(), (0.5 * torch.randn(TURNS + 2, ACTIONS, generator=g)).requires_grad_()
    optimiser, buffer = torch.optim.Adam([table], lr=RATE), Replay(BUFFER)
    ids, opened = groups(GROUPS * SIZE, SIZE), []
    for update in range(UPDATES):
        paths = machine.draw(table.softmax(-1), GROUPS * SIZE, g)
        rewards = (paths.ends == TURNS).float()
        logp = torch.where(paths.mask, paths.logp(table).detach(), 0.0)
        data = rows(paths.states, paths.actions, paths.mask, logp, group_centre(rewards, ids))
        loss = surrogate(table, data)
        if arm != "plain":
            old = None if buffer.rows is None else take(buffer, update, g, recalibrate=arm == "replay")
            if old is not None:
                loss = loss + min(1.0, update / RAMP) * surrogate(table, old)
            buffer.add(data, rewards, ids + GROUPS * update, update)
        descend(optimiser, loss)
        opened.append(float(table.detach().softmax(-1)[:TURNS, 0].prod()))
    return {"half_after": first(opened, 0.5, UPDATES), "mean": sum(opened) / UPDATES, "end": opened[-1]}


def take(buffer: Replay, update: int, g: torch.Generator, *, recalibrate: bool) -> Rollouts | None:
    """A replay, if it is time; without recalibration every kept answer has the credit of its time."""
    if recalibrate:
        return buffer.take(update, g)
    data, buffer.rows = buffer.rows, None
    buffer.rewards, buffer.born = buffer.rewards[:0], buffer.born[:0]
    return data


def effects(arms):
    """How much sooner, and how many more."""
    pairs = (("replay", "plain"), ("replay, old credit", "plain"), ("replay", "replay, old credit"))
    named = {f"updates saved, {a} - {b}": arms[b]["half_after"] - arms[a]["half_after"] for a, b in pairs}
    return named | {f"mean {a} - {b}": arms[a]["mean"] - arms[b]["mean"] for a, b in pairs}


def judge(effects):
    """Replay gets there sooner."""
    return "reproduced" if effects["updates saved, replay - plain"].low > 0 else "not reproduced"


CLAIM = Claim(
    name="spear_replay",
    paper="arXiv:2509.22601",
    statement=f"""Learning once more from past successes, with credit recalibrated against the median of what groups earned,
        climbs faster where success is rare. A lock opens after {TURNS} right turns of {ACTIONS} possible ones each; a policy
        that is a table learns from {GROUPS} groups of {SIZE} answers per update. Reproduced: with replay half of the answers
        open it after fewer updates than without (lower end above 0; {UPDATES} where it never happens).""",
    arms=("plain", "replay", "replay, old credit"),
    seeds=30,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits=f"""The buffer holds {BUFFER.size} rows and its weight ramps up over {RAMP} updates. There are no tools and no bonus for
        calling them. Replay without recalibration (every kept answer at once, with its old credit) is reported, not judged. With a
        buffer of 16 rows that waits for 5 above the median, tried on two seeds, replay hardly ever took place.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
