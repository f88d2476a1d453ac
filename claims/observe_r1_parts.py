"""Observe-R1: a bonus for the shortest right answer, a weight for half-solved problems, and easy problems first."""

import torch
from torch import Tensor

from claims._run import Claim, main
from claims._scratch import (
    GROUP,
    LEVELS,
    PAPER,
    PROMPTS,
    ROWS,
    Writer,
    examine,
    lengths,
    mixed,
    starts,
    verdicts,
)
from claims._tabular import Paths, train_table
from guerdon.credit import difficulty_weight, group_normalise
from guerdon.shaping import shortest_correct_bonus

UPDATES, RATE, MINIMUM = 200, 0.05, 2
ARMS = ("grpo", "bonus", "weight", "both", "both, easy first")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Length and accuracy at the end, and mean accuracy along the way on all levels and on the three middle ones."""
    g = torch.Generator().manual_seed(seed)
    writer = Writer(g)
    middle, early = [], []

    def begin(update: int) -> Tensor:
        if arm != "both, easy first":
            return mixed(g)
        return starts((torch.arange(PROMPTS) + PROMPTS * update) * LEVELS // (PROMPTS * UPDATES))

    def credit(update: int, paths: Paths) -> Tensor:
        correct = verdicts(paths, g)
        rewards = correct
        if arm not in ("grpo", "weight"):
            rewards = shortest_correct_bonus(correct, correct, lengths(paths), GROUP, minimum=MINIMUM)
        advantages = group_normalise(rewards, GROUP, eps=1e-9)
        if arm not in ("grpo", "bonus"):
            advantages = difficulty_weight(advantages, correct, GROUP)
        if update % 10 == 0:
            right, _, at = examine(writer, look)
            middle.append(float(right[(at > 0) & (at < LEVELS - 1)].mean()))
            early.append(float(right.mean()))
        return advantages

    look = torch.Generator().manual_seed(seed + 1000)
    train_table(
        PAPER, writer.logits, writer.weights, credit, updates=UPDATES, rows=ROWS, rate=RATE, generator=g, starts=begin
    )
    right, tokens, _ = examine(writer, look)
    return {
        "accuracy": float(right.mean()),
        "length of right": float((right * tokens).sum() / right.sum()),
        "accuracy along the way": sum(early) / len(early),
        "accuracy along the way, middle": sum(middle) / len(middle),
        "accuracy along the way, first quarter": sum(early[:5]) / 5,
    }


def effects(arms):
    """Each part against the reward without it, on the same seed."""
    grpo, bonus, weight, both, ordered = (arms[name] for name in ARMS)
    return {
        "length of right saved by the bonus": 1 - bonus["length of right"] / grpo["length of right"],
        "accuracy, bonus - grpo": bonus["accuracy"] - grpo["accuracy"],
        "middle levels along the way, weight - grpo": weight["accuracy along the way, middle"]
        - grpo["accuracy along the way, middle"],
        "length of right saved by both": 1 - both["length of right"] / grpo["length of right"],
        "accuracy, both - grpo": both["accuracy"] - grpo["accuracy"],
        "first quarter, easy first - both": ordered["accuracy along the way, first quarter"]
        - both["accuracy along the way, first quarter"],
    }


def judge(effects):
    """The bonus saves a tenth of the tokens at equal accuracy, and the weight speeds up the middle levels."""
    held = (
        effects["length of right saved by the bonus"].low > 0.1
        and effects["accuracy, bonus - grpo"].low > -0.02
        and effects["middle levels along the way, weight - grpo"].low > 0
    )
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="observe_r1_parts",
    paper="arXiv:2505.12432",
    statement="""A bonus for the shortest right answer of a group and a weight for groups that are half right each help GRPO.
        Reproduced: with the bonus right answers are at least a tenth shorter than without (lower end) and accuracy is not
        more than 0.02 lower (lower end); with the weight the middle levels are right more often along the way (lower end
        above 0). That easy problems first speed up the beginning is measured, and no part of the verdict.""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""A table of when to stop, over problems of five levels whose answer is right with a chance that rises with the
        work written before it. 200 updates of 40 prompts with 8 answers; the bonus is the paper's 0.2, for answers of more
        than two tokens of work in place of 100. Seen, and no part of the verdict: the bonus alone shortens answers until they are
        wrong, since in a group that is all right it is all there is and the norm brings it to full size; the weight, which is
        0 for such groups, is what makes the bonus safe. The weight also makes the steps larger (1.8 at one half), which Adam mostly
        takes back.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
