"""A recipe cut in two for verl, and what travels between the halves.

verl scores completions one by one while others are still being drawn, and makes advantages of a whole batch later, in
another process. A recipe is therefore cut: what looks at one row runs in the reward manager (``Cut.early``), the rest
where the whole batch is (``Cut.late``). Between them verl carries a number and a dictionary per row; `pack` writes what
the first half made into one string of it, `unpack` reads a batch of them. Nothing here imports verl.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from guerdon.adapters.hosts import HOSTS, compile_for
from guerdon.batch import Rollouts
from guerdon.credit.levels import place_rewards
from guerdon.method import find
from guerdon.pipeline import BoundStage, Pipeline
from guerdon.pipeline.extra import ancestors
from guerdon.quantities import lookup
from guerdon.recipe import Recipe, RecipeError, load

RECIPE = "GUERDON_RECIPE"
"""The environment variable that names the recipe: verl gives its loss functions no setting of one's own."""
RECORD = "guerdon"
"""The key of reward_extra_info under which the first half's record travels."""
TRAINERS = "sync", "colocate_async", "separate_async"

_OF_A_ROW = {"prompts", "completions", "tokens", "token_spans", "attention_mask", "terminated", "truncated"}
_OF_A_ROW |= {"parts", "step_parts", "token_parts", "part_weights", "rewards", "correct", "reasons"}
OF_THE_MASK = {"mask", "lengths", "step_ids", "step_mask", "step_end"}
"""Also a row's own, but verl's reward manager is not told which positions a tool wrote."""
_OF_AN_ESTIMATOR = {"rewards", "token_rewards", "mask", "group", "lengths"}
_SIGNALLED = "parts", "step_parts", "token_parts"


@dataclass(frozen=True, eq=False)
class Cut:
    """A compiled recipe in two halves.

    Attributes:
        early: stages that look at one row: signals, and what makes ``rewards`` of them.
        late: stages for the whole batch; a superset of the shaping in ``early``, which costs nothing to repeat.
        rewards: whether ``early`` makes ``rewards``.
        separator: what separates the steps of a completion; None: it has none.
    """

    pipeline: Pipeline
    early: tuple[BoundStage, ...]
    late: tuple[BoundStage, ...]
    rewards: bool
    separator: str | None

    def credit_of_rewards(self) -> tuple[BoundStage, ...]:
        """The stages that make credit of ``rewards`` alone: all that an estimator of verl can run.

        Raises:
            RecipeError: one of them reads what an estimator is not given.
        """
        there = set(_OF_AN_ESTIMATOR)
        stages = tuple(s for s in self.late if s not in self.early)
        advice = f"set trainer.v1.trainer_mode to guerdon_{TRAINERS[0]}, which hands it over"
        if not self.rewards:
            raise RecipeError(f"expected rewards made row by row for an estimator of verl, got none; {advice}")
        for stage in stages:
            lacking = [r for r in stage.reads if r not in there]
            if lacking:
                raise RecipeError(f"{stage.place}: takes {lacking[0]}, which verl gives no estimator; {advice}")
            there |= set(stage.makes)
        return stages


def recipe_name() -> str:
    """Where the recipe is.

    Raises:
        RecipeError: the environment variable is not set.
    """
    name = os.environ.get(RECIPE)
    if not name:
        raise RecipeError(
            f"expected the path of a recipe in the environment variable {RECIPE}, got none; export it before verl "
            f"starts (on a cluster: +ray_kwargs.ray_init.runtime_env.env_vars.{RECIPE}=PATH, a path on every node)"
        )
    return name


def cut(
    recipe: Recipe | Mapping[str, Any] | str | None = None, *, columns: Iterable[str] | None = None, tools: bool = False
) -> Cut:
    """Compile a recipe for verl and cut it; by default the one that the environment names.

    Args:
        columns: of the data set; by default all that the signals ask for are taken to be there.
        tools: responses may hold what tools wrote; what asks which positions the policy chose then waits for the batch.
    """
    loaded = load(recipe_name() if recipe is None else recipe)
    return _cut(loaded.model_dump_json(exclude_unset=True), frozenset(columns) if columns is not None else None, tools)


def writes_tools(config: Any) -> bool:
    """Whether tools may write into responses, by verl's configuration."""
    return bool(config.actor_rollout_ref.rollout.multi_turn.enable)


