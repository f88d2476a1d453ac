"""Runs a query that nobody trusts on a database in memory, in a sandbox, and gives its rows.

The program that runs in the jail is ours (`inside.queries`); the query is an argument of it. Each query has a process
and a database of its own, so that none can change what the next one sees.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Literal

from guerdon.sandbox.inside.values import Unfit, decode
from guerdon.sandbox.judge import Judging
from guerdon.sandbox.protocol import Limits, Observed, Request
from guerdon.sandbox.threads import side_by_side

Engine = Literal["sqlite", "duckdb"]
PACKAGES: dict[str, tuple[str, ...]] = {"sqlite": (), "duckdb": ("_duckdb", "duckdb")}
"""What a sandbox must have for each engine."""
LONGEST = 20_000
"""Characters of a query; a longer one is not run."""
_PROGRAM = (Path(__file__).parent / "inside" / "queries.py").read_text("utf-8")
_EXACT = 1 << 53


@dataclass(frozen=True)
class Rows:
    """What a query gave.

    Attributes:
        rows: each as one text, so that equal rows are equal texts; None where the query did not run to its end.
        error: why not.
        known: False where the sandbox failed, or the database could not be made; the query is not to blame.
    """

    rows: tuple[str, ...] | None
    error: str = ""
    known: bool = True


@dataclass(frozen=True)
class Cage:
    """What a query may use.

    Attributes:
        max_rows: rows of a result; a query that gives more has failed.
        instructions: of SQLite's engine: the same on every machine. DuckDB counts none.
        wall: seconds, the making of the database included.
        memory_mb: address space of the process.
    """

    max_rows: int = 1_000
    instructions: int = 20_000_000
    wall: float = 10.0
    memory_mb: int = 1024

    def __post_init__(self):
        if self.max_rows < 1 or self.instructions < 1_000:
            raise ValueError(
                f"expected max_rows of at least 1 and instructions of at least 1000, got {self.max_rows} and "
                f"{self.instructions}"
            )


def ask(sandbox: Judging, engine: Engine, database: str, query: str, cage: Cage) -> Rows:
    """The rows of one query.

    Args:
        database: the SQL that makes it; for SQLite also the path of a file of any size, of which a copy is read
            (`LocalSandbox.share`).

    Raises:
        OSError: a database's file that cannot be read.
        ValueError: such a file, and a sandbox that shares none; a file whose last changes stand in a log beside it.
    """
    if len(query) > LONGEST:
        return Rows(None, f"longer than {LONGEST} characters")
    opened = f"{database!r}, "
    file = file_of(engine, database)
    if file is not None:
        opened = f"{_shared(sandbox, file)!r}, file=True, instructions="
    last = cage.instructions if engine == "sqlite" else max(64, cage.memory_mb // 4)
    items = (f"open_{engine}({opened}{last})", f"rows({query!r}, {cage.max_rows})")
    limits = Limits(wall=cage.wall, cpu=cage.wall, memory=cage.memory_mb << 20)
    return _rows(sandbox.observe(Request("calls", _PROGRAM, items, limits)), cage)


def file_of(engine: Engine, database: str) -> Path | None:
    """The file that a database is given by; None where it is given by SQL."""
    named = engine == "sqlite" and "\n" not in database and ";" not in database
    return Path(database) if named and Path(database).is_file() else None


def _shared(sandbox: Judging, file: Path) -> str:
    log = file.with_name(f"{file.name}-wal")
    if log.is_file() and log.stat().st_size:
        raise ValueError(
            f"expected a SQLite file with all changes in it, got {log} beside it; close what writes to it, or run "
            "PRAGMA wal_checkpoint(TRUNCATE)"
        )
    return sandbox.share(file)


def ask_all(
    sandbox: Judging, engine: Engine, questions: Sequence[tuple[str, str]], cage: Cage
) -> dict[tuple[str, str], Rows]:
    """The rows of several (database, query), each asked once, as many at a time as there are workers."""
    distinct = list(dict.fromkeys(questions))
    made = side_by_side([partial(ask, sandbox, engine, d, q, cage) for d, q in distinct], sandbox.workers)
    return dict(zip(distinct, made, strict=True))


def _rows(seen: Observed, cage: Cage) -> Rows:
    if seen.ending == "unavailable":
        return Rows(None, f"unavailable: {seen.detail}", known=False)
    said = [json.loads(line) for line in seen.lines]
    if not said or "v" not in said[0]:
        told = said[0].get("e") or said[0].get("load") if said else [seen.ending]
        return Rows(None, f"the database cannot be made: {': '.join(told)}", known=False)
    if len(said) < 2:
        return Rows(None, seen.ending if seen.ending != "ok" else "crashed")
    if "e" in said[1]:
        return Rows(None, ": ".join(said[1]["e"]))
    try:
        rows = decode(said[1]["v"])
    except (Unfit, ValueError, TypeError, KeyError, ArithmeticError) as error:
        return Rows(None, f"a value that is none ({type(error).__name__})")
    if len(rows) > cage.max_rows:
        return Rows(None, f"more than {cage.max_rows} rows")
    return Rows(tuple(repr(tuple(map(_canonical, row))) for row in rows))


def _canonical(value: Any) -> Any:
    """One form for equal values: 1, 1.0 and true are one number; others are told apart to 10 significant digits."""
    if isinstance(value, list | tuple):
        return tuple(map(_canonical, value))
    if isinstance(value, float | Decimal):
        short = f"{float(value):.10g}"
        number = float(short)
        return int(number) if number.is_integer() and abs(number) < _EXACT else number
    return int(value) if isinstance(value, bool) else value
