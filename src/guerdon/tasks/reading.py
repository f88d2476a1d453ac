"""Reading tables: JSONL, JSON, CSV, TSV and Parquet files, and data sets through ``datasets``."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Table:
    """Columns by name, the number of rows, and how to call a row in a message (``line 3 of prompts.jsonl``)."""

    columns: dict[str, list[Any]]
    rows: int
    place: Callable[[int], str]


def is_file(path: str) -> bool:
    """Whether the path means a file that `read` can read, rather than a data set."""
    return Path(path).suffix.lower() in SUFFIXES or Path(path).is_file()


def read(path: str, split: str = "train") -> Table:
    """The table at ``path``: a file, or a data set by hub id or folder.

    Raises:
        FileNotFoundError: no such file or folder.
        ValueError: not readable as what its name says, or without rows.
        ImportError: a data set, but datasets is not installed.
    """
    if not is_file(path):
        return _nonempty(_read_dataset(path, split), path)
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a file at {path}, got nothing there; check the path (relative to {Path.cwd()})"
        )
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"expected a file named {', '.join(SUFFIXES)}, got {file.name}; convert or rename it")
    if suffix == ".parquet":
        table = _read_parquet(file)
    elif suffix in (".csv", ".tsv"):
        table = _read_csv(file, "\t" if suffix == ".tsv" else ",")
    else:
        table = _read_json(file)
    return _nonempty(table, path)


def _nonempty(table: Table, path: str) -> Table:
    if not table.rows or not table.columns:
        raise ValueError(f"expected at least one row in {path}, got none; check what wrote it")
    return table


def _read_json(file: Path) -> Table:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise ValueError(f"expected UTF-8 text in {file}, got other bytes in line {line}; convert the file") from error
    if file.suffix.lower() == ".json" and text.lstrip().startswith("["):
        try:
            items = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"expected a JSON list in {file}, got {error.msg} in line {error.lineno}; correct it"
            ) from error
        numbered = list(enumerate(items, start=1))
        unit = "entry"
    else:
        numbered, unit = [], "line"
        # not splitlines: JSON strings may hold other line ends, such as U+2028
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    numbered.append((number, json.loads(line)))
                except json.JSONDecodeError as error:
                    raise ValueError(
                        f"expected one JSON object per line in {file}, got {error.msg} in line {number}; "
                        "correct the line"
                    ) from error
    names: dict[str, None] = {}
    for number, item in numbered:
        if not isinstance(item, dict):
            raise ValueError(
                f"expected a JSON object in {unit} {number} of {file}, got {type(item).__name__}; "
                'write {"prompt": ..., "answer": ...}'
            )
        names.update(dict.fromkeys(item))
    columns = {name: [item.get(name) for _, item in numbered] for name in names}
    return Table(columns, len(numbered), lambda i: f"{unit} {numbered[i][0]} of {file}")


def _read_parquet(file: Path) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"expected a Parquet file at {file}, got one that cannot be read ({error}); write it anew"
        ) from error
    return Table(table.to_pydict(), table.num_rows, lambda i: f"row {i + 1} of {file}")


def _read_csv(file: Path, delimiter: str) -> Table:
    import pyarrow
    from pyarrow import csv

    if not file.read_bytes().strip():
        return Table({}, 0, str)
    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    try:
        names = csv.open_csv(file, parse_options=parse).schema.names
        texts = csv.ConvertOptions(column_types={n: pyarrow.string() for n in names}, strings_can_be_null=False)
        table = csv.read_csv(file, parse_options=parse, convert_options=texts)
    except pyarrow.ArrowException as error:
        raise ValueError(
            f"expected a table with a header line in {file}, got one that cannot be read ({error}); correct it"
        ) from error
    if len(set(names)) < len(names):
        raise ValueError(f"expected different column names in {file}, got {names}; rename one in the file")
    columns = {n: _numbers(c) for n, c in table.to_pydict().items()}
    return Table(columns, table.num_rows, lambda i: f"row {i + 1} of {file}")


def _numbers(column: list[str]) -> list[Any]:
    """Integers or floats if that loses nothing: 007 and 1.50 stay text."""
    for kind in (int, float):
        try:
            numbers = [kind(text) for text in column]
        except ValueError:
            continue
        if all(str(n) == text for n, text in zip(numbers, column, strict=True)):
            return numbers
    return column


def _read_dataset(path: str, split: str) -> Table:
    if path.startswith(("/", "./", "../", "~")) and not Path(path).is_dir():
        raise FileNotFoundError(f"expected a file or folder at {path}, got nothing there; check the path")
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f"expected datasets to read the data set {path!r}, found none; pip install 'guerdon[hf]', "
            f"or give a file named {', '.join(SUFFIXES)}"
        ) from error
    try:
        saved = Path(path).is_dir() and any((Path(path) / n).is_file() for n in ("dataset_dict.json", "state.json"))
        found: Any = datasets.load_from_disk(path) if saved else datasets.load_dataset(path, split=split)
        if isinstance(found, dict):
            if split not in found:
                raise ValueError(f"expected a split of {path} among {sorted(found)}, got {split!r}; set split")
            found = found[split]
    except (FileNotFoundError, ConnectionError) as error:
        raise FileNotFoundError(
            f"expected {path!r} to be a file named {', '.join(SUFFIXES)}, a folder, or a data set on the hub, "
            f"got: {str(error).splitlines()[0]}; check the name"
        ) from error
    return Table({n: list(found[n]) for n in found.column_names}, len(found), lambda i: f"row {i + 1} of {path}")
