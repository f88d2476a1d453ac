"""Queries against a reference: rows, order, names, words; and rows of which nothing is known."""

import math
import sqlite3

import pytest

from guerdon.sandbox import LocalSandbox
from guerdon.signals import run_signal, sql_execution, sql_ngrams, sql_parses, sql_runs, sql_schema
from guerdon.signals.sql import is_ordered, schema_items, sql_of

DB = """CREATE TABLE t(id INTEGER, a INTEGER, name TEXT);
INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 1, 'z'), (4, 1, 'x');"""
ENGINES = pytest.mark.parametrize("engine", ["sqlite", "duckdb"])


def execution(said, gold, database=DB, **options):
    made = sql_execution([said], [gold], [database], **{"unsafe_local": True, "workers": 1, **options})
    assert [v.isnan().item() for v in made.values] == [made.values[0].isnan().item()] * 2
    return made.values[0].item(), made.reasons[0]


@ENGINES
@pytest.mark.parametrize(
    ("said", "gold", "score"),
    [
        ("SELECT id FROM t WHERE a = 1", "select t.id from t where not a <> 1;", 1),
        ("SELECT id FROM t WHERE a = 2", "SELECT id FROM t WHERE a = 1", 0),
        ("SELECT id FROM t ORDER BY id DESC", "SELECT id FROM t", 1),
        ("SELECT id FROM t ORDER BY id DESC", "SELECT id FROM t ORDER BY id", 0),
        ("SELECT name FROM t WHERE a = 1", "SELECT DISTINCT name FROM t WHERE a = 1", 0),
        ("SELECT a, id FROM t", "SELECT id, a FROM t", 0),
        ("SELECT COUNT(*) * 1.0 AS n FROM t", "SELECT COUNT(*) FROM t", 1),
        ("SELECT 0.1 + 0.2", "SELECT 0.3", 1),
        ("SELECT '1'", "SELECT 1", 0),
        ("SELECT NULL", "SELECT NULL", 1),
        ("SELECT NULL", "SELECT 'None'", 0),
        ("no query", "SELECT 1", 0),
        ("", "SELECT 1", 0),
        ("I think\n```sql\nSELECT 2\n```\nor better\n```sql\nSELECT 1;\n```", "SELECT 1", 1),
        ("<answer>SELECT 1</answer>", "SELECT 1", 1),
    ],
)
def test_execution(engine, said, gold, score):
    assert execution(said, gold, engine=engine) == (score, None)


def test_the_comparison_of_bird():
    options = {"compare": "set", "ordered": False}
    assert execution("SELECT name FROM t WHERE a = 1", "SELECT DISTINCT name FROM t WHERE a = 1", **options)[0] == 1
    assert execution("SELECT id FROM t ORDER BY id DESC", "SELECT id FROM t ORDER BY id", **options)[0] == 1


@ENGINES
def test_what_is_not_known(engine):
    nothing = "SELECT id FROM t WHERE id > 9"
    for said, gold, database, why in [
        ("SELECT 1", None, DB, "no reference query"),
        (nothing, nothing, DB, "gives no rows"),
        ("SELECT 1", "SELECT nothing FROM t", DB, "failed: the reference query"),
        ("SELECT 1", "SELECT 1", "CREATE TABLE", "failed: the reference query: the database cannot be made"),
    ]:
        score, reason = execution(said, gold, database, engine=engine)
        assert math.isnan(score)
        assert why in reason
    assert execution(nothing, nothing, engine=engine, empty=True) == (1, None)
    assert math.isnan(sql_runs(["SELECT 1"], ["CREATE"], engine=engine, unsafe_local=True).values.item())


def test_a_result_past_max_rows_is_wrong_and_as_a_reference_a_failure():
    assert execution("SELECT id FROM t", "SELECT 1", max_rows=3) == (0, None)
    score, reason = execution("SELECT 1", "SELECT id FROM t", max_rows=3)
    assert math.isnan(score)
    assert "more than 3 rows" in reason


def test_a_database_file_is_read_and_not_written(tmp_path):
    file = tmp_path / "shop.sqlite"
    with sqlite3.connect(file) as connection:
        connection.executescript(DB)
    before = file.read_bytes()
    assert execution("SELECT COUNT(*) FROM t", "SELECT 4", str(file)) == (1, None)
    assert execution("DELETE FROM t", "SELECT 4", str(file)) == (0, None)
    assert file.read_bytes() == before


