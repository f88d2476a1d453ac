"""MRT: paying every block of thought for its progress makes answers as right with fewer blocks."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, Paths, ascend, groups
from guerdon.credit import group_normalise, normalised_regret, progress, step_credit

BLOCKS, LEVELS, ROWS, SIZE, UPDATES, DRAWS, ALPHA = 8, 5, 256, 8, 300, 16, 0.5
CHANCE = 2.0 ** torch.arange(LEVELS) / 2 ** (LEVELS - 1)  # of a forced answer: 16, 8, 4, 2, 1 candidates are left


def _world() -> tuple[Machine, Tensor]:
    """Each block halves the candidates, goes over known ground, or answers. The base's logits."""
    answered = (BLOCKS + 1) * LEVELS
    level = torch.arange(answered) % LEVELS
    later = torch.arange(answered) + LEVELS
    halved = later - level + (level + 1).clamp(max=LEVELS - 1)
    follow = torch.stack([halved, later, answered + level], 1)
    rest = torch.arange(answered, answered + LEVELS)[:, None].expand(-1, 3)
    ended = torch.arange(answered + LEVELS) >= BLOCKS * LEVELS
    follow = torch.cat([follow, rest]).where(~ended[:, None], 0)
    base = torch.tensor([0.0, 1.0, -0.5]).repeat(answered + LEVELS, 1)
    return Machine(follow, ended, BLOCKS), base


WORLD, BASE = _world()


def credit(arm: str, paths: Paths, generator: torch.Generator) -> Tensor:
    """Outcome, plus ALPHA times the block's own progress as a few forced answers show it; standardised by group."""
    right = CHANCE[paths.states % LEVELS]
    outcome = torch.bernoulli(right[:, -1], generator=generator)
    rewards = outcome[:, None].where(paths.mask, torch.nan)
    if arm == "progress":
        tries = torch.rand(DRAWS, *right.shape, generator=generator) < right
        rewards = rewards + ALPHA * progress(tries.float().mean(0), paths.mask)
    ids = torch.arange(BLOCKS).expand(ROWS, BLOCKS).contiguous()
    return step_credit(group_normalise(rewards, groups(ROWS, SIZE)), ids, paths.mask)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Accuracy, blocks per answer and regret over the budget of 8 blocks, before and after."""
    generator = torch.Generator().manual_seed(seed)
    table = (BASE + 0.3 * torch.randn(BASE.shape, generator=generator)).requires_grad_()
    optimiser = torch.optim.Adam([table], lr=0.05)
    told: dict[str, float] = {}
    for update in range(UPDATES + 1):
        if update in (0, UPDATES):
            paths = WORLD.draw(table.softmax(-1), 4000, generator)
            name = "_start" if update == 0 else ""
            right = CHANCE[paths.states % LEVELS]
            used = paths.mask.float().cumsum(-1)
            told["accuracy" + name] = float(right[:, -1].mean())
            told["blocks" + name] = float(used[:, -1].mean())
            told["regret" + name] = float(normalised_regret(right[:, 1:], used, BLOCKS).mean())
        paths = WORLD.draw(table.softmax(-1), ROWS, generator)
        ascend(optimiser, paths.logp(table), credit(arm, paths, generator), paths.mask)
    return told


def effects(arms):
    """Share of blocks saved, regret saved, and the difference in accuracy."""
    outcome, bonus = arms["outcome"], arms["progress"]
    return {
        "share of blocks saved": 1 - bonus["blocks"] / outcome["blocks"],
        "regret outcome - progress": outcome["regret"] - bonus["regret"],
        "accuracy progress - outcome": bonus["accuracy"] - outcome["accuracy"],
    }


def judge(effects):
    """A tenth of the blocks saved, less regret, and no loss of accuracy."""
    saved = effects["share of blocks saved"].low > 0.1 and effects["regret outcome - progress"].low > 0
    held = effects["accuracy progress - outcome"].low > -0.02
    return "reproduced" if saved and held else "not reproduced"


CLAIM = Claim(
    name="mrt_progress",
    paper="arXiv:2503.07572",
    statement="""With a bonus for the progress of each block of thought, answers are as accurate with fewer tokens and less
        regret than with GRPO on the outcome. One of 16 numbers is hidden; a block halves the candidates, idles, or
        answers; there are at most 8. Reproduced: the bonus saves more than 10 percent of the blocks (lower end) and some
        regret (lower end above 0), and costs less than 0.02 of accuracy (lower end above -0.02).""",
    arms=("outcome", "progress"),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""A tabular policy; every block has the same length. The success of a prefix is measured by 16 forced
        answers, and the bonus goes to the block that earned it. Off-policy prefixes are not part of the experiment.
        What was seen: blocks of use come earlier, so regret falls, but neither arm has a reason to answer once the
        number is known, so few blocks are saved.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
