"""Micro-batches: rows of like length together, so that a forward pass stays within its memory and wastes little."""

from torch import Tensor

from guerdon.batch import Rollouts


def micro_batches(batch: Rollouts, micro_tokens: int) -> list[Tensor]:
    """Rows sorted by length and packed so that rows x widest row stays within ``micro_tokens`` (at least one row)."""
    lengths = batch["attention_mask"].sum(-1) + (batch["prompt_mask"].sum(-1) if "prompt_mask" in batch else 0)
    order = lengths.argsort(stable=True)
    chunks, begin = [], 0
    widths = lengths[order].tolist()
    for i, width in enumerate(widths):
        if i > begin and (i + 1 - begin) * width > micro_tokens:
            chunks.append(order[begin:i])
            begin = i
    chunks.append(order[begin:])
    return chunks
