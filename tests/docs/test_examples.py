"""Every example in the README, in CONTRIBUTING and in the pages of docs runs."""

import re
from pathlib import Path

import pytest

from guerdon.method import _REGISTRY
from guerdon.recipe import load
from guerdon.training import build, train

ROOT = Path(__file__).parents[2]


def blocks(file: str, language: str) -> list[str]:
    """Code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", "docs/credit.md"])
def test_python_examples_print_what_they_say(file, capsys):
    (code,) = blocks(file, "python")
    before = dict(_REGISTRY)
    try:
        exec(compile(code, file, "exec"), {"__name__": "example"})  # our own documentation
    finally:
        _REGISTRY.clear()
        _REGISTRY.update(before)
    said = [line.split("# ", 1)[1].strip() for line in code.splitlines() if "print(" in line and "# tensor" in line]
    printed = capsys.readouterr().out
    assert said
    for line in said:
        assert line in printed


def test_the_recipe_of_the_readme_compiles(tmp_path):
    (toml,) = blocks("README.md", "toml")
    file = tmp_path / "my.toml"
    file.write_text(toml, "utf-8")
    assert build(load(file)).pipeline.needs == {"logp", "old_logp"}


@pytest.mark.parametrize("toml", blocks("docs/credit.md", "toml"))
def test_the_recipes_of_the_page_on_credit_train(tmp_path, toml):
    file = tmp_path / "my.toml"
    file.write_text(toml, "utf-8")
    recipe = load(file)
    short = recipe.training.model_copy(
        update={"iterations": 2, "prompts": 8, "samples": 4, "evaluate_prompts": 0, "learning_rate": 1e-4}
    )
    assert len(list(train(recipe.model_copy(update={"training": short}), tmp_path / "run").run.events())) == 2


@pytest.mark.parametrize("file", ["README.md", "docs/credit.md"])
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / file).read_text("utf-8")):
        assert ((ROOT / file).parent / target).exists(), target
