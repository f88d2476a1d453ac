"""The page on composition: its recipe explains and shapes as the page says."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from guerdon.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "composition.md"


@pytest.fixture
def run(tmp_path, monkeypatch):
    text = PAGE.read_text("utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "recipe.toml").write_text(toml, "utf-8")
    (tmp_path / "composition.jsonl").write_bytes(PAGE.with_suffix(".jsonl").read_bytes())
    monkeypatch.chdir(tmp_path)

    def command(*arguments: str) -> str:
        done = CliRunner().invoke(app, list(arguments), env={"COLUMNS": "80"})
        assert done.exit_code == 0, done.output
        return "\n".join(line.rstrip() for line in done.output.splitlines())

    return command


def said(number: int) -> str:
    """One of the outputs on the page."""
    return re.findall(r"```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)[number].strip()


def test_explain_draws_the_tree(run):
    assert said(0) in run("explain", "recipe.toml")


def test_shape_shows_every_stage(run):
    shown = run("shape", "recipe.toml", "--on", "composition.jsonl")
    assert said(1).splitlines()[1:] == shown.strip().splitlines()


def test_the_page_of_figures(run, tmp_path):
    run("shape", "recipe.toml", "--on", "composition.jsonl", "--html", "shape.html")
    page = (tmp_path / "shape.html").read_text("utf-8")
    assert "<script" not in page
    assert page.count("<figure>") == 4
    for word in ("combined.babble", "What explains the variance of advantages", "works against"):
        assert (word in page) == (word != "works against")


def test_json(run):
    import json

    data = json.loads(run("shape", "recipe.toml", "--on", "composition.jsonl", "--json"))
    assert data["credit"] == "advantages"
    assert set(data["shares"]) == {"parts.layout", "parts.right", "parts.repetition"}
    assert data["composition"]["of"][0]["method"] == "only-if"
