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

from guerdon.batch import Rollouts
from guerdon.pipeline.run import Outcome, Record
from guerdon.quantities import QUANTITIES

_LEFT_OUT = {"prompt_mask", "prompt_tokens", "attention_mask"}
_KINDS = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}
_PADDING = {"step_ids": -1, "turn_ids": -1, "node_ids": -1}
_JSON = {"guerdon": "json"}


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

    def saved(self) -> dict[int, Path]:
        """The files of saved rollouts by iteration, oldest first."""
        files = (f for f in (self.path / "rollouts").glob("*.parquet") if f.stem.isdigit())
        return dict(sorted((int(f.stem), f) for f in files))

    def save_rollouts(self, iteration: int, outcome: Outcome) -> None:
        """Write an iteration's rollouts, one row per sample, with lineage and the final credit per token."""
        target = self.path / "rollouts" / f"{iteration:06d}.parquet"
        partial = target.with_suffix(".partial")
        pq.write_table(table_of(outcome), partial, compression="zstd", use_dictionary=False)
        os.replace(partial, target)


def table_of(outcome: Outcome) -> pa.Table:
    """An iteration's rollouts as a table: ``parts.NAME`` and ``lineage.I.STAGE.QUANTITY`` columns beside the quantities.

    ``token_start`` and ``token_end`` are the characters of the completion that each position stands for. Lists of a
    token quantity end with the row's last position; ``attention_mask`` is a column only where it says more than their
    lengths. What Arrow cannot hold is JSON, and its field says so.
    """
    batch = outcome.batch
    lengths = None
    columns: dict[str, Any] = {}
    if "attention_mask" in batch:
        present = batch["attention_mask"]
        positions = torch.arange(1, present.shape[1] + 1, device=present.device)
        lengths = ((positions * present).amax(-1) if len(positions) else present.sum(-1)).cpu()
        if bool((present.sum(-1).cpu() != lengths).any()):
            columns["attention_mask"] = _column(present, "B T", lengths)
    encoded = set()
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
            if not isinstance(value, Tensor) and pa.types.is_string(columns[name].type):
                encoded |= {name} if any(v is not None and not isinstance(v, str) for v in value) else set()
    for i, record in enumerate(outcome.lineage):
        columns[f"lineage.{i}.{record.stage}.{record.quantity}"] = _column(
            record.value, "B S" if record.value.ndim == 2 else "B", lengths
        )
    columns = {k: v for k, v in columns.items() if v is not None}
    fields = [pa.field(k, v.type, metadata=_JSON if k in encoded else None) for k, v in columns.items()]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def _column(value: Any, axes: str, lengths: Tensor | None) -> pa.Array | None:
    if not isinstance(value, Tensor):
        try:
            made = pa.array(value)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            made = None
        # Parquet has no tables without a name in them, such as the arguments {} of an instruction.
        return pa.array([json.dumps(v, default=str) for v in value]) if made is None or _hollow(made.type) else made
    value = value.detach().cpu()
    if value.ndim == 1:
        return pa.array(value.numpy())
    if value.ndim != 2:
        return None
    if axes == "B T" and lengths is not None:
        keep = torch.arange(value.shape[1]) < lengths[:, None]
        offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)]).int()
        return pa.ListArray.from_arrays(pa.array(offsets.numpy()), pa.array(value[keep].numpy()))
    offsets = torch.arange(value.shape[0] + 1, dtype=torch.int32) * value.shape[1]
    return pa.ListArray.from_arrays(pa.array(offsets.numpy()), pa.array(value.reshape(-1).numpy()))


def _hollow(kind: pa.DataType) -> bool:
    """Whether a type holds, at any depth, tables without a single name."""
    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_hollow(field.type) for field in kind)
    return pa.types.is_list(kind) and _hollow(kind.value_type)


def load_rollouts(path: Path) -> Rollouts:
    """An iteration's rollouts from their file: the batch that ``save_rollouts`` was given, with all that was made of it.

    Not in the file, and so not in the batch: prompt tokens, hidden states, and columns of T that are padding in every
    row. Dictionaries in a dataset column come back with the keys of all rows, None where a row had none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file of saved rollouts.
    """
    return load_outcome(path).batch


