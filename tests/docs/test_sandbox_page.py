"""The examples of the page on the sandbox run and give what they say."""

import json
import re

from typer.testing import CliRunner

from guerdon.cli import app
from guerdon.recipe import load
from guerdon.training import train
from tests.docs.test_examples import ROOT, blocks

PAGE = "docs/sandbox.md"


def test_the_python_example_prints_what_it_says(capsys):
    (code,) = blocks(PAGE, "python")
    exec(compile(code, PAGE, "exec"), {"__name__": "example"})  # our own documentation
    said = [line.split(")  # ", 1)[1] for line in code.splitlines() if line.startswith("print(")]
    assert capsys.readouterr().out.splitlines() == said


def test_the_file_of_programs_is_scored(tmp_path):
    recipe, out = tmp_path / "code.toml", tmp_path / "scored.jsonl"
    recipe.write_text(blocks(PAGE, "toml")[0], "utf-8")
    command = ["score", str(ROOT / "docs" / "programs.jsonl"), "--recipe", str(recipe), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert json.loads(done.output)["reasons"] == {}
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["rewards"] for row in rows] == [1, 0.5, 0, 1, 1, 0]
    assert [row["correct"] for row in rows] == [1, 0, 0, 1, 1, 0]


def test_without_a_jail_only_when_told_and_it_says_what_is_lost(tmp_path):
    recipe, out = tmp_path / "code.toml", tmp_path / "run"
    recipe.write_text(blocks(PAGE, "toml")[0], "utf-8")
    score = ["score", str(ROOT / "docs" / "programs.jsonl"), "--recipe", str(recipe), "--unsafe-local", "--json"]
    done = CliRunner().invoke(app, score)
    assert done.exit_code == 0, done.output
    assert "no jail for unit-tests: programs see every file that you may read" in " ".join(done.stderr.split())
    assert json.loads(done.stdout)["reasons"] == {}
    done = CliRunner().invoke(app, ["train", "--unsafe-local", "--run", str(out)])
    assert done.exit_code == 2
    assert (
        "--unsafe-local: expected a reward that runs programs, got ['final-answer', 'verified-steps']; leave it out"
        in done.stderr
    )
    assert not out.exists()


def test_the_recipe_of_factors_trains(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    file = tmp_path / "lare.toml"
    file.write_text(blocks(PAGE, "toml")[1], "utf-8")
    recipe = load(file)
    short = recipe.training.model_copy(update={"iterations": 3, "prompts": 8, "samples": 4, "evaluate_prompts": 0})
    events = list(train(recipe.model_copy(update={"training": short}), tmp_path / "run").run.events())
    losses = [e["model/lare/loss"] for e in events if e["event"] == "iteration"]
    assert len(losses) == 3
    assert all(loss > 0 for loss in losses)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / PAGE).read_text("utf-8")):
        assert target.startswith("https://") or (ROOT / "docs" / target).exists(), target
