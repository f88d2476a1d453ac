"""What shaping and credit do to scored rollouts: distributions before and after each stage, order, and who explains the credit."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.kernels import group_mean, group_rank
from guerdon.pipeline import BoundStage, Pipeline, compile_recipe
from guerdon.pipeline.composition import Branch, composition, without_effect
from guerdon.pipeline.known import CARRIED
from guerdon.quantities import QUANTITIES
from guerdon.recipe import RecipeError, load
from guerdon.signals.scores import Outcome as Said
from guerdon.tasks.reading import read
from guerdon.training.offline import batch_of, runnable
from guerdon.training.parts import faces
from guerdon.training.runfolder import load_rollouts, outcome_of

BINS = 24
NOTHING = 0.005
"""Share of the credit's variance below which a part counts as explaining nothing."""
_MOST_PAIRS = 1_000_000


@dataclass(frozen=True)
class Spread:
    """How a quantity is spread over rows (or rows and steps): NaN left out, but counted."""

    count: int
    unscored: int
    low: float
    mean: float
    high: float
    std: float
    bins: tuple[int, ...]
    """Counts in equal intervals from ``low`` to ``high``; one of them where all are equal."""


@dataclass(frozen=True)
class Moved:
    """A row that a stage moved among its group: its place before and after, 0 for the best; equals share the middle."""

    row: int
    group: int
    before: float
    after: float
    text: str


@dataclass(frozen=True)
class Input:
    """One input of a stage: its spread, and what became of its order."""

    quantity: str
    spread: Spread
    reversed: float | None
    """Share of the pairs of rows in a group that the input tells apart and the result orders the other way (for an input
    of negative weight: the same way)."""
    tied: float | None
    """Share of them that the result no longer tells apart."""
    moved: tuple[Moved, ...] = ()
    """The rows that moved furthest, where some did."""


@dataclass(frozen=True)
class StageShape:
    """A stage: what it was given and what it made."""

    stage: str
    method: str
    quantity: str
    after: Spread
    inputs: tuple[Input, ...]


@dataclass(frozen=True)
class Shaped:
    """A file of rollouts, seen through a recipe."""

    rows: int
    groups: int | None
    stages: tuple[StageShape, ...]
    root: Branch
    shares: Mapping[str, float | None]
    """Of each part (``parts.NAME``) and of what each model says (``model_member_scores.NAME``): its share of the variance
    of the final credit; None where that does not vary."""
    credit: str
    """The final credit that is explained."""
    left_out: tuple[str, ...]
    """Stages that need what the file lacks."""
    without_effect: tuple[str, ...]

    @property
    def silent(self) -> list[str]:
        """Parts that explain nothing."""
        return [name for name, share in self.shares.items() if share is not None and abs(share) < NOTHING]


