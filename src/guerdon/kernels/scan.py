"""Recurrences over the positions that the policy chose: backward ones, and the running mean.

A language model's response has holes: observations and tool output that nobody decided on. All scans here step over
them: the successor of a chosen position is the next *chosen* one. Loops over T do that by carrying values through each
hole; here the chosen positions are moved to the front of their row, scanned, and moved back. The scan is a tree: eight
neighbours become one, the recurrence of the remaining T / 8 numbers is the same with ``decay^8``, and its results are
handed down. That is O(T) work in O(log T) steps, in the dtype of the input, on any device, with gradients.

On a CPU a compiled loop is faster than any of this (`guerdon[fast]` brings numba): it takes over by itself for
tensors of at least ``COMPILED_FROM`` entries that need no gradient. Both agree to rounding.

Shared by all: results are 0 under a False ``mask`` and entries there are never read. NaN (and infinity) reaches its own
and the *earlier* chosen positions of its row and nothing else. Rows without a chosen position are all 0.
"""

from functools import cache
from types import ModuleType

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

COMPILED_FROM = 1 << 16
_FAN = 8


def discounted_sum(
    x: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    gamma: float = 1.0,
    bootstrap: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, "B T"]:
    """Discounted sum from each chosen position on.

    y_t = x_t + gamma * y_next(t),    y_next(last) = bootstrap (0 without)
    """
    fast = compiled_for(mask, x, bootstrap)
    return (fast.discounted_sum if fast else _discounted_sum)(x, mask, float(gamma), bootstrap)


def decay(end: Float[Tensor, " B"], mask: Bool[Tensor, "B T"], gamma: float) -> Float[Tensor, "B T"]:
    """What a reward behind the last chosen position is worth at each chosen one: ``y_t = gamma * y_next(t)``, from ``end``."""
    fast = compiled_for(mask, end)
    return (fast.decay if fast else _decay)(end, mask, float(gamma))


def _decay(end: Tensor, mask: Tensor, gamma: float) -> Tensor:
    return _discounted_sum(end.new_zeros(mask.shape), mask, gamma, end)


def largest_sum(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], gamma: float = 1.0) -> Float[Tensor, " B"]:
    """Largest size of a row's discounted sums: ``max_t |y_t|``, y as in `discounted_sum`; those that are NaN do not count.

    0 where there is none.
    """
    fast = compiled_for(mask, x)
    return (fast.largest_sum if fast else _largest_sum)(x, mask, float(gamma))


def _largest_sum(x: Tensor, mask: Tensor, gamma: float) -> Tensor:
    if mask.numel() == 0:
        return x.new_zeros(x.shape[:1])
    return _discounted_sum(x, mask, gamma, None).nan_to_num(nan=0.0, posinf=torch.inf, neginf=-torch.inf).abs().amax(1)


def gae(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    gamma: float = 1.0,
    lam: float = 0.95,
    bootstrap: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, "B T"]:
    """Generalised advantage estimates.

        delta_t = r_t + gamma * V_next(t) - V_t,    V_next(last) = bootstrap (0 without)
        A_t     = delta_t + gamma * lam * A_next(t)

    Reference: Schulman et al., 2015, https://arxiv.org/abs/1506.02438.
    """
    fast = compiled_for(mask, rewards, values, bootstrap)
    return (fast.gae if fast else _gae)(rewards, values, mask, float(gamma), float(lam), bootstrap)


