"""Every example in the README, in CONTRIBUTING and in the pages of docs runs."""

import ast
import re
from pathlib import Path

import pytest

from guerdon.method import _REGISTRY, methods, recipe_name
from guerdon.recipe import load, shipped
from guerdon.training import build, train

ROOT = Path(__file__).parents[2]
SHAPING = [f"docs/{page}.md" for page in ("shaping", "shaping-lengths", "shaping-selection", "shaping-verdicts")]
SINGLE = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/credit.md",
    "docs/signals.md",
    "docs/engines.md",
    "docs/shaping-lengths.md",
]
"""Pages whose one block of Python prints what stands behind its lines."""
PRINTING = [f"docs/{page}.md" for page in ("answers", "text", "structure", "noise", "entropy")] + [
    page for page in SHAPING if page not in SINGLE
]
"""Pages whose blocks of Python, one after the other, print what stands behind their lines."""
RECIPES = [
    f"docs/{page}.md"
    for page in ("credit", "entropy", "signals", "judges", "answers", "ranks", "text", "structure", "noise")
] + SHAPING
"""Pages whose recipes train."""


def blocks(file: str, language: str) -> list[str]:
    """Code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("file", SINGLE)
def test_python_examples_print_what_they_say(file, capsys):
    (code,) = blocks(file, "python")
    methods()  # a room that the example is the first to import must stay
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


def test_the_readme_names_every_preset():
    text = (ROOT / "README.md").read_text("utf-8")
    named = set(re.findall(r"[\w-]+", text[text.index("Presets:") : text.index("Shipped recipes:")]))
    assert set(shipped("presets")) <= named


def test_the_recipe_of_the_readme_compiles(tmp_path):
    (toml,) = blocks("README.md", "toml")
    file = tmp_path / "my.toml"
    file.write_text(toml, "utf-8")
    assert build(load(file)).pipeline.needs == {"logp", "old_logp"}


@pytest.mark.parametrize("toml", [t for page in RECIPES for t in blocks(page, "toml")])
def test_the_recipes_of_the_pages_train(tmp_path, monkeypatch, judge_server, toml):
    monkeypatch.setenv("GUERDON_CACHE", str(tmp_path))
    toml = toml.replace('model = "my-judge"', 'model = "judge"').replace("http://localhost:8000/v1", judge_server.url)
    toml = toml.replace('path = "docs/', f'path = "{ROOT}/docs/')
    file = tmp_path / "my.toml"
    file.write_text(toml, "utf-8")
    recipe = load(file)
    short = recipe.training.model_copy(
        update={"iterations": 2, "prompts": 8, "samples": 4, "evaluate_prompts": 0, "learning_rate": 1e-4}
    )
    assert len(list(train(recipe.model_copy(update={"training": short}), tmp_path / "run").run.events())) == 2


@pytest.mark.parametrize("page", PRINTING)
def test_the_examples_of_a_page_print_what_they_say(page, capsys):
    code = "\n".join(blocks(page, "python"))
    exec(compile(code, page, "exec"), {"__name__": "example"})  # our own documentation
    said = [line.split("  # ", 1)[1] for line in code.splitlines() if line.startswith("print(")]
    assert said == capsys.readouterr().out.splitlines()


def _examples_of(page: str) -> set[str]:
    """Every name in the examples of a page that run; stages of presets that they include are named too."""
    names = set()
    if page in SINGLE or page in PRINTING:
        names |= set(re.findall(r"\w+", "\n".join(blocks(page, "python"))))
    for toml in blocks(page, "toml") if page in RECIPES else ():
        names |= set(re.findall(r'use = "([\w-]+)"', toml))
        preset = re.search(r'^preset = "([\w-]+)"', toml, re.MULTILINE)
        names |= {stage.use for stage in load({"preset": preset[1]}).pipeline} if preset else set()
    return names


FAMILIES = [
    path.stem for path in sorted((ROOT / "src/guerdon/shaping").glob("*.py")) if path.stem not in ("__init__", "parts")
]


@pytest.fixture(scope="module")
def shown():
    """Names in all examples that run."""
    return set().union(*map(_examples_of, {*SINGLE, *PRINTING, *RECIPES}))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_shaping_has_an_example_that_runs(family, shown):
    source = (ROOT / f"src/guerdon/shaping/{family}.py").read_text("utf-8")
    own = [n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    assert any(name in shown or recipe_name(name) in shown for name in own), f"show one of {own} on a page of docs"


@pytest.mark.parametrize("method", [m for m in methods().values() if m.room == "shaping"], ids=lambda m: m.name)
def test_every_stage_of_shaping_is_told_of(method, shown):
    told = any(f"`{method.name}`" in (ROOT / page).read_text("utf-8") for page in [*SHAPING, "docs/composition.md"])
    assert told or method.name in shown or method.call.__name__ in shown, (
        f"say on a page of docs what {method.name} is for"
    )


def test_a_judge_of_ones_own(judge_server):
    (code,) = blocks("docs/judges.md", "python")
    made: dict = {}
    exec(compile(code.replace("http://localhost:8000/v1", judge_server.url), "docs/judges.md", "exec"), made)
    scores = made["politeness"](["?"] * 2, ["a", "x"])
    assert scores.values.tolist() == [0, 1]


@pytest.mark.parametrize("file", ["README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\((?!https://)([^)#]+)\)", (ROOT / file).read_text("utf-8")):
        assert ((ROOT / file).parent / target).exists(), target
