"""MRT: paying every block of thought for its progress makes answers as right with fewer blocks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._tabular import Machine, Paths, ascend, groups
from guerdon.credit import group_normalise, normalised_regret, progress, step_credit, voting_regret

BLOCKS, LEVELS, ROWS, SIZE, UPDATES, DRAWS, ALPHA = 8, 5, 256, 8, 300, 16, 0.5
CANDIDATES = 2 ** torch.arange(LEVELS).flip(0)  # 16, 8, 4, 2, 1 are left
ANSWER = 2  # the block that ends an answer
LEANS = {"": 1.0, ", leaning": 3.0}
"""Ending of an arm's name -> how much likelier a forced answer is the hidden number than another candidate."""


@dataclass(frozen=True)
class Forced:
    """Answers forced at each level: chance to be right [LEVELS], and that of majorities of 1, 2, 4, 8 [LEVELS, 4]."""

    right: Tensor
    votes: Tensor

    @classmethod
    def leaning(cls, lean: float, draws: int = 20_000) -> "Forced":
        generator = torch.Generator().manual_seed(0)
        right = lean / (lean + CANDIDATES - 1)
        votes = torch.empty(LEVELS, 4)
        for level, count in enumerate(CANDIDATES.tolist()):
            chance = torch.tensor([lean] + [1.0] * (count - 1))
            for k, many in enumerate((1, 2, 4, 8)):
                said = torch.multinomial(chance.expand(draws, -1), many, replacement=True, generator=generator)
                tally = torch.nn.functional.one_hot(said, count).sum(1)
                most = tally == tally.amax(-1, keepdim=True)
                votes[level, k] = (most[:, 0].float() / most.sum(-1)).mean()  # a tie is broken by chance
            votes[level, 0] = right[level]
        return cls(right, votes)


FORCED = {ending: Forced.leaning(lean) for ending, lean in LEANS.items()}


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


def credit(arm: str, forced: Forced, paths: Paths, generator: torch.Generator) -> Tensor:
    """Outcome, plus ALPHA times the block's own progress as a few forced answers show it; standardised by group."""
    right = forced.right[paths.states % LEVELS]
    outcome = torch.bernoulli(right[:, -1], generator=generator)
    rewards = outcome[:, None].where(paths.mask, torch.nan)
    if arm == "progress":
        tries = torch.rand(DRAWS, *right.shape, generator=generator) < right
        rewards = rewards + ALPHA * progress(tries.float().mean(0), paths.mask)
    ids = torch.arange(BLOCKS).expand(ROWS, BLOCKS).contiguous()
    return step_credit(group_normalise(rewards, groups(ROWS, SIZE)), ids, paths.mask)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Accuracy, blocks per answer, regret over the budget of 8 blocks and regret against voting, before and after."""
    ending = ", leaning" if arm.endswith(", leaning") else ""
    arm, forced = arm.removesuffix(", leaning"), FORCED[ending]
    generator = torch.Generator().manual_seed(seed)
    table = (BASE + 0.3 * torch.randn(BASE.shape, generator=generator)).requires_grad_()
    optimiser = torch.optim.Adam([table], lr=0.05)
    told: dict[str, float] = {}
    for update in range(UPDATES + 1):
        if update in (0, UPDATES):
            paths = WORLD.draw(table.softmax(-1), 4000, generator)
            name = "_start" if update == 0 else ""
            right = forced.right[paths.states % LEVELS]
            used = paths.mask.float().cumsum(-1)
            told["accuracy" + name] = float(right[:, -1].mean())
            told["blocks" + name] = float(used[:, -1].mean())
            told["regret" + name] = float(normalised_regret(right[:, 1:], used, BLOCKS).mean())
            thought = (paths.mask & (paths.actions != ANSWER))[..., None]
            votes = torch.where(thought, forced.votes[paths.states[:, 1:] % LEVELS], torch.nan)
            told["voting_regret" + name] = float(voting_regret(votes).nanmean())
        paths = WORLD.draw(table.softmax(-1), ROWS, generator)
        ascend(optimiser, paths.logp(table), credit(arm, forced, paths, generator), paths.mask)
    return told


def effects(arms):
    """Share of blocks saved, regret saved, and the difference in accuracy."""
    told = {}
    for ending in LEANS:
        outcome, bonus = arms[f"outcome{ending}"], arms[f"progress{ending}"]
        told |= {
            f"share of blocks saved{ending}": 1 - bonus["blocks"] / outcome["blocks"],
            f"regret outcome - progress{ending}": outcome["regret"] - bonus["regret"],
            f"accuracy progress - outcome{ending}": bonus["accuracy"] - outcome["accuracy"],
            f"regret against voting outcome - progress{ending}": outcome["voting_regret"] - bonus["voting_regret"],
        }
    return told


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
    arms=tuple(arm + ending for ending in LEANS for arm in ("outcome", "progress")),
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""A tabular policy; every block has the same length. The success of a prefix is measured by 16 forced
        answers, and the bonus goes to the block that earned it. Off-policy prefixes are not part of the experiment.
        What was seen: blocks of use come earlier, so regret falls, but neither arm has a reason to answer once the
        number is known, so few blocks are saved. The paper's second metric, regret against stopping and voting, is told
        beside what is judged. Where a forced answer takes any candidate left, a majority is right no more often than one
        answer, and what the metric shows is the error of the votes' estimate. In the second setting, "leaning", added for
        it, a forced answer is three times as likely the hidden number as another candidate: there the bonus leaves less
        of that regret than the outcome does. Whether a tie is right is left to chance, where the released code gives it
        half.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