def suffix_min(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Smallest value from each chosen position on: ``y_t = min(x_t, y_next(t))``."""
    rest = torch.where(mask, x, torch.inf).flip(1)
    return torch.where(mask, rest.cummin(1).values.flip(1), 0.0)


def running_mean(x: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Mean of the chosen positions up to each chosen one: ``y_t = sum_{u <= t} x_u / #{u <= t}``.

    The one scan here that runs forward: NaN reaches its own and the *later* chosen positions.
    """
    fast = compiled_for(mask, x)
    return (fast.running_mean if fast else _running_mean)(x, mask)


def _running_mean(x: Tensor, mask: Tensor) -> Tensor:
    total = torch.where(mask, x, 0.0).cumsum(1, dtype=torch.float64)
    return torch.where(mask, total / mask.cumsum(1).clamp(min=1), 0.0).to(x.dtype)


def _discounted_sum(x: Tensor, mask: Tensor, gamma: float, bootstrap: Tensor | None) -> Tensor:
    if mask.numel() == 0:
        return torch.zeros_like(x)
    front, (x,) = _to_front(mask, x)
    if bootstrap is not None:
        x = x + torch.where(_last(front), gamma * bootstrap[:, None], 0.0)
    return _from_front(_scan(x, gamma), front, mask)


def _gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, bootstrap: Tensor | None) -> Tensor:
    if mask.numel() == 0:
        return torch.zeros_like(rewards)
    front, (rewards, values) = _to_front(mask, rewards, values)
    after = F.pad(values[:, 1:], (0, 1))
    if bootstrap is not None:
        after = torch.where(_last(front), bootstrap[:, None], after)
    delta = after.mul_(gamma).add_(rewards).sub_(values)
    return _from_front(_scan(delta, gamma * lam), front, mask)


def _scan(x: Tensor, decay: float) -> Tensor:
    """y_t = x_t + decay * y_{t+1} along dimension 1, nothing skipped.

    Powers of the decay below 1e-30 count as 0: they add nothing, and arithmetic near the smallest float is slow.
    """
    rows, width = x.shape
    y = F.pad(x, (0, -width % _FAN)).view(rows, -(-width // _FAN), _FAN)
    for k in range(_FAN - 2, -1, -1):
        y[:, :, k].add_(y[:, :, k + 1], alpha=decay)
    if width > _FAN:
        powers = [power if (power := decay ** (_FAN - k)) > 1e-30 else 0.0 for k in range(_FAN)]
        later = F.pad(_scan(y[:, :, 0], powers[0])[:, 1:], (0, 1))
        y.addcmul_(later[:, :, None], torch.tensor(powers, dtype=x.dtype, device=x.device))
    return y.flatten(1)[:, :width]


def _to_front(mask: Tensor, *tensors: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Chosen entries moved to the front of their rows, 0 behind, and the mask of where they are now.

    Where no row has a hole there is nothing to close and everything stays in place: padding is 0 at either end.
    """
    runs = torch.count_nonzero(mask[:, 1:] & ~mask[:, :-1]) + torch.count_nonzero(mask[:, :1])
    if bool(runs == torch.count_nonzero(mask.any(1))):  # at most one run in each row
        return mask, [torch.where(mask, x, 0.0) for x in tensors]
    count = mask.sum(1)
    front = torch.arange(int(count.max()), device=mask.device) < count[:, None]
    return front, [x.new_zeros(front.shape).masked_scatter(front, x.masked_select(mask)) for x in tensors]


def _from_front(y: Tensor, front: Tensor, mask: Tensor) -> Tensor:
    if front is mask:
        return torch.where(mask, y, 0.0)
    return y.new_zeros(mask.shape).masked_scatter(mask, y.masked_select(front))


def _last(front: Tensor) -> Tensor:
    return front & ~F.pad(front[:, 1:], (0, 1))


def compiled_for(mask: Tensor, *tensors: Tensor | None) -> ModuleType | None:
    """The compiled walks, where these tensors are large, plain, on the CPU and need no gradient; else None.

    None under ``torch.compile`` too, which makes one kernel of the tensor form and of what stands around it.
    """
    if torch.compiler.is_compiling() or mask.numel() < COMPILED_FROM or mask.device.type != "cpu":
        return None
    given = [x for x in tensors if x is not None]
    if torch.is_grad_enabled() and any(x.requires_grad for x in given):
        return None
    plain = {x.dtype for x in given} in (set(), {torch.float32}, {torch.float64})
    return _compiled() if plain else None


@cache
def _compiled() -> ModuleType | None:
    try:
        from guerdon.kernels import _compiled
    except ModuleNotFoundError as error:
        if error.name != "numba":
            raise
        return None
    return _compiled
