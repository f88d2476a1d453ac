"""The run folder: plain files that another program can read.

``recipe.toml`` (resolved), ``metrics.jsonl`` (one line per iteration or evaluation), ``rollouts/*.parquet`` (every part,
weight and advantage of every sample), ``checkpoints/``, ``report.html``.
"""

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from guerdon.pipeline.run import Outcome
from guerdon.quantities import QUANTITIES

_LEFT_OUT = {"prompt_mask", "prompt_tokens", "attention_mask", "part_weights"}


class RunFolder:
    """Paths and writers of one run."""

    def __init__(self, path: Path):
        self.path = path

    @classmethod
    def create(cls, path: Path | None, name: str) -> "RunFolder":
        """A new folder; by default ``runs/<time>-<name>``.

        Raises:
            FileExistsError: ``path`` already holds a run.
        """
        if path is None:
            stem = time.strftime("%Y%m%d-%H%M%S") + f"-{name}"
            path = Path("runs") / stem
            for i in range(2, 1000):
                if not path.exists():
                    break
                path = Path("runs") / f"{stem}-{i}"
        elif (path / "recipe.toml").exists():
            raise FileExistsError(
                f"expected a new run folder, got {str(path)!r}, which holds a run; resume it with --resume or name another"
            )
        for sub in ("rollouts", "checkpoints"):
            (path / sub).mkdir(parents=True, exist_ok=True)
        return cls(path)

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """One folder per checkpoint."""
        return self.path / "checkpoints"

    @property
    def report(self) -> Path:
        """The page."""
        return self.path / "report.html"

    def log(self, event: dict[str, Any]) -> None:
        """Append a line; numbers that are not finite become null."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(_finite(event)) + "\n")

    def events(self) -> Iterator[dict[str, Any]]:
        """The lines of metrics.jsonl; one cut short by a crash is passed over."""
        if not self.metrics.exists():
            return
        with self.metrics.open(encoding="utf-8") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue

    def rewind(self, iteration: int) -> None:
        """Drop what was logged at or after ``iteration``: a resumed run writes it again."""
        kept = [
            e
            for e in self.events()
            if e["iteration"] < iteration or (e["event"] == "evaluation" and e["iteration"] == iteration)
        ]
        write_text(self.metrics, "".join(json.dumps(e) + "\n" for e in kept))
        for file in (self.path / "rollouts").glob("*.parquet"):
            if int(file.stem) >= iteration:
                file.unlink()

    def save_rollouts(self, iteration: int, outcome: Outcome) -> None:
        """Write an iteration's rollouts, one row per sample, with lineage and the final credit per token."""
        target = self.path / "rollouts" / f"{iteration:06d}.parquet"
        partial = target.with_suffix(".partial")
        pq.write_table(table_of(outcome), partial, compression="zstd", use_dictionary=False)
        os.replace(partial, target)


def table_of(outcome: Outcome) -> pa.Table:
    """An iteration's rollouts as a table: ``parts.NAME`` and ``lineage.I.STAGE.QUANTITY`` columns beside the quantities.

    ``token_start`` and ``token_end`` are the characters of the completion that each position stands for.
    """
    batch = outcome.batch
    lengths = batch["attention_mask"].sum(-1) if "attention_mask" in batch else None
    columns: dict[str, Any] = {}
    for name, value in batch.data.items():
        if name in _LEFT_OUT:
            continue
        if name == "token_spans":
            columns["token_start"] = _column(value[..., 0], "B T", lengths)
            columns["token_end"] = _column(value[..., 1], "B T", lengths)
            continue
        quantity = QUANTITIES.get(name)
        if quantity is not None and quantity.keyed:
            for key, entry in value.items():
                if not quantity.axes:
                    columns[f"weight.{key}"] = pa.array([float(entry)] * batch.rows, pa.float32())
                else:
                    columns[f"{name}.{key}"] = _column(entry, quantity.axes, lengths)
        else:
            columns[name] = _column(value, quantity.axes if quantity is not None else "B", lengths)
    for i, record in enumerate(outcome.lineage):
        columns[f"lineage.{i}.{record.stage}.{record.quantity}"] = _column(
            record.value, "B S" if record.value.ndim == 2 else "B", lengths
        )
    return pa.table({k: v for k, v in columns.items() if v is not None})


def _column(value: Any, axes: str, lengths: Tensor | None) -> pa.Array | None:
    if not isinstance(value, Tensor):
        try:
            return pa.array(value)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.array([json.dumps(v, default=str) for v in value])
    value = value.detach().cpu()
    if value.ndim == 1:
        return pa.array(value.numpy())
    if value.ndim != 2:
        return None
    if axes == "B T" and lengths is not None:
        keep = torch.arange(value.shape[1]) < lengths[:, None]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).int()
        return pa.ListArray.from_arrays(pa.array(offsets.numpy()), pa.array(value[keep].numpy()))
    offsets = torch.arange(0, value.numel() + 1, value.shape[1], dtype=torch.int32)
    return pa.ListArray.from_arrays(pa.array(offsets.numpy()), pa.array(value.reshape(-1).numpy()))


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return value
