"""Where a recipe runs: what the host provides besides what methods make, and what to use instead of the rest."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from guerdon.batch import DERIVED_FROM
from guerdon.quantities import QUANTITIES, lookup


@dataclass(frozen=True)
class Host:
    """A trainer, seen from a recipe.

    Attributes:
        name: as a person calls it.
        offers: providers (`guerdon.quantities`) and single quantities that it makes for a recipe.
        lacks: quantities or providers that it does not make, each with what to use instead. A quantity by name, here or
            under ``offers``, wins over a provider.
        withholds: quantities or providers that the host's own credit has, but no stage that runs in it, each with what to use
            instead; a quantity under ``offers`` wins over its provider.
        carries: structure that its rows bring with them (``step_ids``, ``turn_ids``, ``turn_scores`` ...), at best.
        adapter: the module that runs a recipe in it.
        refuses: kinds of stages that its trainer has no place for, each with what to use instead: ``counts`` (rows that count
            several times), ``weighting`` (weights made in the update phase), ``across`` (those of
            them that look across rows), ``together`` (stages of credit that need more than ``together``),
            ``factors`` (weights of the rollouts of which a loss takes some), ``schedules`` (where it does not tell how far the
            training is; under ``alone`` and in its losses, where the host has these).
        handed: what its losses, and what stands before them in the update phase, are given; None: all that it makes.
        elsewhere: what to use in place of a quantity that is not among ``handed``, where that is a matter of its own.
        alone: what it knows of a row while that is scored, where rows are scored one by one and credit is made later.
        together: what it tells the stages that make credit of the batch later (`guerdon.adapters.halves`); None: everything.
        aggregates: how a loss may be averaged in it; empty: in every way.
        runs: how far a recipe runs in it: up to ``rewards``, up to ``advantages``, with its losses (``loss``), or nothing but its
            losses (``losses``).
    """

    name: str
    offers: frozenset[str]
    lacks: Mapping[str, str] = field(default_factory=dict)
    withholds: Mapping[str, str] = field(default_factory=dict)
    carries: frozenset[str] = frozenset()
    adapter: str = ""
    refuses: Mapping[str, str] = field(default_factory=dict)
    handed: frozenset[str] | None = None
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    alone: frozenset[str] = frozenset()
    together: frozenset[str] | None = None
    aggregates: tuple[str, ...] = ()
    runs: Literal["rewards", "advantages", "loss", "losses"] = "loss"

    def __post_init__(self):
        known = {q.provider for q in QUANTITIES.values()} | set(QUANTITIES)
        named = {*self.offers, *self.lacks, *self.withholds, *self.carries, *self.alone, *self.elsewhere}
        odd = sorted((named | {*(self.handed or ()), *(self.together or ())}) - known)
        if odd:
            raise ValueError(f"expected quantities or providers, got {odd[0]!r} for the host {self.name}; correct it")

    def provides(self, name: str) -> bool:
        """Whether it makes the quantity ``name`` (``old_logp``, ``step_ids`` ...)."""
        quantity = lookup(name)
        if quantity is None or quantity.name in self.lacks:
            return False
        if quantity.name in self.offers or quantity.provider in ("derived", "recipe"):
            return True
        return quantity.provider in self.offers and quantity.provider not in self.lacks

    def hands(self, name: str) -> bool:
        """Whether its losses are given the quantity ``name``, or what that is read from."""
        if self.handed is None or name in self.handed:
            return True
        return name in DERIVED_FROM and set(DERIVED_FROM[name]) <= self.handed

    def instead(self, name: str) -> str:
        """What to use where it lacks the quantity ``name``."""
        quantity = lookup(name)
        provider = None if quantity is None else quantity.provider
        return self.lacks.get(name) or self.lacks.get(provider or "") or "use a method that does without"

    def withheld(self, name: str) -> str | None:
        """What to use instead, where a stage that runs in it cannot have the quantity ``name``; None where it can."""
        quantity = lookup(name)
        if quantity is None or quantity.name in self.offers:
            return None
        return self.withholds.get(quantity.name) or self.withholds.get(quantity.provider or "")


OWN = Host(
    "Guerdon's trainer",
    frozenset({"rollout", "policy", "reference", "value", "greedy", "extra", "model", "demonstration"}),
    carries=frozenset({"step_ids", "turn_ids", "node_ids", "turn_scores", "turn_accepted", "potentials"}),
)
"""Our own trainer."""
