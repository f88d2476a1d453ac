"""What a host cannot run, said with the stage, the quantity, the host and what to use instead."""

import json
from collections.abc import Iterable

from guerdon.adapters.hosts import TRL
from guerdon.method import Take, find
from guerdon.pipeline import BoundStage, Host, Pipeline
from guerdon.pipeline.weights import makers
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import Loss, Recipe, RecipeError
from guerdon.schedules import Schedule

_ANYTHING_ELSE = f"take token_advantages in its place where that will do, or {TRL}"


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
                f"{stage.place}: {what} {name} ({meaning(name)}), for which {host.name} has no place; "
                f"{host.refuses['across' if across else 'weighting']}"
            )
    refuse_schedules(host, objective.stages)
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
                f"{stage.place}: takes {name} ({meaning(name)}), which {host.name} does not hand over to a loss; "
                f"{host.elsewhere.get(name.split('.')[0], _ANYTHING_ELSE)}"
            )
    for stage in objective.losses:
        if host.aggregates and "token_loss" in stage.makes and stage.spec.aggregate not in host.aggregates:
            raise RecipeError(
                f"{stage.place}: expected aggregate = {' or '.join(json.dumps(a) for a in host.aggregates)}, since {host.name} divides the "
                f"token_loss of a batch by nothing else, got {stage.spec.aggregate!r}; change it, or {TRL}"
            )


def refuse_schedules(host: Host, stages: Iterable[BoundStage], *, weights: bool = True) -> None:
    """Refuse options, and with ``weights`` coefficients too, that move with training where nothing tells how far that is.

    Raises:
        RecipeError: with the stage, the option, the host and what to write instead.
    """
    if "schedules" not in host.refuses:
        return
    for stage in stages:
        said = {**stage.options, **({"weight": getattr(stage.spec, "weight", None)} if weights else {})}
        name = next((name for name, value in said.items() if isinstance(value, Schedule)), None)
        if name is not None:
            raise RecipeError(
                f"{stage.place}: expected a number for {name} in {host.name}, which does not tell it how far the training is, got a "
                f"{said[name].schedule} schedule; {host.refuses['schedules']}"
            )


def refuse_counts(host: Host, pipeline: Pipeline) -> None:
    """Refuse rows that count several times where a host has each once."""
    for stage in pipeline.stages:
        if "counts" in stage.makes and "counts" in host.refuses:
            raise RecipeError(
                f"{stage.place}: makes counts ({meaning('counts')}), for which {host.name} has no place; {host.refuses['counts']}"
            )


def takes(spec: Loss) -> tuple[Take, ...]:
    """What a loss takes, nothing where nobody knows it."""
    try:
        return find(spec.use).takes
    except LookupError:
        return ()  # the compiler says it better, and a host that has losses of its own need not know this one


def refuse_demonstrations(host: Host, recipe: Recipe) -> None:
    """A loss of completions that the host does not have cannot be left to it."""
    for i, spec in enumerate(recipe.loss):
        for take in takes(spec):
            if take.quantity is not None and take.quantity.provider == "demonstration" and not host.provides(take.name):
                raise RecipeError(
                    f"loss[{i}] ({spec.label}): takes {take.name} ({take.quantity.meaning}), which {host.name} does not "
                    f"provide; {host.instead(take.name)}"
                )


def refuse_dropped(host: Host, dropped: list[BoundStage]) -> None:
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


def meaning(name: str) -> str:
    """A quantity in words."""
    return QUANTITIES[name.split(".", 1)[0]].meaning
