"""A recipe's rewards in verifiers: a reward of a task, or of its configuration.

    import verifiers.v1 as vf
    from guerdon.adapters.verifiers import reward

    class Sums(vf.Task[SumData]):
        recipe = reward("my.toml")

or, without a line of code in the task, as a plugged function ``(task, trace)`` under ``rewards`` of its configuration. verifiers
scores one trace at a time: no stage may look at a group. Each part is a metric of the trace. Written against verifiers 0.4.0
(`verifiers/v1/task.py: Task.score`, `trace.py`, `graph.py`).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import torch

from guerdon.adapters.data import rollouts_of
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.scoring import Scorer, numbers, scored
from guerdon.batch import Rollouts

STRUCTURE = frozenset({"turn_ids", "turn_scores"})
"""What the rows of traces carry."""


def reward(recipe: Any, *, weight: float = 1.0, unscored: float | None = None) -> Callable[..., Any]:
    """A reward function of verifiers, marked as ``@vf.reward`` marks one.

    Args:
        recipe: as for `guerdon.recipe.load`; fields of the task's data are its columns.
        weight: of this reward in the trace's.
        unscored: reward of a trace that nothing scored; None: an error, which takes the trace out of training.

    Raises:
        RecipeError: unreadable; what cannot run there is refused at the first trace, when the task's fields are known.
    """
    import verifiers.v1 as vf  # pyright: ignore[reportMissingImports]

    scorer = Scorer(HOSTS["verifiers"], recipe, structure=STRUCTURE - {"turn_scores"})

    async def recipe_reward(task: Any, trace: Any) -> float:
        """What the recipe gives the trace; ``task`` is the task, or its data where the function is plugged in."""
        outcome = await asyncio.to_thread(lambda: scorer.run(rows_of([trace]).without("turn_scores")))
        for name, part in outcome.batch.get("parts", {}).items():
            (value,) = numbers(part)
            if value is not None:
                trace.record_metric(f"guerdon/{name}", value)
        return scored(outcome, unscored)[0]

    return vf.reward(recipe_reward, weight=weight)


def rows_of(traces: Sequence[Any], group: Sequence[int] | None = None) -> Rollouts:
    """Traces of verifiers as rows.

    A row is what follows the prompt: the tokens of every message from the first that the policy sampled, in the order of the
    trace (branches one after another); a turn is a sampled message, and the trace's reward is paid after the last one. The
    completion is the trace's last reply.

    Args:
        traces: of one task or several, with a field of the task's data for each column.
        group: which rows are compared; by default each is alone.

    Raises:
        ValueError: a trace without a sampled token (a client that returns none).
    """
    rows = [_positions(trace) for trace in traces]
    width = max(len(row["tokens"]) for row in rows)

    def table(name: str, dtype: torch.dtype, padding: float = 0) -> torch.Tensor:
        return torch.tensor([row[name] + [padding] * (width - len(row[name])) for row in rows], dtype=dtype)

    turns = table("turn_ids", torch.int64, -1)
    scores = torch.full((len(rows), int(turns.max()) + 1), torch.nan)
    last = turns.amax(-1)
    scores[torch.arange(len(rows)), last] = torch.tensor([float(trace.reward) for trace in traces])
    logp = table("logp", torch.float32)
    return rollouts_of(
        prompts=[row["prompt"] for row in rows],
        tokens=table("tokens", torch.int64),
        present=table("present", torch.bool),
        chosen=table("mask", torch.bool),
        group=torch.tensor(range(len(rows)) if group is None else group),
        terminated=torch.tensor([not trace.is_truncated for trace in traces]),
        completions=[trace.last_reply for trace in traces],
        columns=_columns(traces),
        turn_ids=turns,
        turn_scores=scores,
        sampled_logp=logp,
        old_logp=logp,
    )


def _positions(trace: Any) -> dict[str, Any]:
    first = next((i for i, node in enumerate(trace.nodes) if any(node.mask)), None)
    if first is None:
        raise ValueError(
            f"expected sampled tokens in the trace {trace.id}, got none; use a client that returns token ids and log-probabilities"
        )
    row: dict[str, Any] = {"tokens": [], "mask": [], "logp": [], "turn_ids": []}
    turn = -1
    for node in trace.nodes[first:]:
        sampled = iter(node.logprobs)
        turn += any(node.mask)
        row["tokens"] += node.token_ids
        row["mask"] += node.mask
        row["logp"] += [next(sampled, 0.0) if chosen else 0.0 for chosen in node.mask]
        row["turn_ids"] += [turn if chosen else -1 for chosen in node.mask]
    row["present"] = [True] * len(row["tokens"])
    row["prompt"] = [node.message.model_dump(exclude_none=True) for node in trace.nodes[:first]]
    return row


def _columns(traces: Sequence[Any]) -> dict[str, list[Any]]:
    """Fields of the tasks' data besides those that every task of verifiers has."""
    import verifiers.v1 as vf  # pyright: ignore[reportMissingImports]

    own = [
        {k: v for k, v in trace.task.data.model_dump().items() if k not in vf.TaskData.model_fields} for trace in traces
    ]
    shared = set.intersection(*(set(fields) for fields in own))
    return {name: [fields[name] for fields in own] for name in sorted(shared)}
