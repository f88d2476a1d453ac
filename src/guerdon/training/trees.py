"""Rollouts that branch: completions of a prompt share what stands before they part, steps or any beginning."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.method import paper
from guerdon.policies.prefixes import left_padded, token_lists
from guerdon.policies.protocol import Policy, Prompt, Sampling
from guerdon.shaping import entropy_threshold, window_entropy, word_starts


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

    def before(self, place: int) -> "_Path":
        """The steps that end at or before ``place``, as a path that has not ended."""
        steps = self.steps[:place]
        return _Path(
            self.prompt, self.tokens[:place], self.logp[:place], steps, self.nodes[: max(steps, default=-1) + 1]
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

    Each round, `parents` says which of a prompt's unfinished completions go on, up to ``forks`` times each, so that as
    many are drawn as there are still to finish. A step ends with ``separator``. Gives what the
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
        if count:  # the first step is drawn once for each completion
            live = [live[k] for k in parents([path.prompt for path in live], forks, generator)]
        contexts = left_padded([asked[path.prompt] + path.tokens for path in live])
        room = sampling.max_tokens - min(len(path.tokens) for path in live)
        drawn = policy.extend(*contexts, replace(by_step, max_tokens=room), copies=1, generator=generator)
        said = token_lists(drawn["tokens"], drawn["attention_mask"])
        on = []
        for k, path in enumerate(live):
            tokens = said[k][: sampling.max_tokens - len(path.tokens)]
            text = drawn["completions"][k]
            own = any(stop in text for stop in sampling.stop) or not text.endswith(separator)
            whole = len(tokens) == len(said[k])
            ended = bool(drawn["terminated"][k]) and own and whole
            grown = path.grown(tokens, drawn["sampled_logp"][k][: len(tokens)].tolist(), count, ended)
            count += 1
            finished = ended or len(grown.tokens) >= sampling.max_tokens or not whole
            (done if finished else on).append(grown)
        live = on
    done.sort(key=lambda path: path.prompt)  # stable: the order of finishing within a prompt
    return _batch(done, ids, mask, policy).with_(prompts=[prompts[path.prompt] for path in done])


def parents(owners: Sequence[int], forks: int, generator: torch.Generator) -> list[int]:
    """Which unfinished completions go on, by number, each up to ``forks`` times; ``owners`` says to which prompt each belongs.

    Each proposes ``forks`` ways on, and of all the proposals of a prompt as many are kept, at random, as it has unfinished
    completions. Chance does not look at what is proposed, so it may as well decide before anything is drawn.
    """
    if forks == 1:
        return list(range(len(owners)))
    wanted = Counter(owners)
    kept = []
    for k in torch.randperm(len(owners) * forks, generator=generator).tolist():
        owner = owners[k // forks]
        if wanted[owner] > 0:
            wanted[owner] -= 1
            kept.append(k // forks)
    return sorted(kept)


@paper("arXiv:2510.08457")
@torch.no_grad()
def sample_branches(
    policy: Policy,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    copies: int,
    generator: torch.Generator,
    *,
    entropy_of: Callable[[Rollouts], Tensor],
    share: float,
    width: int = 4,
    quantile: float = 0.95,
    words: Sequence[str] = (),
) -> Rollouts:
    """``copies`` completions of each prompt, of which a share branches off the others where those were most undecided.

    First ``copies - round(share * copies)`` completions of each prompt are drawn as always. Then a prompt's budget of
    branches goes to the positions of its completions behind which a window of ``width`` positions has the highest mean
    entropy, and at least the threshold: the median over all rows of each row's ``quantile``. What stands up to there is
    kept, the rest is drawn anew. Points of one row are at least ``width`` apart, and equal beginnings are one point. Where
    ``words`` are given, only positions where one of them starts count. What is left of a budget, because a prompt has fewer
    such positions, is drawn from the prompt alone: a prompt that nobody wonders about gets no branches.

    Gives what the policy's ``sample`` gives, and ``step_ids`` and ``node_ids``: a step is what lies between two branching
    points of its row, and rows with the same node share all up to the end of that step. Branches are no independent draws of
    the policy, for their beginnings were chosen by what followed.

    Args:
        entropy_of: entropies [R, T] of completions, 0 where ``mask`` is not.
        share: of the completions of a prompt, below 1.

    Reference: Chen et al., ARES, 2025, https://arxiv.org/abs/2510.08457, whose text has branches at windows of high entropy
    and whose released code has none: how many branches there are and how points are chosen is ours.
    """
    branches = min(round(share * copies), copies - 1)
    whole = policy.sample(prompts, sampling, copies=copies - branches, generator=generator).to("cpu")
    windows = window_entropy(entropy_of(whole), whole["mask"], width=width)
    tau = entropy_threshold(windows, quantile=quantile)
    if words:
        starts = word_starts(whole["completions"], whole["token_spans"], words=words)
        windows = torch.where(starts, windows, torch.nan)
    said = token_lists(whole["tokens"], whole["attention_mask"])
    points = _branching_points(
        torch.where(windows >= tau, windows, torch.nan), said, copies - branches, branches, width
    )
    ids, mask = policy.encode_prompts(prompts)
    paths = _cut(whole, said, points, copies - branches)
    begun = [paths[row].before(place) for row, place in points]
    begun += [_Path(i) for i in range(len(prompts)) for _ in range(branches - sum(p.prompt == i for p in begun))]
    if begun:
        asked = token_lists(ids, mask)
        contexts = left_padded([asked[path.prompt] + path.tokens for path in begun])
        room = sampling.max_tokens - min(len(path.tokens) for path in begun)
        drawn = policy.extend(*contexts, replace(sampling, max_tokens=room), copies=1, generator=generator)
        node = sum(len(path.nodes) for path in paths)
        more = token_lists(drawn["tokens"], drawn["attention_mask"])
        for k, (path, tokens) in enumerate(zip(begun, more, strict=True)):
            kept = tokens[: sampling.max_tokens - len(path.tokens)]
            ended = bool(drawn["terminated"][k]) and len(kept) == len(tokens)
            paths.append(path.grown(kept, drawn["sampled_logp"][k][: len(kept)].tolist(), node + k, ended))
    paths.sort(key=lambda path: path.prompt)
    return _batch(paths, ids, mask, policy).with_(prompts=[prompts[path.prompt] for path in paths])


def _branching_points(
    windows: Tensor, said: list[list[int]], copies: int, budget: int, width: int
) -> list[tuple[int, int]]:
    """Rows and lengths of the beginnings that are continued anew; candidates are where ``windows`` is not NaN."""
    rows, places = (~windows.isnan()).nonzero(as_tuple=True)
    order = windows[rows, places].argsort(descending=True, stable=True)
    points: list[tuple[int, int]] = []
    of_row: dict[int, list[int]] = {}
    of_prompt: dict[int, set[tuple[int, ...]]] = {}
    for row, place in zip(rows[order].tolist(), (places[order] + 1).tolist(), strict=True):
        begun, near = of_prompt.setdefault(row // copies, set()), of_row.setdefault(row, [])
        if len(begun) >= budget or any(abs(place - other) < width for other in near):
            continue
        start = tuple(said[row][:place])
        if start not in begun:
            begun.add(start)
            near.append(place)
            points.append((row, place))
    return points


def _cut(whole: Rollouts, said: list[list[int]], points: list[tuple[int, int]], copies: int) -> list[_Path]:
    """The rows as paths whose steps end where something branches off."""
    paths, node = [], 0
    for row, tokens in enumerate(said):
        path = _Path(row // copies)
        cuts = sorted(place for at, place in points if at == row)
        logp = whole["sampled_logp"][row][: len(tokens)].tolist()
        for begin, end in pairwise([0, *cuts, len(tokens)]):
            path = path.grown(tokens[begin:end], logp[begin:end], node, bool(whole["terminated"][row]))
            node += 1
        paths.append(path)
    return paths


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
