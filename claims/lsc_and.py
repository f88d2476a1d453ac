"""LSC: good in both respects, against a plain sum, at the same distance from the base policy."""

import torch
from torch import Tensor

from claims._run import Claim, main
from guerdon.shaping import log_sigmoid, logical_and

PROMPTS, CANDIDATES, REFERENCES, NOISE = 200, 200, 10, 0.5
BUDGETS = (0.5, 1.0, 2.0, 3.0)
ARMS = ("sum", "and")


def optimum(rewards: Tensor, budget: float) -> Tensor:
    """The policy [Q, N] that is best for E[reward] - gamma KL, with gamma such that the mean KL is ``budget``.

    The base is uniform over the candidates, so the optimum is ``softmax(reward / gamma)``.
    """
    low, high = 1e-4, 1e4
    for _ in range(60):
        gamma = (low * high) ** 0.5
        p = (rewards / gamma).log_softmax(-1)
        kl = (p.exp() * (p + torch.log(torch.tensor(float(CANDIDATES))))).sum(-1).mean()
        low, high = (gamma, high) if kl > budget else (low, gamma)
    return (rewards / high).softmax(-1)


def measure(arm: str, seed: int) -> dict[str, float]:
    """Chance of an answer that beats both references for certain, and the share of prompts that are left behind."""
    g = torch.Generator().manual_seed(seed)
    easy = torch.randn(2, PROMPTS, 1, generator=g)
    trade = torch.randn(PROMPTS, CANDIDATES, generator=g)  # helpful at the cost of harmless
    own = torch.randn(2, PROMPTS, CANDIDATES, generator=g)
    scale = torch.rand(2, PROMPTS, 1, generator=g) + 0.5  # how much answers to a prompt differ
    wish = easy + 2 * scale * (0.6 * torch.stack([trade, -trade]) + 0.8 * own)
    seen = wish + NOISE * torch.randn(wish.shape, generator=g)  # what the two reward models say
    drawn = torch.randint(CANDIDATES, (2, PROMPTS, REFERENCES), generator=g)
    references = seen.gather(-1, drawn)
    if arm == "sum":
        rewards = seen.sum(0)
    else:
        each = {name: log_sigmoid(x, r) for name, x, r in zip(("helpful", "harmless"), seen, references, strict=True)}
        rewards = logical_and(each)
    bar = wish.quantile(0.85, -1, keepdim=True)
    good = torch.sigmoid(wish - bar).prod(0)  # the chance of being better than the bar in both respects
    base = good.mean(-1)
    found = {}
    for budget in BUDGETS:
        mine = (optimum(rewards, budget) * good).sum(-1)
        found[f"both at {budget:g}"] = float(mine.mean())
        found[f"behind at {budget:g}"] = float((mine < base + 0.05).float().mean())
    return found


def effects(arms):
    """What the AND gains over the sum at each distance, in points."""
    gains = {
        f"both at {b:g}, and - sum": 100 * (arms["and"][f"both at {b:g}"] - arms["sum"][f"both at {b:g}"])
        for b in BUDGETS
    }
    behind = {
        f"behind at {b:g}, sum - and": 100 * (arms["sum"][f"behind at {b:g}"] - arms["and"][f"behind at {b:g}"])
        for b in BUDGETS
    }
    main_one = "both at 1, and - sum"
    return {main_one: gains.pop(main_one), **gains, **behind}


def judge(effects):
    """More answers that are good in both respects at every distance, and fewer prompts left behind at one nat."""
    better = all(effects[f"both at {b:g}, and - sum"].low > 0 for b in BUDGETS)
    return "reproduced" if better and effects["behind at 1, sum - and"].low > 0 else "not reproduced"


CLAIM = Claim(
    name="lsc_and",
    paper="arXiv:2402.00742",
    statement="""At the same KL from the base policy, the sum of log-sigmoids over a high reference finds more answers that
        are good in both respects than the sum of the scores, and leaves fewer prompts unimproved. 200 prompts of 200
        candidates with two wishes that partly oppose each other, two reward models that are noisy, ten reference answers of
        the base policy; the policy is the exact optimum of reward minus gamma KL. Reproduced: the chance that an answer
        beats the true 85 percent quantile in both respects is higher at .5, 1, 2 and 3 nats, and at 1 nat fewer prompts
        gain less than five points (lower ends above 0).""",
    arms=ARMS,
    seeds=10,
    measure=measure,
    effects=effects,
    judge=judge,
    variants_tried=1,
    limits="""Noise of the reward models is independent of the answer, so there is nothing to hack but luck; candidates are
        fixed. The judge of an answer is the same kind of probability that the transform estimates. What was seen: the AND finds more answers that are good in both respects from 2 nats on (.7 points at 2,
        2.4 at 3), and fewer below (-.4 points at .5 and 1), where the sum gains on whatever is easy.""",
)

if __name__ == "__main__":
    raise SystemExit(main(CLAIM))
