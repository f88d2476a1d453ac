"""The examples of the page on instructions run and give what they say."""

import json

from typer.testing import CliRunner

from guerdon.cli import app
from guerdon.recipe import load
from guerdon.training import train
from tests.docs.test_examples import ROOT, blocks

PAGE = "docs/instructions.md"


def test_the_python_examples_print_what_they_say(capsys):
    code = "\n".join(blocks(PAGE, "python"))
    exec(compile(code, PAGE, "exec"), {"__name__": "example"})  # our own documentation
    said = [line.split("# ", 1)[1] for line in code.splitlines() if "# " in line]
    assert len(said) == 5
    assert capsys.readouterr().out.splitlines() == said


def test_the_file_of_answers_is_scored(tmp_path):
    recipe, out = tmp_path / "instructions.toml", tmp_path / "scored.jsonl"
    recipe.write_text(blocks(PAGE, "toml")[0], "utf-8")
    command = ["score", str(ROOT / "docs" / "instructions.jsonl"), "--recipe", str(recipe), "--out", str(out), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [row["rewards"] and round(row["rewards"], 3) for row in rows] == [2, 0.667, 2, 0, None]
    assert [row["correct"] for row in rows] == [1, 0, 1, 0, None]


def test_the_recipe_of_tea_trains(tmp_path):
    file = tmp_path / "tea.toml"
    file.write_text(blocks(PAGE, "toml")[1], "utf-8")
    recipe = load(file)
    short = recipe.training.model_copy(update={"iterations": 2, "prompts": 8, "samples": 4, "evaluate_prompts": 0})
    events = list(train(recipe.model_copy(update={"training": short}), tmp_path / "run").run.events())
    assert len(events) == 2
    assert all(event["loss/entropy-bonus"] < 0 for event in events)
