"""The catalogue names only what exists: papers once, examples that are tests, verdicts that are results."""

import ast
import json
import re
from pathlib import Path

import pytest

from guerdon.catalogue import evidence, papers

ROOT = Path(__file__).parents[2]
VERDICTS = ("reproduced", "not reproduced", "not reproducible at this scale")
RESULTS = sorted((ROOT / "claims" / "results").glob("*.json"))


def test_every_paper_stands_once():
    entries = papers()
    assert [e.number for e in entries] == list(range(1, 180))
    assert len({e.key for e in entries}) == len(entries)
    assert all(re.fullmatch(r"\d{4}\.\d{5}|", e.arxiv) for e in entries)
    assert all(e.name and e.title and e.room for e in entries)


def test_methods_come_from_the_decorators():
    by_key = {e.key: e for e in papers()}
    assert "greedy-baseline" in by_key["2310.10505"].methods
    assert "tulu-verifier" in by_key["2411.15124"].methods
    assert by_key["Grocery item ranking recommender"].methods == ()


def test_evidence_is_of_papers_in_the_catalogue():
    assert set(evidence()) <= {e.key for e in papers()}
    assert all(set(e) <= {"example", "claim", "verdict", "also"} for e in evidence().values())


@pytest.mark.parametrize("key", [key for key, e in evidence().items() if "example" in e])
def test_the_example_is_a_test(key):
    path, name = evidence()[key]["example"].split("::")
    assert path.startswith("tests/papers/")
    functions = {n.name for n in ast.parse((ROOT / path).read_text("utf-8")).body if isinstance(n, ast.FunctionDef)}
    assert name.startswith("test_")
    assert name in functions


@pytest.mark.parametrize("key", [key for key, e in evidence().items() if "claim" in e or "verdict" in e])
def test_the_verdict_is_that_of_the_result(key):
    claim = evidence()[key]["claim"]
    assert (ROOT / "claims" / f"{claim}.py").is_file()
    result = json.loads((ROOT / "claims" / "results" / f"{claim}.json").read_text("utf-8"))
    assert evidence()[key]["verdict"] == result["verdict"]
    assert result["paper"] == (f"arXiv:{key}" if key[0].isdigit() else key)


@pytest.mark.parametrize(
    ("module", "verdict"), [pair for e in evidence().values() for pair in e.get("also", {}).items()]
)
def test_the_verdict_of_a_further_claim_is_that_of_its_result(module, verdict):
    assert json.loads((ROOT / "claims" / "results" / f"{module}.json").read_text("utf-8"))["verdict"] == verdict


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_every_result_is_in_the_catalogue(path):
    result = json.loads(path.read_text("utf-8"))
    assert result["verdict"] in VERDICTS
    known = evidence().values()
    assert path.stem in {e.get("claim") for e in known} | {name for e in known for name in e.get("also", ())}
