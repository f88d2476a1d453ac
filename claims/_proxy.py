"""Rewards that are gamed: a wish that is known, reward models that learned it from few and noisy comparisons, and a policy.

An answer is a point x of the plane R^10 in the context of one of 16 prompts. What is wanted (gold) has a peak at some
distance from where the untrained policy answers. Reward models are small networks that were fitted to comparisons of
answers *of the untrained policy*, some with the wrong winner, so that they are good where it answers and guess beyond.
The policy is a Gaussian with one mean per prompt: best-of-n chooses among its samples, policy gradient moves the means,
with the exact price ``KL = |mean - start|^2 / 2``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.nn.functional import logsigmoid

from claims._tabular import descend
from guerdon.credit import leave_one_out

SIZE, PROMPTS = 10, 16
Scores = Callable[[Tensor, Tensor], Tensor]
"""(answers [..., SIZE], prompts [...]) -> scores [...]."""


@dataclass(frozen=True)
class World:
    """Where the wish peaks, per prompt, [PROMPTS, SIZE], how much each direction matters [SIZE], and the level [PROMPTS]."""

    peak: Tensor
    stiffness: Tensor
    level: Tensor

    def gold(self, x: Tensor, prompt: Tensor) -> Tensor:
        """0 at the untrained policy's mean (on average over prompts, levels apart); best at the peak."""
        off = self.stiffness * ((x - self.peak[prompt]).square() - self.peak[prompt].square())
        return self.level[prompt] - off.sum(-1)


def world(g: torch.Generator, *, distance: float = 2.0, levels: float = 1.0) -> World:
    """A wish whose peak lies ``distance`` from the start, in half common and half own direction of each prompt."""
    common, own = torch.randn(SIZE, generator=g), torch.randn(PROMPTS, SIZE, generator=g)
    direction = common / common.norm() + 0.5 * own / own.norm(dim=-1, keepdim=True)
    peak = distance * direction / direction.norm(dim=-1, keepdim=True)
    stiffness = 0.1 + 0.2 * torch.rand(SIZE, generator=g)
    return World(peak, stiffness, levels * torch.randn(PROMPTS, generator=g))


def answers(rows: int, g: torch.Generator) -> tuple[Tensor, Tensor]:
    """Answers of the untrained policy, ``rows`` to each prompt: x [PROMPTS, rows, SIZE] and prompts [PROMPTS, rows]."""
    return torch.randn(PROMPTS, rows, SIZE, generator=g), torch.arange(PROMPTS)[:, None].expand(PROMPTS, rows)


class RewardModel(nn.Module):
    """A network of one hidden layer over answer and prompt."""

    def __init__(self, width: int = 32):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(SIZE + PROMPTS, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, x: Tensor, prompt: Tensor) -> Tensor:
        """Scores [...] of x [..., SIZE]."""
        seen = nn.functional.one_hot(prompt, PROMPTS).to(x)
        return self.net(torch.cat([x, seen], -1))[..., 0]


def reward_models(
    wish: Scores, g: torch.Generator, *, members: int = 5, pairs: int = 300, flipped: float = 0.25, passes: int = 60
) -> Callable[[Tensor, Tensor], Tensor]:
    """Members that learn from the same pairs and differ in their seed and the order of the data.

    Labels are drawn by Bradley-Terry from the wish, then ``flipped`` of them turned round. The scores [members, ...] that
    are given back have mean 0 and spread 1 over fresh answers of the untrained policy.
    """
    prompt = torch.randint(PROMPTS, (pairs,), generator=g)
    x = torch.randn(2, pairs, SIZE, generator=g)
    wins = torch.rand(pairs, generator=g) < torch.sigmoid(wish(x[0], prompt) - wish(x[1], prompt))
    wins = wins ^ (torch.rand(pairs, generator=g) < flipped)
    better, worse = torch.where(wins[:, None], x[0], x[1]), torch.where(wins[:, None], x[1], x[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=g)))
        nets = [RewardModel() for _ in range(members)]
    weights, _ = stack_module_state(nets)  # type: ignore[arg-type]
    held = {k: v.detach().requires_grad_() for k, v in weights.items()}
    skeleton = nets[0]

    def scored(x: Tensor, prompt: Tensor) -> Tensor:
        def one(own: dict[str, Tensor]) -> Tensor:
            return functional_call(skeleton, own, (x, prompt))

        return torch.vmap(one)(held)

    optimiser = torch.optim.Adam(held.values(), lr=3e-3)
    size = 60
    for _ in range(passes):
        orders = torch.stack([torch.randperm(pairs, generator=g) for _ in range(members)])
        for some in orders.split(size, -1):

            def margin(own: dict[str, Tensor], rows: Tensor) -> Tensor:
                up, down = (functional_call(skeleton, own, (side[rows], prompt[rows])) for side in (better, worse))
                return -logsigmoid(up - down).mean() + 1e-3 * (up.square() + down.square()).mean()

            descend(optimiser, torch.vmap(margin)(held, some).sum())
    with torch.no_grad():
        base = scored(*answers(200, g)).flatten(1)
        mean, std = base.mean(-1)[:, None], base.std(-1)[:, None]

    def common(x: Tensor, prompt: Tensor) -> Tensor:
        with torch.no_grad():
            raw = scored(x, prompt)
            return ((raw.flatten(1) - mean) / std).reshape(raw.shape)

    return common


@dataclass(frozen=True)
class Curve:
    """One point per update: exact means over fresh answers of the policy at that time."""

    gold: list[float]
    proxy: list[float]
    kl: list[float]


def climb(
    shape: Callable[[Tensor, Tensor, Tensor], Tensor],
    measure: Callable[[Tensor, Tensor], tuple[float, float]],
    g: torch.Generator,
    *,
    updates: int,
    price: float,
    samples: int = 8,
    rate: float = 0.05,
    spread: float = 1.0,
) -> Curve:
    """Policy gradient on ``shape(x [B, SIZE], prompt [B], log-ratio to the start [B]) -> rewards [B]``, leave-one-out.

    ``measure`` looks at the answers of every tenth update: (gold, proxy).
    """
    mean = torch.zeros(PROMPTS, SIZE, requires_grad=True)
    optimiser = torch.optim.Adam([mean], lr=rate)
    prompt = torch.arange(PROMPTS).repeat_interleave(samples)
    curve = Curve([], [], [])
    for update in range(updates + 1):
        noise = torch.randn(len(prompt), SIZE, generator=g)
        x = (mean[prompt] + spread * noise).detach()
        if update % 10 == 0:
            gold, proxy = measure(x, prompt)
            curve.gold.append(gold)
            curve.proxy.append(proxy)
            curve.kl.append(float(mean.detach().square().sum(-1).mean() / (2 * spread**2)))
        logp = -(x - mean[prompt]).square().sum(-1) / (2 * spread**2)
        ratio = logp.detach() + x.square().sum(-1) / (2 * spread**2)
        advantages = leave_one_out(shape(x, prompt, ratio), prompt)
        kl = mean.square().sum(-1).mean() / (2 * spread**2)
        descend(optimiser, -(advantages * logp).mean() + price * kl)
    return curve


def settled(values: list[float], last: int = 5) -> float:
    """Mean of the last few points."""
    return sum(values[-last:]) / len(values[-last:])
