"""Signals for the tests of verl's reward manager."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.method import describe


def right(prompts, completions, answer, **_):
    """1 where the last line is the answer; no number there raises."""
    return [float(int(c[0]["content"].split("\n")[-1]) == int(a)) for c, a in zip(completions, answer, strict=True)]


def even_steps(completions: list, step_mask: Bool[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """1 for a line with an even number."""
    lines = [[float(int(line) % 2 == 0) for line in c.split("\n") if line] for c in completions]
    scores = [torch.tensor(row + [0.0] * (step_mask.shape[1] - len(row))) for row in lines]
    return torch.where(step_mask, torch.stack(scores), torch.nan)


def ended(terminated: Bool[Tensor, " B"], completions: list) -> Float[Tensor, " B"]:
    """1 where the response ended by itself."""
    return terminated.float()


def half(rewards: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Half the weight for every row."""
    return torch.full_like(rewards, 0.5)


half.__guerdon_method__ = describe(half, makes="weights")
even_steps.__guerdon_method__ = describe(even_steps, makes="step_parts")
ended.__guerdon_method__ = describe(ended, makes="parts")
