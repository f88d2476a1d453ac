"""Progress: estimates of how far one has come, made consistent, and the shaping that cannot be farmed.

A progress model compares two states and says a *hop*: a gain as a share of what remained, or a loss as a share of what
was achieved. Integrated over the steps, or read against the first and the goal state, hops give progress in [0, 1];
`potential_shaping` turns progress into rewards.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import groups
from guerdon.kernels import potentials as kernel
from guerdon.method import method, paper

ROBO_DOPAMINE = "arXiv:2512.23703"


@method(makes="step_rewards", paper=[ROBO_DOPAMINE, "arXiv:2305.15801"])
def potential_shaping(
    step_rewards: Float[Tensor, "B S"],
    potentials: Float[Tensor, "B P"],
    step_mask: Bool[Tensor, "B S"],
    *,
    gamma: float = 0.99,
    terminal: float | None = 0.0,
    negative_slope: float = 1.0,
) -> Float[Tensor, "B S"]:
    """Reward plus discounted progress: a push along the way that leaves the best policy what it was.

        r_s + gamma * Phi(after s) - Phi(before s)

    Discounted with the same gamma, the shaping of a row adds up to ``gamma^S * Phi_last - Phi_first``, whatever it did
    in between. ``terminal`` replaces the potential after the last step; with 0 the sum is ``-Phi_first``, which no
    policy can change, so shaping is exactly policy-invariant. None keeps the last potential, as the paper's worked
    numbers do. Use the gamma of the return: with progress undiscounted (``Phi' - Phi`` under gamma < 1) a policy is
    paid for *staying* where progress is high. ``negative_slope`` multiplies what the shaping takes, as Lucy-SKG's code
    allows (there ``terminal`` is None); any but 1 can be farmed by going back and forth.

    Shapes: [B, S] and [B, P] in, [B, S] out. NaN where the row lacks the step; a NaN potential makes the two steps
    that touch it NaN. Each potential must be computed once: asked again with noise, the sum no longer telescopes.

    Reference: Tan et al., Robo-Dopamine, 2025, https://arxiv.org/abs/2512.23703, after Ng et al., 1999; the slope:
    Lucy-SKG, 2023, https://arxiv.org/abs/2305.15801.
    """
    made = kernel.difference(potentials, step_mask, gamma=gamma, terminal=terminal)
    return step_rewards + torch.where(made < 0, negative_slope * made, made)


@paper(ROBO_DOPAMINE)
def hop(before: Float[Tensor, "*shape"], after: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The label of a pair of states: gain as a share of what remained, loss as a share of what was achieved.

        H = (after - before) / (1 - before)    where after >= before
        H = (after - before) / before          otherwise;    0 where the divisor is 0

    In [-1, 1] for progress in [0, 1]. NaN in either is NaN.
    """
    change = after - before
    divisor = torch.where(change >= 0, 1 - before, before)
    return torch.where(divisor == 0, 0.0 * change, change / divisor)


@paper(ROBO_DOPAMINE)
def integrate_hops(hops: Float[Tensor, "B S"], *, start: float = 0.0) -> Float[Tensor, "B S"]:
    """Progress after each hop, the inverse of `hop`; stays in [0, 1].

        Phi <- Phi + (1 - Phi) * H    where H >= 0,    Phi + Phi * H    otherwise

    NaN from the first hop that is NaN on (steps that the row lacks stand last). The paper counts a hop that could not
    be read as 0: fill it in before. Nothing can be lost at progress 0 (the released code lets a first loss make progress
    negative). Errors add up over the steps: fuse it (`fuse_progress`) with estimates that do not
    drift.
    """
    phi, out = hops.new_full(hops.shape[:1], start), torch.empty_like(hops)
    for s in range(hops.shape[1]):  # over steps only: each one needs the one before
        phi = phi * (1 - hops[:, s].abs()) + hops[:, s].clamp(min=0.0)
        out[:, s] = phi
    return out


@paper(ROBO_DOPAMINE)
def fuse_progress(
    incremental: Float[Tensor, "*shape"], forward: Float[Tensor, "*shape"], backward: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The mean of three estimates: integrated hops, the hop from the first state, and 1 plus the hop from the goal."""
    return (incremental + forward + backward) / 3


@paper(ROBO_DOPAMINE)
def consistency_filter(
    forward: Float[Tensor, "B S"],
    backward: Float[Tensor, "B S"],
    change: Float[Tensor, "B S"],
    *,
    alpha: float = 1.0,
    eps: float = 0.01,
    start: float = 0.0,
) -> Float[Tensor, "B S"]:
    """Progress that moves little where the two views of it disagree.

        bar   = (forward + backward) / 2,   d = |backward - forward| / (bar + eps),   w = exp(-alpha d^2)
        Phi_t = Phi_t-1 + w/2 * (bar_t - Phi_t-1 + change_t)

    ``change`` is the incremental estimate's own change. d explodes where bar is near 0: the paper does not say its
    eps, and 0.01 keeps d sane. NaN from the first step on that has a NaN.
    """
    bar = (forward + backward) / 2
    w = torch.exp(-alpha * ((backward - forward).abs() / (bar + eps)).square()) / 2
    phi, out = bar.new_full(bar.shape[:1], start), torch.empty_like(bar)
    for s in range(bar.shape[1]):
        phi = phi + w[:, s] * (bar[:, s] - phi + change[:, s])
        out[:, s] = phi
    return out


@paper(ROBO_DOPAMINE)
def success_reward(progress: Float[Tensor, "*shape"], *, delta: float = 0.05) -> Float[Tensor, "*shape"]:
    """1 where progress is at least ``1 - delta``, else 0; NaN stays NaN. A real check of success is better."""
    return torch.where(torch.isnan(progress), progress, (progress >= 1 - delta).to(progress.dtype))


@paper(ROBO_DOPAMINE)
def value_order_correlation(progress: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"]) -> Float[Tensor, " B"]:
    """Spearman's correlation of time and progress in each row: 1 where progress only rises.

    Ties share the mean of their ranks. Steps that are NaN or lacking are left out; NaN where fewer than two are left
    or all are equal.
    """
    rows, steps = progress.shape
    here = step_mask & ~torch.isnan(progress)
    row = torch.arange(rows, device=progress.device)[:, None].expand(rows, steps).reshape(-1)
    time = torch.arange(steps, device=progress.device, dtype=progress.dtype).expand(rows, steps)
    ranks = [
        groups.group_rank(torch.where(here, x, torch.nan).reshape(-1), row).reshape(rows, steps)
        for x in (time, progress)
    ]
    t, p = (torch.where(here, r - r.nanmean(-1, keepdim=True), 0.0) for r in ranks)
    return (t * p).sum(-1) / (t.square().sum(-1) * p.square().sum(-1)).sqrt()
