"""Nested combinations: which entries a stage combines, where a recipe says so under ``of``."""

from guerdon.method import Method, Take
from guerdon.pipeline.known import Known
from guerdon.pipeline.stage import Binding
from guerdon.recipe import Node, RecipeError, Stage

_ROWS = ("parts", "combined")


def check_node(node: Node, known: Known, place: str) -> None:
    """Refuse a table inside ``of`` that names its result itself, or as something else is named.

    Raises:
        RecipeError: with the place.
    """
    if node.make is not None or node.each is not None:
        setting = "make" if node.make is not None else "each"
        raise RecipeError(
            f"{place}: expected neither make nor each in a table inside of, got {setting}; it is named by name = ..., and "
            "what runs once per part stands in the pipeline"
        )
    if "." in node.label or node.label in {*known.part_names(), *known.part_names("combined")}:
        raise RecipeError(
            f"{place}: expected a name without a dot that no reward and no other table has, got {node.label!r}; "
            'give it one of its own with name = "..."'
        )


def combined(spec: Stage, info: Method, known: Known, place: str, kind: str) -> tuple[Stage, tuple[Binding, ...]]:
    """The stage and the binding of what it combines; as it is, and none, where it names nothing.

    A method that takes a dictionary (``parts``) gets the entries that are named; one that takes ``rewards`` gets the only one.

    Raises:
        RecipeError: unknown or repeated names, or a method that combines nothing.
    """
    if spec.of is None:
        return spec, ()
    if kind != "pipeline":
        raise RecipeError(f"{place}: expected of under [[pipeline]] only, got it under [[{kind}]]; remove it")
    names = [child if isinstance(child, str) else child.label for child in spec.of]
    if not names or len(set(names)) < len(names):
        raise RecipeError(f"{place}: expected of to name something, and nothing twice, got {names}; correct it")
    take = _combines(info)
    if take is None:
        raise RecipeError(
            f"{place}: expected a method that takes parts or rewards for of, got {info.name}, which takes "
            f"{[t.name for t in info.takes]}; remove of"
        )
    if take.name in spec.take:
        raise RecipeError(f"{place}: expected of or take for {take.name}, got both; remove one of them")
    dictionary = take.quantity is not None and take.quantity.keyed
    heads: tuple[str, ...] = _ROWS if not dictionary or take.name in _ROWS else (take.name,)
    entries = [_entry(name, heads, known, place) for name in names]
    if dictionary:
        return spec, (Binding(take.name, take.name, entries=tuple(entries)),)
    if len(entries) > 1:
        raise RecipeError(
            f"{place}: expected one entry in of, since {info.name} takes {take.name}, got {names}; combine them first, "
            'such as {use = "weighted-sum", of = [...]}'
        )
    return spec.model_copy(update={"take": {**spec.take, take.name: entries[0]}}), ()


def _combines(info: Method) -> Take | None:
    """The parameter that gets what is combined: the first dictionary, or else ``rewards``."""
    keyed = [
        t
        for t in info.takes
        if t.quantity is not None
        and t.quantity.keyed
        and not t.quantity.single
        and t.quantity.axes
        and t.quantity.provider is None
        and t.quantity.dtype == "float"
    ]
    rows = [t for t in info.takes if t.name == "rewards"]
    return next(iter(keyed or rows), None)


def _entry(name: str, heads: tuple[str, ...], known: Known, place: str) -> str:
    for head in heads:
        if f"{head}.{name}" in known.made:
            return f"{head}.{name}"
    there = [part for head in heads for part in known.part_names(head)]
    raise RecipeError(f"{place}: expected of to name entries among {there}, got {name!r}; correct it")
