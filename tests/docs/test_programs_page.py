"""The examples of the page on programs and queries run and give what they say."""

import json

import pytest
from typer.testing import CliRunner

from guerdon.cli import app
from tests.docs.test_examples import ROOT, blocks

PAGE = "docs/programs.md"


def test_the_python_examples_print_what_they_say(capsys):
    code = "\n".join(blocks(PAGE, "python"))
    exec(compile(code, PAGE, "exec"), {"__name__": "example"})  # our own documentation
    said = [line.split(")  # ", 1)[1] for line in code.splitlines() if line.startswith("print(")]
    said += blocks(PAGE, "text")[0].splitlines()
    assert capsys.readouterr().out.splitlines() == said


def scored(tmp_path, toml, data):
    recipe, out = tmp_path / "recipe.toml", tmp_path / "scored.jsonl"
    recipe.write_text(toml, "utf-8")
    done = CliRunner().invoke(app, ["score", str(data), "--recipe", str(recipe), "--out", str(out), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["reasons"] == {}
    return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def test_the_recipe_of_programs_scores(tmp_path):
    data = tmp_path / "data.jsonl"
    slow = "def f(n):\n    return sum([i for i in range(n + 1)])"
    row = {"prompts": "Add up.", "tests": "assert f(300000) == 45000150000", "reference": slow}
    programs = [slow, "def f(n): return n * (n + 1) // 2", "def f(n): return n"]
    data.write_text("\n".join(json.dumps({**row, "completions": program}) for program in programs), "utf-8")
    rows = scored(tmp_path, blocks(PAGE, "toml")[0], data)
    assert [row["rewards"] for row in rows] == pytest.approx([1.3, 2, 1])
    assert [row["correct"] for row in rows] == [1, 1, 0]


def test_the_recipe_of_queries_scores(tmp_path, monkeypatch, judge_server):
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    toml = blocks(PAGE, "toml")[1].replace("my-judge", "judge").replace("http://localhost:8000/v1", judge_server.url)
    rows = scored(tmp_path, toml, ROOT / "docs" / "queries.jsonl")
    assert len(judge_server.seen) == 2  # only what is wrong
    assert [row["correct"] for row in rows] == [1, 1, 0, 0]
    rewards = [row["rewards"] for row in rows]
    assert rewards[0] == pytest.approx(3 + 1 + 1 + 1 + 1)
    assert rewards[0] > rewards[1] > rewards[2] > rewards[3]
