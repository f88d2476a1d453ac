"""Rewards in units of others like them: of the same input in this batch, or of all that were seen so far.

Some inputs pay well whatever the policy does. Compared over all of them, a mediocre answer to an easy input beats a good
answer to a hard one. So each input is a *pool* with a mean and a spread of its own. ``pool`` is any column of the data
set (``take = {pool = "source"}``), or a quantity such as ``group``; rows with equal values share a pool.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from guerdon.kernels import groups
from guerdon.method import method, paper
from guerdon.shaping.transforms import PAR, RLPROMPT

Scale = Literal["mean-std", "clip", "min-max"]


def pool_names(pool: Tensor | Sequence[Any]) -> list[str]:
    """The name of each row's pool: its value as text."""
    return [str(value) for value in (pool.tolist() if isinstance(pool, Tensor) else pool)]


def pool_ids(names: Sequence[str]) -> Int64[Tensor, " B"]:
    """Pools numbered from 0 in the order in which they come."""
    known: dict[str, int] = {}
    return torch.tensor([known.setdefault(name, len(known)) for name in names], dtype=torch.int64)


@method(makes="rewards", paper=RLPROMPT, shift_invariant="rewards")
def z_score_by_pool(
    rewards: Float[Tensor, " B"], pool: Tensor | Sequence[Any], *, ddof: int = 0, eps: float = 1e-4
) -> Float[Tensor, " B"]:
    """RLPrompt: how many deviations of its input a reward lies above the mean of its input.

        z = (r - mean_pool) / (std_pool + eps)

    The pool is the input, never the batch: means of different inputs differ by more than the policy can. All equal, or
    alone in its pool: 0. Follow it with `scale-rewards` for the affine step of the paper (``[0, 1]`` to ``[-20, 80]``:
    scale 100, shift -20); that order is part of the method, as after scaling nothing has the range any more. Only where
    the policy learns: an evaluation by it says nothing.

    Shapes: [B] in and out. NaN stays NaN and is in no statistic.

    Reference: Deng et al., RLPrompt, EMNLP 2022, https://arxiv.org/abs/2205.12548.
    """
    ids = pool_ids(pool_names(pool)).to(rewards.device)
    return groups.standardise(rewards, ids, ddof=ddof, eps=eps)


@paper(RLPROMPT)
def block_maxima(scores: Float[Tensor, "B N"], blocks: int) -> Float[Tensor, "B K"]:
    """RLPrompt: of the scores of N outputs of one prompt, the largest in each of ``blocks`` consecutive parts.

    Their mean is the reward of the prompt: what the best of N / K samples is worth, from K tries. NaN in a block makes it
    NaN.

    Raises:
        ValueError: N is not a multiple of ``blocks``.
    """
    if blocks < 1 or scores.shape[-1] % blocks:
        raise ValueError(f"expected a number of blocks that divides {scores.shape[-1]} scores, got {blocks}")
    return scores.unflatten(-1, (blocks, -1)).amax(-1)


@paper(RLPROMPT)
def z_score_of_blocks(
    maxima: Float[Tensor, "B K"], pool: Tensor | Sequence[Any], *, ddof: int = 0, eps: float = 1e-4
) -> Float[Tensor, " B"]:
    """RLPrompt on text: the mean of a row's `block_maxima`, in units of all maxima of its input.

        z = (mean_k x - mean_pool) / (std_pool + eps)

    The spread is that of single maxima, which is larger than that of their means: `z_score_by_pool` of the means gives
    larger numbers. NaN maxima are in no statistic, and make their row NaN.

    Reference: Deng et al., RLPrompt, EMNLP 2022, https://arxiv.org/abs/2205.12548 (style transfer).
    """
    ids = pool_ids(pool_names(pool)).to(maxima.device).repeat_interleave(maxima.shape[1])
    return groups.standardise(maxima.reshape(-1), ids, ddof=ddof, eps=eps).reshape(maxima.shape).mean(-1)