def shape(source: str | Path | Rollouts, recipe: Any = None, *, most_moved: int = 3) -> Shaped:
    """Run a recipe's shaping and credit on scored rollouts, and look at what each stage does.

    The share of a part is what the final credit A loses when the part is made to tell nothing, by putting the mean of its
    group in the place of each of its scores:

        share_k = cov(A - A without k, A) / var(A)

    For stages that add and centre these sum to 1; a negative share works against the rest.

    Args:
        source: rollouts that a run saved, a file that `guerdon score` wrote (Parquet, JSONL), or a table of completions,
            whose signals are then asked. What the file says of a signal is taken from it.
        recipe: as for `guerdon.recipe.load`.
        most_moved: rows shown of those that changed their order most.

    Raises:
        RecipeError: the recipe cannot run on the file, or makes neither rewards nor credit.
    """
    batch = source if isinstance(source, Rollouts) else rollouts_of(Path(source))
    pipeline, stages, left_out, said, batch = _prepared(batch, recipe)
    outcome = pipeline.run(batch, stages=stages, said=said).batch
    root = composition(pipeline, stages)
    if root is None:
        raise RecipeError(
            f"expected a recipe that makes rewards or credit of what the file has, got stages "
            f"{[s.label for s in stages]} (left out: {list(left_out)}); add one such as weighted-sum"
        )
    versions = _versions(pipeline, batch, stages, said)
    group = outcome.get("group", None)
    texts = outcome.get("completions", None) or [""] * outcome.rows
    shown = []
    for branch in reversed(root.walk()):
        if branch.stage.kind == "reward" or (branch.stage.label, branch.quantity) in {
            (s.stage, s.quantity) for s in shown
        }:
            continue
        after = _there(branch.quantity, versions[branch.stage.label, branch.quantity], outcome)
        inputs = [
            _input(
                child,
                _there(child.quantity, versions[child.stage.label, child.quantity], outcome),
                after,
                group,
                texts,
                most_moved,
            )
            for child in branch.of
        ]
        shown.append(
            StageShape(branch.stage.label, branch.stage.method.name, branch.quantity, spread(after), tuple(inputs))
        )
    order = {s.label: i for i, s in enumerate(stages)}
    return Shaped(
        rows=outcome.rows,
        groups=None if group is None else int(group.unique().numel()),
        stages=tuple(sorted(shown, key=lambda s: order[s.stage])),
        root=root,
        shares=_shares(root, pipeline, outcome, stages, said),
        credit=root.quantity,
        left_out=left_out,
        without_effect=tuple(without_effect(root)),
    )


def rollouts_of(path: Path) -> Rollouts:
    """Scored rollouts, or a table of completions, from a file.

    Raises:
        RecipeError: the file is none of them.
    """
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        names = pq.read_schema(path).names if path.is_file() else []
        if any(_scored(name) for name in names) or not path.is_file():
            return load_rollouts(path)
    table = read(str(path))
    if not any(_scored(name) for name in table.columns):
        return batch_of(table)
    rows = pa.table({name: pa.array(_numbers(name, values)) for name, values in table.columns.items()})
    return outcome_of(rows).batch


def spread(values: Tensor) -> Spread:
    """The spread of all entries of a tensor."""
    flat = values.detach().float().flatten()
    scored = flat[~flat.isnan()]
    if not len(scored):
        return Spread(0, len(flat), *[float("nan")] * 4, bins=())
    low, high = float(scored.min()), float(scored.max())
    bins = torch.histc(scored, BINS, low, high) if high > low else torch.tensor([float(len(scored))])
    std = float(scored.std(correction=0))
    mean = float(scored.mean())
    mean = 0.0 if abs(mean) < 1e-6 * std else mean  # what is left of a mean that was taken away
    return Spread(len(scored), len(flat) - len(scored), low, mean, high, std, tuple(int(b) for b in bins))


def _scored(name: str) -> bool:
    return name.startswith(("parts.", "step_parts.", "token_parts."))


def _numbers(name: str, values: list[Any]) -> list[Any]:
    """A column of a JSONL file: what is null among numbers is NaN."""
    quantity = QUANTITIES.get(name.split(".", 1)[0])
    number = (quantity is not None and quantity.dtype == "float") or name.startswith(("lineage.", "weight."))
    if number:
        return [float("nan") if v is None else v for v in values]
    return (
        values
        if quantity is not None or not any(isinstance(v, dict) for v in values)
        else [json.dumps(v) for v in values]
    )


