"""A recipe fitted to a host: compiled as far as it runs there, or refused.

What a host cannot run is refused at start with the stage, the quantity, the host, and what to use instead. The table of
hosts (`guerdon.adapters.table`), ``guerdon explain --host`` and every adapter ask here, so that they say the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from guerdon.adapters import settings
from guerdon.adapters.halves import credit_together, halves
from guerdon.adapters.refusals import (
    meaning,
    refuse_counts,
    refuse_demonstrations,
    refuse_dropped,
    refuse_schedules,
    refuse_update,
    takes,
)
from guerdon.method import find
from guerdon.pipeline import OWN, Host, Pipeline, compile_recipe
from guerdon.pipeline.extra import ancestors, check_turns
from guerdon.quantities import lookup
from guerdon.recipe import Recipe, RecipeError, load
from guerdon.training.parts import faces


def compile_for(
    host: Host,
    recipe: Recipe | Mapping[str, Any] | str | None,
    *,
    columns: Iterable[str] = (),
    steps: bool = False,
    structure: Iterable[str] = (),
    losses: bool = True,
) -> Pipeline:
    """Compile a recipe for a host; as far as it runs there (``host.runs``).

    Args:
        host: one of ``HOSTS``.
        recipe: as for `guerdon.recipe.load`; `guerdon.adapters.settings` says what becomes of its settings.
        columns: columns of the host's data set besides ``prompts``.
        steps: the host's rollouts carry ``step_ids``.
        structure: what else they carry (`guerdon.pipeline.compile_recipe`).
        losses: False where the host's own losses may stand in for the recipe's: those are compiled, and `refuse_update`
            is left to who runs them.

    Raises:
        RecipeError: what cannot run there.
    """
    loaded = recipe if isinstance(recipe, Recipe) else load(recipe)
    pipeline = compile_recipe(
        loaded,
        columns=columns,
        steps=steps,
        structure=structure,
        models=faces(loaded),
        host=host,
        objective=host.runs in ("loss", "losses"),
    )
    check_turns(pipeline.stages)
    settings.refuse(host, loaded)
    if host.runs in ("loss", "losses"):
        refuse_counts(host, pipeline)
        early, late = halves(pipeline, host.alone)
        if host.together is not None:
            credit_together(host, early, late)
        if host.alone:
            refuse_schedules(host, [stage for stage in early if stage.kind == "reward"], weights=False)
        if losses:
            refuse_update(host, pipeline)
        return pipeline if host.runs == "loss" else replace(pipeline, stages=())
    wanted = {"rewards"} if host.runs == "rewards" else {"advantages", "token_advantages"}
    targets = {"token_returns"} if host.runs == "advantages" else set[str]()  # a host's critic may learn from them
    refuse_demonstrations(host, loaded)
    kept = ancestors(list(pipeline.stages), wanted | targets)
    if not kept or not {m for s in kept for m in s.makes} & wanted:
        raise RecipeError(
            f"expected a stage that makes {' or '.join(sorted(wanted))} for {host.name}, got none; "
            f"add {'weighted-sum' if host.runs == 'rewards' else 'a stage of credit such as group-normalise'}"
        )
    for stage in kept:
        for name in stage.needs:
            if (advice := host.withheld(name)) is not None:
                raise RecipeError(
                    f"{stage.place}: takes {name} ({meaning(name)}), which {host.name} does not "
                    f"provide to what runs in it; {advice}"
                )
    dropped = [s for s in pipeline.stages if s not in kept and s.kind != "reward"]
    refuse_schedules(host, [s for s in pipeline.stages if s not in dropped])
    refuse_dropped(host, [*dropped, *pipeline.objective.weighting])
    return replace(pipeline, stages=tuple(s for s in pipeline.stages if s not in dropped))


def compile_at_best(host: Host, recipe: Recipe) -> Pipeline:
    """Compile a recipe for a host whose data set has every column that the signals ask for, and whose rows carry all that
    they can.

    Raises:
        RecipeError: what cannot run there whatever the data.
    """
    return compile_for(
        host,
        recipe,
        columns=columns_of(recipe),
        steps="step_ids" in host.carries,
        structure=host.carries - {"step_ids"},
    )


def columns_of(recipe: Recipe) -> frozenset[str]:
    """The columns that the recipe's signals, stages and models ask of a data set."""
    asked: set[str] = set()
    for kind, spec in (*(("reward", s) for s in recipe.reward), *(("pipeline", s) for s in recipe.pipeline)):
        try:
            asks = find(spec.use).takes
        except LookupError:
            continue  # the compiler says it better
        if kind == "pipeline":  # its quantities may be taken from models, whose names are no columns
            asks = tuple(t for t in asks if t.quantity is None)
        names = [spec.take.get(t.name, "" if t.optional else t.name) for t in asks]
        asked |= {name for name in names if name and lookup(name) is None}
    if any(t.quantity and t.quantity.provider == "demonstration" for s in recipe.loss for t in takes(s)):
        asked.add(recipe.rollouts.demonstration)
    asked |= {name for face in faces(recipe).values() for name in face.reads if lookup(name) is None}
    return frozenset(asked)


def left_to(host: Host, pipeline: Pipeline) -> tuple[str, ...]:
    """Stages and losses of the recipe that ``compile_for`` left to the host, by label, and ``rollouts.branches``, for a host
    samples as it does; an adapter tells the person."""
    recipe, kept = pipeline.recipe, [s.spec for s in (*pipeline.stages, *pipeline.objective.stages)]
    left = tuple(s.label for s in (*recipe.pipeline, *recipe.loss) if not any(s is other for other in kept))
    return (*(["rollouts.branches"] if host is not OWN and recipe.rollouts.branching is not None else []), *left)
