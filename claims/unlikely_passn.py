"""Does a reward for unlikely right answers keep pass@N from falling while pass@1 grows?"""

import torch

from claims._bandit import draw, logp, step
from claims._run import Claim, main
from guerdon.credit import group_normalise
from guerdon.shaping import drop_flat_groups, unlikeliness, uplift_by_rank

STRATEGIES, PROMPTS, SIZE, UPDATES, RATE, HELD_OUT, N = 40, 16, 32, 200, 0.05, 1000, 256
BETA = 0.25


def problems(chance, count, generator):
    """Which strategies solve each problem, [count, STRATEGIES]; every problem is solved by one at least."""
    solved = torch.rand(count, STRATEGIES, generator=generator) < chance
    spare = torch.randint(STRATEGIES, (count,), generator=generator)
    return solved | (torch.nn.functional.one_hot(spare, STRATEGIES).bool() & ~solved.any(1, keepdim=True))


def pass_at(table, solved, n):
    """Mean chance that one of n answers is right."""
    right = (table.detach().softmax(-1) * solved).sum(-1)
    return float((1 - (1 - right) ** n).mean())


def measure(arm: str, seed: int) -> dict[str, float]:
    """Exact pass@1 and pass@N on held-out problems, and how much more likely a rank becomes per update."""
    g = torch.Generator().manual_seed(seed)
    chance = 0.3 * torch.rand(STRATEGIES, generator=g) ** 2
    table = torch.randn(1, STRATEGIES, generator=g).requires_grad_()
    tested = problems(chance, HELD_OUT, g)
    start = {"pass1_start": pass_at(table, tested, 1), "passN_start": pass_at(table, tested, N)}
    optimiser, rises = torch.optim.Adam([table], lr=RATE), []
    for _ in range(UPDATES):
        solved = problems(chance, PROMPTS, g)
        actions, group = draw(table.expand(PROMPTS, -1), SIZE, g)
        correct = solved[group, actions].float()
        before = logp(table.expand(PROMPTS, -1), actions, group).detach()
        rewards = drop_flat_groups(correct, group)
        if arm != "plain":
            rewards = unlikeliness(
                rewards, before[:, None], torch.ones(len(before), 1, dtype=torch.bool), group, beta=BETA
            )
        step(optimiser, table.expand(PROMPTS, -1), actions, group, group_normalise(rewards, group, eps=1e-6))
        after = logp(table.expand(PROMPTS, -1), actions, group).detach()
        change = uplift_by_rank(before, after, correct, group)
        rises.append(float(change[SIZE // 2 :].nanmean() - change[: SIZE // 2].nanmean()))
    ended = {"pass1": pass_at(table, tested, 1), "passN": pass_at(table, tested, N)}
    early = torch.tensor(rises[: UPDATES // 4])
    return {**start, **ended, "bias": float(early.nanmean())}


def effects(arms):
    """What the reward changes, and what plain training does to the base."""
    plain, rare = arms["plain"], arms["unlikely"]
    return {
        "pass@256, unlikely - plain": rare["passN"] - plain["passN"],
        "pass@256, plain - base": plain["passN"] - plain["passN_start"],
        "pass@1, unlikely - plain": rare["pass1"] - plain["pass1"],
        "pass@1, plain - base": plain["pass1"] - plain["pass1_start"],
        "rank bias, unlikely - plain": rare["bias"] - plain["bias"],
    }


def judge(effects):
    """Plain training sharpens, and the reward gives pass@N back."""
    held = effects["pass@256, plain - base"].high < 0 and effects["pass@256, unlikely - plain"].low > 0
    return "reproduced" if held else "not reproduced"


CLAIM = Claim(
    name="unlikely_passn",
    paper="arXiv:2506.02355",
    statement="""GRPO raises pass@1 and lowers pass@N below the base model; a reward for unlikely right answers gives pass@N
        back. One distribution over 40 strategies serves all problems, each solved by a few strategies. Reproduced: after
        200 updates pass@256 of plain training on held-out problems is below the base, and with the reward above plain
        training, each for all of its interval.""",
    arms=("plain", "unlikely"),
    seeds=8,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""A policy that cannot tell problems apart has to sharpen in order to gain pass@1: how much of it a language
        model must do is not shown. Pass@1 and rank bias are reported, not judged.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
