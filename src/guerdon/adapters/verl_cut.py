"""A recipe cut in two for verl.

verl scores completions one by one while others are still being drawn, and makes advantages of a whole batch later, in
another process. A recipe is therefore cut: what looks at one row runs in the reward manager (``Cut.early``), the rest
where the whole batch is (``Cut.late``). `guerdon.adapters.verl_data` is what travels between them. Nothing here imports
verl.
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from guerdon.adapters.fitting import compile_for
from guerdon.adapters.hosts import HOSTS
from guerdon.method import find
from guerdon.pipeline import BoundStage, Pipeline
from guerdon.pipeline.extra import ancestors
from guerdon.quantities import lookup
from guerdon.recipe import Recipe, RecipeError, load

RECIPE = "GUERDON_RECIPE"
"""The environment variable that names the recipe: verl gives its loss functions no setting of one's own."""
TRAINERS = "sync", "colocate_async", "separate_async"

_OF_A_ROW = {"prompts", "completions", "tokens", "token_spans", "attention_mask", "terminated", "truncated"}
_OF_A_ROW |= {"parts", "step_parts", "token_parts", "part_weights", "rewards", "correct", "reasons"}
OF_THE_MASK = {"mask", "lengths", "step_ids", "step_mask", "step_end"}
"""Also a row's own, but verl's reward manager is not told which positions a tool wrote."""
_OF_AN_ESTIMATOR = {"rewards", "token_rewards", "mask", "group", "lengths"}


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
    pipeline = compile_for(HOSTS["verl"], loaded, columns=known, steps=separator is not None, losses=False)
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
