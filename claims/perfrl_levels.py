"""PerfRL: ranking programs by level, against imitating the best one, from a policy that copies a slow program."""

import torch
from torch import Tensor

from claims._run import Claim, main
from guerdon.objectives import rrhf_loss
from guerdon.signals import efficiency_tiers

PROMPTS, PARTS, GROUP, STEPS, RATE, NOISE = 16, 4, 8, 300, 2.0, 0.02
COSTS = torch.tensor([1.0, 0.5, 0.8, 0.2, 0.2])
"""Of the ways to write a part: the slow one of the input, a fast and a middling one, a wrong one, one that does not compile."""
WRONG, BROKEN = 3, 4


def levels(choices: Tensor, generator: torch.Generator) -> Tensor:
    """The reward of programs [N, PARTS], whose times are measured with noise."""
    cost = COSTS[choices].mean(-1)
    base = torch.ones(len(choices))
    jitter = 1 + NOISE * torch.randn(2, len(choices), generator=generator)
    compiled, passed = (choices < BROKEN).all(-1), (choices < WRONG).all(-1)
    return efficiency_tiers(compiled, passed, cost * jitter[0], base * jitter[1], margin=0.0)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Expected share of right programs, and cost of the right ones relative to the input's."""
    generator = torch.Generator().manual_seed(seed)
    weights = torch.zeros(PROMPTS, PARTS, len(COSTS))
    weights[..., 0] = 2.5
    weights = (weights + 0.3 * torch.randn(weights.shape, generator=generator)).requires_grad_()
    group = torch.arange(PROMPTS).repeat_interleave(GROUP)
    mask = torch.ones(PROMPTS * GROUP, PARTS, dtype=torch.bool)
    for _ in range(STEPS if arm != "input" else 0):
        log_chance = weights.log_softmax(-1)[group]
        chance = log_chance.detach().exp().flatten(0, 1)
        choices = torch.multinomial(chance, 1, generator=generator).reshape(-1, PARTS)
        rewards = levels(choices, generator)
        logp = log_chance.gather(-1, choices[..., None])[..., 0]
        loss = PROMPTS * rrhf_loss(logp, mask, rewards, group, weight=1.0 if arm == "ranking" else 0.0)
        (gradient,) = torch.autograd.grad(loss, weights)
        weights.data -= RATE / GROUP * gradient
    chance = weights.detach().softmax(-1)
    right = chance[..., :WRONG]
    cost = ((right / right.sum(-1, keepdim=True)) * COSTS[:WRONG]).sum(-1).mean()
    return {"passes": float(right.sum(-1).prod(-1).mean()), "cost": float(cost)}


def effects(arms):
    """Costs and shares of right programs on the same policies."""
    return {
        "cost, imitation - ranking": arms["imitation"]["cost"] - arms["ranking"]["cost"],
        "cost, ranking": arms["ranking"]["cost"],
        "passes, ranking": arms["ranking"]["passes"],
        "passes, imitation": arms["imitation"]["passes"],
        "cost, input": arms["input"]["cost"],
    }


def judge(effects):
    """Cheaper than by imitation, clearly cheaper than the input, and still right."""
    cheap = effects["cost, imitation - ranking"].low > 0 and effects["cost, ranking"].high < 0.85
    return "reproduced" if cheap and effects["passes, ranking"].low > 0.9 else "not reproduced"


CLAIM = Claim(
    name="perfrl_levels",
    paper="arXiv:2312.05657",
    statement="""Ranking sampled programs by four levels of an execution reward makes a small model write faster programs
        than imitation does. Reproduced: right programs cost less after the ranking loss than after imitating the best
        sample alone at equal steps (lower end above 0), less than 0.85 of the input (upper end), and more than 0.9 of the
        programs pass (lower end).""",
    arms=("ranking", "imitation", "input"),
    seeds=20,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=2,
    limits="""Programs of four independent parts chosen from tables, with times simulated: no language model, and
        imitation here is of the best of the same samples, not of people's programs. The two variants: 60 steps, after which
        neither loss had come to rest, and 300.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
