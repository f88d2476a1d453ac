"""Rollouts that branch: completions of a prompt share the steps before they part."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.method import paper
from guerdon.policies.prefixes import left_padded, token_lists
from guerdon.policies.protocol import Policy, Prompt, Sampling


@dataclass
class _Path:
    """One completion as far as it goes: tokens, their log-probabilities and steps, and the node of each step."""

    prompt: int
    tokens: list[int] = field(default_factory=list)
    logp: list[float] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    ended: bool = False

    def grown(self, tokens: list[int], logp: list[float], node: int, ended: bool) -> "_Path":
        step = len(self.nodes)
        return _Path(
            self.prompt,
            self.tokens + tokens,
            self.logp + logp,
            self.steps + [step] * len(tokens),
            [*self.nodes, node],
            ended,
        )


@paper("arXiv:2510.26020")
@torch.no_grad()
def sample_tree(
    policy: Policy,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    copies: int,
    generator: torch.Generator,
    *,
    forks: int,
    separator: str | None,
) -> Rollouts:
    """``copies`` completions of each prompt, drawn step by step; after each step an unfinished one may part.

    Each round, every unfinished completion of a prompt proposes ``forks`` next steps, and as many of all the proposals
    are kept, at random, as there are completions still to finish. A step ends with ``separator``. Gives what the
    policy's ``sample`` gives, and ``step_ids`` and ``node_ids``: rows with the same node share all up to the end of that
    step. With ``forks`` of 1 the completions are independent.

    Reference: PORTool, 2025, https://arxiv.org/abs/2510.26020 (rollout tree).
    """
    if separator is None:
        raise ValueError("expected a task whose steps are separated, to branch between steps, got none")
    ids, mask = policy.encode_prompts(prompts)
    asked = token_lists(ids, mask)
    by_step = replace(sampling, stop=(*sampling.stop, separator))
    live = [_Path(i) for i in range(len(asked)) for _ in range(copies)]
    done: list[_Path] = []
    count = 0
    while live:
        wide = forks if count else 1  # the first step is drawn once for each completion
        contexts = left_padded([asked[path.prompt] + path.tokens for path in live])
        room = sampling.max_tokens - min(len(path.tokens) for path in live)
        drawn = policy.extend(*contexts, replace(by_step, max_tokens=room), copies=wide, generator=generator)
        proposals = []
        said = token_lists(drawn["tokens"], drawn["attention_mask"])
        for k, (path, tokens) in enumerate(zip([p for p in live for _ in range(wide)], said, strict=True)):
            tokens = tokens[: sampling.max_tokens - len(path.tokens)]
            text = drawn["completions"][k]
            own = any(stop in text for stop in sampling.stop) or not text.endswith(separator)
            whole = len(tokens) == len(said[k])
            ended = bool(drawn["terminated"][k]) and own and whole
            grown = path.grown(tokens, drawn["sampled_logp"][k][: len(tokens)].tolist(), count, ended)
            count += 1
            proposals.append((grown, ended or len(grown.tokens) >= sampling.max_tokens or not whole))
        kept = _keep(proposals, [p.prompt for p in live], wide, generator)
        done += [path for path, finished in kept if finished]
        live = [path for path, finished in kept if not finished]
    done.sort(key=lambda path: path.prompt)  # stable: the order of finishing within a prompt
    return _batch(done, ids, mask, policy).with_(prompts=[prompts[path.prompt] for path in done])


def _keep(
    proposals: list[tuple[_Path, bool]], owners: list[int], wide: int, generator: torch.Generator
) -> list[tuple[_Path, bool]]:
    """Of each prompt's proposals as many as it has unfinished completions, at random."""
    if wide == 1:
        return proposals
    order = torch.randperm(len(proposals), generator=generator).tolist()
    wanted: dict[int, int] = {}
    for owner in owners:
        wanted[owner] = wanted.get(owner, 0) + 1
    kept = []
    for k in order:
        owner = proposals[k][0].prompt
        if wanted[owner] > 0:
            wanted[owner] -= 1
            kept.append(k)
    return [proposals[k] for k in sorted(kept)]


def _batch(paths: list[_Path], ids: Tensor, mask: Tensor, policy: Policy) -> Rollouts:
    width = max(1, max((len(p.tokens) for p in paths), default=1))
    depth = max(1, max((len(p.nodes) for p in paths), default=1))
    owner = torch.tensor([p.prompt for p in paths], dtype=torch.int64)
    present = torch.arange(width) < torch.tensor([len(p.tokens) for p in paths]).reshape(-1, 1)

    def table(rows: list[list[Any]], size: int, fill: float, dtype: torch.dtype) -> Tensor:
        return torch.tensor([row + [fill] * (size - len(row)) for row in rows], dtype=dtype).reshape(-1, size)

    tokens = table([p.tokens for p in paths], width, 0, torch.int64)
    texts, spans = policy.read(tokens, present)
    ended = torch.tensor([p.ended for p in paths])
    return Rollouts(
        {
            "completions": texts,
            "prompt_tokens": ids[owner],
            "prompt_mask": mask[owner],
            "tokens": tokens,
            "attention_mask": present,
            "mask": present.clone(),
            "token_spans": spans,
            "terminated": ended,
            "truncated": ~ended,
            "sampled_logp": table([p.logp for p in paths], width, 0.0, torch.float32),
            "step_ids": table([p.steps for p in paths], width, -1, torch.int64),
            "node_ids": table([p.nodes for p in paths], depth, -1, torch.int64),
        }
    )
