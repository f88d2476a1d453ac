"""A recipe fitted to a host: compiled as far as it runs there, or refused.

What a host cannot run is refused at start with the stage, the quantity, the host, and what to use instead. The table of
hosts (`guerdon.adapters.table`), ``guerdon explain --host`` and every adapter ask here, so that they say the same.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from guerdon.adapters import settings
from guerdon.adapters.halves import credit_together, halves
from guerdon.adapters.hosts import TRL
from guerdon.method import Take, find
from guerdon.pipeline import OWN, BoundStage, Host, Pipeline, compile_recipe
from guerdon.pipeline.extra import ancestors, check_turns
from guerdon.pipeline.weights import makers
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import Loss, Recipe, RecipeError, load
from guerdon.training.parts import faces

_ANYTHING_ELSE = f"take token_advantages in its place where that will do, or {TRL}"


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
        _refuse_counts(host, pipeline)
        if host.together is not None:
            credit_together(host, *halves(pipeline, host.alone))
        if losses:
            refuse_update(host, pipeline)
        return pipeline if host.runs == "loss" else replace(pipeline, stages=())
    wanted = {"rewards"} if host.runs == "rewards" else {"advantages", "token_advantages"}
    targets = {"token_returns"} if host.runs == "advantages" else set[str]()  # a host's critic may learn from them
    _refuse_demonstrations(host, loaded)
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
                    f"{stage.place}: takes {name} ({_meaning(name)}), which {host.name} does not "
                    f"provide to what runs in it; {advice}"
                )
    dropped = [s for s in pipeline.stages if s not in kept and s.kind != "reward"]
    _refuse(host, [*dropped, *pipeline.objective.weighting])
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
            takes = find(spec.use).takes
        except LookupError:
            continue  # the compiler says it better
        if kind == "pipeline":  # its quantities may be taken from models, whose names are no columns
            takes = tuple(t for t in takes if t.quantity is None)
        names = [spec.take.get(t.name, "" if t.optional else t.name) for t in takes]
        asked |= {name for name in names if name and lookup(name) is None}
    if any(t.quantity and t.quantity.provider == "demonstration" for s in recipe.loss for t in _takes(s)):
        asked.add(recipe.rollouts.demonstration)
    asked |= {name for face in faces(recipe).values() for name in face.reads if lookup(name) is None}
    return frozenset(asked)


def left_to(host: Host, pipeline: Pipeline) -> tuple[str, ...]:
    """Stages and losses of the recipe that ``compile_for`` left to the host, by label, and ``rollouts.branches``, for a host
    samples as it does; an adapter tells the person."""
    recipe, kept = pipeline.recipe, [s.spec for s in (*pipeline.stages, *pipeline.objective.stages)]
    left = tuple(s.label for s in (*recipe.pipeline, *recipe.loss) if not any(s is other for other in kept))
    return (*(["rollouts.branches"] if host is not OWN and recipe.rollouts.branching is not None else []), *left)


def refuse_update(host: Host, pipeline: Pipeline) -> None:
    """Refuse what stands in the update phase and has no place in a host: `compile_for` does, unless the losses are the host's.

    Raises:
        RecipeError: with the stage, the quantity, the host and what to use instead.
    """
    objective = pipeline.objective
    made = {m for stage in objective.before for m in stage.makes}
    for stage in objective.weighting:
        alone = host.runs == "loss" and pipeline.recipe.training.statistics == "micro-batch"  # each pass by itself
        across = stage.method.across and not alone and "across" in host.refuses
        if across or "weighting" in host.refuses:
            name = next(
                (n for n in stage.reads if (q := lookup(n)) is not None and q.phase == "update"), stage.reads[0]
            )
            what = (
                "compares the rows of a mini-batch by" if across else f"makes {stage.makes[0]} in the update phase from"
            )
            raise RecipeError(
                f"{stage.place}: {what} {name} ({_meaning(name)}), for which {host.name} has no place; "
                f"{host.refuses['across' if across else 'weighting']}"
            )
    early = makers(pipeline.stages)
    if early and objective.picks_weights and "factors" in host.refuses:
        raise RecipeError(
            f"{early[0].place}: expected losses that take all weights or none in {host.name}, got one that names some; "
            f"{host.refuses['factors']}"
        )
    for stage in objective.stages:
        name = next((n for n in stage.reads if n not in made and not host.hands(n)), None)
        if name is not None:
            raise RecipeError(
                f"{stage.place}: takes {name} ({_meaning(name)}), which {host.name} does not hand over to a loss; "
                f"{host.elsewhere.get(name.split('.')[0], _ANYTHING_ELSE)}"
            )
    for stage in objective.losses:
        if host.aggregates and "token_loss" in stage.makes and stage.spec.aggregate not in host.aggregates:
            raise RecipeError(
                f"{stage.place}: expected aggregate = {' or '.join(json.dumps(a) for a in host.aggregates)}, since {host.name} divides the "
                f"token_loss of a batch by nothing else, got {stage.spec.aggregate!r}; change it, or {TRL}"
            )


def _refuse_counts(host: Host, pipeline: Pipeline) -> None:
    for stage in pipeline.stages:
        if "counts" in stage.makes and "counts" in host.refuses:
            raise RecipeError(
                f"{stage.place}: makes counts ({_meaning('counts')}), for which {host.name} has no place; {host.refuses['counts']}"
            )


def _takes(spec: Loss) -> tuple[Take, ...]:
    try:
        return find(spec.use).takes
    except LookupError:
        return ()  # the compiler says it better, and a host that has losses of its own need not know this one


def _refuse_demonstrations(host: Host, recipe: Recipe) -> None:
    """A loss of completions that the host does not have cannot be left to it."""
    for i, spec in enumerate(recipe.loss):
        for take in _takes(spec):
            if take.quantity is not None and take.quantity.provider == "demonstration" and not host.provides(take.name):
                raise RecipeError(
                    f"loss[{i}] ({spec.label}): takes {take.name} ({take.quantity.meaning}), which {host.name} does not "
                    f"provide; {host.instead(take.name)}"
                )


def _refuse(host: Host, dropped: list[BoundStage]) -> None:
    """What a host does in place of the recipe: statistics of rows' groups where it takes rewards, and losses; nothing else."""
    for stage in dropped:
        weights = [made for made in stage.makes if made in ("weights", "token_weights", "counts")]
        if weights:
            raise RecipeError(f"{stage.place}: makes {weights[0]}, but {host.name} has no weights in its losses; {TRL}")
        fine = [
            n for n in (*stage.reads, *stage.makes) if (q := lookup(n)) is not None and q.level in ("step", "token")
        ]
        if fine and host.runs == "rewards":
            raise RecipeError(
                f"{stage.place}: makes credit of {fine[0]}, but {host.name} takes one reward per completion; {TRL}"
            )


def _meaning(name: str) -> str:
    return QUANTITIES[name.split(".", 1)[0]].meaning
