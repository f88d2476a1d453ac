"""Options that name entries of a dictionary, such as the part that a stage gates by, checked before anything runs."""

from collections.abc import Mapping
from typing import Any

from guerdon.pipeline.known import Known
from guerdon.pipeline.stage import BoundStage
from guerdon.recipe import RecipeError


def check_entries(stage: BoundStage, known: Known) -> None:
    """Refuse an option that names an entry (`guerdon.method.EntryOf`) which the stage is not given.

    Raises:
        RecipeError: with the place, the option, the entries that are there, and what to do.
    """
    for hyper in stage.method.hypers.values():
        given = stage.options.get(hyper.name, hyper.default)
        for quantity in hyper.entry_of:
            there = _there(stage, known, quantity)
            missing = [] if there is None else [name for name in _names(given) if name not in there]
            if not missing:
                continue
            name, entries = missing[0], known.part_names(quantity)
            if name in entries:
                advice = f"add {name!r} to of"
            elif quantity == "parts":
                advice = f'add a [[reward]] with name = "{name}" above'
            else:
                advice = f'make "{quantity}.{name}" above'
            raise RecipeError(
                f"{stage.place}: expected {hyper.name} to name an entry of {quantity} among {sorted(there or ())}, got "
                f"{name!r}; {advice}, or set {hyper.name} to what is there"
            )


def _names(given: Any) -> list[str]:
    if given is None or not isinstance(given, str | Mapping | list | tuple):
        return []
    return [given] if isinstance(given, str) else [str(name) for name in given]


def _there(stage: BoundStage, known: Known, quantity: str) -> list[str] | None:
    """Entries of what the parameter ``quantity`` of the stage is bound to; None: not bound, or to one entry at a time."""
    for binding in stage.bindings:
        if binding.parameter == quantity:
            if binding.keyed:
                return None
            return [e.split(".", 1)[1] for e in binding.entries] or known.part_names(binding.source)
    source = stage.learns_from.get(quantity)
    return None if source is None else known.part_names(source)
