"""One stage of a compiled recipe: a method with its bindings, and how it is called."""

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from guerdon.method import Method
from guerdon.quantities import QUANTITIES, lookup
from guerdon.schedules import Schedule, at


@dataclass(frozen=True)
class Binding:
    """A parameter and the quantity or column that it reads; ``keyed``: one entry of it per part.

    ``entries``: only these of a dictionary, in this order, whichever they come from (``parts.safe``, ``combined.kind``).
    """

    parameter: str
    source: str
    keyed: bool = False
    entries: tuple[str, ...] = ()

    @property
    def reads(self) -> tuple[str, ...]:
        """Every quantity or column that it reads."""
        return self.entries or (self.source,)

    def of(self, batch: Mapping[str, Any], key: str | None = None) -> Any:
        """Its value from a batch; ``key`` picks the part under ``each``."""
        if self.entries:
            return {name.split(".", 1)[1]: batch[name] for name in self.entries}
        return batch[f"{self.source}.{key}" if self.keyed else self.source]


@dataclass(frozen=True)
class ModelFace:
    """What a compiled recipe knows of a model under [[model]]: what it makes, needs to score, and needs to learn."""

    makes: tuple[str, ...]
    reads: tuple[str, ...] = ()
    learns_from: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class BoundStage:
    """A method, bound.

    ``makes`` are the names that its results get; a keyed quantity carries its key (``parts.length``), or, under
    ``each``, one key per part.
    """

    place: str
    label: str
    kind: str
    method: Method
    bindings: tuple[Binding, ...]
    makes: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    each: tuple[str, ...] | None = None
    spec: Any = None
    instance: Any = None
    """The object of a method with state."""
    implicit: bool = False
    """Put in by the compiler, since what it makes is taken and no stage of the recipe makes it."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Every quantity or column that it reads."""
        return tuple(name for b in self.bindings for name in b.reads)

    @property
    def learns_from(self) -> dict[str, str]:
        """What a method with state learns from after each iteration: parameter of ``update`` -> quantity."""
        learn = getattr(self.instance, "update", None)
        if learn is None:
            return {}
        sources = {b.parameter: b.source for b in self.bindings}
        return {name: sources.get(name, name) for name in inspect.signature(learn).parameters}

    @property
    def needs(self) -> tuple[str, ...]:
        """What it reads, and what says which rows it is asked for."""
        when = getattr(self.spec, "when", None)
        return self.reads if when is None else (*self.reads, *when.reads)

    @property
    def update_phase(self) -> bool:
        """Whether it reads or makes a quantity of the policy being updated."""
        return any((q := lookup(name)) is not None and q.phase == "update" for name in (*self.reads, *self.makes))

    def arguments(self, source: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """Its quantities from a batch; ``key`` picks the part under ``each``."""
        return {b.parameter: b.of(source, key) for b in self.bindings}

    def call(self, arguments: Mapping[str, Any], progress: float, generator: torch.Generator | None) -> tuple[Any, ...]:
        """Run it once; always a tuple, one entry for each of ``makes``."""
        result = self.said(arguments, progress, generator)
        return result if len(self.method.makes) > 1 else (result,)

    def said(self, arguments: Mapping[str, Any], progress: float, generator: torch.Generator | None) -> Any:
        """Run it once, and give what it returned as it is: of a signal perhaps `guerdon.signals.Scores`."""
        extra: dict[str, Any] = {} if generator is None else dict.fromkeys(self.method.injected, generator)
        if self.instance is None:
            options = {name: at(value, progress) for name, value in self.options.items()}
            return self.method.call(**arguments, **options, **extra)
        for name, value in self.options.items():
            if isinstance(value, Schedule):
                setattr(self.instance, name, value.at(progress))
        return self.instance(**arguments, **extra)


def variadic(call: Callable[..., Any], parameter: str) -> bool:
    """Whether a parameter's annotation serves several levels (``"B *rest"``) or says nothing."""
    annotation = parameter_hints(call).get(parameter)
    dims = getattr(annotation, "dim_str", None)
    return annotation is None or dims is None or "*" in dims or "..." in dims


def parameter_hints(call: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a method's quantities."""
    return typing.get_type_hints(call.__call__ if isinstance(call, type) else call)


def merge(into: dict[str, Any], made: str, value: Any, key: str | None = None) -> None:
    """Put what a stage made among the quantities, by the vocabulary's rule for two makers."""
    head, _, entry = made.partition(".")
    entry = key or entry
    quantity = QUANTITIES[head]
    if isinstance(value, Tensor) and value.is_floating_point() and value.dtype != torch.float32:
        value = value.float()
    if quantity.keyed and entry:
        into[head] = {**into.get(head, {}), entry: value}
    elif quantity.merge == "multiply" and head in into:
        into[head] = into[head] * value
    else:
        into[head] = value
