"""What a host hands over, as rollouts; what a recipe makes of them, as the host wants it."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.credit.steps import split_steps, split_turns
from guerdon.kernels import broadcast_rows, finite, settled
from guerdon.policies.token_text import TokenText

Messages = list[dict[str, Any]]


def group_ids(keys: Sequence[Hashable]) -> Tensor:
    """Group of each row [B] int64, from whatever the host calls a group (a prompt's uid, its text, a number)."""
    seen: dict[Hashable, int] = {}
    return torch.tensor([seen.setdefault(key, len(seen)) for key in keys], dtype=torch.int64)


def rollouts_of(
    *,
    prompts: Sequence[str | Messages],
    tokens: Tensor,
    present: Tensor,
    group: Tensor,
    terminated: Tensor,
    tokenizer: Any = None,
    text: TokenText | None = None,
    chosen: Tensor | None = None,
    columns: Mapping[str, Sequence[Any]] | None = None,
    completions: Sequence[str] | None = None,
    **quantities: Tensor,
) -> Rollouts:
    """Rollouts from a host's tensors.

    Args:
        prompts: text or messages of each row.
        tokens: response token ids [B, T], left-aligned; what stands where ``present`` is False is ignored.
        present: response positions that exist [B, T] bool.
        group: which prompt a row answers [B] (`group_ids`).
        terminated: ended by itself [B] bool; every other row counts as truncated.
        tokenizer: of the policy; decodes completions and finds which characters a token stands for.
        text: the same, kept between calls (`guerdon.policies.token_text.TokenText`).
        chosen: positions that the policy chose [B, T] bool, without tool output and observations; by default ``present``.
        columns: the host's data set, a value per row.
        completions: texts, where the host has them and there is no tokenizer.
        quantities: what else it has, such as ``sampled_logp`` or ``old_logp`` [B, T].

    Raises:
        ValueError: neither a tokenizer nor completions, or shapes that do not fit together.
    """
    present = present.bool()
    mask = present if chosen is None else present & chosen.bool()
    tokens = tokens.long().masked_fill(~present, 0)
    data: dict[str, Any] = {"prompts": list(prompts), "tokens": tokens, "attention_mask": present, "mask": mask}
    if tokenizer is not None or text is not None:
        reader = text or TokenText(tokenizer)
        texts = reader.decode([row[here].tolist() for row, here in zip(tokens, present, strict=True)])
        data |= {"completions": texts, "token_spans": reader.spans(tokens, present, texts).to(tokens.device)}
    elif completions is not None:
        data["completions"] = list(completions)
    else:
        raise ValueError("expected a tokenizer, or completions as text, got neither; give one")
    data |= {"group": group, "terminated": terminated.bool(), "truncated": ~terminated.bool()}
    data |= {"origin": torch.zeros(len(group), dtype=torch.int64)}
    return Rollouts({**data, **{k: list(v) for k, v in (columns or {}).items()}, **quantities})


def with_steps(batch: Rollouts, separator: str | None) -> Rollouts:
    """The batch with ``step_ids``, where the host says what separates steps."""
    if separator is None:
        return batch
    ids = split_steps(batch["completions"], batch["token_spans"], batch["mask"], separator=separator)
    return batch.with_(step_ids=ids)


def with_turns(batch: Rollouts) -> Rollouts:
    """The batch with ``turn_ids``, where a host says no more of turns than which positions the policy chose."""
    return batch.with_(turn_ids=split_turns(batch["mask"]))


def final_credit(batch: Rollouts) -> tuple[Tensor, Tensor]:
    """Advantage of every position [B, T] float32, 0 outside the loss, and the positions in the loss [B, T] bool.

    A position is in the loss where the policy chose it and its credit is a number: an unscored row is in neither the
    loss nor its denominator. Where both are so already they are the batch's own tensors, not copies.
    """
    mask = batch["mask"]
    if "token_advantages" not in batch:
        scored = batch["advantages"].isfinite()
        return broadcast_rows(torch.where(scored, batch["advantages"], 0.0), mask), mask & scored[:, None]
    credit = batch["token_advantages"]
    return (credit, mask) if settled(credit, mask) else finite(credit, mask)
