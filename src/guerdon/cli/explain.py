"""``guerdon explain``: the compiled dataflow of a recipe, and the vocabulary it is written in."""

import json
from typing import Annotated, Any

import typer

from guerdon.cli.common import mistakes_end_the_command, overridden, print_json


def explain(
    recipe: Annotated[str | None, typer.Argument(help="Recipe file or shipped name; none: the embedded task.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="stage.option=value; repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    toml: Annotated[bool, typer.Option("--toml", help="The recipe, presets expanded, as TOML.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="JSON schema of recipes.")] = False,
    quantities: Annotated[bool, typer.Option("--quantities", help="The vocabulary of quantities.")] = False,
) -> None:
    """Show what a recipe does: which stage reads and makes what, and what the policy must provide.

    Examples:

      guerdon explain

      guerdon explain my.toml --toml > expanded.toml

      guerdon explain --quantities
    """
    with mistakes_end_the_command():
        if schema:
            from guerdon.recipe import Recipe

            print(json.dumps(Recipe.model_json_schema(), indent=2))
        elif quantities:
            _vocabulary(as_json)
        elif toml:
            print(overridden(recipe, {}, settings or []).toml(), end="")
        else:
            _dataflow(overridden(recipe, {}, settings or []), as_json)


def _dataflow(recipe: Any, as_json: bool) -> None:
    from guerdon.training import build

    pipeline = build(recipe).pipeline
    rows = [_row(stage) for stage in (*pipeline.stages, *pipeline.objective.stages)]
    needs = sorted(pipeline.needs)
    made = {m for s in pipeline.stages for m in s.makes}
    lift = "token_advantages" in pipeline.objective.reads and "token_advantages" not in made
    if as_json:
        print_json({"stages": rows, "needs": needs, "implicit_lift": lift, "columns": sorted(pipeline.columns)})
        return
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("phase", "stage", "reads", "makes", "options"):
        table.add_column(name, overflow="fold")
    loss_began = False
    for row in rows:
        if row["phase"] == "update" and not loss_began:
            loss_began = True
            if lift:
                table.add_row(
                    "", "(implicit lift)", "advantages", "token_advantages\\[B T]", "on chosen positions", style="dim"
                )
        options = ", ".join(f"{k}={v}" for k, v in row["options"].items())
        table.add_row(
            row["phase"],
            row["stage"],
            "\n".join(row["reads"]),
            "\n".join(m.replace("[", "\\[") for m in row["makes"]),
            options,
        )
    console.print(table)
    console.print(f"columns of the task: {', '.join(sorted(pipeline.columns)) or 'none'}")
    console.print(f"the policy must provide: {', '.join(needs) or 'nothing but samples'}")


def _row(stage: Any) -> dict[str, Any]:
    from guerdon.quantities import QUANTITIES

    options = {k: getattr(v, "schedule", v) for k, v in stage.options.items()}
    if stage.kind == "loss":
        options |= {
            "weight": getattr(stage.spec.weight, "schedule", stage.spec.weight),
            "aggregate": stage.spec.aggregate,
        }
    if stage.kind == "reward":
        options |= {"weight": getattr(stage.spec.weight, "schedule", stage.spec.weight)}
    if stage.each:
        options["each"] = list(stage.each)
    phase = "update" if stage.kind == "loss" or stage.update_phase else "rollout"
    axes = {m: QUANTITIES[m.split(".", 1)[0]].axes for m in stage.makes}
    return {
        "phase": phase,
        "kind": stage.kind,
        "stage": stage.label,
        "method": stage.method.name,
        "reads": list(stage.reads),
        "makes": [f"{m}[{axes[m]}]" for m in stage.makes],
        "options": options,
    }


def _vocabulary(as_json: bool) -> None:
    from dataclasses import asdict

    from guerdon.quantities import QUANTITIES

    if as_json:
        print_json([asdict(q) for q in QUANTITIES.values()])
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, padding=(0, 1), header_style="bold")
    for name in ("quantity", "axes", "dtype", "provided by", "meaning"):
        table.add_column(name, overflow="fold")
    for q in QUANTITIES.values():
        table.add_row(q.name, f"\\[{q.axes}]", q.dtype, q.provider or "a method", q.meaning)
    Console(highlight=False).print(table)