def _prepared(
    batch: Rollouts, recipe: Any
) -> tuple[Pipeline, tuple[BoundStage, ...], tuple[str, ...], dict[str, Said], Rollouts]:
    """The pipeline, the stages that can run, those that cannot, what signals have said, and what was there before them."""
    loaded = load(recipe)
    known = {
        name: value
        for name, value in batch.data.items()
        if (q := QUANTITIES.get(name)) is None or q.provider is not None
    }
    columns = {name for name in known if name not in QUANTITIES}
    pipeline = compile_recipe(
        loaded, columns=columns | _told(loaded), steps=True, structure=CARRIED, models=faces(loaded), objective=False
    )
    said: dict[str, Said] = {}
    for stage in pipeline.signals:
        values = {m: batch[n] for n, m in zip(stage.makes, stage.method.makes, strict=True) if n in batch}
        if any(n in batch for n in stage.makes if "." in n):
            missing = {m: torch.full((batch.rows,), torch.nan) for m in stage.method.makes if m not in values}
            said[stage.label] = Said({**values, **missing}, [None] * batch.rows, 0.0)
    waiting = tuple(s for s in pipeline.stages if s.kind != "reward" or s.label not in said)
    kept, left_out = runnable(
        waiting, {*known, *(m.split(".", 1)[0] for s in pipeline.signals if s.label in said for m in s.makes)}
    )
    stages = tuple(s for s in pipeline.stages if s in kept or s.label in said)
    return pipeline, stages, tuple(left_out), said, Rollouts(known)


def _told(recipe: Any) -> set[str]:
    """Columns that signals read; those of which the file holds the scores need no column."""
    from guerdon.method import find

    taken: set[str] = set()
    for spec in recipe.reward:
        try:
            info = find(spec.use)
        except LookupError:
            continue  # the compiler says it better
        taken |= {spec.take.get(t.name, t.name) for t in info.takes if not t.optional}
    return {name for name in taken if name.split(".", 1)[0] not in QUANTITIES}


def _versions(
    pipeline: Pipeline, batch: Rollouts, stages: tuple[BoundStage, ...], said: Mapping[str, Said]
) -> dict[tuple[str, str], Tensor]:
    """What each stage made, by its label and quantity: a later stage may have made the quantity anew."""
    made: dict[tuple[str, str], Tensor] = {}
    lineage = pipeline.run(batch, stages=stages, said=said)
    for record in lineage.lineage:
        made[record.stage, record.quantity] = record.value
    for stage in stages:
        for name in stage.makes:
            for key in stage.each or (None,):
                full = name if key is None else f"{name}.{key}"
                if (stage.label, full) not in made and full in lineage.batch:
                    made[stage.label, full] = lineage.batch[full]
    return made


def _input(branch: Branch, before: Tensor, after: Tensor, group: Tensor | None, texts: list[str], most: int) -> Input:
    name = branch.quantity
    if _level(name) != "row" or len(before) != len(after):
        return Input(name, spread(before), None, None)
    seen = spread(before)
    if isinstance(branch.weight, int | float) and branch.weight < 0:
        before = -before  # to be turned is what it is weighed for
    a, b = _pairs(group, len(before))
    x, y = before[a] - before[b], after[a] - after[b]
    apart = (x != 0) & ~x.isnan() & ~y.isnan()
    total = int(apart.sum())
    if not total:
        return Input(name, seen, None, None)
    turned = float((apart & (x * y < 0)).sum()) / total
    tied = float((apart & (y == 0)).sum()) / total
    return Input(name, seen, turned, tied, _moved(before, after, group, texts, most) if turned else ())


def _pairs(group: Tensor | None, rows: int) -> tuple[Tensor, Tensor]:
    """Pairs of rows of one group; of all rows, or a sample of them, where there are no groups."""
    ids = torch.zeros(rows, dtype=torch.long) if group is None else group
    found: list[Tensor] = []
    for one in ids.unique():
        members = (ids == one).nonzero().squeeze(1)
        room = int((2 * _MOST_PAIRS / max(1, len(ids.unique()))) ** 0.5) + 2
        found.append(torch.combinations(members[:room]) if len(members) > 1 else members.new_zeros(0, 2))
    pairs = torch.cat(found)
    return pairs[:, 0], pairs[:, 1]


