"""What the hosts share that ask for rewards: a recipe compiled once for the columns that a host hands over."""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any

from torch import Tensor

from guerdon.adapters.fitting import compile_for, left_to
from guerdon.adapters.settings import tell
from guerdon.batch import Rollouts
from guerdon.pipeline import BoundStage, Host, Pipeline, SignalFailure
from guerdon.pipeline.run import Outcome
from guerdon.quantities import QUANTITIES
from guerdon.recipe import load
from guerdon.training.generators import derive

logger = logging.getLogger(__name__)

_ENOUGH = 64


class Unscored(ValueError):
    """A row that nothing scored, in a host that has no word for it."""


class Scorer:
    """A recipe in a host, as far as it runs there.

    Args:
        host: one of `guerdon.adapters.HOSTS`.
        recipe: as for `guerdon.recipe.load`.
        columns: of the host's data set; None: whatever the first call brings.
        steps: the rows carry ``step_ids``.
        structure: what else they carry (`guerdon.pipeline.compile_recipe`).
        theirs: reads a setting of the host's (`guerdon.adapters.settings.differences`).

    Raises:
        RecipeError: what cannot run there; at the first call where ``columns`` is None.
    """

    def __init__(
        self,
        host: Host,
        recipe: Any,
        columns: Iterable[str] | None = None,
        *,
        steps: bool = False,
        structure: Iterable[str] = (),
        theirs: Callable[[str], Any] = lambda name: None,
    ):
        self.host, self.recipe, self.theirs = host, load(recipe), theirs
        self.steps, self.structure = steps, frozenset(structure)
        self._compiled: dict[frozenset[str], Pipeline] = {}
        self._calls = count()
        self._asked: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        if columns is not None:
            self.pipeline(columns)

    def pipeline(self, columns: Iterable[str]) -> Pipeline:
        """The recipe, compiled for these columns; what it leaves to the host is logged once."""
        names = frozenset(columns)
        if names not in self._compiled:
            made = compile_for(self.host, self.recipe, columns=names, steps=self.steps, structure=self.structure)
            if not self._compiled:
                tell(self.host, self.recipe, self.theirs)
            self._compiled[names] = made
            left = left_to(self.host, made)
            logger.info("in %s runs: %s; left to it: %s", self.host.name, _labels(made), ", ".join(left) or "nothing")
        return self._compiled[names]

    def run(self, rows: Rollouts, stages: tuple[BoundStage, ...] | None = None, progress: float = 0.0) -> Outcome:
        """Run the recipe, or some of its stages, on rows; what is no quantity among them is a column.

        Random numbers depend on ``training.seed``, on how often it has run, and on what the rows said.

        Raises:
            SignalFailure: a signal failed on more rows than ``training.failure_limit`` allows, of 64 or more.
        """
        said = str(rows.get("completions", ""))  # processes that count alike see other rows
        draws = partial(derive, self.recipe.training.seed, next(self._calls), said)
        pipeline = self.pipeline(name for name in rows if name not in QUANTITIES)
        outcome = pipeline.run(rows, stages=stages, progress=progress, generator_for=draws)
        for label, share in outcome.failed.items():
            self._asked[label] += rows.rows
            self._failed[label] += round(share * rows.rows)
            limit = self.recipe.training.failure_limit
            if self._asked[label] >= _ENOUGH and self._failed[label] > limit * self._asked[label]:
                raise SignalFailure(
                    f"expected the signal {label!r} to score at least {1 - limit:.0%} of the rows, got failures on "
                    f"{self._failed[label]} of {self._asked[label]} ({outcome.example(label)}); "
                    "mend the signal, or raise training.failure_limit"
                )
        return outcome

    def learn(self, outcome: Outcome) -> None:
        """Let methods with state learn from rows that a recipe has run on; once for each row."""
        self.pipeline(name for name in outcome.batch if name not in QUANTITIES).update(outcome.batch)


def progress_of(state: Any) -> float:
    """How far the training is, in [0, 1], by the state of a trainer of transformers; 0 without one."""
    return 0.0 if state is None else state.global_step / max(1, state.max_steps)


def numbers(values: Tensor) -> list[float | None]:
    """A quantity of rows [B] as a list; None where it is unscored."""
    return [None if value != value else value for value in values.tolist()]


def why(outcome: Outcome, row: int) -> str:
    """Why a row is unscored, in words."""
    reasons: Mapping[str, Sequence[str | None]] = outcome.batch.get("reasons", {})
    told = [f"{label}: {rows[row]}" for label, rows in reasons.items() if rows[row] is not None]
    return "; ".join(told) or "a stage of the recipe left it out"


def scored(outcome: Outcome, unscored: float | None) -> list[float]:
    """The rewards as numbers, for a host that knows no others.

    Raises:
        Unscored: a row is unscored and ``unscored`` is None.
    """
    rewards = numbers(outcome.batch["rewards"])
    lost = [i for i, value in enumerate(rewards) if value is None]
    if lost and unscored is None:
        raise Unscored(
            f"expected a reward for every completion, got none for {len(lost)} of {len(rewards)} ({why(outcome, lost[0])}); "
            "mend the signal, or pass unscored = a number to give such completions that reward"
        )
    return [float(unscored or 0.0) if value is None else value for value in rewards]


def _labels(pipeline: Pipeline) -> str:
    return ", ".join(stage.label for stage in pipeline.stages)