@cache
def _cut(recipe: str, columns: frozenset[str] | None, tools: bool) -> Cut:
    loaded = load(json.loads(recipe))
    separator = None if loaded.task is None else loaded.task.options.get("separator")
    known = _asked(loaded) if columns is None else columns
    pipeline = compile_for(HOSTS["verl"], loaded, columns=known, steps=separator is not None)
    counted = [s for s in pipeline.stages if "counts" in s.makes]
    if counted:
        raise RecipeError(f"{counted[0].place}: makes counts, but verl trains on each row once; weigh rows instead")
    there = _OF_A_ROW | (set() if tools else OF_THE_MASK)
    shaping = ancestors(list(pipeline.stages), {"rewards"})
    early: list[BoundStage] = []
    blocked = False
    for stage in pipeline.stages:
        of_a_row = stage.instance is None and all(lookup(r) is None or r.split(".")[0] in there for r in stage.needs)
        if of_a_row and (stage.kind == "reward" or (stage in shaping and not blocked)):
            early.append(stage)
        elif stage in shaping:
            blocked = True
    late = tuple(s for s in pipeline.stages if s.kind != "reward" or s not in early)
    return Cut(pipeline, tuple(early), late, any("rewards" in s.makes for s in early), separator)


def _asked(recipe: Recipe) -> set[str]:
    """Columns that the signals name."""
    names = {r.take.get(t.name, t.name) for r in recipe.reward for t in find(r.use).takes}
    return {n for n in names if lookup(n) is None}


# what travels ------------------------------------------------------------------------------------------------------


def pack(batch: Rollouts) -> dict[str, Any]:
    """What the signals made of one row, as verl's reward_extra_info: the same keys for every row of a recipe.

    Each part by its name (NaN: unscored) and ``NAME_scored`` (1 or 0); ``acc``, which verl takes for validation, where
    the row was verified or might have been; and ``guerdon``, a string with all of it, steps and positions included.
    """
    record: dict[str, Any] = {name: {k: v[0].tolist() for k, v in batch.get(name, {}).items()} for name in _SIGNALLED}
    record["correct"] = batch["correct"][0].item() if "correct" in batch else None
    record["reasons"] = {k: v[0] for k, v in batch.get("reasons", {}).items()}
    info: dict[str, Any] = {RECORD: json.dumps(record)}
    for name, value in record["parts"].items():
        info |= {name: value, f"{name}_scored": int(value == value)}
    if record["correct"] is not None:
        info["acc"] = record["correct"]
    return info


def unpack(infos: Sequence[Mapping[str, Any]], width: int) -> dict[str, Any]:
    """Quantities of the rows whose reward_extra_info these are; T = ``width``. A row without a record is unscored."""
    records = [json.loads(info[RECORD]) if RECORD in info else {} for info in infos]
    made: dict[str, Any] = {}
    nan = float("nan")
    for name in _SIGNALLED:
        keys = dict.fromkeys(k for r in records for k in r.get(name, {}))
        for key in keys:
            rows = [r.get(name, {}).get(key, nan if name == "parts" else []) for r in records]
            if name == "parts":
                value = torch.tensor(rows, dtype=torch.float32)
            else:
                value = pad_sequence([torch.tensor(r, dtype=torch.float32) for r in rows], True, nan)
            if name == "token_parts":
                value = torch.nn.functional.pad(value, (0, width - value.shape[1]), value=nan)
            made.setdefault(name, {})[key] = value
    if any(r.get("correct") is not None for r in records):
        found = [r.get("correct") for r in records]
        made["correct"] = torch.tensor([nan if c is None else c for c in found], dtype=torch.float32)
    labels = dict.fromkeys(k for r in records for k in r.get("reasons", {}))
    made["reasons"] = {k: [r.get("reasons", {}).get(k, "not asked") for r in records] for k in labels}
    return made


def columns_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one row of verl's data set: its own, those inside ``extra_info``, and ``ground_truth``."""
    extra, model = fields.get("extra_info"), fields.get("reward_model")
    found = {**(extra if isinstance(extra, Mapping) else {}), **fields}
    if isinstance(model, Mapping):
        found.setdefault("ground_truth", model.get("ground_truth"))
    return {k: v for k, v in found.items() if lookup(k) is None and "." not in k}


def ended(tokens: Tensor, present: Tensor, stop: Iterable[int | None], limit: int) -> Tensor:
    """Whether a response ended by itself [B]: it is shorter than the limit, or its last token is one that stops.

    verl's engines answer "completed" for a response that was cut off as well, so its tokens have to tell.
    """
    lengths = present.sum(-1)
    last = tokens.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
    stops = torch.tensor([s for s in stop if s is not None], dtype=tokens.dtype, device=tokens.device)
    return (lengths < limit) | torch.isin(last, stops)


def on_chosen(token_rewards: Tensor, mask: Tensor) -> Tensor:
    """What verl calls token_level_rewards [B, T], on positions that the policy chose.

    verl puts a row's score on the last position of its response. Where that is a tool's and not the policy's (mask
    False), it moves to the last position that the policy chose, so that no return loses it.
    """
    if not bool(((token_rewards != 0) & ~mask).any()):
        return token_rewards
    elsewhere = torch.where(mask, 0.0, token_rewards).sum(-1)
    return torch.where(mask, token_rewards, 0.0) + place_rewards(elsewhere, mask)
