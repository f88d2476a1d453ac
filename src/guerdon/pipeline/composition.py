"""How rewards are composed: the tree from the final credit down to what each signal said, and weights without effect."""

from dataclasses import dataclass, replace
from typing import Any

from guerdon.pipeline.run import Pipeline
from guerdon.pipeline.stage import BoundStage, ModelFace
from guerdon.recipe import Model, Node, Reward

_FOLLOWED = frozenset({"parts", "combined", "rewards", "returns", "advantages", "part_advantages"})
_CREDIT = ("token_advantages", "step_advantages", "advantages", "token_rewards", "step_rewards", "rewards")


@dataclass(frozen=True)
class Told:
    """What a model under [[model]] says, where a stage reads it."""

    quantity: str
    spec: Model
    face: ModelFace

    @property
    def name(self) -> str:
        """As a recipe writes it: ``prm.logp``."""
        what, _, model = self.quantity.partition(".")
        return f"{model}.{what.removeprefix('model_')}"


@dataclass(frozen=True)
class Branch:
    """A quantity, the stage that made it, and what that stage made it of."""

    quantity: str
    stage: BoundStage
    weight: Any = None
    """The factor (a number or a schedule) with which the branch above takes it; None: that one does not weigh."""
    of: tuple["Branch", ...] = ()
    key: str | None = None
    """The part, of a stage that runs once per part."""
    told: tuple[Told, ...] = ()
    """What models say to the stage."""

    @property
    def name(self) -> str:
        """``rewards``, or of an entry its own name (``parts.safe`` is ``safe``)."""
        return self.quantity.partition(".")[2] or self.quantity

    def walk(self) -> list["Branch"]:
        """Itself and all below, from the top."""
        return [self, *(b for child in self.of for b in child.walk())]


def composition(pipeline: Pipeline, stages: tuple[BoundStage, ...] | None = None) -> Branch | None:
    """The tree of what the losses learn from: the finest credit that a recipe makes, or else its rewards; None: neither."""
    made: dict[str, Branch] = {}
    weights = {s.label: s.spec.weight for s in pipeline.stages if isinstance(s.spec, Reward | Node)}
    for stage in pipeline.stages if stages is None else stages:
        grown: dict[str, Branch] = {}
        for quantity in stage.makes:
            if _bare(quantity) not in _FOLLOWED:
                continue
            for key in stage.each or (None,):
                name = quantity if key is None else f"{quantity}.{key}"
                below = _below(stage, made, weights, key)
                grown[name] = Branch(name, stage, of=below, key=key, told=_told(stage, pipeline))
        made |= grown
    return next((made[name] for name in _CREDIT if name in made), None)


def without_effect(root: Branch | None) -> list[str]:
    """Weights and scales that a stage further up cancels, since it divides by the spread of what it is given; in words."""
    told: dict[str, None] = {}
    for top in root.walk() if root is not None else ():
        invariant = top.stage.method.claims.get("scale_invariant")
        for child in top.of:
            if invariant is not None and child.quantity in _sources(top, invariant):
                told |= dict.fromkeys(_cancelled(child, top))
    return list(told)


def _cancelled(branch: Branch, top: Branch) -> list[str]:
    """Factors on the way down from ``branch``, as far as each stage only passes a factor on."""
    stage, why = branch.stage, f"{top.stage.place} divides by the spread of what it is given"
    if stage.method.name == "scale-rewards":
        scale = stage.options.get("scale", 1.0)
        mine = [] if scale == 1.0 or _negative(scale) else [f"{stage.place}: scale has no effect: {why}"]
        return mine + [said for child in branch.of for said in _cancelled(child, top)]
    passed_on = stage.method.claims.get("scale_equivariant")
    carrying = [c for c in branch.of if passed_on in _parameters(stage, c.quantity) and c.weight != 0]
    if len(carrying) != 1:
        return []  # of several, the weights decide what counts how much
    (only,) = carrying
    mine = []
    if only.weight not in (None, 1.0) and not _negative(only.weight):
        mine = [f"{only.stage.place}: weight has no effect, since it is the only one that counts: {why}"]
    return mine + _cancelled(only, top)


def _below(stage: BoundStage, made: dict[str, Branch], weights: dict[str, Any], key: str | None) -> tuple[Branch, ...]:
    weighs = any(b.source == "part_weights" for b in stage.bindings)
    found = []
    for binding in stage.bindings:
        for read in binding.reads:
            name = f"{read}.{key}" if binding.keyed else read
            for quantity, branch in made.items():
                if _bare(quantity) in _FOLLOWED and (quantity == name or quantity.startswith(f"{name}.")):
                    weight = weights.get(branch.name) if weighs else None
                    found.append(replace(branch, weight=weight))
    return tuple(found)


def _told(stage: BoundStage, pipeline: Pipeline) -> tuple[Told, ...]:
    specs = {spec.label: spec for spec in pipeline.recipe.model}
    names = [(read, read.partition(".")[2]) for read in stage.reads if read.startswith("model_")]
    return tuple(Told(read, specs[name], pipeline.models[name]) for read, name in names)


def _sources(branch: Branch, parameter: str) -> set[str]:
    """The quantities below a branch that are bound to one of its parameters."""
    return {c.quantity for c in branch.of if parameter in _parameters(branch.stage, c.quantity)}


def _parameters(stage: BoundStage, quantity: str) -> set[str]:
    return {
        b.parameter for b in stage.bindings for read in b.reads if quantity == read or quantity.startswith(f"{read}.")
    }


def _bare(quantity: str) -> str:
    return quantity.partition(".")[0].removeprefix("step_").removeprefix("token_")


def _negative(value: Any) -> bool:
    return isinstance(value, int | float) and value < 0


__all__ = ["Branch", "Told", "composition", "without_effect"]
