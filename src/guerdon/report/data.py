"""A run folder as typed data: what was logged, whatever is missing.

Nothing here raises because of a run's contents: a run may be unfinished, cut short in the middle of a line, without
evaluation or rollouts, or edited by hand. What could not be read becomes a sentence in ``problems``.
"""

import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from guerdon.recipe import Recipe, RecipeError, load
from guerdon.report.charts import Series
from guerdon.report.samples import Samples, read_samples
from guerdon.training.runfolder import RunFolder
from guerdon.training.shape import Shaped, shape

Event = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """What a page needs to know of a run."""

    name: str
    recipe_text: str = ""
    recipe: Recipe | None = None
    """None where it is missing or does not load."""
    preset: str | None = None
    iterations: list[Event] = field(default_factory=list)
    evaluations: list[Event] = field(default_factory=list)
    samples: Samples | None = None
    shaped: Shaped | None = None
    """What shaping and credit did to those samples' whole iteration."""
    problems: list[str] = field(default_factory=list)

    @property
    def planned(self) -> int | None:
        """Iterations that the recipe asks for."""
        return self.recipe.training.iterations if self.recipe else None

    @property
    def done(self) -> int:
        """Iterations that finished."""
        return len(self.iterations)

    @property
    def before(self) -> Event | None:
        """The evaluation before training."""
        return next((e for e in self.evaluations if e["iteration"] == 0), None)

    @property
    def after(self) -> Event | None:
        """The last evaluation after some training."""
        return next((e for e in reversed(self.evaluations) if e["iteration"] > 0), None)

    @property
    def seconds(self) -> float | None:
        """Wall clock of all iterations, evaluation and pauses left out; None where nothing was timed."""
        return total(self.iterations, "seconds")

    @property
    def rollouts(self) -> int | None:
        """Completions sampled for training."""
        if self.recipe is None:
            return None
        return self.done * self.recipe.training.prompts * self.recipe.training.samples

    @property
    def tokens_per_second(self) -> float | None:
        """Completion tokens per second of all iterations, updates included."""
        pairs = [(finite(e.get("tokens_per_second")), finite(e.get("seconds"))) for e in self.iterations]
        both = [(rate, seconds) for rate, seconds in pairs if rate is not None and seconds is not None]
        clock = sum(seconds for _, seconds in both)
        return sum(rate * seconds for rate, seconds in both) / clock if clock else None

    def names(self) -> list[str]:
        """Every metric of the iterations, in the order of first appearance."""
        return list(dict.fromkeys(key for event in self.iterations for key in event))

    def series(self, name: str, label: str | None = None, absent: float | None = None) -> Series:
        """A metric by iteration; None where it was null, ``absent`` where it was not logged."""
        return Series(label or name, [(e["iteration"], finite(e.get(name, absent))) for e in self.iterations])

    def evaluated(self, name: str, label: str) -> Series:
        """A number of the evaluations, by iteration, as dots."""
        return Series(label, [(e["iteration"], finite(e.get(name))) for e in self.evaluations], dots=True)


def read_run(path: Path) -> Run:
    """Read a run folder.

    Raises:
        FileNotFoundError: ``path`` holds neither a recipe nor metrics.
    """
    folder = RunFolder(path)
    if not folder.recipe.exists() and not folder.metrics.exists():
        raise FileNotFoundError(
            f"expected a run folder with recipe.toml or metrics.jsonl, got {str(path)!r}; name a folder that `guerdon train` made"
        )
    problems: list[str] = []
    text, recipe, preset = _recipe(folder, problems)
    events = [e for e in folder.events() if isinstance(e, dict) and isinstance(e.get("iteration"), int)]
    samples = read_samples(path / "rollouts", problems)
    # a line per iteration: after a resume the later one stands
    iterations = {e["iteration"]: e for e in events if e.get("event") == "iteration"}
    evaluations = {e["iteration"]: e for e in events if e.get("event") == "evaluation"}
    return Run(
        name=path.resolve().name,
        recipe_text=text,
        recipe=recipe,
        preset=preset,
        iterations=[iterations[i] for i in sorted(iterations)],
        evaluations=[evaluations[i] for i in sorted(evaluations)],
        samples=samples,
        shaped=_shaped(path / "rollouts", samples, recipe, problems),
        problems=problems,
    )


def _shaped(folder: Path, samples: Samples | None, recipe: Recipe | None, problems: list[str]) -> Shaped | None:
    """How the rollouts that are shown got their credit; None where that cannot be worked out again."""
    if samples is None or recipe is None:
        return None
    try:
        return shape(folder / f"{samples.iteration:06d}.parquet", recipe)
    except (ValueError, KeyError, RuntimeError) as error:  # a recipe or method that cannot run without its policy
        problems.append(f"What the credit is made of could not be worked out ({type(error).__name__}: {error}).")
        return None


def finite(value: Any) -> float | None:
    """A finite number or None."""
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None


def total(events: Iterable[Event], name: str) -> float | None:
    """Sum of a metric where it was logged; None where it never was."""
    values = [v for v in (finite(e.get(name)) for e in events) if v is not None]
    return sum(values) if values else None


def _recipe(folder: RunFolder, problems: list[str]) -> tuple[str, Recipe | None, str | None]:
    try:
        text = folder.recipe.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"The recipe could not be read ({error}).")
        return "", None, None
    try:
        return text, load(folder.recipe), _name(tomllib.loads(text).get("preset"))
    except (RecipeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"The recipe does not load ({error}).")
        return text, None, None


def _name(value: Any) -> str | None:
    return value if isinstance(value, str) else None