def load_outcome(path: Path) -> Outcome:
    """`load_rollouts`, with the lineage: the inverse of `table_of` on a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no file of saved rollouts.
    """
    try:
        with pq.ParquetFile(path) as file:
            return outcome_of(file.read())
    except FileNotFoundError:
        raise FileNotFoundError(
            f"expected saved rollouts, got {str(path)!r}, which does not exist; name another iteration"
        ) from None
    except (pa.ArrowException, OSError, ValueError, TypeError) as error:
        raise ValueError(
            f"expected a Parquet file of saved rollouts, got {str(path)!r} ({type(error).__name__}: {error}); name another iteration"
        ) from error


def outcome_of(table: pa.Table) -> Outcome:
    """The batch and lineage of a table that `table_of` made."""
    data: dict[str, Any] = {}
    made: list[tuple[int, Record]] = []
    token = [n for n in table.column_names if n in ("token_start", "token_end") or _axes(n) == "B T"]
    token = [n for n in token if pa.types.is_list(table.schema.field(n).type)]
    width = _widest([_lengths(table[n]) for n in token])
    for name, column in zip(table.column_names, table.columns, strict=True):
        head, _, key = name.partition(".")
        quantity = QUANTITIES.get(head)
        if head == "lineage" and key:
            at, _, rest = key.partition(".")
            stage, made_name = _stage_and_quantity(rest)
            made.append((int(at), Record(stage, made_name, _tensor(column, made_name))))
        elif head == "weight" and key:
            data.setdefault("part_weights", {})[key] = _tensor(column.slice(0, 1), "rewards").reshape(())
        elif name in ("token_start", "token_end"):
            data[name] = _tensor(column, "tokens", width)
        elif quantity is None or quantity.dtype == "object":
            values = column.to_pylist()
            if (table.schema.field(name).metadata or {}).get(b"guerdon") == b"json":
                values = [None if v is None else json.loads(v) for v in values]
            if key:
                data.setdefault(head, {})[key] = values
            else:
                data[name] = values
        elif key:
            data.setdefault(head, {})[key] = _tensor(column, head, width)
        else:
            data[name] = _tensor(column, head, width)
    if "token_start" in data and "token_end" in data:
        data["token_spans"] = torch.stack([data.pop("token_start"), data.pop("token_end")], -1)
    if token and "attention_mask" not in data:
        data["attention_mask"] = torch.arange(width) < _lengths(table[token[0]])[:, None]
    return Outcome(Rollouts(data), tuple(record for _, record in sorted(made, key=lambda pair: pair[0])))


def _stage_and_quantity(text: str) -> tuple[str, str]:
    """``group-centre.step_advantages`` cut where a quantity begins: the name of a stage may hold dots too."""
    pieces = text.split(".")
    for i in range(1, len(pieces)):
        if pieces[i] in QUANTITIES:
            return ".".join(pieces[:i]), ".".join(pieces[i:])
    raise ValueError(f"expected a column lineage.I.STAGE.QUANTITY, got lineage ... {text!r}")


def _axes(name: str) -> str | None:
    quantity = QUANTITIES.get(name.split(".", 1)[0])
    return None if quantity is None else quantity.axes


def _lengths(column: pa.ChunkedArray) -> Tensor:
    counts = [v for chunk in column.chunks for v in chunk.value_lengths().to_pylist()]
    return torch.tensor([v or 0 for v in counts], dtype=torch.int64)


def _widest(lengths: list[Tensor]) -> int:
    return max((int(each.max()) for each in lengths if each.numel()), default=0)


def _tensor(column: pa.ChunkedArray, name: str, width: int | None = None) -> Tensor:
    """A column as the quantity ``name``: lists are padded to ``width`` (along T) or to the longest."""
    head = name.split(".", 1)[0]
    quantity = QUANTITIES[head]
    dtype: torch.dtype = _KINDS[quantity.dtype]
    if not pa.types.is_list(column.type):
        return torch.tensor(column.to_numpy()).to(dtype)
    lengths = _lengths(column)
    if quantity.axes != "B T" or width is None:
        width = _widest([lengths])
    missing = float("nan") if quantity.level == "step" and dtype.is_floating_point else 0.0
    made = torch.full((len(lengths), width), _PADDING.get(head, missing)).to(dtype)
    flat = [torch.tensor(chunk.flatten().to_numpy(zero_copy_only=False)).to(dtype) for chunk in column.chunks]
    made[torch.arange(made.shape[1]) < lengths[:, None]] = torch.cat(flat)
    return made


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
