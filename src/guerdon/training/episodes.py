"""Episodes as they grow: what the policy says and the environment answers, row by row, and the batch that they make."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Policy, Prompt, Sampling
from guerdon.recipe import RecipeError
from guerdon.signals.scores import FAILED
from guerdon.tasks.environment import NAN, EnvironmentTask, TextEnvironment, Turn, finite
from guerdon.tasks.protocol import Task
from guerdon.training.trees import parents

Made = TypeVar("Made")
REASON = "environment"
"""The key under which ``reasons`` tells why a row's environment failed."""


def turn_structure(task: Task) -> set[str]:
    """What the rollouts of a task carry besides the usual: the ``structure`` of `guerdon.pipeline.compile_recipe`.

    Raises:
        RecipeError: a task with an environment, but without its further attributes.
    """
    if not isinstance(task, EnvironmentTask):
        if hasattr(task, "environment"):
            raise RecipeError(
                f"task: expected {type(task).__name__}, which has an environment, to have turn_end and max_turns as well, "
                "got none; add both (guerdon.tasks.environment.EnvironmentTask)"
            )
        return set()
    told = {"potentials"} if getattr(task, "potentials", False) else set()
    return {"turn_ids", "turn_scores", "turn_accepted", *told}


@dataclass
class Row:
    """One episode as it grows."""

    prompt: Tensor
    episode: "Episode"
    pieces: list[tuple[Tensor, Tensor, int]] = field(default_factory=list)
    """Token ids, log-probabilities (0 for observations), and the turn (-1 for observations)."""
    length: int = 0
    said: list[Tensor] = field(default_factory=list)
    """Tokens of the turn at hand."""
    ended: bool = False
    """The sampler ended the turn at hand (end token or stop string)."""
    turns: list[Turn] = field(default_factory=list)
    nodes: list[int] = field(default_factory=list)
    """A number for each turn, the same in the rows that share it."""
    live: bool = True
    terminated: bool = False
    reason: str | None = None

    def __post_init__(self):
        self.reason = self.episode.reason

    @property
    def context(self) -> Tensor:
        """Prompt and all that was said since."""
        return torch.cat([self.prompt, *[ids for ids, _, _ in self.pieces]])

    def fork(self) -> "Row":
        """A row of its own that has come as far, between two turns."""
        return replace(
            self,
            episode=self.episode.fork(),
            pieces=list(self.pieces),
            said=[],
            turns=list(self.turns),
            nodes=list(self.nodes),
        )

    def say(self, ids: Tensor, logp: Tensor, turn: int) -> None:
        """Put tokens behind the row."""
        self.pieces.append((ids, logp, turn))
        self.length += len(ids)

    def act(self, text: str, policy: Policy, sampling: Sampling, stop: Sequence[str]) -> None:
        """Hand the action to the environment, and put its answer behind the row."""
        last, self.said = self.said[-1][-1:], []
        answer = self.episode.step(text)
        self.reason = self.episode.reason
        if answer is None:
            self.live = False
            self.turns.append(Turn(score=NAN))
            return
        self.turns.append(answer)
        quiet = self.ended and not any(s in text for s in stop) and not answer.observation
        self.terminated = answer.done or quiet
        self.live = not self.terminated and self.length < sampling.max_tokens
        if not self.live or not answer.observation:
            return
        try:
            ids = policy.encode_observation(answer.observation)
        except ValueError as error:
            self.live, self.reason = False, f"{FAILED}{error}"
            return
        if self.ended and ids[:1] == last.tolist() and not any(s in text for s in stop):
            ids = ids[1:]  # the end token that the policy said itself is the one that a chat template would write
        if self.length + len(ids) >= sampling.max_tokens:
            self.live = False
            return
        told = torch.tensor(ids, dtype=torch.long, device=self.prompt.device)
        self.say(told, torch.zeros(len(ids), device=told.device), -1)


class Episode:
    """An environment whose failures are values: a step of one that raised gives None, and ``reason`` says why."""

    def __init__(self, environment: TextEnvironment | None, reason: str | None = None):
        self.environment, self.reason = environment, reason
        self.first = NAN

    def step(self, action: str) -> Turn | None:
        return self.attempt(lambda environment: _checked(environment.step(action)))

    def fork(self) -> "Episode":
        """The episode as it stands, in a copy of its own."""
        other = Episode(self.environment, self.reason)
        other.first = self.first
        other.environment = other.attempt(lambda environment: environment.fork())
        return other

    def attempt(self, call: Callable[..., Made], *given: Any) -> Made | None:
        """What ``call`` makes, of the environment unless something else is given; None where that raises or has raised."""
        if self.reason is not None:
            return None
        try:
            return call(*given or (self.environment,))
        except Exception as error:  # noqa: BLE001  somebody else's code may raise anything; its row tells, not the run
            self.environment, self.reason = None, f"{FAILED}{type(error).__name__}: {error}"[:300]
            return None


