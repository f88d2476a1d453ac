"""Demonstrations: completions that the data give, as rows that the policy is asked to find likely."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Policy

DEMONSTRATION = 2
"""Their ``origin``."""


def demonstrations(
    policy: Policy, batch: Rollouts, column: str, *, stop: Sequence[str] = (), max_tokens: int | None = None
) -> Rollouts | None:
    """One row for each prompt of ``batch`` that has a demonstration, in the order in which the prompts appear.

    Args:
        policy: whose tokens and whose end token they are.
        batch: rollouts with ``prompt_tokens``, ``prompt_mask``, ``group`` and the column.
        column: the completion: text, a list of texts of which the first counts, or None. Prompts without one, or with an
            empty one, are left out.
        stop: a demonstration that holds one of them ends behind the first, as a completion does, and gets no end token.
        max_tokens: a longer one is cut off there, and gets no end token.

    Returns:
        ``prompt_tokens``, ``prompt_mask``, ``tokens``, ``attention_mask``, ``mask``, ``group`` and ``origin``; None where no
        prompt has a demonstration.

    Raises:
        ValueError: a demonstration that is neither text nor a list of texts.
    """
    firsts: dict[int, int] = {}
    for row, group in enumerate(batch["group"].tolist()):
        firsts.setdefault(group, row)
    end = end_of(policy)
    said: list[tuple[int, list[int]]] = []
    for row in firsts.values():
        text = _first(batch[column][row], column)
        if text:
            said.append((row, tokens_of(policy, text, stop, end, max_tokens)))
    said = [(row, tokens) for row, tokens in said if tokens]
    if not said:
        return None
    rows = torch.tensor([row for row, _ in said])
    tokens, mask = right_padded([tokens for _, tokens in said])
    of_prompt = batch["prompt_tokens"].device
    given = {name: batch[name][rows.to(batch[name].device)] for name in ("prompt_tokens", "prompt_mask", "group")}
    return Rollouts(
        {
            **given,
            "tokens": tokens.to(of_prompt),
            "attention_mask": mask.to(of_prompt),
            "mask": mask.to(of_prompt),
            "origin": torch.full((len(said),), DEMONSTRATION, device=of_prompt),
        }
    )


def _first(value: Any, column: str) -> str | None:
    if isinstance(value, list | tuple):
        value = next((text for text in value if text is not None), None)
    if value is None or isinstance(value, str):
        return value
    raise ValueError(
        f"expected text, a list of texts or nothing in {column!r}, got {type(value).__name__}; "
        "write the completion that is to be imitated there, or name another column as rollouts.demonstration"
    )


def tokens_of(policy: Policy, text: str, stop: Sequence[str], end: int | None, most: int | None) -> list[int]:
    """Token ids of a completion: up to the first of ``stop``, else with the end token; at most ``most``."""
    stops = [at + len(s) for s in stop if (at := text.find(s)) >= 0]
    ids = list(policy.encode(text[: min(stops)] if stops else text))
    if end is not None and not stops:
        ids.append(end)
    return ids if most is None else ids[:most]


def end_of(policy: Any) -> int | None:
    """The token that ends a completion: the tokenizer's where it has one, else the first of the policy's."""
    policy = getattr(policy, "inner", getattr(policy, "own", policy))
    ends = tuple(getattr(policy, "ends", ()))
    own = getattr(getattr(policy, "tokenizer", None), "eos_token_id", None)
    return own if own in ends else next(iter(ends), None)


def right_padded(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [N, T] and where there are some."""
    width = max(map(len, rows))
    tokens = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows], dtype=torch.int64)
    return tokens, torch.tensor([[True] * len(row) + [False] * (width - len(row)) for row in rows])


__all__ = ["DEMONSTRATION", "demonstrations", "end_of", "right_padded", "tokens_of"]
