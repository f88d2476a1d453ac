"""The composition of rewards as a tree for a terminal, and as data."""

from typing import TYPE_CHECKING, Any

from guerdon.pipeline.composition import Branch
from guerdon.pipeline.stage import ModelFace
from guerdon.recipe import Model

if TYPE_CHECKING:
    from rich.tree import Tree


def tree_of(branch: Branch, note: Any = None) -> "Tree":
    """A tree of one line per branch: its weight, its name, the method and its options, and ``note(branch)``."""
    from rich.text import Text
    from rich.tree import Tree

    line = Text()
    if branch.weight is not None:
        line.append(f"{_factor(branch.weight)} \u00d7 ")
    line.append(branch.name, "dim" if branch.weight == 0 else "bold")
    line.append(_method(branch), "dim")
    if branch.weight == 0:
        line.append("  only watched", "dim")
    if note is not None:
        line.append(note(branch))
    tree = Tree(line, guide_style="dim")
    for child in branch.of:
        tree.children.append(tree_of(child, note))
    for told in branch.told:
        how = f" = {told.spec.use}, from {', '.join(reads(told.face))}\n{learning(told.spec, told.face)}"
        tree.add(Text.assemble((told.name, "bold"), (how, "dim")))
    return tree


def reads(face: ModelFace) -> tuple[str, ...]:
    """What a model is given to score."""
    return (*face.reads, "tokens")


def learning(spec: Model, face: ModelFace) -> str:
    """When a model learns, and from what, in words."""
    when = {"before": "learns before it scores", "after": "learns after it has scored"}.get(spec.update)
    return "does not learn" if when is None else f"{when}, from {', '.join(face.learns_from)}"


def model_data(spec: Model, face: ModelFace) -> dict[str, Any]:
    """A model as plain data: what it makes, reads, and learns from, and when."""
    return {
        "use": spec.use,
        "makes": list(face.makes),
        "reads": list(face.reads),
        "learns_from": list(face.learns_from),
        "update": spec.update,
    }


def branch_data(branch: Branch) -> dict[str, Any]:
    """A branch and all below it as plain data."""
    return {
        "quantity": branch.quantity,
        "stage": branch.stage.label,
        "method": branch.stage.method.name,
        "weight": getattr(branch.weight, "schedule", branch.weight),
        "of": [branch_data(child) for child in branch.of],
        "models": [{"quantity": told.quantity, **model_data(told.spec, told.face)} for told in branch.told],
    }


def _method(branch: Branch) -> str:
    stage = branch.stage
    if stage.kind == "reward":
        return "" if stage.method.name == branch.name else f" = {stage.method.name}"
    options = ", ".join(f"{k} = {_factor(v)}" for k, v in stage.options.items())
    per = f" of {branch.key}" if branch.key is not None else ""
    named = "" if stage.method.name == branch.name else f" = {stage.method.name}"
    return f"{named}{f' ({options})' if options else ''}{per}"


def _factor(value: Any) -> str:
    schedule = getattr(value, "schedule", None)
    return f"{value:g}" if isinstance(value, float) else schedule or str(value)


__all__ = ["branch_data", "learning", "model_data", "reads", "tree_of"]
