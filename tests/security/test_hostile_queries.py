"""Queries that attack: they change nothing, see nothing outside, end in time, and are paid nothing."""

import sqlite3
import time
from pathlib import Path

import pytest

from guerdon.sandbox import Check, LocalSandbox
from guerdon.sandbox.queries import PACKAGES, Cage, ask
from guerdon.signals import sql_ngrams, sql_parses, sql_schema

DB = "CREATE TABLE t(id INTEGER, name TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z');"
CAGE = Cage(wall=3.0, instructions=5_000_000, memory_mb=768)
COMMON = {
    "attach": "ATTACH '/tmp/stolen.db' AS stolen",
    "pragma": "PRAGMA database_list",
    "write": "INSERT INTO t VALUES (4, 'w')",
    "drop after reading": "SELECT 1; DROP TABLE t",
    "returning": "DELETE FROM t RETURNING id",
    "make": "CREATE TABLE u AS SELECT * FROM t",
    "extension": "SELECT load_extension('/tmp/evil')",
    "recursion": "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT COUNT(*) FROM c",
    "cross join": "SELECT MAX("
    + "+".join(f"ABS(a{i}.id)" for i in range(30))
    + ") FROM "
    + ", ".join(f"t a{i}" for i in range(30)),
    "rows": "SELECT a.id FROM " + ", ".join(f"t {x}" for x in "abcdefgh"),
    "memory": "WITH RECURSIVE c(x, s) AS (SELECT 1, 'abcdefgh' UNION ALL SELECT x + 1, CASE WHEN LENGTH(s) < 400000 "
    "THEN s || s ELSE s END FROM c) SELECT x, s FROM c ORDER BY s",
    "a megabyte": "SELECT " + "1 + " * 250_000 + "1",
    "nesting": "SELECT " + "(" * 4_000 + "1" + ")" * 4_000,
    "nothing": "",
    "surrogate": "SELECT '\ud800'",
}
SQLITE = {
    "null": "SELECT 1\0",
    "vacuum": "VACUUM INTO '/tmp/stolen.db'",
    "pragma function": "SELECT * FROM pragma_database_list",
    "file": "SELECT readfile('/etc/passwd')",
    "zeros": "SELECT zeroblob(900000000)",
    "schema": "UPDATE sqlite_master SET sql = ''",
    "explain": "EXPLAIN DELETE FROM t",
}
DUCKDB = {
    "copy": "COPY t TO '/tmp/stolen.csv'",
    "csv": "SELECT * FROM read_csv('/etc/passwd')",
    "text": "SELECT * FROM read_text('/etc/passwd')",
    "file": "SELECT * FROM '/etc/passwd'",
    "glob": "SELECT * FROM glob('/*')",
    "setting": "SET enable_external_access = true",
    "install": "INSTALL httpfs",
    "load": "LOAD '/tmp/evil.duckdb_extension'",
    "export": "EXPORT DATABASE '/tmp/stolen'",
    "repeat": "SELECT repeat('a', 900000000)",
    "range": "SELECT list_sum(range(10000000000))",
    "environment": "SELECT getenv('HOME')",
}


ATTACKS = [(engine, name) for engine, own in (("sqlite", SQLITE), ("duckdb", DUCKDB)) for name in (*COMMON, *own)]


@pytest.fixture(scope="module")
def sandboxes():
    made = {name: LocalSandbox(workers=1, packages=packages, unsafe_local=True) for name, packages in PACKAGES.items()}
    yield made
    for sandbox in made.values():
        sandbox.close()


@pytest.mark.parametrize(("engine", "attack"), ATTACKS)
def test_attacks_fail_in_time(sandboxes, engine, attack):
    query = {**COMMON, **(SQLITE if engine == "sqlite" else DUCKDB)}[attack]
    began = time.monotonic()
    said = ask(sandboxes[engine], engine, DB, query, CAGE)
    assert said.rows is None, said.rows
    assert said.known
    assert said.error
    assert time.monotonic() - began < 10
    assert ask(sandboxes[engine], engine, DB, "SELECT COUNT(*) FROM t", CAGE).rows == ("(3,)",)


@pytest.mark.parametrize("engine", ["sqlite", "duckdb"])
def test_the_engines_run_within_the_jail(tmp_path, engine):
    """As the tests of the jail itself, this fails on a machine that lets nobody make namespaces."""
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with LocalSandbox(workers=1, packages=PACKAGES[engine]) as sandbox:
        assert ask(sandbox, engine, DB, "SELECT COUNT(*), 2.5, 'x' FROM t", CAGE).rows == ("(3, 2.5, 'x')",)
        for query in (f"SELECT * FROM '{secret}'", f"SELECT * FROM read_csv('{secret}')", COMMON["recursion"]):
            said = ask(sandbox, engine, DB, query, CAGE)
            assert said.rows is None
            assert said.known
        # Even the making of the database, which is trusted, cannot reach out.
        if engine == "sqlite":
            made = ask(sandbox, engine, f"ATTACH '{tmp_path}/new.db' AS n; CREATE TABLE n.x(a);", "SELECT 1", CAGE)
            assert not made.known
    assert [file.name for file in tmp_path.iterdir()] == ["secret.csv"]


def test_a_shared_file_is_read_in_the_jail_and_nothing_beside_it(tmp_path):
    """As the tests of the jail itself, this fails on a machine that lets nobody make namespaces."""
    file = tmp_path / "shop.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t(id, name)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", [(1, "x"), (2, "y")])
    before = file.read_bytes()
    with LocalSandbox(workers=1, shared=True) as sandbox:
        folder = Path(sandbox.share(file)).parent
        assert ask(sandbox, "sqlite", str(file), "SELECT COUNT(*) FROM t", CAGE).rows == ("(2,)",)
        for query in ("DELETE FROM t", "ATTACH '/shared/0' AS other", "SELECT readfile('/shared/0')"):
            assert ask(sandbox, "sqlite", str(file), query, CAGE).rows is None
        changed = Check("def f():\n    open('/shared/0', 'wb')", "assert f() is None")
        assert sandbox.run(changed).reason.startswith("raised: OSError")
        assert str(folder) == "/shared"
        copies = sandbox._shared.folder
    assert file.read_bytes() == before
    assert not Path(copies).exists()
    with LocalSandbox(workers=1) as sandbox, pytest.raises(ValueError, match="shared=True"):
        ask(sandbox, "sqlite", str(file), "SELECT 1", CAGE)


def test_texts_that_are_only_read_cost_little_time():
    hostile = ["SELECT " + "(" * 500_000, "```sql\n" * 100_000, "<answer>" * 100_000, "a." * 500_000, "'" * 1_000_000]
    began = time.monotonic()
    assert sql_parses(hostile).tolist() == [0] * 5
    assert sql_schema(hostile, ["SELECT a FROM t"] * 5).tolist() == [0] * 5
    assert not sql_ngrams(hostile, ["SELECT a FROM t"] * 5).isnan().any()
    assert time.monotonic() - began < 10
