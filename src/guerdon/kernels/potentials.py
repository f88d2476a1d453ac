"""From a potential at every step boundary to one number per step: the difference that the step made."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def difference(
    q: Float[Tensor, "B P"],
    step_mask: Bool[Tensor, "B S"],
    *,
    gamma: float = 1.0,
    terminal: float | None = None,
) -> Float[Tensor, "B S"]:
    """What each step adds to a potential.

        r_s = gamma * q[after s] - q[before s]

    ``q[:, s + 1]`` is the potential after step s and ``q[:, 0]`` the one before the first, so P = S + 1. Before a step
    stands what stood after the last step that the row has; boundaries of steps that it lacks are never read. With
    ``terminal`` the potential after the last step counts as that number (0 makes shaping exactly policy-invariant).

    NaN at a boundary makes the two steps that touch it NaN, and no other; steps that the row lacks are NaN. With gamma 1
    the steps of a row add up to last minus first.

    Raises:
        ValueError: not one boundary more than steps.
    """
    if q.shape[1] != step_mask.shape[1] + 1:
        raise ValueError(f"expected one boundary more than the {step_mask.shape[1]} steps, got {q.shape[1]}")
    if step_mask.shape[1] == 0:
        return q.new_zeros(step_mask.shape)
    number = torch.arange(1, q.shape[1], device=q.device)
    reached = torch.where(step_mask, number, 0).cummax(-1).values  # boundary after the last step up to here
    before = q.gather(1, torch.cat([torch.zeros_like(reached[:, :1]), reached[:, :-1]], dim=1))
    after = q[:, 1:]
    if terminal is not None:
        after = torch.where(number == reached[:, -1:], terminal, after)
    return torch.where(step_mask, gamma * after - before, torch.nan)