def _moved(before: Tensor, after: Tensor, group: Tensor | None, texts: list[str], most: int) -> tuple[Moved, ...]:
    ids = torch.zeros(len(before), dtype=torch.long) if group is None else group
    old, new = (group_rank(-values, ids) for values in (before, after))
    far = (old - new).abs().masked_fill(before.isnan() | after.isnan(), 0)
    rows = [i for i in far.argsort(descending=True, stable=True)[:most].tolist() if far[i] > 0]
    return tuple(Moved(i, int(ids[i]), float(old[i]), float(new[i]), texts[i]) for i in rows)


def _shares(
    root: Branch, pipeline: Pipeline, outcome: Rollouts, stages: tuple[BoundStage, ...], said: Mapping[str, Said]
) -> dict[str, float | None]:
    """The share of each part, and of each model's word, of the variance of the final credit."""
    leaves = {b.quantity: b.stage for b in root.walk() if b.stage.kind == "reward"}
    whole = {label: _heard(label, stages, outcome, said) for label in {s.label for s in leaves.values()}}
    before = Rollouts(
        {n: v for n, v in outcome.data.items() if (q := QUANTITIES.get(n)) is None or q.provider is not None}
    )
    full = _credit(outcome, root.quantity)
    shares: dict[str, float | None] = {}
    for quantity, stage in leaves.items():
        head = quantity.split(".", 1)[0]
        values = {
            name: _flattened(v, outcome.get("group", None)) if name == head else v
            for name, v in whole[stage.label].items()
        }
        others = {label: Said(v, [None] * outcome.rows, 0.0) for label, v in whole.items()}
        told = {**said, **others, stage.label: Said(values, [None] * outcome.rows, 0.0)}
        without = _credit(pipeline.run(before, stages=stages, said=told).batch, root.quantity)
        shares[quantity] = _share(full, without)
    others = {label: Said(v, [None] * outcome.rows, 0.0) for label, v in whole.items()}
    reads = dict.fromkeys(name for branch in root.walk() for name in branch.stage.reads if name.startswith("model_"))
    for head, _, model in (name.partition(".") for name in reads if name in before):
        flat = {**before[head], model: _flattened(before[head][model], outcome.get("group", None))}
        run = pipeline.run(before.with_(**{head: flat}), stages=stages, said={**said, **others})
        shares[f"{head}.{model}"] = _share(full, _credit(run.batch, root.quantity))
    return shares


def _heard(label: str, stages: Iterable[BoundStage], outcome: Rollouts, said: Mapping[str, Said]) -> dict[str, Tensor]:
    if label in said:
        return dict(said[label].values)
    stage = next(s for s in stages if s.label == label)
    return {m: outcome[n] for n, m in zip(stage.makes, stage.method.makes, strict=True)}


def _there(quantity: str, values: Tensor, batch: Rollouts) -> Tensor:
    """The entries of a quantity of steps or positions that the rows have; of rows, all."""
    level = _level(quantity)
    if level == "token" and "mask" in batch:
        return values[batch["mask"]]
    return values[~values.isnan()] if level == "step" else values


def _credit(batch: Rollouts, quantity: str) -> Tensor:
    values = batch[quantity]
    return values[batch["mask"]] if _level(quantity) == "token" and "mask" in batch else values.flatten()


def _level(quantity: str) -> str:
    return QUANTITIES[quantity.split(".", 1)[0]].level


def _flattened(values: Tensor, group: Tensor | None) -> Tensor:
    """The mean of its group (of its step, or position) in the place of each score."""
    ids = torch.zeros(len(values), dtype=torch.long) if group is None else group
    return torch.where(values.isnan(), torch.nan, group_mean(values, ids))


def _share(full: Tensor, without: Tensor) -> float | None:
    known = ~(full.isnan() | without.isnan())
    a, b = full[known].double(), without[known].double()
    variance = float(a.var(correction=0)) if len(a) else 0.0
    if variance <= 1e-12:
        return None
    lost = a - b
    return float(((lost - lost.mean()) * (a - a.mean())).mean()) / variance


__all__ = ["Input", "Moved", "Shaped", "Spread", "StageShape", "rollouts_of", "shape", "spread"]