@dataclass(frozen=True)
class Moments:
    """Number, mean, sum of squared distances to the mean, smallest and largest of the rewards seen so far."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def with_(self, other: "Moments") -> "Moments":
        """Both together (Chan, Golub and LeVeque, 1979)."""
        count = self.count + other.count
        if not count:
            return self
        apart = other.mean - self.mean
        return Moments(
            count,
            self.mean + apart * other.count / count,
            self.squares + other.squares + apart * apart * self.count * other.count / count,
            min(self.low, other.low),
            max(self.high, other.high),
        )


def moments_by_pool(rewards: Float[Tensor, " B"], names: Sequence[str]) -> dict[str, Moments]:
    """Moments of the scored rewards of each pool; a pool without any is left out."""
    x, ids = rewards.double(), pool_ids(names).to(rewards.device)
    count = groups.group_count(x, ids)
    squares = count * groups.group_std(x, ids, ddof=0).square()
    ends = groups.group_min(x, ids), groups.group_max(x, ids)
    table = torch.stack([count, groups.group_mean(x, ids), squares, *ends], -1).tolist()
    return {name: Moments(*row) for name, row in zip(names, table, strict=True) if row[0]}


class _Running:
    """Moments of the past by pool; reading adds the batch at hand, ``update`` keeps it."""

    def __init__(self, scale: Scale):
        if scale not in ("mean-std", "clip", "min-max"):
            raise ValueError(f"expected scale to be mean-std, clip or min-max, got {scale!r}; choose one")
        self.scale = scale
        self.seen: dict[str, Moments] = {}

    def read(self, rewards: Tensor, names: Sequence[str]) -> Tensor:
        now = self.merged(rewards, names)
        rows = [now.get(name, Moments()) for name in names]
        mean, std, low, high = (
            rewards.new_tensor(
                [[m.mean, math.sqrt(m.squares / m.count) if m.count else 0.0, m.low, m.high] for m in rows]
            )
            .reshape(len(rows), 4)
            .T
        )
        if self.scale == "clip":
            return torch.maximum(torch.minimum(rewards, mean + std), mean - std)
        if self.scale == "mean-std":
            return (rewards - mean) / torch.where(std > 0, std, 1.0)
        return (rewards - low) / torch.where(high > low, high - low, 1.0)

    def merged(self, rewards: Tensor, names: Sequence[str]) -> dict[str, Moments]:
        batch = moments_by_pool(rewards, names)
        return {**self.seen, **{name: self.seen.get(name, Moments()).with_(m) for name, m in batch.items()}}

    def keep(self, rewards: Tensor, names: Sequence[str]) -> None:
        self.seen = self.merged(rewards, names)

    def state_dict(self) -> dict[str, Any]:
        """Names of the pools, and their moments [pools, 5] in float64."""
        rows = [[m.count, m.mean, m.squares, m.low, m.high] for m in self.seen.values()]
        return {"pools": list(self.seen), "moments": torch.tensor(rows, dtype=torch.float64).reshape(len(rows), 5)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.seen = {n: Moments(*row) for n, row in zip(state["pools"], state["moments"].tolist(), strict=True)}


@method(makes="rewards", paper=PAR)
class RunningScale(_Running):
    """Rewards on the scale of all that were seen so far, this batch included.

        scale="mean-std"   (r - mean) / std       std = 0 divides by 1
        scale="clip"       r cut to [mean - std, mean + std]
        scale="min-max"    (r - low) / (high - low)       all equal: 0

    with the population's deviation. Calling reads past and batch; ``update`` adds the batch, once per iteration; the
    cold start is the first batch alone. The scale trails a policy that improves: what was one deviation at the start is
    less later, so it does not bound what a hacked score can earn. NaN stays NaN and moves nothing.

    Shapes: [B] in and out. Reference: the rivals of PAR, 2025, https://arxiv.org/abs/2502.18770.
    """

    def __init__(self, *, scale: Scale = "mean-std"):
        super().__init__(scale)

    def __call__(self, rewards: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
        return self.read(rewards, [""] * len(rewards))

    def update(self, rewards: Float[Tensor, " B"]) -> None:
        """Add one batch to the past."""
        self.keep(rewards, [""] * len(rewards))

    @property
    def metrics(self) -> dict[str, float]:
        """Mean and deviation so far."""
        return {k: v for m in self.seen.values() for k, v in _told(m).items()}


@method(makes="rewards", paper=[RLPROMPT, PAR])
class RunningScaleByPool(_Running):
    """Each pool on the scale of all its rewards so far, this batch included: `running-scale` with named pools.

    For inputs that meet too few rewards in one batch for `z-score-by-pool`. A pool that was never seen starts with this
    batch; one that is not in the batch keeps its past. Memory grows with the number of pools, so the pool should be a
    source, a task or an input that returns, not a prompt that is seen once.

    Shapes: [B] in and out. NaN stays NaN and moves nothing. Reference: pools as in RLPrompt,
    https://arxiv.org/abs/2205.12548, where the past is one batch; running moments as in https://arxiv.org/abs/2502.18770.
    """

    def __init__(self, *, scale: Scale = "mean-std"):
        super().__init__(scale)

    def __call__(self, rewards: Float[Tensor, " B"], pool: Tensor | Sequence[Any]) -> Float[Tensor, " B"]:
        return self.read(rewards, pool_names(pool))

    def update(self, rewards: Float[Tensor, " B"], pool: Tensor | Sequence[Any]) -> None:
        """Add one batch to the past."""
        self.keep(rewards, pool_names(pool))

    @property
    def metrics(self) -> dict[str, float]:
        """Number of pools, and the smallest and largest of their means."""
        means = [m.mean for m in self.seen.values()]
        return {"pools": float(len(means))} | ({"mean/low": min(means), "mean/high": max(means)} if means else {})


def _told(m: Moments) -> dict[str, float]:
    return {"mean": m.mean, "std": math.sqrt(m.squares / m.count)}
