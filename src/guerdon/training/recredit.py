"""The credit that another recipe would have given to rollouts that a run saved.

The whole iteration is credited again, since groups matter. What belongs to the samples (text, tokens, masks, columns)
and what was read off the policy when they were drawn (``old_logp``, ``old_values`` ...) comes from the file; everything
that a method makes is made anew, signals included. Nothing is sampled and no model is loaded, so a recipe that reads
something that the run did not save is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from guerdon.batch import Rollouts
from guerdon.credit.steps import split_steps
from guerdon.pipeline import ModelFace, Pipeline, compile_recipe
from guerdon.pipeline.extra import ancestors, check_turns
from guerdon.pipeline.run import Outcome
from guerdon.quantities import QUANTITIES
from guerdon.recipe import Recipe, RecipeError, load, shipped
from guerdon.training.generators import derive
from guerdon.training.parts import Parts, build
from guerdon.training.rollouts import sampled_is_old
from guerdon.training.runfolder import RunFolder

CREDIT = ("token_advantages", "step_advantages", "advantages")
"""What counts as credit, the finest first."""
_STRUCTURE = frozenset({"turn_ids", "node_ids", "turn_scores", "turn_accepted", "potentials"})
_DERIVED = {"lengths": "mask", "step_mask": "step_ids", "step_end": "step_ids", "turn_mask": "turn_ids"}
_OF_REWARDS = {"greedy_rewards", "prefix_values"}


@dataclass(frozen=True, eq=False)
class Recredited:
    """Another recipe's credit."""

    name: str
    outcome: Outcome
    pipeline: Pipeline
    notes: tuple[str, ...]
    """What a person must know to read it rightly."""


def recredit(run: Path, batch: Rollouts, iteration: int, source: str | Path | Mapping[str, Any] | Recipe) -> Recredited:
    """Run the rollout phase of another recipe on the rollouts of one iteration.

    Args:
        run: the run folder.
        batch: all rows of the iteration (`guerdon.training.runfolder.load_rollouts`).
        iteration: which one; schedules and generators follow it.
        source: a preset (the run's rewards with the preset's pipeline alone), a shipped recipe, a file, or a recipe.

    Raises:
        RecipeError: the recipe cannot run, reads what was not saved, or makes no credit.
    """
    parts = build(load(RunFolder(run).recipe))
    recipe, name, notes = _recipe(source, parts)
    given = _given(parts, batch, recipe)
    separator = parts.task.separator if "token_spans" in batch and "step_ids" not in given else None
    pipeline = compile_recipe(
        recipe,
        columns=set(given) - set(QUANTITIES),
        steps="step_ids" in given or separator is not None,
        structure=_STRUCTURE & set(given),
        models={m.label: ModelFace(tuple(_made_by(m.label, given))) for m in recipe.model},
        objective=False,
    )
    check_turns(pipeline.stages)
    ready = {"step_ids"} if separator is not None else set()
    if "sampled_logp" in given and sampled_is_old(parts):
        ready.add("old_logp")
    _refuse_unsaved(name, pipeline, parts.pipeline, given, ready)

    def provide(quantity: str, view: Rollouts) -> Any:
        if quantity == "step_ids" and separator is not None:
            return split_steps(view["completions"], view["token_spans"], view["mask"], separator=separator)
        return view["sampled_logp" if quantity == "old_logp" else quantity]

    training = parts.recipe.training
    outcome = pipeline.run(
        Rollouts(given),
        provide=provide,
        progress=min(1.0, iteration / training.iterations),
        generator_for=lambda label: derive(training.seed, iteration, label),
        stages=pipeline.stages,  # and nothing for the losses: their weights of the update phase are no credit
    )
    if not any(credit in outcome.batch for credit in CREDIT):
        raise RecipeError(
            f"{name}: expected a recipe that makes advantages, got stages {[s.label for s in pipeline.stages]}; "
            "add a stage of credit such as group-normalise"
        )
    notes += [f"{s.label} keeps a state between iterations; here it begins anew" for s in pipeline.stages if s.instance]
    notes += [f"{s.label} weighs in the update phase; here it does not" for s in pipeline.objective.weighting]
    notes += _gaps(pipeline, given)
    for label, share in outcome.failed.items():
        if share:
            notes.append(f"{label} failed on {share:.0%} of the rows ({outcome.example(label)})")
    return Recredited(name, outcome, pipeline, tuple(notes))


