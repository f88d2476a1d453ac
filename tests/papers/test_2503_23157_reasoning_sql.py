"""Pourreza et al., Reasoning-SQL (2025): partial rewards for a query, and their weighted sum."""

import pytest
import torch

from guerdon.shaping import weighted_sum
from guerdon.signals import sql_execution, sql_ngrams, sql_runs, sql_schema

DATABASE = "CREATE TABLE t(id INTEGER, name TEXT, a INTEGER); INSERT INTO t VALUES (1, 'x', 1), (2, 'y', 2);"
GOLD = "select id from t where a=1"
LOCAL = {"unsafe_local": True, "workers": 2}
WEIGHTS = {"sql-execution": 3.0, "judge": 2.0, "sql-runs": 1.0, "sql-schema": 1.0, "sql-ngrams": 1.0, "format": 1.0}


def parts(said, gold, judge):
    texts, golds, held = [said], [gold], [DATABASE]
    return {
        "sql-execution": sql_execution(texts, golds, held, **LOCAL).values[0],
        "judge": torch.tensor([judge]),
        "sql-runs": sql_runs(texts, held, **LOCAL).values,
        "sql-schema": sql_schema(texts, golds),
        "sql-ngrams": sql_ngrams(texts, golds),
        "format": torch.ones(1),
    }


def total(made):
    """As a recipe says it: the judge is asked where ``correct`` is false, and is 0 otherwise."""
    asked = made["sql-execution"] == 0
    return weighted_sum({**made, "judge": torch.where(asked, made["judge"], 0.0)}, WEIGHTS).item()


def test_the_parts_of_a_wrong_query():
    made = parts("select name from t", "select id from t", 0.5)
    assert made["sql-execution"].item() == 0
    assert made["sql-runs"].item() == 1
    assert made["sql-schema"].item() == pytest.approx(1 / 3)  # {t, name} and {t, id}
    assert made["sql-ngrams"].item() == pytest.approx(0.2)  # only "from t" of five
    assert total(made) == pytest.approx(3.533, abs=5e-4)


def test_the_judge_is_heard_only_where_execution_fails():
    made = parts(GOLD, GOLD, 0.5)
    assert total(made) == 7
    made["judge"] = torch.tensor([torch.nan])
    assert total(made) == 7
    wrong = parts("select nothing from t", GOLD, 1.0)
    assert wrong["sql-runs"].item() == 0
    assert total(wrong) < total(made)


def test_a_where_clause_has_bigrams_of_its_own():
    said, gold = ["select name from t"], ["select id from t where a=1"]
    assert sql_ngrams(said, gold).item() == pytest.approx(1 / 9)  # 3 and 7 bigrams, one in common
    assert sql_schema(said, gold).item() == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("said", "gold"),
    [
        ("SELECT count(*) AS n FROM t GROUP BY a ORDER BY n", "SELECT count(*) FROM t GROUP BY a ORDER BY 1"),
        ("WITH c AS (SELECT max(a) AS m FROM t) SELECT c.m FROM c", "SELECT max(a) FROM t"),
        ("SELECT s.k FROM (SELECT a + id AS k FROM t) AS s", "SELECT x.a + x.id FROM t AS x"),
        ("SELECT name AS id FROM t ORDER BY t.id", "SELECT name FROM t ORDER BY id"),
        ("SELECT max(a) AS a FROM t", "SELECT max(a) FROM t"),
    ],
)
def test_names_that_a_query_gives_itself_are_not_of_the_schema(said, gold):
    assert sql_schema([said], [gold]).item() == 1
    assert sql_schema([gold], [said]).item() == 1