def _checked(made: Any) -> Turn:
    if not isinstance(made, Turn):
        raise TypeError(f"expected step to give a Turn, got {type(made).__name__}")
    return replace(made, score=finite(made.score), potential=finite(made.potential))


def started(task: EnvironmentTask, row: dict[str, Any]) -> tuple[Episode, str]:
    """A problem's episode from its start, and the first observation."""
    episode = Episode(None)
    episode.environment = episode.attempt(task.environment, row)
    first = episode.attempt(lambda environment: environment.reset())
    told = episode.attempt(lambda environment: finite(getattr(environment, "potential", NAN)))
    episode.first = NAN if told is None else told
    return episode, first or ""


def begin(task: EnvironmentTask, columns: dict[str, list[Any]], copies: int) -> tuple[list[Prompt], list[Episode]]:
    """Prompts with their first observation, and ``copies`` episodes of each that start alike."""
    prompts: list[Prompt] = []
    episodes: list[Episode] = []
    for i, prompt in enumerate(columns["prompts"]):
        episode, first = started(task, {name: values[i] for name, values in columns.items()})
        prompts.append(_with_first(prompt, first))
        own = [*(episode.fork() for _ in range(copies - 1)), episode]
        episode.reason = next((e.reason for e in own if e.reason), None)  # what cannot be copied plays no copy
        episodes += own
    return prompts, episodes


def _with_first(prompt: Prompt, observation: str) -> Prompt:
    if not observation:
        return prompt
    if isinstance(prompt, str):
        return prompt + observation
    if prompt and prompt[-1]["role"] == "user":
        return [*prompt[:-1], {**prompt[-1], "content": prompt[-1]["content"] + observation}]
    return [*prompt, {"role": "user", "content": observation}]


