"""The rollout phase: signals, shaping and credit on one batch, without gradient, with lineage."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from guerdon.batch import Rollouts, even_steps
from guerdon.pipeline.asking import asking
from guerdon.pipeline.losses import Objective
from guerdon.pipeline.stage import BoundStage, ModelFace, merge
from guerdon.pipeline.weights import note_factor
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import Node, Recipe, Reward
from guerdon.sandbox.threads import Started
from guerdon.schedules import at
from guerdon.signals import scores

Provide = Callable[[str, Rollouts], Any]
"""Makes a quantity that no method makes (``old_logp``, ``ref_logp``, ``greedy_rewards`` ...) for a batch."""


@runtime_checkable
class Split(Protocol):
    """Several processes that hold the same batch: each asks a signal for its own rows, and all hold every answer."""

    def own(
        self, stage: BoundStage, batch: Rollouts, generator: torch.Generator
    ) -> tuple[Rollouts | None, torch.Generator]:
        """The rows that this process asks a signal for (None: no rows), and its random numbers."""
        ...

    def whole(self, stage: BoundStage, batch: Rollouts, said: scores.Outcome | None) -> scores.Outcome:
        """The answers of all processes for the whole batch; called in the same order by each."""
        ...


class SignalFailure(RuntimeError):
    """A signal failed on more rows than the recipe allows."""


@dataclass(frozen=True, eq=False)
class Record:
    """What one stage made, per row or per step: one entry of a batch's lineage."""

    stage: str
    quantity: str
    value: Tensor


@dataclass(frozen=True, eq=False)
class Outcome:
    """A batch with all that the pipeline made, its lineage, and how each signal fared."""

    batch: Rollouts
    lineage: tuple[Record, ...]
    said: Mapping[str, scores.Outcome] = field(default_factory=dict)
    """What each signal said, by its label."""

    @property
    def failed(self) -> dict[str, float]:
        """Share of rows on which each signal failed."""
        return {label: said.failed / max(1, len(said.reasons)) for label, said in self.said.items()}

    def example(self, label: str) -> str:
        """Why a signal failed, where it did."""
        return next((r for r in self.said[label].reasons if r is not None and r.startswith(scores.FAILED)), "")


