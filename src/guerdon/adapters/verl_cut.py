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

from guerdon.adapters.fitting import columns_of, compile_for
from guerdon.adapters.halves import credit_together, halves
from guerdon.adapters.hosts import HOSTS, OF_THE_MASK
from guerdon.pipeline import BoundStage, Pipeline
from guerdon.recipe import Recipe, RecipeError, load

RECIPE = "GUERDON_RECIPE"
"""The environment variable that names the recipe: verl gives its loss functions no setting of one's own."""
TRAINERS = "sync", "colocate_async", "separate_async"


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
        return credit_together(HOSTS["verl-estimator"], self.early, self.late)


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
        columns: of the data set; by default all that the recipe asks for are taken to be there.
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
    known = columns_of(loaded) if columns is None else columns
    host, steps = HOSTS["verl"], separator is not None
    pipeline = compile_for(host, loaded, columns=known, steps=steps, structure={"turn_ids"}, losses=False)
    early, late = halves(pipeline, host.alone - OF_THE_MASK if tools else host.alone)
    return Cut(pipeline, early, late, any("rewards" in s.makes for s in early), separator)
