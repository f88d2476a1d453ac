"""A method is one function: the decorator, the registry, and lookup by name or import path.

    @method(makes="advantages", paper="arXiv:2402.14740")
    def leave_one_out(rewards, group): ...

Positional parameters are quantities, asked for by name; keyword-only parameters are hyper-parameters with the paper's
defaults; ``generator`` is injected where a method draws random numbers. The decorator returns what it was given: the
function stays importable, callable with tensors and testable by hand. A class whose ``__call__`` follows the same rule
is a method with state. Nothing else lists the methods: recipe schema, ``guerdon methods``, documentation and paper
table are read from here.
"""

import importlib
import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from guerdon.quantities import QUANTITIES, Quantity, lookup

F = TypeVar("F", bound=Callable[..., Any])
ROOMS = ("signals", "shaping", "credit", "objectives")
TAGGED = (
    "guerdon.tasks.arithmetic",
    "guerdon.tasks.budget",
    "guerdon.policies",
    *(
        f"guerdon.reward_models.{part}"
        for part in ("losses", "language", "ensemble", "step_trajectory", "decomposition", "factors", "flow")
    ),
    "guerdon.training.balance",
    "guerdon.training.meta_weight",
    "guerdon.training.replay",
    "guerdon.training.anchor",
    "guerdon.training.trees",
    "guerdon.training.truncation",
)
"""Modules outside the rooms whose code follows papers."""
INJECTED = ("generator",)
_ATTRIBUTE = "__guerdon_method__"


@dataclass(frozen=True)
class Take:
    """One positional parameter: a quantity or a dataset column that the method asks for."""

    name: str
    optional: bool = False

    @property
    def quantity(self) -> Quantity | None:
        """Its entry in the vocabulary; None for a dataset column."""
        return lookup(self.name)


@dataclass(frozen=True)
class EntryOf:
    """Marks an option, in its annotation, as the name of an entry of keyed quantities that the method takes or learns from.

    A recipe that names an entry that is not there is refused before it runs. `PartName` is the usual one; it also stands
    inside ``dict[PartName, float]`` and ``Sequence[PartName]``.
    """

    quantities: tuple[str, ...]


PartName = Annotated[str, EntryOf(("parts",))]
"""An option that names a part: ``*, part: PartName = "thinking"``."""


@dataclass(frozen=True)
class Hyper:
    """One keyword-only parameter: name, annotation, and default (``inspect.Parameter.empty`` where it must be given)."""

    name: str
    annotation: Any
    default: Any
    entry_of: tuple[str, ...] = ()
    """Keyed quantities of which it names entries."""

    @property
    def required(self) -> bool:
        """Whether the recipe must give it."""
        return self.default is inspect.Parameter.empty


@dataclass(frozen=True)
class Method:
    """What signature, decorator and docstring say of a method."""

    name: str
    call: Callable[..., Any]
    makes: tuple[str, ...]
    takes: tuple[Take, ...]
    hypers: dict[str, Hyper]
    papers: tuple[str, ...]
    room: str
    stateful: bool
    injected: tuple[str, ...] = ()
    columns: bool = False
    """Takes every dataset column as a keyword (TRL's reward signature)."""
    across: bool = False
    """Looks across rows in the update phase: runs once per mini-batch on values without gradient."""
    claims: dict[str, Any] = field(default_factory=dict)
    """Properties that the contract battery holds it to, such as ``shift_invariant="rewards"``."""

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        doc = inspect.getdoc(self.call) or ""
        return doc.split("\n", 1)[0]

    @property
    def update_phase(self) -> bool:
        """Whether it takes a quantity that exists only while the policy is being updated."""
        return any(t.quantity is not None and t.quantity.phase == "update" for t in self.takes)


_REGISTRY: dict[str, Method] = {}
_PAPERS: dict[str, list[str]] = {}


