"""Sampling in turns: the policy acts, the environment answers, until it is done or the budget is spent.

A row is one sequence of tokens. What the policy said stays as it was drawn, token by token; what the environment said is
encoded and put behind it, present (``attention_mask``) but not chosen (``mask``). Nothing is ever read back into text and
tokenised again, so the log-probabilities of the sampler are those of the tokens that are trained on.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.method import paper
from guerdon.policies.prefixes import Boundaries, boundaries
from guerdon.policies.protocol import Policy, Sampling
from guerdon.quantities import lookup
from guerdon.tasks.environment import NAN, EnvironmentTask, Turn
from guerdon.training.episodes import Episode, Row, begin, play, rollouts_of, started, texts_of


@paper("arXiv:2510.26020")
def sample_turns(
    policy: Policy,
    task: EnvironmentTask,
    columns: dict[str, list[Any]],
    sampling: Sampling,
    copies: int,
    start: int,
    generator: torch.Generator,
    *,
    max_turns: int | None = None,
    forks: int = 1,
) -> Rollouts:
    """``copies`` episodes of each problem in ``columns``, all rows one turn after another.

    With ``forks`` above 1 they part as they go: after each turn an unfinished episode goes on up to so many times, each in
    a copy of its environment, and others of its problem not at all, by chance (`guerdon.training.trees.parents`).

    Makes what `guerdon.training.rollouts.sample` makes, and turn_ids (the turn of each chosen position, -1 elsewhere),
    step_ids (the same), turn_scores and turn_accepted [B, S] (NaN where the row has no such turn), potentials [B, S + 1]
    where the task's environments tell them, ``reasons["environment"]``, and with ``forks`` node_ids [B, S]: rows with the same
    node share all up to the end of that turn.

    ``completions`` hold both sides of the episode. The first observation stands behind the prompt. A turn ends with the
    task's ``turn_end``, with the policy's end token, or with ``task.turn_tokens`` tokens. ``sampling.max_tokens`` bounds
    the whole row, observations included; what was said when it is spent is the last action all the same. A row is
    terminated where the environment is done, or the policy ended and the environment has nothing to say; otherwise it is
    truncated: out of turns, of tokens, or of room for the next observation (which is then left out).

    The copies of a problem start alike, chance included, so they differ by their actions alone. The same generator state
    gives the same rollouts. An environment that raises ends its own row: truncated, its scores NaN, with a reason; a
    reward that reads them is then unscored.

    Raises:
        ValueError: fewer than one copy, turn or fork.

    Reference: PORTool, 2025, https://arxiv.org/abs/2510.26020 (rollout tree).
    """
    max_turns = task.max_turns if max_turns is None else max_turns
    if copies < 1 or max_turns < 1 or forks < 1:
        raise ValueError(f"expected at least one copy, turn and fork, got {copies}, {max_turns} and {forks}")
    prompts, episodes = begin(task, columns, copies)
    context, context_mask = policy.encode_prompts(prompts)
    rows = [
        Row(ids[here], episode)
        for ids, here, episode in zip(
            context.repeat_interleave(copies, 0), context_mask.repeat_interleave(copies, 0), episodes, strict=True
        )
    ]
    play(policy, task, rows, sampling, max_turns, context_mask, generator, copies=copies, forks=forks)
    batch = rollouts_of(policy, rows, prompts, columns, copies, start, context, context_mask, task)
    if forks == 1:
        return batch
    steps = batch["turn_scores"].shape[1]
    return batch.with_(node_ids=torch.tensor([row.nodes + [-1] * (steps - len(row.nodes)) for row in rows]))


def continue_turns(
    policy: Policy,
    task: EnvironmentTask,
    batch: Rollouts,
    sampling: Sampling,
    copies: int,
    generator: torch.Generator,
) -> tuple[Rollouts, Boundaries]:
    """``copies`` ways on from the end of every turn of a batch of episodes, and where each beginning belongs.

    The environment is played again with what the policy said up to there, and forked. Beginnings that are equal token by
    token are continued once. The end of an episode is not continued (-1 in ``at``). Continued rows hold their beginning.
    """
    cuts = boundaries(batch, policy)
    turn_ids, tokens, logp = batch["turn_ids"], batch["tokens"], batch["sampled_logp"]
    columns = {name: value for name, value in batch.data.items() if lookup(name) is None}
    rows: list[Row] = []
    owners = cuts.rows.tolist()
    for i, kept in zip(owners, cuts.kept.tolist(), strict=True):
        said = int(turn_ids[i, :kept].max()) + 1 if kept else 0
        actions = [tokens[i][turn_ids[i] == turn] for turn in range(said)]
        episode, turns = _replayed(
            task, {n: v[i] for n, v in columns.items()}, texts_of(policy, actions) if actions else []
        )
        pieces = _pieces(tokens[i, :kept], logp[i, :kept], turn_ids[i, :kept])
        prompt = batch["prompt_tokens"][i][batch["prompt_mask"][i]]
        live = kept < sampling.max_tokens
        rows += [Row(prompt, episode.fork(), list(pieces), kept, turns=list(turns), live=live) for _ in range(copies)]
    play(policy, task, rows, sampling, task.max_turns, batch["prompt_mask"], generator)
    prompts = [batch["prompts"][i] for i in owners]
    context, mask = batch["prompt_tokens"][cuts.rows], batch["prompt_mask"][cuts.rows]
    own = {name: [value[i] for i in owners] for name, value in columns.items()}
    made = rollouts_of(policy, rows, prompts, own, copies, 0, context, mask, task)
    return made.with_(group=batch["group"][cuts.rows].repeat_interleave(copies)), cuts


def _replayed(task: EnvironmentTask, row: dict[str, Any], actions: Sequence[str]) -> tuple["Episode", list[Turn]]:
    """An episode after these actions, and what each earned."""
    episode, _ = started(task, row)
    return episode, [episode.step(action) or Turn(score=NAN) for action in actions]


def _pieces(tokens: Tensor, logp: Tensor, turn_ids: Tensor) -> list[tuple[Tensor, Tensor, int]]:
    """Runs of tokens of one turn, or of one observation (-1)."""
    ids, counts = turn_ids.unique_consecutive(return_counts=True)
    sizes = counts.tolist()
    return list(zip(tokens.split(sizes), logp.split(sizes), ids.tolist(), strict=True)) if len(tokens) else []


__all__ = ["continue_turns", "sample_turns"]
