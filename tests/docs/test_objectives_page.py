"""docs/objectives.md: the table is that of the presets, and the example trains."""

from pathlib import Path

from guerdon.pipeline.rows import page, row
from guerdon.training import train

PAGE = Path(__file__).parents[2] / "docs" / "objectives.md"


def test_the_table_is_up_to_date():
    text = PAGE.read_text("utf-8")
    assert text == page(text), "run: python -m guerdon.pipeline.rows --write docs/objectives.md"


def test_a_row():
    assert row("topr")[2:] == (
        "`sequence-ratio`",
        "`taper-ratio`",
        "-",
        "`weighted-likelihood`",
        "sequence-mean",
        "-",
    )


def test_the_example_trains(tmp_path):
    import tomllib

    recipe = tomllib.loads((PAGE.parent / "examples" / "objective_stages.toml").read_text("utf-8"))
    training = {"iterations": 2, "prompts": 4, "samples": 4, "evaluate_prompts": 0, "epochs": 2}
    result = train(recipe | {"training": training}, tmp_path / "run")
    losses = [e["loss/weighted-likelihood"] for e in result.run.events() if e["event"] == "iteration"]
    assert len(losses) == 2
