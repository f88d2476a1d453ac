"""Objectives as rows of the same stages: the table of docs/objectives.md, read from the presets.

python -m guerdon.pipeline.rows --write docs/objectives.md
"""

import argparse
import re
from pathlib import Path

from guerdon.method import find
from guerdon.recipe import Loss, Recipe, Stage, load, shipped

COLUMNS = ("objective", "credit and keep", "ratio", "transform", "weight", "surrogate", "aggregation", "penalty")
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def row(preset: str) -> tuple[str, ...]:
    """One preset as a row of the table; a dash where it has no such stage."""
    recipe = load({"preset": preset, "reward": [{"use": "final-answer"}]})
    kinds: dict[str, list[str]] = {name: [] for name in COLUMNS}
    for stage in recipe.pipeline:
        kinds[_kind(stage)].append(_words(stage))
    surrogates = [loss for loss in recipe.loss if any(t.name == "token_advantages" for t in find(loss.use).takes)]
    kinds["surrogate"] = [_words(loss) for loss in surrogates]
    kinds["aggregation"] = list(dict.fromkeys(loss.aggregate for loss in surrogates))
    kinds["penalty"] = [f"{_said(loss.weight)} {_words(loss)}" for loss in recipe.loss if loss not in surrogates]
    if not kinds["ratio"] and _reads_ratio(recipe):
        kinds["ratio"] = ["(token-ratio)"]
    return (preset, *(", ".join(kinds[name]) or "-" for name in COLUMNS[1:]))


def table() -> str:
    """Every preset, one to a line."""
    rows = [COLUMNS, tuple("---" for _ in COLUMNS), *(row(preset) for preset in shipped("presets"))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


def page(text: str) -> str:
    """The page with its table made anew."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n{table()}\n{END}", text, flags=re.DOTALL)


def _kind(stage: Stage) -> str:
    info = find(stage.use)
    if info.makes == ("ratio",):
        return "transform" if any(t.name == "ratio" for t in info.takes) else "ratio"
    if info.makes == ("windowed_entropy",):
        return "transform"
    return "weight" if set(info.makes) & {"weights", "token_weights", "counts"} else "credit and keep"


def _words(stage: Stage) -> str:
    options = " ".join(f"{name}={_said(value)}" for name, value in stage.options.items())
    return f"`{stage.use}{' ' + options if options else ''}`"


def _said(value: object) -> str:
    kind = value.get("schedule") if isinstance(value, dict) else getattr(value, "schedule", None)
    return str(kind) if kind is not None else f"{value:g}" if isinstance(value, float) else str(value)


def _reads_ratio(recipe: Recipe) -> bool:
    stages: tuple[Stage | Loss, ...] = (*recipe.pipeline, *recipe.loss)
    return any(t.name == "ratio" for stage in stages for t in find(stage.use).takes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m guerdon.pipeline.rows")
    parser.add_argument("--write", type=Path, help="the page whose table is made anew")
    path = parser.parse_args().write
    if path is None:
        print(table())
    else:
        path.write_text(page(path.read_text("utf-8")), "utf-8")