def test_two_signals_ask_a_query_once(monkeypatch):
    asked = []
    observe = LocalSandbox.observe
    monkeypatch.setattr(LocalSandbox, "observe", lambda self, r: asked.append(r) or observe(self, r))
    said = ["SELECT 11", "SELECT 12", "SELECT 11"]
    sql_execution(said, ["SELECT 11"] * 3, [DB] * 3, unsafe_local=True, workers=2)
    assert len(asked) == 2
    assert sql_runs(said, [DB] * 3, unsafe_local=True, workers=2).values.tolist() == [1, 1, 1]
    assert len(asked) == 2


def test_names_of_a_query():
    query = "WITH big AS (SELECT x.Id FROM Orders x WHERE name = 'Id2') SELECT COUNT(*), b.id FROM big b JOIN u ON u.k = b.id"
    assert schema_items(query) == {("t", "orders"), ("t", "u"), ("c", "id"), ("c", "name"), ("c", "k")}
    assert sql_schema(["SELECT 1", "SELECT", "SELECT a FROM t"], ["SELECT 2", "SELECT a", None])[:2].tolist() == [1, 0]
    assert sql_schema(["SELECT a FROM t"], ["("]).isnan().all()


def test_ngrams():
    said = ["select a", "select", "", "SELECT  A"]
    assert sql_ngrams(said, ["select a"] * 4).tolist() == [1, 0, 0, 1]
    assert sql_ngrams(said, ["select b"] * 4, n=1).tolist() == pytest.approx([1 / 3, 0.5, 0, 1 / 3])
    assert sql_ngrams(said, [None] * 4).isnan().all()
    with pytest.raises(ValueError, match="expected n of at least 1"):
        sql_ngrams(said, said, n=0)


def test_parsing():
    said = ["SELECT a FROM t", "SELECT FROM WHERE", "SELECT 1; SELECT 2", "", "SELECT " + "(" * 5000, "x" * 30_000]
    assert sql_parses(said).tolist() == [1, 0, 0, 0, 0, 0]


def test_where_the_outermost_order_stands():
    assert is_ordered("SELECT a FROM t ORDER BY a;")
    assert is_ordered("SELECT a FROM t UNION SELECT b FROM t ORDER BY 1")
    assert not is_ordered("SELECT a FROM (SELECT a FROM t ORDER BY a) x")
    assert not is_ordered("(")


def test_where_a_query_stands():
    assert sql_of("SELECT 1 ; ") == "SELECT 1"
    assert sql_of("```SQL\nSELECT 1") == "SELECT 1"


def test_wrong_options():
    with pytest.raises(ValueError, match="expected max_rows of at least 1"):
        execution("SELECT 1", "SELECT 1", max_rows=0)
    with pytest.raises(ValueError, match="expected one query for each of 2"):
        sql_ngrams(["", ""], [""])


def test_through_the_runner():
    data = {"completions": ["SELECT 1", "SELECT 2"], "query": ["SELECT 1", None], "database": [DB] * 2}
    outcome = run_signal(sql_execution, {**data, "unsafe_local": True}, 2)
    assert outcome.values["parts"][0] == outcome.values["correct"][0] == 1
    assert outcome.reasons == [None, "no reference query"]
    assert outcome.failed == 0


def test_a_large_file_is_read_and_read_again_when_it_changes(tmp_path):
    file = tmp_path / "large shop.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t(a, b)")
        connection.executemany("INSERT INTO t VALUES (?, zeroblob(1000000))", [(i,) for i in range(12)])
    assert file.stat().st_size > 12_000_000
    assert execution("SELECT COUNT(*), SUM(a) FROM t", "SELECT 12, 66", str(file)) == (1, None)
    with sqlite3.connect(file) as connection:
        connection.execute("INSERT INTO t VALUES (100, NULL)")
    assert execution("SELECT COUNT(*), SUM(a) FROM t", "SELECT 13, 166", str(file)) == (1, None)


def test_changes_in_a_log_are_not_silently_left_out(tmp_path):
    file = tmp_path / "busy.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t(a)")
        connection.execute("INSERT INTO t VALUES (1)")
        connection.commit()
        with pytest.raises(ValueError, match="wal_checkpoint"):
            execution("SELECT COUNT(*) FROM t", "SELECT 1", str(file))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert execution("SELECT COUNT(*) FROM t", "SELECT 1", str(file)) == (1, None)
    connection.close()