@dataclass(frozen=True, eq=False)
class Pipeline:
    """The stages of a compiled recipe, and what they need from a provider."""

    recipe: Recipe
    stages: tuple[BoundStage, ...]
    objective: Objective
    columns: frozenset[str]
    models: Mapping[str, ModelFace] = field(default_factory=dict)
    """The models under [[model]]."""

    @property
    def model_reads(self) -> set[str]:
        """What the models take, to score and to learn."""
        return {t for face in self.models.values() for t in (*face.reads, *face.learns_from)}

    @property
    def learns_from(self) -> set[str]:
        """What methods with state learn from after each iteration."""
        stages = (*self.stages, *self.objective.stages)
        return {source.split(".", 1)[0] for stage in stages for source in stage.learns_from.values()}

    @property
    def needs(self) -> frozenset[str]:
        """Quantities that a provider must make, rollout and update phase together."""
        made: set[str] = set()
        read: set[str] = set()
        for stage in self.stages:  # what a stage both reads and makes (best-of-k of prefix_values) must be there before
            read |= {r.split(".", 1)[0] for r in stage.reads} - made
            made |= {m.split(".", 1)[0] for m in stage.makes}
        read |= (self.objective.reads | self.model_reads | self.learns_from) - made
        if read & {"step_mask", "step_end"}:
            read.add("step_ids")
        if "turn_mask" in read:
            read.add("turn_ids")
        provided = {"policy", "reference", "value", "greedy", "extra", "model"}
        names = {n for n in read if (q := lookup(n)) is not None and q.provider in provided}
        return frozenset(names | (read & {"step_ids", "turn_ids"}) - made)

    @property
    def signals(self) -> tuple[BoundStage, ...]:
        """The stages under [[reward]]."""
        return tuple(s for s in self.stages if s.kind == "reward")

    def run(
        self,
        batch: Rollouts,
        *,
        provide: Provide | None = None,
        progress: float = 0.0,
        generator_for: Callable[[str], torch.Generator] | None = None,
        stages: tuple[BoundStage, ...] | None = None,
        said: Mapping[str, scores.Outcome] | None = None,
        split: Split | None = None,
    ) -> Outcome:
        """Run the rollout phase on a batch. Signals are asked at the same time, as far as none reads another's.

        Args:
            batch: rollouts with the task's columns.
            provide: asked once for each of ``needs`` of this phase, when a stage first reads it.
            progress: of training, in [0, 1], for schedules.
            generator_for: a generator for a stage, by its label; by default seeded with 0.
            stages: only these (`compile.ancestors`); by default all.
            said: what signals have said of this batch already, by label (`early`); they are not asked again.
            split: shares the signals out among processes.

        Raises:
            RuntimeError: a stage raised; the message names it.
        """
        said = dict(said or {})
        work = dict(batch.data)
        weighed = [s for s in self.stages if isinstance(s.spec, Reward | Node)]
        work["part_weights"] = {s.label: torch.tensor(float(at(s.spec.weight, progress))) for s in weighed}
        lineage: list[Record] = []
        view = Rollouts(work)
        asked: list[tuple[BoundStage, Started[scores.Outcome | None] | Answered]] = []

        def listen() -> Rollouts:
            """Wait for what has been asked, and put it among the quantities in the recipe's order."""
            for stage, answer in asked:
                outcome = answer.result()
                if split is not None and stage.label not in said:
                    outcome = split.whole(stage, view, outcome)
                assert outcome is not None
                said[stage.label] = outcome
                _note(work, stage.label, outcome)
                made = [(n, outcome.values[m], None) for n, m in zip(stage.makes, stage.method.makes, strict=True)]
                self._keep(stage, made, work, lineage)
                work.update(even_steps(work))
                self._view(stage, work)
            asked.clear()
            return Rollouts(work)

        with torch.no_grad():
            for stage in self.stages if stages is None else stages:
                if asked and (stage.kind != "reward" or _reads_one_of(stage, [s for s, _ in asked])):
                    view = listen()
                for name in stage.reads:
                    if self._lacks(view, name) and provide is not None:
                        need = {"step_mask": "step_ids", "step_end": "step_ids", "turn_mask": "turn_ids"}.get(
                            name, name
                        )
                        merge(work, need, provide(need, view))
                        view = Rollouts(work)
                generator = (
                    generator_for(stage.label) if generator_for is not None else torch.Generator().manual_seed(0)
                )
                if stage.kind == "reward":
                    known, part = said.get(stage.label), view
                    if known is None and split is not None:
                        part, generator = split.own(stage, view, generator)
                    if known is None and part is not None:
                        call = asking(stage, part, progress, generator)
                        asked.append((stage, Started(call, f"guerdon-{stage.label}")))
                    else:
                        asked.append((stage, Answered(known)))
                    continue
                self._keep(stage, self._call(stage, view, progress, generator), work, lineage)
                view = self._view(stage, work)
            view = listen()
            if stages is None and provide is not None:
                view = self.provided(view, provide)
        return Outcome(view, tuple(lineage), said)

    def provided(self, view: Rollouts, provide: Provide, *, but: Collection[str] = ()) -> Rollouts:
        """The batch with what the losses read of the rollout phase, or methods learn from, and no stage has asked for;
        ``but`` these.
        """
        for name in sorted((self.objective.reads | self.learns_from) & self.needs - set(but)):
            quantity = lookup(name)
            if quantity is not None and quantity.phase == "rollout" and name not in view:
                view = view.with_(**{name: provide(name, view)})
        return view

    def early(self, batch: Rollouts) -> tuple[BoundStage, ...]:
        """The signals that need nothing but the rollouts: they can score one part of a batch before the next is there."""
        found: list[BoundStage] = []
        for stage in self.signals:
            above = {m for s in found for m in s.makes}
            if all(name in batch or name in above for name in stage.needs):
                found.append(stage)
        return tuple(found)

    @staticmethod
    def _keep(stage: BoundStage, made: list[Any], work: dict[str, Any], lineage: list[Record]) -> None:
        for name, value, key in made:
            if stage.kind == "reward" and name == "correct" and name in work:
                continue  # the first signal that verifies decides
            merge(work, name, value, key)
            note_factor(work, stage.label, name, value)
            quantity = QUANTITIES[name.split(".", 1)[0]]
            if isinstance(value, Tensor) and quantity.level in ("row", "step"):
                lineage.append(Record(stage.label, f"{name}.{key}" if key else name, value))

    def _call(self, stage: BoundStage, view: Rollouts, progress: float, generator: torch.Generator):
        results = []
        for key in stage.each or (None,):
            try:
                values = stage.call(stage.arguments(view, key), progress, generator)
            except Exception as error:  # a stage may be anybody's code: whatever it raises goes on, with its place
                raise RuntimeError(f"{stage.place}: {type(error).__name__}: {error}") from error
            results += [(name, value, key) for name, value in zip(stage.makes, values, strict=True)]
        return results

    @staticmethod
    def _lacks(view: Rollouts, name: str) -> bool:
        head = name.split(".", 1)[0]
        quantity = lookup(name)
        return name not in view and (head not in view or (quantity is not None and quantity.single))

    def _view(self, stage: BoundStage, work: Mapping[str, Any]) -> Rollouts:
        try:
            return Rollouts(work)
        except ValueError as error:
            raise RuntimeError(f"{stage.place}: {error}") from error

    def check_failures(self, outcome: Outcome, limit: float) -> None:
        """Stop where a signal failed on more than ``limit`` of the rows.

        Raises:
            SignalFailure: with the signal's name, the share, and one reason.
        """
        for label, share in outcome.failed.items():
            if share > limit:
                raise SignalFailure(
                    f"expected the signal {label!r} to score at least {1 - limit:.0%} of the rows, got failures on {share:.0%} "
                    f"({outcome.example(label)}); mend the signal, or raise training.failure_limit"
                )

    def update(self, batch: Rollouts) -> None:
        """Let the methods with state learn from an iteration; called in training only."""
        for stage in (*self.stages, *self.objective.stages):
            if stage.learns_from:
                bound = {b.parameter: b for b in stage.bindings}
                stage.instance.update(**{n: bound[n].of(batch) if n in bound else batch[n] for n in stage.learns_from})

    def metrics(self) -> dict[str, float]:
        """What the methods with state say of themselves (``metrics``), as ``state/LABEL/...``; by place where two stages
        share a label."""
        told: dict[str, float] = {}
        stages = [s for s in (*self.stages, *self.objective.stages) if hasattr(s.instance, "metrics")]
        labels = [s.label for s in stages]
        for stage in stages:
            name = stage.label if labels.count(stage.label) == 1 else stage.place
            told |= {f"state/{name}/{key}": float(value) for key, value in stage.instance.metrics.items()}
        return told

    def state(self) -> dict[str, Any]:
        """State of every method that has one, by place."""
        return {
            s.place: s.instance.state_dict() for s in (*self.stages, *self.objective.stages) if s.instance is not None
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` gave."""
        for stage in (*self.stages, *self.objective.stages):
            if stage.instance is not None:
                stage.instance.load_state_dict(state[stage.place])


def _note(work: dict[str, Any], label: str, said: scores.Outcome) -> None:
    """Why rows are unscored, how long each waited, and what it cost."""
    merge(work, "reasons", said.reasons, label)
    merge(work, "latencies", said.latencies, label)
    if said.cost is not None:
        merge(work, "costs", said.cost, label)


def _reads_one_of(stage: BoundStage, others: list[BoundStage]) -> bool:
    made = {m for other in others for m in other.makes}
    heads = {m.split(".", 1)[0] for m in made}
    return any(name in made or name in heads for name in stage.needs)


@dataclass(frozen=True)
class Answered:
    """An answer that is there already, or never will be (None: this process had no rows to ask about)."""

    said: scores.Outcome | None

    def result(self) -> scores.Outcome | None:
        """It."""
        return self.said