def method(
    *,
    makes: str | Sequence[str],
    paper: str | Sequence[str] = (),
    name: str | None = None,
    across: bool = False,
    **claims: Any,
) -> Callable[[F], F]:
    """Register a function or class as a method and return it unchanged.

    Args:
        makes: the quantity it makes, or several for one that returns a tuple. ``parts`` and the other keyed
            quantities receive one entry, named by the recipe.
        paper: ``"arXiv:..."`` of the papers that propose it.
        name: recipe name; by default the function's name with hyphens.
        across: it looks across rows although it stands in the update phase.
        **claims: properties that the contract battery tests, such as ``shift_invariant="rewards"``.

    Raises:
        ValueError: an unknown quantity, a repeated name, or a signature that breaks the rule.
    """

    def register(call: F) -> F:
        info = describe(call, makes=makes, paper=paper, name=name, across=across, claims=claims)
        known = _REGISTRY.get(info.name)
        if known is not None and _origin(known.call) != _origin(call):
            raise ValueError(
                f"expected a new method name, got {info.name!r}, which {_origin(known.call)} has; pass name=..."
            )
        _REGISTRY[info.name] = info
        setattr(call, _ATTRIBUTE, info)
        for key in info.papers:
            _note_paper(key, info.name)
        return call

    return register


def describe(
    call: Callable[..., Any],
    *,
    makes: str | Sequence[str],
    paper: str | Sequence[str] = (),
    name: str | None = None,
    across: bool = False,
    claims: dict[str, Any] | None = None,
) -> Method:
    """Read a method from a function's or class's signature without registering it."""
    makes = (makes,) if isinstance(makes, str) else tuple(makes)
    label = name or recipe_name(call.__name__)
    for made in makes:
        if made not in QUANTITIES:
            raise ValueError(
                f"{label}: expected makes to name a quantity, got {made!r}; see guerdon.quantities.QUANTITIES"
            )
    stateful = inspect.isclass(call)
    target = call.__call__ if stateful else call
    takes, injected, columns = [], [], False
    for p in _parameters(target):
        if p.kind is p.VAR_KEYWORD:
            columns = True
        elif p.kind is p.KEYWORD_ONLY:
            if p.name in INJECTED:
                injected.append(p.name)
            elif stateful:
                raise ValueError(
                    f"{label}: hyper-parameters of a method with state belong to its constructor, got {p.name!r} in __call__"
                )
        elif p.kind is p.VAR_POSITIONAL:
            raise ValueError(f"{label}: expected named quantities, got *{p.name}")
        else:
            if p.default not in (p.empty, None):
                raise ValueError(
                    f"{label}: a quantity is required or defaults to None, got {p.name}={p.default!r}; hyper-parameters stand after *"
                )
            takes.append(Take(p.name, optional=p.default is None))
    return Method(
        name=label,
        call=call,
        makes=makes,
        takes=tuple(takes),
        hypers=hypers_of(call),
        papers=(paper,) if isinstance(paper, str) else tuple(paper),
        room=_room(call),
        stateful=stateful,
        injected=tuple(injected),
        columns=columns,
        across=across,
        claims=dict(claims or {}),
    )


def hypers_of(call: Callable[..., Any]) -> dict[str, Hyper]:
    """Keyword-only parameters of a function or of a class's constructor, with their annotations and defaults."""
    source = call.__init__ if inspect.isclass(call) else call
    hints, marked = typing.get_type_hints(source), typing.get_type_hints(source, include_extras=True)
    return {
        p.name: Hyper(p.name, hints.get(p.name, Any), p.default, _entry_of(marked.get(p.name)))
        for p in _parameters(source)
        if p.kind is p.KEYWORD_ONLY and p.name not in INJECTED
    }


def _entry_of(annotation: Any) -> tuple[str, ...]:
    """Quantities that `EntryOf` names anywhere in an annotation."""
    own = [q for mark in getattr(annotation, "__metadata__", ()) if isinstance(mark, EntryOf) for q in mark.quantities]
    return (
        *own,
        *(q for part in typing.get_args(annotation) if not isinstance(part, EntryOf) for q in _entry_of(part)),
    )


