"""The rollout phase: signals, shaping and credit on one batch, without gradient, with lineage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.pipeline.losses import Objective
from guerdon.pipeline.stage import BoundStage, ModelFace, merge
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import Recipe
from guerdon.schedules import at
from guerdon.signals.runner import chat_form, run_signal

Provide = Callable[[str, Rollouts], Any]
"""Makes a quantity that no method makes (``old_logp``, ``ref_logp``, ``greedy_rewards`` ...) for a batch."""


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
    seconds: dict[str, float] = field(default_factory=dict)
    failed: dict[str, float] = field(default_factory=dict)
    """Share of rows on which each signal failed."""
    examples: dict[str, str] = field(default_factory=dict)
    """One reason per failing signal."""


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
    def needs(self) -> frozenset[str]:
        """Quantities that a provider must make, rollout and update phase together."""
        made: set[str] = set()
        read: set[str] = set()
        for stage in self.stages:  # what a stage both reads and makes (best-of-k of prefix_values) must be there before
            read |= {r.split(".", 1)[0] for r in stage.reads} - made
            made |= {m.split(".", 1)[0] for m in stage.makes}
        read |= (self.objective.reads | self.model_reads) - made
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
    ) -> Outcome:
        """Run the rollout phase on a batch.

        Args:
            batch: rollouts with the task's columns.
            provide: asked once for each of ``needs`` of this phase, when a stage first reads it.
            progress: of training, in [0, 1], for schedules.
            generator_for: a generator for a stage, by its label; by default seeded with 0.
            stages: only these (`compile.ancestors`); by default all.

        Raises:
            RuntimeError: a stage raised; the message names it.
        """
        work = dict(batch.data)
        work["part_weights"] = {s.label: torch.tensor(float(at(s.spec.weight, progress))) for s in self.signals}
        lineage: list[Record] = []
        seconds, failed, examples = {}, {}, {}
        view = Rollouts(work)
        with torch.no_grad():
            for stage in self.stages if stages is None else stages:
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
                    outcome = self._signal(stage, view, progress, generator)
                    seconds[stage.label] = outcome.seconds
                    bad = [r for r in outcome.reasons if r is not None and r.startswith("failed")]
                    failed[stage.label] = len(bad) / max(1, view.rows)
                    if bad:
                        examples[stage.label] = bad[0]
                    work["reasons"] = {**work.get("reasons", {}), stage.label: outcome.reasons}
                    made = [(n, outcome.values[m], None) for n, m in zip(stage.makes, stage.method.makes, strict=True)]
                else:
                    made = self._call(stage, view, progress, generator)
                for name, value, key in made:
                    if name == "correct" and name in work:
                        continue  # the first signal that verifies decides
                    merge(work, name, value, key)
                    quantity = QUANTITIES[name.split(".", 1)[0]]
                    if isinstance(value, Tensor) and quantity.level in ("row", "step"):
                        lineage.append(Record(stage.label, f"{name}.{key}" if key else name, value))
                view = self._view(stage, work)
            if stages is None and provide is not None:
                for name in sorted(self.objective.reads & self.needs):
                    quantity = lookup(name)
                    if quantity is not None and quantity.phase == "rollout" and name not in view:
                        work[name] = provide(name, view)
                        view = Rollouts(work)
        return Outcome(view, tuple(lineage), seconds, failed, examples)

    def _signal(self, stage: BoundStage, view: Rollouts, progress: float, generator: torch.Generator):
        arguments = stage.arguments(view)

        def ask(**given: Any) -> Any:
            result = stage.call(given, progress, generator)
            return result if len(stage.method.makes) > 1 else result[0]

        return run_signal(
            ask,
            chat_form(arguments) if stage.method.columns else arguments,
            view.rows,
            makes=stage.method.makes,
            timeout=stage.spec.timeout,
        )

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
                    f"({outcome.examples[label]}); mend the signal, or raise training.failure_limit"
                )

    def update(self, batch: Rollouts) -> None:
        """Let the methods with state learn from an iteration; called in training only."""
        import inspect

        for stage in (*self.stages, *self.objective.stages):
            learn = getattr(stage.instance, "update", None)
            if learn is not None:
                sources = {b.parameter: b.source for b in stage.bindings}
                names = [p for p in inspect.signature(learn).parameters if p != "self"]
                learn(**{name: batch[sources.get(name, name)] for name in names})

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
