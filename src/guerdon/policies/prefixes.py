"""Prefixes of completions: contexts that end at a step boundary, and how likely a text is behind each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Policy


def left_padded(rows: Sequence[Sequence[int]], *, pad: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids and mask [N, L] of rows of any length."""
    width = max((len(row) for row in rows), default=0)
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], dtype=torch.int64)
    mask = torch.tensor([[False] * (width - len(row)) + [True] * len(row) for row in rows])
    return ids.reshape(len(rows), width), mask.reshape(len(rows), width)


def token_lists(tokens: Tensor, present: Tensor) -> list[list[int]]:
    """The ids of each row at the positions that are present."""
    return [row[here].tolist() for row, here in zip(tokens.cpu(), present.cpu(), strict=True)]


def said_after(
    policy: Policy,
    context: Int64[Tensor, "N L"],
    context_mask: Bool[Tensor, "N L"],
    texts: Sequence[str],
    *,
    micro_rows: int = 512,
) -> Float[Tensor, " N"]:
    """Mean log-probability per token of ``texts[i]`` said behind context i, at temperature 1; NaN for an empty text.

    Runs with gradient unless the caller turned it off.
    """
    rows = [policy.encode(text) for text in texts]
    width = max(1, max((len(row) for row in rows), default=1))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows], dtype=torch.int64).reshape(len(rows), width)
    mask = torch.arange(width) < torch.tensor([len(row) for row in rows]).reshape(-1, 1)
    means = []
    for at in torch.arange(len(rows)).split(micro_rows):
        batch = Rollouts(
            {
                "prompt_tokens": context[at],
                "prompt_mask": context_mask[at],
                "tokens": tokens[at],
                "mask": mask[at],
                "attention_mask": mask[at],
            }
        )
        logp = policy.evaluate(batch.trim(), frozenset({"logp"}))["logp"]
        means.append(logp.sum(-1) / batch["lengths"].to(logp.device))  # 0 / 0 for an empty text
    return torch.cat(means) if means else torch.zeros(0)


@dataclass(frozen=True)
class Boundaries:
    """The distinct prefixes at the step boundaries of a batch, [N], and where each belongs, [B, P]."""

    contexts: tuple[Tensor, Tensor]
    """Left-padded ids and mask of prompt, prefix (and suffix)."""
    rows: Tensor
    """[N]: a row that has the prefix."""
    kept: Tensor
    """[N]: positions of the response in the prefix, the suffix included."""
    begun: list[list[int]]
    """The response tokens of each prefix, suffix included."""
    at: Tensor
    """[B, P]: which prefix stands at a boundary; -1: the end of the row."""

    def spread(self, values: Tensor, ends: Tensor | None) -> Tensor:
        """[B, P] from one value per prefix; the last boundary of a row gets its entry of ``ends``."""
        spread = values[self.at.clamp(min=0)] if len(values) else values.new_zeros(self.at.shape)
        return spread if ends is None else torch.where(self.at < 0, ends[:, None], spread)


def boundaries(batch: Rollouts, policy: Policy, suffix: str = "", *, last: bool = False) -> Boundaries:
    """Cut every row at the ends of its steps.

    Boundary 0 is the prompt alone and boundary s + 1 the end of step s, what an environment said to it included; a step
    that the row lacks ends where the one before it did. Rows of a prompt share the prefixes that are equal token by token. ``last`` gives the end of the row
    a prefix of its own as well; an end token there is left out.
    """
    end, has = batch["step_end"].tolist(), batch["step_mask"].tolist()
    prompts = token_lists(batch["prompt_tokens"], batch["prompt_mask"])
    said = token_lists(batch["tokens"], batch["attention_mask"])
    chosen = batch["mask"].tolist()
    ended = (batch["terminated"] if "terminated" in batch else torch.zeros(batch.rows, dtype=torch.bool)).tolist()
    tail = policy.encode(suffix) if suffix else []
    group = (batch["group"] if "group" in batch else torch.arange(batch.rows)).tolist()
    numbers: dict[tuple[int, tuple[int, ...], tuple[int, ...]], int] = {}
    rows: list[int] = []
    at = []
    for i, (prompt, answer) in enumerate(zip(prompts, said, strict=True)):
        finish = max((e for e, here in zip(end[i], has[i], strict=True) if here), default=-1)
        places, cut = [], 0
        for s in range(-1, len(end[i])):
            if s >= 0 and has[i][s]:
                cut = end[i][s] + 1
                while cut < len(answer) and not chosen[i][cut]:  # an observation is read before one goes on
                    cut += 1
            if cut > finish and not last:
                places.append(-1)
                continue
            length = len(answer) - 1 if cut == len(answer) and ended[i] and answer else cut
            key = (group[i], tuple(prompt), tuple(answer[: min(cut, length)]))
            if key not in numbers:
                numbers[key] = len(rows)
                rows.append(i)
            places.append(numbers[key])
        at.append(places)
    begun = [[*prefix, *tail] for _, _, prefix in numbers]
    contexts = left_padded([[*prompt, *start] for (_, prompt, _), start in zip(numbers, begun, strict=True)])
    width = len(end[0]) + 1 if end else 1
    return Boundaries(
        contexts,
        torch.tensor(rows, dtype=torch.int64),
        torch.tensor([len(start) for start in begun], dtype=torch.int64),
        begun,
        torch.tensor(at, dtype=torch.int64).reshape(batch.rows, width),
    )


def completed(
    drawn: Rollouts, cuts: Boundaries, copies: int, batch: Rollouts, policy: Policy, max_tokens: int
) -> Rollouts:
    """Continuations as whole completions of their prompts: the prefix stands before what was drawn, cut at ``max_tokens``."""
    begun = [start for start in cuts.begun for _ in range(copies)]
    more = token_lists(drawn["tokens"], drawn["attention_mask"])
    whole = [(start + rest)[:max_tokens] for start, rest in zip(begun, more, strict=True)]
    kept = torch.tensor([len(a) + len(b) <= max_tokens for a, b in zip(begun, more, strict=True)])
    width = max(1, max(map(len, whole), default=1))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in whole], dtype=torch.int64).reshape(-1, width)
    present = torch.arange(width) < torch.tensor([len(row) for row in whole]).reshape(-1, 1)
    texts, spans = policy.read(tokens, present)
    ended = drawn["terminated"].cpu() & kept
    at = cuts.rows.repeat_interleave(copies)
    return Rollouts(
        {
            "completions": texts,
            "prompt_tokens": batch["prompt_tokens"].cpu()[at],
            "prompt_mask": batch["prompt_mask"].cpu()[at],
            "tokens": tokens,
            "attention_mask": present,
            "mask": present.clone(),
            "token_spans": spans.cpu(),
            "terminated": ended,
            "truncated": ~ended,
        }
    )
