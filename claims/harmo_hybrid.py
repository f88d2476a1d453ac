"""A rule for half of the prompts and a reward model that likes short answers for the other half, under one policy."""

import torch

from claims._run import Claim, main
from claims._tabular import ascend, groups
from guerdon.credit import group_centre
from guerdon.shaping import brevity_penalty, hybrid_reward

PROMPTS, CHOICES, LENGTHS, SIZE, UPDATES, RATE, BIAS = 32, 8, 8, 8, 150, 0.1, 0.05
ARMS = ("model", "rule", "hybrid", "hybrid and penalty")


def measure(arm: str, seed: int) -> dict[str, float]:
    """Accuracy where a rule can tell, quality where only the model can, and how long wrong answers are.

    An answer is one of 8 contents, by a table for each prompt, and one of 8 lengths, by one table for all prompts. The
    first half of the prompts has a rule: right content, and at least as long as the prompt needs. The model
    sees the content, and takes ``BIAS`` off for every unit of length.
    """
    g = torch.Generator().manual_seed(seed)
    gold, need = (torch.randint(n, (PROMPTS,), generator=g) for n in (CHOICES, LENGTHS - 2))
    ruled = torch.arange(PROMPTS) < PROMPTS // 2
    content = torch.randn(PROMPTS, CHOICES, generator=g).requires_grad_()
    length = torch.zeros(1, LENGTHS, requires_grad=True)
    optimiser = torch.optim.Adam([content, length], lr=RATE)
    group = groups(PROMPTS * SIZE, SIZE)
    tail = []
    for update in range(UPDATES):
        said = torch.multinomial(content.detach().softmax(-1), SIZE, replacement=True, generator=g).flatten()
        long = torch.multinomial(length.detach().softmax(-1)[0], len(said), replacement=True, generator=g)
        matched = said == gold[group]
        right = (matched & (long >= need[group])).float()
        rule = torch.where(ruled[group], right, torch.nan)
        parts = {"rule": rule, "model": matched.float() - BIAS * long}
        if arm == "model":
            rewards = parts["model"]
        elif arm == "rule":
            rewards = rule
        else:
            rewards = hybrid_reward(parts, group, rule="rule", learned="model")
        if arm == "hybrid and penalty":
            rewards = brevity_penalty(rewards, long + 1, rule, group)
        advantages = group_centre(rewards, group)
        logp = content.log_softmax(-1)[group, said] + length.log_softmax(-1)[0, long]
        known = ~advantages.isnan()[:, None]
        ascend(optimiser, logp[:, None], advantages[:, None].nan_to_num(nan=0.0), known)
        if update >= UPDATES - 15:
            wrong = ruled[group] & (right == 0)
            tail.append(
                [
                    right[ruled[group]].mean(),
                    matched[~ruled[group]].float().mean(),
                    long.float().mean(),
                    long[wrong].float().mean(),
                ]
            )
    accuracy, quality, mean, short = torch.tensor(tail).nanmean(0).tolist()
    return {"accuracy": accuracy, "quality": quality, "length": mean, "length_of_wrong": short}


def effects(arms):
    """The hybrid against either of its halves, and what the penalty does."""
    hybrid, both = arms["hybrid"], arms["hybrid and penalty"]
    return {
        "accuracy, hybrid - model": hybrid["accuracy"] - arms["model"]["accuracy"],
        "quality, hybrid - rule": hybrid["quality"] - arms["rule"]["quality"],
        "accuracy, hybrid - rule": hybrid["accuracy"] - arms["rule"]["accuracy"],
        "accuracy, penalty - hybrid": both["accuracy"] - hybrid["accuracy"],
        "length of wrong answers, penalty - hybrid": both["length_of_wrong"] - hybrid["length_of_wrong"],
    }


def judge(effects):
    """Better than either half where that half is blind."""
    held = effects["accuracy, hybrid - model"].low > 0 and effects["quality, hybrid - rule"].low > 0
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="harmo_hybrid",
    paper="arXiv:2510.05283",
    statement="""A rule where one can be had and a reward model elsewhere is better than either alone. Half of 32 prompts have a
        rule that asks for length, the model dislikes length, and one table of lengths serves all. Reproduced: accuracy where
        a rule can tell is higher with the hybrid than with the model alone, and quality elsewhere higher than with the rule
        alone, each for all of its interval.""",
    arms=ARMS,
    seeds=8,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""The first variant had a model whose dislike of length (0.25 for each unit, up to 1.75) outweighed the rule's 0 and 1:
        without a division by the spread it decided the length for all, and the hybrid gained nothing over the model. What the penalty for short wrong answers does is reported, not judged; its curve is our reading. Contents are
        learned per prompt, so that the rule alone teaches nothing about prompts without one.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
