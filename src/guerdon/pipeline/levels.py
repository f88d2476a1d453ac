"""Rebindings checked: type and level of what a stage takes and makes, keyed or not."""

from guerdon.method import Method, Take
from guerdon.pipeline.stage import Binding, variadic
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import RecipeError


def check_taken(info: Method, take: Take, source: str, keyed: bool, place: str) -> None:
    """A parameter that was rebound gets a quantity of its own type, and of its level unless it serves several."""
    wanted, given = take.quantity, lookup(source)
    if wanted is None or given is None or source == take.name:
        return
    entry = keyed or "." in source
    if given.keyed and not entry and (wanted.single or not wanted.keyed):
        raise RecipeError(
            f'{place}: expected one quantity for {take.name}, got the dictionary {source}; take {source}.NAME or add each = "*"'
        )
    if (wanted.keyed and not wanted.single) != (given.keyed and not entry):
        raise RecipeError(
            f"{place}: expected a dictionary for {take.name}, got {source}; take parts, step_parts or token_parts"
        )
    if wanted.dtype != given.dtype:
        raise RecipeError(
            f"{place}: expected {take.name} of type {wanted.dtype}, got {source} of type {given.dtype}; take another"
        )
    if wanted.axes != given.axes and not variadic(info.call, take.name):
        raise RecipeError(
            f"{place}: expected {take.name} at the level of a {wanted.level} [{wanted.axes}], got {source} at that of a "
            f"{given.level} [{given.axes}]; lift or reduce it with a stage in between"
        )


def check_made(info: Method, bindings: tuple[Binding, ...], makes: tuple[str, ...], place: str) -> None:
    """What a method makes stands at its own level, or, where it serves several, at that of what it was given."""
    rebound = [b for b in bindings if b.source != b.parameter and variadic(info.call, b.parameter)]
    for own, made in zip(info.makes, makes, strict=True):
        like, axes = own, QUANTITIES[own].axes
        for binding in rebound:
            asked, given = lookup(binding.parameter), lookup(binding.source)
            if asked is not None and given is not None and asked.axes == QUANTITIES[own].axes:
                like, axes = binding.source, given.axes
        named = QUANTITIES[made.split(".", 1)[0]]
        if named.axes != axes:
            near = [q.name for q in QUANTITIES.values() if q.axes == axes and _bare(q.name) == _bare(named.name)]
            raise RecipeError(
                f"{place}: expected make at the level of {like} [{axes}], got {named.name} [{named.axes}]; "
                + (f'make = "{near[0]}"' if near else "name a quantity of that level, or take another")
            )


def _bare(name: str) -> str:
    return name.removeprefix("step_").removeprefix("token_")
