"""Score what exists already: the rollout phase of a recipe on a table of completions, without a policy."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch

from guerdon.batch import Rollouts
from guerdon.pipeline import BoundStage, compile_recipe
from guerdon.pipeline.known import CARRIED
from guerdon.pipeline.run import Outcome
from guerdon.quantities import QUANTITIES
from guerdon.recipe import RecipeError, load
from guerdon.tasks.reading import Table, read
from guerdon.training.parts import faces
from guerdon.training.runfolder import table_of, write_text

_SINGULAR = {"prompt": "prompts", "completion": "completions", "response": "completions"}


def score_table(source: Table | str, recipe: Any = None) -> tuple[dict[str, Any], Outcome]:
    """Score a table with a recipe's signals and the stages that need no policy.

    Args:
        source: a table, or the path of a JSONL, Parquet or CSV file, with a column ``completions`` (or ``completion``,
            ``response``), the columns that the signals take, and, for group statistics, ``group`` (any values) or
            ``prompts`` (equal prompts are a group).
        recipe: as for `guerdon.recipe.load`.

    Returns:
        A summary (rows; mean, std and unscored count of every quantity; reasons of unscored rows by signal; stages left
        out because they need a policy) and the outcome.

    Raises:
        RecipeError: no completions, or a weighted signal that cannot run on a table.
    """
    table = read(source) if isinstance(source, str) else source
    batch = batch_of(table)
    columns = set(batch) - set(QUANTITIES)
    loaded = load(recipe)
    pipeline = compile_recipe(
        loaded, columns=columns, steps=True, structure=CARRIED, models=faces(loaded), objective=False
    )  # what a file lacks leaves its stages out below
    stages, left_out = runnable(pipeline.stages, set(batch))
    outcome = pipeline.run(batch, stages=tuple(stages))
    return {"rows": batch.rows, **_summary(outcome), "left_out": left_out}, outcome


def write_scored(outcome: Outcome, path: Path) -> None:
    """Write scored rows to ``.parquet`` or ``.jsonl`` (NaN becomes null).

    Raises:
        ValueError: another ending.
    """
    table = table_of(outcome)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix in (".jsonl", ".ndjson"):
        rows = ({k: None if v != v else v for k, v in row.items()} for row in table.to_pylist())
        write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    else:
        raise ValueError(f"expected a file named .jsonl or .parquet for the scored rows, got {str(path)!r}; rename it")


def batch_of(table: Table) -> Rollouts:
    """The columns of a table of completions as rollouts: quantities by their names (``prompt`` too), the rest as columns.

    Raises:
        RecipeError: no column of completions, or one that is no text.
    """
    columns = {_SINGULAR.get(k, k) if _SINGULAR.get(k) not in table.columns else k: v for k, v in table.columns.items()}
    if "completions" not in columns:
        raise RecipeError(
            f"expected a column completions, got {sorted(table.columns)}; rename the column that holds them"
        )
    for i, text in enumerate(columns["completions"]):
        if not isinstance(text, str):
            raise RecipeError(
                f"expected text in completions, got {type(text).__name__} in {table.place(i)}; correct it"
            )
    data: dict[str, Any] = {}
    for name, values in columns.items():
        quantity = QUANTITIES.get(name)
        if quantity is None or quantity.dtype == "object":
            data[name] = values
        elif name != "group":
            raise RecipeError(f"expected columns that are no quantities, got {name!r}; rename the column")
    keys = columns.get("group") or columns.get("prompts")
    if keys is not None:
        ids: dict[str, int] = {}
        data["group"] = torch.tensor([ids.setdefault(json.dumps(k, default=str), len(ids)) for k in keys])
    return Rollouts(data)


def runnable(stages: tuple[BoundStage, ...], have: set[str]) -> tuple[list[BoundStage], list[str]]:
    """Stages whose quantities are there, and the labels of the others."""
    have = have | {"part_weights"}
    kept, left_out = [], []
    for stage in stages:
        missing = [r for r in stage.reads if r not in have and r.split(".", 1)[0] not in have]
        if not missing:
            kept.append(stage)
            have |= {m.split(".", 1)[0] for m in stage.makes}
        elif stage.kind == "reward" and stage.spec.weight != 0:
            raise RecipeError(
                f"{stage.place}: expected {missing[0]} in the file, got {sorted(have - {'part_weights'})}; "
                "add the column, or give the reward weight = 0"
            )
        else:
            left_out.append(stage.label)
    return kept, left_out


def _summary(outcome: Outcome) -> dict[str, Any]:
    numbers: dict[str, dict[str, float | None]] = {}
    for name, value in outcome.batch.data.items():
        entries = value.items() if isinstance(value, dict) else [("", value)]
        for key, entry in entries:
            if isinstance(entry, torch.Tensor) and entry.is_floating_point() and entry.ndim:
                scored = entry[~entry.isnan()]
                numbers[f"{name}.{key}" if key else name] = {
                    "mean": float(scored.mean()) if scored.numel() else None,
                    "std": float(scored.std()) if scored.numel() > 1 else None,
                    "unscored": float(entry.isnan().sum() if entry.ndim == 1 else entry.isnan().all(-1).sum()),
                }
    reasons = {
        label: dict(Counter(r for r in rows if r is not None).most_common(5))
        for label, rows in outcome.batch.data.get("reasons", {}).items()
    }
    return {"quantities": numbers, "reasons": {k: v for k, v in reasons.items() if v}}
