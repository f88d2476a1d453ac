"""Micro-batches: rows of like length together, so that a forward pass stays within its memory and wastes little."""

import torch
from torch import Tensor

from guerdon.batch import Rollouts


def micro_batches(batch: Rollouts, micro_tokens: int, *, by_prompt: bool = False) -> list[Tensor]:
    """Rows sorted by length and packed so that rows x widest row stays within ``micro_tokens`` (at least one row).

    ``by_prompt`` keeps the rows of a group next to each other and sorts groups by their longest row: for a policy that
    computes a prompt once for all rows that have it, which is worth more than rows of like length.
    """
    lengths = batch["attention_mask"].sum(-1) + (batch["prompt_mask"].sum(-1) if "prompt_mask" in batch else 0)
    if by_prompt and "group" in batch:
        _, of = torch.unique(batch["group"], return_inverse=True)
        lengths = torch.zeros_like(lengths).scatter_reduce(0, of, lengths, "amax")[of]
        order = of.argsort(stable=True)
        order = order[lengths[order].argsort(stable=True)]
    else:
        order = lengths.argsort(stable=True)
    chunks, begin = [], 0
    widths = lengths[order].tolist()
    for i, width in enumerate(widths):
        if i > begin and (i + 1 - begin) * width > micro_tokens:
            chunks.append(order[begin:i])
            begin = i
    chunks.append(order[begin:])
    return chunks


def shares_prompts(policy: object) -> bool:
    """Whether ``policy.evaluate`` computes a prompt once for adjacent rows that have it."""
    return bool(getattr(policy, "shares_prompts", False))
