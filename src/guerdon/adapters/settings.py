"""A recipe's settings in another trainer: no key of its tables is passed over (`guerdon.adapters.fates`)."""

import logging
from collections.abc import Callable
from typing import Any

from guerdon.adapters.fates import FATES, TABLES
from guerdon.pipeline.host import Host
from guerdon.recipe import Recipe, RecipeError

logger = logging.getLogger(__name__)


def given(recipe: Recipe) -> dict[str, Any]:
    """The settings that a recipe, or its preset, says: ``training.learning_rate`` and so on, with their values."""
    said: dict[str, Any] = {}
    for table in TABLES:
        held = getattr(recipe, table)
        said |= {f"{table}.{name}": getattr(held, name) for name in sorted(held.model_fields_set)}
    said |= {name: held for name in ("replay", "imitation") if (held := getattr(recipe, name)) is not None}
    said |= {"task": recipe.task.use} if recipe.task is not None else {}
    if "policy" in recipe.model_fields_set:
        own = {f"policy.{name}": value for name, value in recipe.policy.options.items() if name in ("nucleus", "top")}
        said |= {"policy": recipe.policy.use, **own}
    return said


def refuse(host: Host, recipe: Recipe) -> None:
    """Refuse settings that a host has nothing for.

    Raises:
        RecipeError: with the setting, the host, and what to do.
    """
    fates = FATES.get(host.adapter, {})  # our own trainer has none: it uses everything
    for name, value in given(recipe).items():
        fate = fates.get(name)
        if fate is not None and fate.how == "refused" and value not in (default_of(name), *fate.fine):
            raise RecipeError(
                f"{name}: expected a recipe without it in {host.name}, got {value if '.' in name else 'a table'!r}; {fate.where}, "
                "or leave it out"
            )


def default_of(name: str) -> Any:
    """What a setting is where nobody says it."""
    table, _, field = name.partition(".")
    return TABLES[table].model_fields[field].default if table in TABLES else None


def differences(host: Host, recipe: Recipe, theirs: Callable[[str], Any]) -> list[str]:
    """A line for each setting that the recipe says and the host decides, unless it is known to be the same there; [task] and
    [policy] are always the host's own.

    ``theirs`` reads the host's own setting, None where it has none of that name.
    """
    lines = []
    for name, value in given(recipe).items():
        fate = FATES[host.adapter][name]
        if fate.how != "told" or value == default_of(name) or name in ("task", "policy"):
            continue
        own = theirs(fate.where) if fate.where else None
        if own is None:
            lines.append(f"{name}: left to {host.name}{f' ({fate.where})' if fate.where else ''}")
        elif own != fate.as_its(value):
            lines.append(f"{name} = {value} in the recipe, {fate.where} = {own} in {host.name}, which decides")
    return lines


def tell(host: Host, recipe: Recipe, theirs: Callable[[str], Any] = lambda name: None) -> None:
    """Log `differences` as warnings."""
    for line in differences(host, recipe, theirs):
        logger.warning(line)
