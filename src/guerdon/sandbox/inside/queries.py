"""One query on a database of its own that lives in memory: what `guerdon.sandbox.queries` runs within the jail.

The query is hostile, the database is not. The engine itself refuses what is no reading query; what it cannot bound
(memory, seconds) the process's limits do.
"""

import sqlite3
from typing import Any

EVERY = 1_000
"""Instructions of SQLite's engine between two looks at how many are left."""
FUNCTIONS = frozenset([
    "abs", "avg", "ceil", "ceiling", "changes", "char", "coalesce", "concat", "concat_ws", "count", "cume_dist",
    "date", "datetime", "dense_rank", "first_value", "floor", "format", "glob", "group_concat", "hex", "iif", "if",
    "ifnull", "instr", "json_array_length", "json_extract", "json_type", "json_valid", "julianday", "lag",
    "last_value", "lead", "length", "like", "ln", "log", "log10", "log2", "lower", "ltrim", "max", "min", "mod",
    "nth_value", "ntile", "nullif", "octet_length", "percent_rank", "pow", "power", "printf", "quote", "rank",
    "replace", "round", "row_number", "rtrim", "sign", "sqrt", "strftime", "string_agg", "substr", "substring", "sum",
    "time", "timediff", "total", "trim", "trunc", "typeof", "unicode", "unixepoch", "upper", "->", "->>",
])  # fmt: skip
"""Functions that a query may call; not ``load_extension``, nor what gives another result each time."""
_LIMITS = {
    "SQLITE_LIMIT_LENGTH": 1_000_000,
    "SQLITE_LIMIT_SQL_LENGTH": 1_000_000,
    "SQLITE_LIMIT_EXPR_DEPTH": 200,
    "SQLITE_LIMIT_COMPOUND_SELECT": 50,
    "SQLITE_LIMIT_COLUMN": 2_000,
    "SQLITE_LIMIT_LIKE_PATTERN_LENGTH": 200,
    "SQLITE_LIMIT_ATTACHED": 0,
    "SQLITE_LIMIT_WORKER_THREADS": 0,
}
_READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE}


class Refused(Exception):
    """No query that only reads."""


_OPEN: list[Any] = []
"""The connection of this process."""


def open_sqlite(database: str, instructions: int, file: bool = False) -> None:
    """Make the database from SQL, or open its file, and let nothing but so many instructions of reading in."""
    if file:  # nobody changes it: no locks, and no log beside it
        connection = sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)
    else:
        connection = sqlite3.connect(":memory:")
        connection.executescript(database)
    connection.commit()
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA query_only = ON")
    for name, most in _LIMITS.items():
        connection.setlimit(getattr(sqlite3, name), most)
    left = [instructions // EVERY]

    def tick() -> int:
        left[0] -= 1
        return int(left[0] < 0)

    connection.set_progress_handler(tick, EVERY)
    connection.set_authorizer(_allowed)
    _OPEN.append(connection)


def _allowed(action: int, first: str | None, second: str | None, *_: Any) -> int:
    called = action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS
    return sqlite3.SQLITE_OK if called or action in _READING else sqlite3.SQLITE_DENY


def open_duckdb(database: str, memory_mb: int) -> None:
    """Make the database, and close it to files, extensions and other settings."""
    import duckdb  # pyright: ignore[reportMissingImports]

    closed = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
    connection = duckdb.connect(":memory:", config={"threads": 1, "memory_limit": f"{memory_mb}MB", **closed})
    # In this order: without access to files, there is nothing to set about temporary ones.
    connection.execute("SET temp_directory = ''")
    connection.execute("SET enable_external_access = false")
    connection.execute(database)
    connection.execute("SET lock_configuration = true")
    _OPEN.append(connection)


def rows(query: str, most: int) -> list[tuple[Any, ...]]:
    """At most ``most + 1`` rows of a query.

    Raises:
        Refused: no single query that only reads.
        Exception: whatever else the engine says of it.
    """
    connection = _OPEN[0]
    if not isinstance(connection, sqlite3.Connection):
        import duckdb  # pyright: ignore[reportMissingImports]

        statements = connection.extract_statements(query)
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise Refused("expected one query that reads")
        query = statements[0]
    cursor = connection.execute(query)
    if cursor.description is None:
        raise Refused("expected a query that gives rows")
    return [tuple(map(_plain, row)) for row in cursor.fetchmany(most + 1)]


def _plain(value: Any) -> Any:
    """Values that SQL has and JSON with types has not (dates, intervals, UUID) as text."""
    if value is None or type(value).__name__ in ("bool", "int", "float", "str", "bytes", "Decimal"):
        return value
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return [[_plain(k), _plain(v)] for k, v in value.items()] if isinstance(value, dict) else str(value)
