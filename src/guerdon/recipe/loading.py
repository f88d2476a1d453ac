"""Reading recipes: from TOML, a shipped name or a dictionary; presets merged, ``set`` applied."""

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from guerdon.recipe.spec import SETTINGS, Recipe
from guerdon.recipe.words import RecipeError, first_problem, nearest


def shipped(kind: Literal["recipes", "presets"]) -> list[str]:
    """Names of the recipes or presets that come with the package."""
    folder = resources.files("guerdon") / kind
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load(source: "Recipe | Mapping[str, Any] | str | Path | None" = None) -> Recipe:
    """Read a recipe from a TOML file, the name of a shipped recipe, a dictionary, or (None) the embedded default.

    The result has its preset merged and its ``set`` applied.

    Raises:
        RecipeError: unreadable or malformed, with the place and what to do.
    """
    if isinstance(source, Recipe):
        return _expand(source.model_dump(exclude_unset=True), "recipe") if source.preset or source.set else source
    if isinstance(source, Mapping):
        return _expand(dict(source), "recipe")
    name = "arithmetic" if source is None else str(source)
    if not name.endswith(".toml") and name in shipped("recipes"):
        return _expand(
            tomllib.loads((resources.files("guerdon") / "recipes" / f"{name}.toml").read_text("utf-8")), name
        )
    return _expand(_read(Path(name)), name)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        name, known = str(path), shipped("recipes")
        if name in shipped("presets"):
            raise RecipeError(
                f'expected a recipe, got {name!r}, which is a preset; write a file with preset = "{name}", a [task] and a '
                "[[reward]]"
            ) from None
        raise RecipeError(
            f"expected a recipe file or one of {known}, got {name!r}, which does not exist; "
            f"{nearest(name, known) or 'check the path'}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"expected a readable TOML file, got {str(path)!r} ({error}); check permissions and encoding (UTF-8)"
        ) from None
    if not text.strip():
        raise RecipeError(f"expected a recipe, got the empty file {str(path)!r}; start from `guerdon explain --toml`")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"expected TOML, got {str(path)!r} with a mistake: {error}; correct that line") from None


def _expand(data: dict[str, Any], where: str) -> Recipe:
    preset = data.get("preset")
    if preset is not None:
        if preset not in shipped("presets"):
            raise RecipeError(
                f"{where}: expected a preset among {shipped('presets')}, got {preset!r}; "
                f"{nearest(str(preset), shipped('presets')) or 'choose one or write the stages out'}"
            )
        base = tomllib.loads((resources.files("guerdon") / "presets" / f"{preset}.toml").read_text("utf-8"))
        data = _merge(base, {k: v for k, v in data.items() if k != "preset"})
    try:
        # JSON mode: strict about strings and numbers, tolerant of lists for tuples
        recipe = Recipe.model_validate_json(json.dumps(data, default=_json))
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_problem(error, settings=SETTINGS)}") from None
    return _apply(recipe, where) if recipe.set else recipe


def _json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    raise RecipeError(
        f"expected plain data in a recipe, got {type(value).__name__} {value!r}; use numbers, strings, lists and tables"
    )


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **own}
    for table in ("training", "sampling", "rollouts", "replay", "imitation"):
        if table in base and table in own:
            merged[table] = {**base[table], **own[table]}
    merged["pipeline"] = [*own.get("pipeline", []), *base.get("pipeline", [])]
    merged["model"] = [*base.get("model", []), *own.get("model", [])]
    merged["loss"] = [*base.get("loss", []), *own.get("loss", [])]
    return merged


def _labelled(stage: Any, data: dict[str, Any], label: str) -> list[dict[str, Any]]:
    """The tables of a stage, its own and those inside its ``of``, that go by a label."""
    inner = [(child, at) for child, at in zip(getattr(stage, "of", None) or (), data.get("of") or (), strict=True)]
    found = [hit for child, at in inner if not isinstance(child, str) for hit in _labelled(child, at, label)]
    return [*([data] if stage.label == label else []), *found]


def _apply(recipe: Recipe, where: str) -> Recipe:
    data = recipe.model_dump(exclude_unset=True, exclude={"set"})
    for key, value in recipe.set.items():
        label, dot, option = key.rpartition(".")
        hits = [
            found
            for table in ("model", "reward", "pipeline", "loss")
            for i, stage in enumerate(getattr(recipe, table))
            for found in _labelled(stage, data[table][i], label)
        ]
        if not dot or not hits:
            labels = [s.label for s in (*recipe.model, *recipe.reward, *recipe.pipeline, *recipe.loss)]
            raise RecipeError(
                f"{where}: expected set keys of the form stage.option with a stage among {labels}, got {key!r}; correct it"
            )
        for stage in hits:
            stage[option] = value
    return _expand(data, where)