def _recipe(source: Any, parts: Parts) -> tuple[Recipe, str, list[str]]:
    own = parts.recipe
    if isinstance(source, Mapping | Recipe):
        return load(source), "recipe", []
    name = str(source)
    if name in shipped("presets") and not Path(name).is_file():
        kept = ("task", "policy", "sampling", "rollouts", "model", "reward")
        data = own.model_dump(exclude_unset=True, include=set(kept))
        theirs = {m.label for m in load({"preset": name}).model}
        data["model"] = [
            m for m, spec in zip(data.get("model", ()), own.model, strict=True) if spec.label not in theirs
        ]
        notes = []
        rows = [s for s in parts.pipeline.signals if any(m.startswith("parts.") for m in s.makes)]
        if rows and all(s.spec.weight == 0 for s in rows):
            for stage in data["reward"]:
                stage["weight"] = 1.0
            labels = ", ".join(s.label for s in rows)
            notes = [f"the run only watches {labels} (weight 0); here each has weight 1"]
        return load({**data, "preset": name}), name, notes
    if not name.endswith(".toml") and name not in shipped("recipes") and not Path(name).exists():
        raise RecipeError(
            f"expected a recipe file, one of the presets {shipped('presets')} or of the recipes {shipped('recipes')}, "
            f"got {name!r}; correct it"
        )
    return load(name), Path(name).name, []


def _given(parts: Parts, batch: Rollouts, recipe: Recipe) -> dict[str, Any]:
    """What was there before the run's own stages made anything, and is the same under any recipe."""
    made = {m.split(".", 1)[0] for s in parts.pipeline.stages for m in s.makes}
    same_models = {m.label for m in recipe.model if m in parts.recipe.model}
    given: dict[str, Any] = {}
    for name, value in batch.data.items():
        quantity = QUANTITIES.get(name)
        if quantity is None:
            given[name] = value
        elif name in made or quantity.provider in (None, "recipe"):
            continue
        elif quantity.provider == "model" and quantity.keyed:
            kept = {key: entry for key, entry in value.items() if key in same_models}
            given |= {name: kept} if kept else {}
        else:
            given[name] = value
    return given


def _made_by(label: str, given: Mapping[str, Any]) -> list[str]:
    return [name.removeprefix("model_") for name in given if name.startswith("model_") and label in given[name]]


def _refuse_unsaved(name: str, pipeline: Pipeline, own: Pipeline, given: Mapping[str, Any], ready: set[str]) -> None:
    have = {*given, *ready, "part_weights"}
    extra = [n for n in {*given, *ready} if n in QUANTITIES and QUANTITIES[n].provider not in ("rollout", "derived")]
    if _rewards(pipeline) != _rewards(own):
        have -= _OF_REWARDS  # what was saved is in the coin of the run's own rewards
    for stage in pipeline.stages:
        for read in stage.reads:
            head = read.split(".", 1)[0]
            if head in have or _DERIVED.get(head) in have:
                continue
            raise RecipeError(
                f"{name}: {stage.place}: expected {head} among what the run saved besides its samples "
                f"({', '.join(sorted(extra)) or 'nothing'}), got none ({QUANTITIES[head].meaning}); "
                "choose a recipe that does without it, or train a run whose own recipe reads it"
            )
        have |= {m.split(".", 1)[0] for m in stage.makes}


def _gaps(pipeline: Pipeline, given: Mapping[str, Any]) -> list[str]:
    """What the run asked of some rows only, since its own recipe filtered the others (``rollouts.where``)."""
    notes = []
    for name in sorted({read.split(".", 1)[0] for stage in pipeline.stages for read in stage.reads} & set(given)):
        quantity = QUANTITIES.get(name)
        if quantity is None or quantity.axes != "B T" or quantity.provider in ("rollout", "derived"):
            continue
        for key, value in given[name].items() if quantity.keyed else [("", given[name])]:
            lost = (value.isnan() & given["mask"]).any(-1).float().mean()
            if lost > 0:
                notes.append(
                    f"{name}{'.' * bool(key)}{key} was not asked for {float(lost):.0%} of the rows, which the run filtered; they "
                    "have no credit from it"
                )
    return notes


def _rewards(pipeline: Pipeline) -> list[Any]:
    return [stage.spec for stage in ancestors(list(pipeline.stages), {"rewards"})]


__all__ = ["CREDIT", "Recredited", "recredit"]
