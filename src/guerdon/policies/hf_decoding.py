"""The decoding loop over a transformers model: prefill once per prompt, one token a step, finished rows left out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Sampling
from guerdon.policies.sampling import draw
from guerdon.policies.token_text import StopStrings

Step = Callable[[Tensor, Tensor | None, Tensor, Any], Tensor]
"""(ids [n, q], attention mask, position ids [n, q], cache) -> logits of the last position [n, V]."""


@dataclass(frozen=True)
class Drawn:
    """Drawn tokens [R, T] and their log-probabilities (0 past the end), lengths [R], and which rows ended [R]."""

    tokens: Tensor
    logp: Tensor
    lengths: Tensor
    ended: Tensor


def decode(
    step: Step,
    prompt: Tensor,
    prompt_mask: Tensor,
    sampling: Sampling,
    *,
    copies: int,
    ends: Tensor,
    stop: StopStrings | None,
    generator: torch.Generator,
    new_cache: Callable[[int], tuple[Any, bool]],
    bias_dtype: torch.dtype | None,
) -> Drawn:
    """Draw ``copies`` completions of each left-padded prompt [P, L].

    ``new_cache(capacity)`` gives the cache and whether its layers are written in place. With ``bias_dtype`` (only for
    models of plain full attention) the mask is handed over as a ready additive bias [n, 1, 1, length] of that dtype,
    which spares its making at each step; otherwise as [n, length].
    """
    # imported here because it needs transformers
    from guerdon.policies.growing_cache import replace_rows, select_rows

    device, (prompts, length) = prompt.device, prompt.shape
    total, limit = prompts * copies, sampling.max_tokens
    cache, in_place = new_cache(length + min(limit, 64))
    positions = (prompt_mask.cumsum(-1) - 1).clamp(min=0)
    logits = step(prompt, None if bool(prompt_mask.all()) else prompt_mask.long(), positions, cache)
    copy = torch.arange(prompts, device=device).repeat_interleave(copies)
    if copies > 1:
        select_rows(cache, copy)
        logits = logits[copy]
    mask, position = prompt_mask[copy], positions[copy, -1:]
    if bias_dtype is not None:
        bias = torch.zeros(total, length + limit, dtype=bias_dtype, device=device)
        bias[:, :length].masked_fill_(~mask, torch.finfo(bias_dtype).min)
        mask = bias[:, None, None, :]

    tokens = torch.zeros(total, limit, dtype=torch.int64, device=device)
    logp = torch.zeros(total, limit, device=device)
    lengths = torch.full((total,), limit, device=device)
    ended = torch.zeros(total, dtype=torch.bool, device=device)
    rows = torch.arange(total, device=device)
    done = torch.zeros(total, dtype=torch.bool, device=device)
    waiting = 0
    for t in range(limit):
        token, chance = draw(logits, sampling, generator)
        tokens[rows, t], logp[rows, t] = token, chance
        finished = torch.isin(token, ends)
        if stop is not None:
            hits = stop.hits(token.tolist(), tokens[rows, max(0, t + 1 - stop.window) : t + 1])
            if hits:
                finished[hits] = True
        finished &= ~done
        if bool(finished.any()):
            at = rows[finished]
            lengths[at], ended[at] = t + 1, True
            done |= finished
            waiting = int(done.sum())
        if waiting == len(rows) or t + 1 == limit:
            break
        if waiting > (len(rows) // 32 if in_place else len(rows) // 4):
            if in_place:
                holes, movers, left = replace_rows(cache, done)
                for x in (rows, token, position, mask):
                    x[holes] = x[movers]
                rows, token, position, mask = (x[:left] for x in (rows, token, position, mask))
            else:
                kept = (~done).nonzero().squeeze(-1)
                select_rows(cache, kept)
                rows, token, position, mask = (x[kept] for x in (rows, token, position, mask))
            done, waiting = torch.zeros(len(rows), dtype=torch.bool, device=device), 0
        position = position + 1
        if bias_dtype is None:
            mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
            logits = step(token[:, None], mask.long(), position, cache)
        else:
            logits = step(token[:, None], mask[..., : length + t + 1], position, cache)
    width = max(1, int(lengths.max())) if total else 1
    real = torch.arange(width, device=device) < lengths[:, None]
    return Drawn(tokens[:, :width] * real, logp[:, :width] * real, lengths, ended)


def left_aligned(batch: Rollouts, device: torch.device) -> tuple[Tensor, Tensor]:
    """Prompt and response without gaps [B, W], padding 0 at the right; and where the response begins [B]."""
    prompt_mask, present = batch["prompt_mask"].to(device), batch["attention_mask"].to(device)
    first = prompt_mask.sum(-1)
    width = max(1, int((first + present.sum(-1)).max())) if len(first) else 1
    ids = torch.zeros(len(first), width, dtype=torch.int64, device=device)
    row, at = prompt_mask.nonzero(as_tuple=True)
    ids[row, (prompt_mask.cumsum(-1) - 1)[row, at]] = batch["prompt_tokens"].to(device)[row, at]
    row, at = present.nonzero(as_tuple=True)
    ids[row, first[row] + at] = batch["tokens"].to(device)[row, at]
    return ids, first