def paper(*keys: str) -> Callable[[F], F]:
    """Tag ordinary code (samplers, tasks, loops) with the papers that it follows."""

    def tag(thing: F) -> F:
        for key in keys:
            _note_paper(key, _origin(thing))
        return thing

    return tag


def methods(*, shipped: bool = False) -> dict[str, Method]:
    """Every registered method by recipe name; imports the rooms. ``shipped``: without those that other code registered."""
    for room in ROOMS:
        importlib.import_module(f"guerdon.{room}")
    found = dict(sorted(_REGISTRY.items()))
    return {name: m for name, m in found.items() if m.call.__module__.startswith("guerdon.")} if shipped else found


def papers() -> dict[str, tuple[str, ...]]:
    """Papers by key (``arXiv:...``) with the methods and tagged code that follow them."""
    for module in (*(f"guerdon.{room}" for room in ROOMS), *TAGGED):
        importlib.import_module(module)
    return {key: tuple(dict.fromkeys(names)) for key, names in sorted(_PAPERS.items())}


def find(name: str) -> Method:
    """A method by recipe name (``group-normalise``) or import path (``package.module:function``).

    A function found by path that is not registered must have TRL's reward signature,
    ``f(prompts, completions, **columns) -> list[float | None]``, and becomes a signal.

    Raises:
        LookupError: nothing of that name, with the nearest names.
    """
    if ":" in name:
        return _by_path(name)
    table = methods()
    if name in table:
        return table[name]
    import difflib

    alike = {known: difflib.SequenceMatcher(None, name, known).ratio() for known in table}
    best = max(alike.values(), default=0.0)
    near = sorted((known for known, r in alike.items() if r >= max(0.5, best - 0.15)), key=lambda known: -alike[known])[
        :3
    ]
    hint = f"did you mean {', '.join(near)}?" if near else "guerdon methods lists them all"
    raise LookupError(f"expected a method name or package.module:function, got {name!r}; {hint}")


def recipe_name(identifier: str) -> str:
    """``group_normalise`` or ``GroupNormalise`` as it stands in a recipe: ``group-normalise``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", identifier).replace("_", "-").lower()


def load_object(path: str) -> Any:
    """What ``package.module:name`` names.

    Raises:
        LookupError: it cannot be imported.
    """
    module, _, attribute = path.partition(":")
    try:
        target = importlib.import_module(module)
        for piece in attribute.split("."):
            target = getattr(target, piece)
    except (ImportError, AttributeError) as error:
        raise LookupError(
            f"expected an importable package.module:name, got {path!r} ({error}); "
            "check the name, and that it is installed or in the working folder"
        ) from error
    return target


def _by_path(path: str) -> Method:
    target, attribute = load_object(path), path.partition(":")[2]
    info = getattr(target, _ATTRIBUTE, None)
    if info is not None:
        return info
    if not callable(target):
        raise LookupError(f"expected a function at {path!r}, got {type(target).__name__}")
    try:
        found = describe(target, makes="parts", name=recipe_name(attribute.split(".")[-1]))
    except ValueError as error:
        raise LookupError(
            f"expected {path!r} to be a reward f(prompts, completions, **columns), got {error}; give another"
        ) from error
    if not {"prompts", "completions"} & {t.name for t in found.takes}:
        raise LookupError(
            f"expected {path!r} to be a registered method or a reward f(prompts, completions, **columns), "
            f"got parameters {[t.name for t in found.takes]}; decorate it with @guerdon.method(makes=...)"
        )
    return found


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    return [p for p in inspect.signature(function).parameters.values() if p.name != "self"]


def _room(call: Callable[..., Any]) -> str:
    pieces = call.__module__.split(".")
    return pieces[1] if pieces[0] == "guerdon" and len(pieces) > 1 else call.__module__


def _origin(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _note_paper(key: str, name: str) -> None:
    if not re.fullmatch(r"arXiv:\d{4}\.\d{4,5}", key):
        raise ValueError(f"expected a paper key such as 'arXiv:2504.15275', got {key!r}")
    _PAPERS.setdefault(key, []).append(name)