def play(
    policy: Policy,
    task: EnvironmentTask,
    rows: list[Row],
    sampling: Sampling,
    max_turns: int,
    prompt_mask: Tensor,
    generator: torch.Generator,
    *,
    copies: int = 1,
    forks: int = 1,
) -> None:
    """Let every row go on to its end, in place.

    ``copies`` adjacent rows are those of one problem. With ``forks`` above 1 they part after each turn: each unfinished one
    goes on up to so many times, or not at all, so that there are as many of them as before (`trees.parents`).
    """
    stop = (*sampling.stop, *([task.turn_end] if task.turn_end and task.turn_end not in sampling.stop else []))
    sampling = replace(sampling, stop=stop)
    cap = getattr(task, "turn_tokens", None) or sampling.max_tokens
    count = 0
    while places := [i for i, row in enumerate(rows) if row.live and len(row.turns) < max_turns]:
        live = [rows[i] for i in places]
        if count and forks > 1:
            live = _parted(live, parents([i // copies for i in places], forks, generator))
        for i, row in zip(places, live, strict=True):
            rows[i] = row
            row.nodes.append(count)
            count += 1
        _speak(policy, live, sampling, cap, prompt_mask, generator)
        for row, text in zip(live, texts_of(policy, [torch.cat(row.said) for row in live]), strict=True):
            row.act(text, policy, sampling, stop)


def _parted(rows: list[Row], chosen: list[int]) -> list[Row]:
    """The chosen rows; one that is chosen again is copied."""
    again = [k in chosen[:i] for i, k in enumerate(chosen)]
    return [rows[k].fork() if copied else rows[k] for k, copied in zip(chosen, again, strict=True)]


def _speak(
    policy: Policy,
    rows: list[Row],
    sampling: Sampling,
    cap: int,
    prompt_mask: Tensor,
    generator: torch.Generator,
) -> None:
    """Let every row say one action, within what is left to each.

    No context grows past the longest prompt and ``max_tokens`` together, which is what a model has to have room for; so
    where rows are of uneven length, a turn may take several calls.
    """
    longest = int(prompt_mask.sum(-1).max()) + sampling.max_tokens
    turn = {id(row): len(row.turns) for row in rows}
    room = {id(row): min(cap, sampling.max_tokens - row.length) for row in rows}
    while rows:
        contexts = [row.context for row in rows]
        width = max(map(len, contexts))
        most = min(max(room[id(row)] for row in rows), longest - width)
        ids = torch.stack([torch.nn.functional.pad(c, (width - len(c), 0)) for c in contexts])
        lengths = torch.tensor([len(c) for c in contexts], device=ids.device)
        present = torch.arange(width, device=ids.device) >= width - lengths[:, None]
        drawn = policy.extend(ids, present, replace(sampling, max_tokens=most), generator=generator)
        counts = drawn["lengths"].tolist()
        ends = drawn["terminated"].tolist()
        on: list[Row] = []
        for i, row in enumerate(rows):
            count = min(counts[i], room[id(row)])
            tokens, logp = drawn["tokens"][i, :count], drawn["sampled_logp"][i, :count]
            row.said.append(tokens)
            row.say(tokens, logp, turn[id(row)])
            room[id(row)] -= count
            row.ended = ends[i] and count == counts[i]
            if not row.ended and room[id(row)] > 0:
                on.append(row)
        rows = on


def texts_of(policy: Policy, said: list[Tensor]) -> list[str]:
    width = max(map(len, said))
    tokens = torch.stack([torch.nn.functional.pad(ids, (0, width - len(ids))) for ids in said])
    lengths = torch.tensor([len(ids) for ids in said], device=tokens.device)
    return policy.read(tokens, torch.arange(width, device=tokens.device) < lengths[:, None])[0]


def rollouts_of(
    policy: Policy,
    rows: list[Row],
    prompts: list[Prompt],
    columns: dict[str, list[Any]],
    copies: int,
    start: int,
    context: Tensor,
    context_mask: Tensor,
    task: EnvironmentTask,
) -> Rollouts:
    device = context.device
    width = max(row.length for row in rows)
    steps = max(len(row.turns) for row in rows)

    def padded(rows: list[Tensor], blank: float) -> Tensor:
        return torch.stack([torch.nn.functional.pad(x, (0, width - len(x)), value=blank) for x in rows])

    turn_ids = padded([torch.cat([torch.full_like(ids, turn) for ids, _, turn in row.pieces]) for row in rows], -1)
    lengths = torch.tensor([row.length for row in rows], device=device)
    present = torch.arange(width, device=device) < lengths[:, None]
    tokens = padded([torch.cat([ids for ids, _, _ in row.pieces]) for row in rows], 0)
    texts, spans = policy.read(tokens, present)
    failed = [row.reason is not None for row in rows]
    terminated = torch.tensor([row.terminated for row in rows], device=device)

    def scores(of: Any) -> Tensor:
        told = [[NAN if bad else of(t) for t in row.turns] for row, bad in zip(rows, failed, strict=True)]
        return torch.tensor([[*t, *[NAN] * (steps - len(t))] for t in told], dtype=torch.float32)

    made: dict[str, Any] = {
        "prompts": [prompt for prompt in prompts for _ in range(copies)],
        "completions": texts,
        "prompt_tokens": context.repeat_interleave(copies, 0),
        "prompt_mask": context_mask.repeat_interleave(copies, 0),
        "tokens": tokens,
        "attention_mask": present,
        "mask": turn_ids >= 0,
        "token_spans": spans,
        "terminated": terminated,
        "truncated": ~terminated,
        "sampled_logp": padded([torch.cat([logp for _, logp, _ in row.pieces]) for row in rows], 0.0),
        "turn_ids": turn_ids,
        "step_ids": turn_ids.clone(),
        "turn_scores": scores(lambda turn: turn.score),
        "turn_accepted": scores(lambda turn: float(turn.accepted)),
        "reasons": {REASON: [row.reason for row in rows]},
    }
    if "potentials" in turn_structure(task):
        first = [NAN if bad else row.episode.first for row, bad in zip(rows, failed, strict=True)]
        made["potentials"] = torch.cat(
            [torch.tensor(first, dtype=torch.float32)[:, None], scores(lambda turn: turn.potential)], 1
        )
    repeated = {
        name: [v for v in values for _ in range(copies)] for name, values in columns.items() if name != "prompts"
    }
    groups = torch.arange(start, start + len(prompts)).repeat_interleave(copies)
    return Rollouts({**made, "group": groups, **repeated})
