"""Thinking that is paid for by difficulty: does it grow on hard problems and shrink on easy ones?"""

import torch

from claims._run import Claim, main
from claims._tabular import ascend, groups
from guerdon.credit import group_normalise
from guerdon.shaping import difficulty, effort_bonus, effort_targets

KINDS, PROMPTS, SIZE, LONGEST, UPDATES, RATE = 3, 8, 8, 16, 150, 0.05
CHANCE = torch.tensor([0.9, 0.5, 0.05])
"""Of a right answer without a thought; each thought finds it with a chance of GAIN where it is not found yet."""
GAIN = torch.tensor([0.0, 0.05, 0.06])
ARMS = ("accuracy", "effort", "effort, centred")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Thoughts and accuracy by kind of problem, over the last tenth of training.

    After every thought the policy goes on thinking or answers, by one table of kind and number of thoughts.
    """
    g = torch.Generator().manual_seed(seed)
    table = (1.0 + 0.1 * torch.randn(KINDS, LONGEST, generator=g)).requires_grad_()  # logit of going on
    optimiser = torch.optim.Adam([table], lr=RATE)
    rows = KINDS * PROMPTS * SIZE
    group = groups(rows, SIZE)
    kind = group % KINDS
    tail = []
    for update in range(UPDATES):
        on = torch.rand(rows, LONGEST, generator=g) < table.detach().sigmoid()[kind]
        count = on.long().cumprod(-1).sum(-1)
        reached = torch.arange(LONGEST) <= count[:, None]
        solved = 1 - (1 - CHANCE[kind]) * (1 - GAIN[kind]) ** count
        correct = (torch.rand(rows, generator=g) < solved).float()
        rewards = correct
        if arm != "accuracy":
            bucket, hesitation = difficulty(correct, group), count.float()
            target = effort_targets(hesitation, bucket, group)[bucket]
            alpha = torch.full((rows,), 0.5)
            rewards = correct + effort_bonus(correct, hesitation, target, bucket, alpha, centred="centred" in arm)
        advantages = group_normalise(rewards, group)
        logp = torch.nn.functional.logsigmoid(torch.where(on, 1.0, -1.0) * table[kind])
        ascend(optimiser, logp, advantages[:, None].expand(-1, LONGEST), reached)
        if update >= UPDATES - 15:
            tail.append([x[kind == k].float().mean() for x in (count, solved) for k in range(KINDS)])
    thoughts = torch.tensor(tail).mean(0).tolist()
    names = [f"{what}_{k}" for what in ("thoughts", "accuracy") for k in ("easy", "medium", "hard")]
    return dict(zip(names, thoughts, strict=True))


def effects(arms):
    """Against the reward for accuracy alone."""
    made = {}
    for arm in ARMS[1:]:
        for what in ("thoughts_hard", "thoughts_easy", "accuracy_hard", "accuracy_easy"):
            made[f"{what.replace('_', ', ')}: {arm} - accuracy"] = arms[arm][what] - arms["accuracy"][what]
    return made


def judge(effects):
    """More thoughts where it is hard, fewer where it is easy, and no loss of accuracy."""
    longer = effects["thoughts, hard: effort - accuracy"].low > 0
    shorter = effects["thoughts, easy: effort - accuracy"].high < 0
    kept = all(effects[f"accuracy, {k}: effort - accuracy"].low > -0.02 for k in ("easy", "hard"))
    return "reproduced" if longer and shorter and kept else "not reproduced"


CLAIM = Claim(
    name="aepo_difficulty",
    paper="arXiv:2510.08457",
    statement="""A bonus for hesitation by difficulty makes answers to hard problems longer and to easy ones shorter without
        loss of accuracy. Three kinds of problems, solved at once, sometimes, or only after many thoughts. Reproduced: more
        thoughts on hard and fewer on easy problems than under accuracy alone, each for all of its interval, and accuracy of
        both lower by less than 0.02.""",
    arms=ARMS,
    seeds=8,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""A thought is counted as such; windows of entropy and words, which the method counts by, are not part of it.
        Difficulty and targets come from the batch that is scored, as released.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
