"""Between rows, steps and positions.

*Placing* puts a number on one position; *broadcasting* lets every position of a row or step read it; *reducing* goes
back up. Steps that a row lacks are NaN on the level of steps and touch no position on the way down.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from guerdon.kernels import pointwise, scan


def place_on_tokens(
    x: Float[Tensor, "B S"], step_end: Int[Tensor, "B S"], step_mask: Bool[Tensor, "B S"], width: int
) -> Float[Tensor, "B {width}"]:
    """The number of each step on the step's last position, 0 elsewhere.

        out[i, step_end[i, s]] = x[i, s]    for every step s that row i has

    Steps under a False ``step_mask`` place nothing, whatever their value and end; NaN of a step that the row has is
    placed as NaN, at that position only. No two steps of a row end at the same position.

    Raises:
        ValueError: a step of the row ends outside of ``width``.
    """
    if bool((step_mask & ((step_end < 0) | (step_end >= width))).any()):
        raise ValueError(
            f"expected step_end in 0 .. {width - 1} for every step of a row, got one outside; check step_ids"
        )
    spare = torch.where(step_mask, step_end.long(), width)  # absent steps go to a column that is cut off
    out = x.new_zeros(x.shape[0], width + 1).scatter(1, spare, torch.where(step_mask, x, 0.0))
    return out[:, :width]


def broadcast_to_tokens(
    x: Float[Tensor, "B S"],
    step_ids: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"] | None = None,
    *,
    outside: Float[Tensor, " B"] | float = 0.0,
) -> Float[Tensor, "B T"]:
    """Every position reads the number of its own step: ``out[i, t] = x[i, step_ids[i, t]]``.

    ``outside`` (the row's entry of it) where ``step_ids`` is -1, the position of no step; 0 at positions that are not chosen, where a mask is
    given. NaN of a step spreads to its own positions and no further.

    Raises:
        ValueError: a position of a step that ``x`` does not have.
    """
    chosen = torch.ones_like(step_ids, dtype=torch.bool) if mask is None else mask
    outside = outside if isinstance(outside, Tensor) else x.new_full(x.shape[:1], outside)
    fast = scan.compiled_for(chosen, x, outside)
    if fast:
        out, fault = fast.broadcast(x, step_ids.long(), chosen, outside)
    else:
        inside = chosen & (step_ids >= 0)
        fault = bool((inside & (step_ids >= x.shape[1])).any())
        padded = torch.cat([x, x.new_zeros(x.shape[0], 1)], dim=1)
        read = padded.gather(1, step_ids.long().clamp(min=0, max=x.shape[1]))
        out = torch.where(inside, read, torch.where(chosen, outside[:, None], 0.0))
    if fault:
        raise ValueError(f"expected step_ids below {x.shape[1]}, the number of steps, got one that is not")
    return out


def broadcast_rows(x: Float[Tensor, " B"], mask: Bool[Tensor, "B T"] | Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Every chosen position reads the number of its row, NaN included; 0 at unchosen positions.

    A mask of integers, as other libraries have it, is read as it is.
    """
    fast = pointwise.compiled_for(mask, x)
    return (fast.broadcast_rows if fast else _broadcast_rows)(x, mask)


def _broadcast_rows(x: Tensor, mask: Tensor) -> Tensor:
    return torch.where(mask.bool(), x[:, None], 0.0)


def reduce_to_steps(
    x: Float[Tensor, "B T"],
    step_ids: Int[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    steps: int,
    how: Literal["sum", "mean", "max", "last"] = "sum",
) -> Float[Tensor, "B {steps}"]:
    """One number per step from the chosen positions of the step: their sum, mean, maximum, or the last one.

        out[i, s] = how(x[i, t] for chosen t with step_ids[i, t] = s)

    NaN where the row has no such position. Unchosen positions and those of no step (-1) are never read. NaN at a
    chosen position makes its own step NaN, except that ``"last"`` reads the last position only.

    Raises:
        ValueError: a chosen position is of a step from ``steps`` on, or ``how`` is none of the four.
    """
    width = x.shape[1]
    fast = scan.compiled_for(mask, x) if how in ("sum", "mean") else None
    if fast:
        total, count, outside = fast.step_sums(x, step_ids, mask, steps)
        if outside:
            raise _beyond(steps)
        return torch.where(count > 0, total / count if how == "mean" else total, torch.nan)
    counted = mask & (step_ids >= 0)
    if bool((counted & (step_ids >= steps)).any()):
        raise _beyond(steps)
    at = torch.where(counted, step_ids.long(), steps)  # the rest goes to a column that is cut off
    value = torch.where(counted, x, 0.0)
    zeros = x.new_zeros(x.shape[0], steps + 1)
    count = zeros.scatter_add(1, at, counted.to(x.dtype))[:, :steps]
    if how in ("sum", "mean"):
        out = zeros.scatter_add(1, at, value)[:, :steps]
        out = out / count if how == "mean" else out
    elif how == "max":
        out = zeros.scatter_reduce(1, at, value, "amax", include_self=False)[:, :steps]
    elif how == "last":
        position = torch.arange(width, device=x.device).expand_as(at)
        last = at.new_zeros(zeros.shape).scatter_reduce(1, at, position, "amax")[:, :steps]
        out = value.gather(1, last) if width else zeros[:, :steps]
    else:
        raise ValueError(f"expected how to be sum, mean, max or last, got {how!r}")
    return torch.where(count > 0, out, torch.nan)


def next_step(x: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """What the next step that the row has says: ``out[i, s] = x[i, s']``, s' the first such step behind s; 0 after the last.

    Steps under a False mask are never read. NaN of a step that the row has is read as NaN.
    """
    rows, steps = x.shape
    column = torch.arange(steps, device=x.device).expand(rows, steps)
    from_here = torch.where(step_mask, column, steps).flip(-1).cummin(-1).values.flip(-1)
    after = torch.cat([from_here[:, 1:], torch.full_like(from_here[:, :1], steps)], dim=1)
    return torch.cat([x, torch.zeros_like(x[:, :1])], dim=1).gather(1, after)


def last_chosen(mask: Bool[Tensor, "B T"]) -> Int[Tensor, " B"]:
    """The last position of each row that the policy chose; -1 in a row without one."""
    fast = pointwise.compiled_for(mask)
    return (fast.last_chosen if fast else _last_chosen)(mask)


def _last_chosen(mask: Tensor) -> Tensor:
    if mask.shape[1] == 0:
        return torch.full(mask.shape[:1], -1, device=mask.device)
    number = torch.arange(1, mask.shape[1] + 1, dtype=torch.int32, device=mask.device)
    return (number * mask).amax(1).long() - 1


def place_on_last(x: Float[Tensor, " B"], mask: Bool[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """The number of each row on the last position that the policy chose, NaN included; 0 elsewhere, and in a row without one."""
    fast = pointwise.compiled_for(mask, x)
    return (fast.place_on_last if fast else _place_on_last)(x, mask)


def _place_on_last(x: Tensor, mask: Tensor) -> Tensor:
    out = x.new_zeros(mask.shape)
    if mask.shape[1] == 0:
        return out
    last = last_chosen(mask)[:, None]
    return out.scatter_add_(1, last.clamp(min=0), torch.where(last >= 0, x[:, None], 0.0))


def runs(mask: Bool[Tensor, "B T"]) -> Int[Tensor, "B T"]:
    """The number of the run of chosen positions that each belongs to, from 0 in every row; -1 at unchosen positions."""
    fast = pointwise.compiled_for(mask)
    return (fast.runs if fast else _runs)(mask)


def _runs(mask: Tensor) -> Tensor:
    before = F.pad(mask[:, :-1], (1, 0)) if mask.shape[1] else mask
    return torch.where(mask, (mask & ~before).long().cumsum(-1) - 1, -1)


def step_counts(step_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"], steps: int) -> Int[Tensor, "B {steps}"]:
    """Number of the chosen positions of each step; those of no step (-1) count for none.

    Raises:
        ValueError: a chosen position is of a step from ``steps`` on.
    """
    fast = pointwise.compiled_for(mask)
    counts, outside = (fast.step_counts if fast else _step_counts)(step_ids.long(), mask, steps)
    if outside:
        raise _beyond(steps)
    return counts


def _step_counts(step_ids: Tensor, mask: Tensor, steps: int) -> tuple[Tensor, bool]:
    counted = mask & (step_ids >= 0)
    at = torch.where(counted, step_ids, steps).clamp(max=steps)  # the rest goes to a column that is cut off
    counts = at.new_zeros(at.shape[0], steps + 1).scatter_add(1, at, counted.long())[:, :steps]
    return counts, bool((counted & (step_ids >= steps)).any())


def _beyond(steps: int) -> ValueError:
    return ValueError(f"expected step_ids below {steps} at chosen positions, got one that is not; raise steps")
