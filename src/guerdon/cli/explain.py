"""``guerdon explain``: the compiled dataflow of a recipe, and the vocabulary it is written in."""

import json
from typing import Annotated, Any

import typer

from guerdon.cli.common import fail, mistakes_end_the_command, overridden, print_json


def explain(
    recipe: Annotated[str | None, typer.Argument(help="Recipe file or shipped name; none: the embedded task.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="stage.option=value, as in train; repeatable.")
    ] = None,
    host: Annotated[
        str, typer.Option(help="Trainer that is to run it: trl, verl, slime ... (docs/hosts.md).")
    ] = "guerdon",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    toml: Annotated[bool, typer.Option("--toml", help="The recipe, presets expanded, as TOML.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="JSON schema of recipes.")] = False,
    quantities: Annotated[bool, typer.Option("--quantities", help="The vocabulary of quantities.")] = False,
) -> None:
    """Show what a recipe does: which stage reads and makes what, and what the policy must provide.

    Examples:

      guerdon explain

      guerdon explain my.toml --toml > expanded.toml

      guerdon explain --host verl my.toml

      guerdon explain --quantities

    The tree under "composition" leads from the credit down to what each signal
    says; a weight that a stage above it cancels is named.

    With --host: what runs in that trainer, what is left to it, and what its data
    and its policy must bring; a recipe that it cannot run is refused with the
    stage, the quantity, and what to use instead.

    Exit codes: 0 done, 2 the recipe cannot run (the message says why).
    """
    views = [name for name, on in (("--toml", toml), ("--schema", schema), ("--quantities", quantities)) if on]
    if len(views) > 1 or (as_json and (toml or schema)):
        fail(f"expected one view, got {' and '.join([*views, *(['--json'] if as_json else [])])}; leave one out", 2)
    with mistakes_end_the_command():
        if schema:
            from guerdon.recipe import Recipe

            print(json.dumps(Recipe.model_json_schema(), indent=2))
        elif quantities:
            _vocabulary(as_json)
        elif toml:
            print(overridden(recipe, {}, settings or []).toml(), end="")
        else:
            _dataflow(overridden(recipe, {}, settings or []), as_json, host)


def _dataflow(recipe: Any, as_json: bool, where: str) -> None:
    from guerdon.adapters.fitting import compile_at_best, left_to
    from guerdon.adapters.hosts import host_of
    from guerdon.cli.composition import branch_data, model_data, tree_of
    from guerdon.pipeline.composition import composition, without_effect
    from guerdon.training import build

    host = host_of(where)
    own = where == "guerdon"
    pipeline = build(recipe).pipeline if own else compile_at_best(host, recipe)
    root = composition(pipeline)
    idle = without_effect(root)
    above = (*pipeline.stages, *pipeline.objective.before)
    rows = [_row(stage, above) for stage in (*above, *pipeline.objective.losses)]
    needs = sorted(n for n in pipeline.needs if not n.startswith("model_"))
    made = {m for s in pipeline.stages for m in s.makes}
    lift = "token_advantages" in pipeline.objective.reads and "token_advantages" not in made
    if as_json:
        specs = {spec.label: spec for spec in pipeline.recipe.model}
        models = {name: model_data(specs[name], face) for name, face in pipeline.models.items()}
        told = {"stages": rows, "needs": needs, "implicit_lift": lift, "columns": sorted(pipeline.columns)}
        engine = pipeline.recipe.sampling.engine
        told |= {"engine": None if engine is None else engine.model_dump()}
        told |= {"composition": None if root is None else branch_data(root), "without_effect": idle}
        print_json({**told, "models": models, "host": where, "left_to_host": list(left_to(host, pipeline))})
        return
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not own:
        console.print(f"in {host.name}", style="bold", highlight=False)
    _models(console, pipeline)
    phases = {
        "rollout": "rollout phase: once per iteration, no gradient",
        "update": "update phase: for every mini-batch",
    }
    for phase, title in phases.items():
        if not own and all(row["phase"] != phase for row in rows):
            continue
        console.print(f"[bold]{title}[/]")
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column()
        if phase == "update" and lift:
            table.add_row(
                Text("  (implicit lift)", "dim"),
                Text("advantages \u2192 token_advantages [B T], on the chosen positions of the row", "dim"),
            )
        for row in rows:
            if row["phase"] == phase:
                flow = Text(f"{', '.join(row['reads'])} \u2192 {', '.join(row['makes'])}")
                options = ", ".join(f"{k} = {v}" for k, v in row["options"].items())
                if row["method"] != row["stage"]:
                    options = ", ".join(filter(None, (f"use = {row['method']}", options)))
                if row["weighted_by"]:
                    options = ", ".join(filter(None, (options, f"times {' x '.join(row['weighted_by'])}")))
                if options:
                    flow.append(f"\n{options}", "dim")
                name, style = (f"  ({row['stage']})", "dim") if row["implicit"] else (f"  {row['stage']}", "")
                table.add_row(Text(name, style), flow)
        console.print(table)
    if root is not None:
        console.print("[bold]composition: what the credit is made of[/]")
        console.print(Padding(tree_of(root), (0, 0, 0, 2)))
    for line in idle:
        console.print(Text(f"warning: {line}", "yellow"))
    columns = ", ".join(sorted(pipeline.columns)) or "none"
    if own:
        console.print(f"columns of the task: {columns}")
        console.print(f"the policy must provide: {', '.join(needs) or 'nothing but samples'}")
    else:
        console.print(f"left to the host: {', '.join(left_to(host, pipeline)) or 'nothing'}")
        console.print(f"columns that its data must have: {columns}")
        console.print(f"besides samples it must provide: {', '.join(needs) or 'nothing'}")
        if host.adapter:
            console.print(f"adapter: {host.adapter} (docs/hosts.md says how to set it up)", markup=False)
    extra = pipeline.recipe.rollouts.model_dump(exclude_defaults=True)
    if extra:
        console.print("rollouts: " + ", ".join(f"{k} = {v}" for k, v in extra.items()))
    _engine(console, pipeline)


def _engine(console: Any, pipeline: Any) -> None:
    from rich.text import Text

    engine = pipeline.recipe.sampling.engine
    if engine is None:
        return
    options = ", ".join(f"{k} = {v}" for k, v in engine.model_dump(exclude={"use"}).items())
    console.print(Text(f"completions are drawn by: {engine.use} ({options})"))
    if not any("sampled_logp" in stage.reads for stage in pipeline.stages):
        console.print(
            "no stage corrects for what it draws differently: add truncated-importance, icepop or sequence-mask"
        )


def _models(console: Any, pipeline: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from guerdon.cli.composition import learning, reads

    if not pipeline.models:
        return
    console.print("[bold]models: beside the policy, with an optimiser of their own[/]")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for spec in pipeline.recipe.model:
        face = pipeline.models.get(spec.label)
        if face is not None:
            flow = Text(f"{', '.join(reads(face))} \u2192 {', '.join(f'{spec.label}.{m}' for m in face.makes)}")
            line = learning(spec, face)
            options = ", ".join(f"{k} = {v}" for k, v in (("use", spec.use), *spec.options.items()))
            table.add_row(Text(f"  {spec.label}"), flow.append(f"\n{line}\n{options}", "dim"))
    console.print(table)


def _row(stage: Any, above: Any) -> dict[str, Any]:
    from guerdon.pipeline.weights import weighted_by
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
        "makes": [f"{m} [{axes[m]}]" if axes[m] else m for m in stage.makes],
        "options": options,
        "implicit": stage.implicit,
        "weighted_by": weighted_by(stage, above) if stage.kind == "loss" else [],
    }


def _vocabulary(as_json: bool) -> None:
    from dataclasses import asdict

    from guerdon.quantities import QUANTITIES

    if as_json:
        print_json([asdict(q) for q in QUANTITIES.values()])
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    for q in QUANTITIES.values():
        kind = Text(f"[{q.axes}] {q.dtype}, from {q.provider or 'a method'}", "dim")
        table.add_row(q.name, Text(q.meaning).append("\n").append_text(kind))
    Console(highlight=False).print(table)
