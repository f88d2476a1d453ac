"""Does a query say what the reference says? Its rows, and for partial credit its tables, columns, words and whether it runs.

    R = 3 execution + 2 judge (only where execution = 0) + 1 runs + 1 schema + 1 n-grams + 1 format      (Reasoning-SQL)

Queries come from a policy: they are run in a sandbox on a database in memory, and only if they read.
"""

import importlib.util
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import torch
from jaxtyping import Float32
from torch import Tensor

from guerdon.method import method
from guerdon.sandbox.queries import LONGEST, PACKAGES, Cage, Engine, Rows, ask_all, file_of
from guerdon.signals.answers import same_rows
from guerdon.signals.extract import in_tag
from guerdon.signals.programs import sandbox_for
from guerdon.signals.scores import FAILED, NAN, Scores

PAPER = "arXiv:2503.23157"
Compare = Literal["multiset", "set"]
_BLOCK = re.compile(r"```(?:sql|sqlite|duckdb)?[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL | re.IGNORECASE)
_WORD = re.compile(r"\w+|[^\w\s]")
_EMPTY = "the reference gives no rows, as do many wrong queries"


@method(makes=("parts", "correct"), paper=PAPER)
def sql_execution(
    completions: Sequence[str],
    query: Sequence[str | None],
    database: Sequence[str],
    *,
    engine: Engine = "sqlite",
    compare: Compare = "multiset",
    ordered: bool = True,
    empty: bool = False,
    max_rows: int = 1_000,
    instructions: int = 20_000_000,
    wall: float = 10.0,
    memory_mb: int = 1024,
    workers: int | None = None,
    unsafe_local: bool = False,
) -> Scores:
    """Give 1 where the completion's query gives the rows of the reference ``query``, else 0.

        part = correct = 1[rows(said, D) = rows(reference, D)]

    The query is the last fenced block, else the last ``<answer>`` block, else the whole text, without a ``;`` at its end.
    Each runs on a database of its own in a sandbox; anything but one query that reads is refused, and so are queries past
    their limits. Names of columns do not count, their order does. Numbers are equal to 10 significant digits; 1 = 1.0.

    Rows are compared as multisets, and in order where the outermost part of the reference has an ORDER BY. ``compare =
    "set"`` with ``ordered = false`` is the comparison of the benchmark BIRD, which the paper uses; it takes a query that
    repeats rows for right. Rows that tie in the ORDER BY may come in any order in the reference: end it with a key.

    Shapes: [B] out, each 0 or 1. NaN, not asked: no reference; a reference without rows, unless ``empty``. NaN, failed:
    the reference or the database does not run, or the sandbox failed.

    Args:
        database: a column: the SQL that makes the database; for SQLite also the path of its file, of any size; a copy of it is
            read.
        engine: ``sqlite``, or ``duckdb`` (``pip install 'guerdon[text]'``).
        empty: score rows whose reference gives no rows.
        max_rows: of a result; a query that gives more gets 0.
        instructions: of SQLite's engine, the same on every machine.
        wall: seconds for one query with its database.
        memory_mb: address space of one query's process.
        workers: queries at the same time; None: one per processor.
        unsafe_local: without a jail: see `guerdon.sandbox.LocalSandbox`. The refusals and limits stay.

    Reference: Pourreza et al., Reasoning-SQL, 2025, https://arxiv.org/abs/2503.23157.

    Raises:
        ValueError: as many queries and databases as completions are expected.
        ImportError: sqlglot is not installed, and ``ordered`` (``pip install 'guerdon[text]'``).
        SandboxUnavailable: nothing here can hold untrusted queries.
    """
    same_rows(completions, query=query, database=database)
    cage = Cage(max_rows, instructions, wall, memory_mb)
    said = [sql_of(text) for text in completions]
    asked = [(d, q) for d, g, s in zip(database, query, said, strict=True) if g for q in (_bare(g), s)]
    rows = _asked(asked, engine, cage, workers, unsafe_local)
    scores, reasons = [], []
    for held, gold, mine in zip(database, query, said, strict=True):
        score, reason = NAN, "no reference query"
        if gold:
            wanted, got = rows[held, _bare(gold)], rows[held, mine]
            score, reason = _score(wanted, got, compare, ordered and is_ordered(gold, engine), empty)
        scores.append(score)
        reasons.append(reason)
    part = torch.tensor(scores, dtype=torch.float32)
    return Scores((part, part.clone()), reasons)


@method(makes="parts", paper=PAPER)
def sql_runs(
    completions: Sequence[str],
    database: Sequence[str],
    *,
    engine: Engine = "sqlite",
    max_rows: int = 1_000,
    instructions: int = 20_000_000,
    wall: float = 10.0,
    memory_mb: int = 1024,
    workers: int | None = None,
    unsafe_local: bool = False,
) -> Scores:
    """Give 1 where the completion's query runs on the database without an error, whatever it gives, else 0.

    The paper's reward for syntax. Limits as those of `sql_execution`; a query past them gets 0. With the same limits the
    two ask each query once. Shapes: [B] out. NaN, failed: the database cannot be made, or the sandbox failed.

    Reference: Pourreza et al., Reasoning-SQL, 2025, https://arxiv.org/abs/2503.23157.

    Raises:
        ValueError: as many databases as completions are expected.
        SandboxUnavailable: nothing here can hold untrusted queries.
    """
    same_rows(completions, database=database)
    asked = [(held, sql_of(text)) for held, text in zip(database, completions, strict=True)]
    rows = _asked(asked, engine, Cage(max_rows, instructions, wall, memory_mb), workers, unsafe_local)
    got = [rows[key] for key in asked]
    scores = [float(r.rows is not None) if r.known else NAN for r in got]
    return Scores(torch.tensor(scores), [None if r.known else FAILED + r.error for r in got])


@method(makes="parts", paper=PAPER)
def sql_parses(completions: Sequence[str], *, dialect: str = "sqlite") -> Float32[Tensor, "B"]:
    """Give 1 where the completion's query is one statement that can be parsed, else 0: syntax without a database.

    ``dialect`` is one of sqlglot's. Longer than 20,000 characters, or nested too deeply, is not parsed. Shapes: [B] out.

    Raises:
        ImportError: sqlglot is not installed (``pip install 'guerdon[text]'``).

    Reference: Pourreza et al., Reasoning-SQL, 2025, https://arxiv.org/abs/2503.23157.
    """
    return torch.tensor([float(_parsed(sql_of(text), dialect) is not None) for text in completions])


@method(makes="parts", paper=PAPER)
def sql_schema(
    completions: Sequence[str], query: Sequence[str | None], *, dialect: str = "sqlite"
) -> Float32[Tensor, "B"]:
    """How far the query uses the tables and columns of the reference: schema linking.

        part = |S & S*| / |S | S*|,    S: the names of tables and columns of a query, in lower case

    Names are read from the parsed query, so that aliases of tables and of what is selected, names of common table
    expressions and text are none of them; a table and a column are told apart. Both sets empty: 1. A query that cannot be parsed: 0.

    Shapes: [B] out, in [0, 1]; NaN where there is no reference or it cannot be parsed. The score leans to how the
    reference is written: a right query of another form gets less than 1.

    Reference: Pourreza et al., Reasoning-SQL, 2025, https://arxiv.org/abs/2503.23157.

    Raises:
        ValueError: as many queries as completions are expected.
        ImportError: sqlglot is not installed (``pip install 'guerdon[text]'``).
    """
    same_rows(completions, query=query)
    scores = []
    for text, gold in zip(completions, query, strict=True):
        wanted, mine = schema_items(gold or "", dialect), schema_items(sql_of(text), dialect)
        scores.append(NAN if wanted is None else 0.0 if mine is None else set_jaccard(mine, wanted))
    return torch.tensor(scores, dtype=torch.float32)


@method(makes="parts", paper=PAPER)
def sql_ngrams(completions: Sequence[str], query: Sequence[str | None], *, n: int = 2) -> Float32[Tensor, "B"]:
    """How many n-grams of words the query shares with the reference.

        part = |G & G*| / |G | G*|,    G: the set of runs of n tokens, in lower case; a token is a word or a symbol

    Fewer than n tokens: all of them are one run. Shapes: [B] out, in [0, 1]; NaN without a reference. Linear time.

    Reference: Pourreza et al., Reasoning-SQL, 2025, https://arxiv.org/abs/2503.23157.

    Raises:
        ValueError: n below 1; as many queries as completions are expected.
    """
    same_rows(completions, query=query)
    if n < 1:
        raise ValueError(f"expected n of at least 1, got {n}")
    pairs = zip(completions, query, strict=True)
    scores = [set_jaccard(ngrams(sql_of(text), n), ngrams(_bare(gold), n)) if gold else NAN for text, gold in pairs]
    return torch.tensor(scores, dtype=torch.float32)


def sql_of(completion: str) -> str:
    """The query in a completion: its last fenced block, else its last ``<answer>`` block, else all of it."""
    blocks = _BLOCK.findall(completion[-10 * LONGEST :])
    return _bare(blocks[-1] if blocks else in_tag(completion, "answer") or completion)


def _bare(query: str) -> str:
    return query.strip().rstrip("; \n\t")


def schema_items(query: str, dialect: str = "sqlite") -> frozenset[tuple[str, str]] | None:
    """Tables ("t", name) and columns ("c", name) of a query; None where it cannot be parsed."""
    from sqlglot import exp

    tree = _parsed(query, dialect)
    if tree is None:
        return None
    own = {cte.alias.lower() for cte in tree.find_all(exp.CTE)}
    read = [t for t in tree.find_all(exp.Table) if t.name.lower() not in own]
    known = {t.alias_or_name.lower() for t in read}
    shown = [e for select in tree.find_all(exp.Select) for e in select.expressions if isinstance(e, exp.Alias)]
    given = {e.alias.lower() for e in shown}

    def of_schema(column: Any) -> bool:
        """Whether a column is one of a table, and not a name that the query gave to what it selects."""
        name, alias = column.name.lower(), column.find_ancestor(exp.Alias)
        return name not in given or column.table.lower() in known or (alias is not None and alias.alias.lower() == name)

    tables = {("t", t.name.lower()) for t in read}
    columns = {("c", c.name.lower()) for c in tree.find_all(exp.Column) if of_schema(c)}
    return frozenset(tables | columns) - {("t", ""), ("c", "")}


def ngrams(text: str, n: int) -> frozenset[tuple[str, ...]]:
    """The set of runs of n tokens of the first 20,000 characters."""
    tokens = _WORD.findall(text[:LONGEST].lower())
    return frozenset(tuple(tokens[i : i + n]) for i in range(max(1, len(tokens) - n + 1)) if tokens)


def set_jaccard(a: frozenset[Any], b: frozenset[Any]) -> float:
    """Jaccard index of two sets; 1 where both are empty."""
    return len(a & b) / len(a | b) if a or b else 1.0


def is_ordered(query: str, dialect: str = "sqlite") -> bool:
    """Whether the outermost part of a query has an ORDER BY; False where it cannot be parsed."""
    tree = _parsed(_bare(query), dialect)
    return tree is not None and tree.args.get("order") is not None


def _score(wanted: Rows, got: Rows, compare: Compare, ordered: bool, empty: bool) -> tuple[float, str | None]:
    if wanted.rows is None:
        return NAN, f"{FAILED}the reference query: {wanted.error}"
    if not wanted.rows and not empty:
        return NAN, _EMPTY
    if not got.known:
        return NAN, FAILED + got.error
    if got.rows is None:
        return 0.0, None
    same = set(got.rows) == set(wanted.rows) if compare == "set" else sorted(got.rows) == sorted(wanted.rows)
    return float(same and (not ordered or got.rows == wanted.rows)), None


def _asked(
    asked: Sequence[tuple[str, str]], engine: Engine, cage: Cage, workers: int | None, unsafe_local: bool
) -> dict[tuple[str, str], Rows]:
    """Rows of all that is asked; what was asked last is remembered, so that two signals ask once."""
    for package in PACKAGES[engine]:
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"expected {package} to be installed for engine = {engine!r}; pip install 'guerdon[text]'"
            )
    kept = _memory(engine, cage, unsafe_local)
    memory = dict(kept)  # signals that are asked at the same time share what is kept
    states = {database: _state(engine, database) for database, _ in asked}
    fresh = [key for key in dict.fromkeys(asked) if (*key, states[key[0]]) not in memory]
    sandbox = sandbox_for(workers, PACKAGES[engine], None, unsafe_local, shared=True)
    made = ask_all(sandbox, engine, fresh, cage)
    rows = {key: made.get(key) or memory[*key, states[key[0]]] for key in asked}
    now_known = {(*key, states[key[0]]): found for key, found in rows.items() if found.known}
    kept.clear()
    kept.update(now_known)
    return rows


def _state(engine: Engine, database: str) -> tuple[int, int] | None:
    """What tells a file from what it was: when it was written, and its size."""
    file = file_of(engine, database)
    told = None if file is None else file.stat()
    return None if told is None else (told.st_mtime_ns, told.st_size)


@lru_cache(maxsize=4)
def _memory(engine: Engine, cage: Cage, unsafe_local: bool) -> dict[tuple[str, str, Any], Rows]:
    return {}


@lru_cache(maxsize=4096)
def _parsed(query: str, dialect: str) -> Any:
    """The tree of a query; None where it is not one statement that can be parsed."""
    try:
        import sqlglot
        from sqlglot.errors import SqlglotError
    except ImportError as error:
        raise ImportError(f"expected sqlglot to be installed, got {error}; pip install 'guerdon[text]'") from error
    if len(query) > LONGEST or not query.strip():
        return None
    try:
        trees = sqlglot.parse(query, read=dialect)
    except (SqlglotError, RecursionError):
        return None
    return trees[0] if len(trees) == 1 else None
