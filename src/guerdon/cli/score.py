"""``guerdon score``: apply a recipe's rewards to completions that exist already."""

from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli.common import fail, mistakes_end_the_command, overridden, print_json, without_a_jail


def score(
    file: Annotated[Path, typer.Argument(help="JSONL, Parquet or CSV with completions and the recipe's columns.")],
    recipe: Annotated[str | None, typer.Option(help="Recipe file or shipped name; none: the embedded task's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where scored rows go: .jsonl or .parquet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Summary as one JSON object.")] = False,
    unsafe_local: Annotated[
        bool, typer.Option("--unsafe-local", help="Run programs without a jail; it says what is lost.")
    ] = False,
) -> None:
    """Score completions offline with a recipe's signals, and combine them as the recipe does.

    The file has a column completions (text), prompts where a signal reads them,
    the columns that the signals take (answer ...), and group where group
    statistics are wanted (otherwise equal prompts are a group). Rows that could
    not be scored are counted by reason.

    Example:

      guerdon score samples.jsonl --recipe my.toml --out scored.jsonl

    Exit codes: 0 done (unscored rows are counted, not fatal), 2 the file or the
    recipe cannot be used.
    """
    if out is not None and out.suffix not in (".jsonl", ".ndjson", ".parquet"):
        fail(f"expected a file named .jsonl or .parquet for the scored rows, got {str(out)!r}; rename it", 2)
    from rich.console import Console

    waiting = Console(stderr=True, highlight=False)
    with mistakes_end_the_command():
        from guerdon.training.offline import score_table, write_scored

        try:
            chosen = overridden(recipe, {}, without_a_jail(recipe)) if unsafe_local else recipe
            with waiting.status(f"scoring {file} ..."):
                summary, outcome = score_table(str(file), chosen)
            if out is not None:
                write_scored(outcome, out)
                summary["out"] = str(out)
        except ValueError as error:
            fail(str(error), 2)
            return
    if as_json:
        print_json(summary)
    else:
        _print(summary)


def _print(summary: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    table = Table(title=_rows(summary["rows"]), title_justify="left")
    for column in ("quantity", "mean", "std", "unscored"):
        table.add_column(column, justify="left" if column == "quantity" else "right")
    waits = {name: n for name, n in summary["quantities"].items() if name.startswith("latencies.")}
    for name, numbers in summary["quantities"].items():
        if name not in waits:
            table.add_row(
                name, *(("-" if numbers[k] is None else f"{numbers[k]:.4g}") for k in ("mean", "std", "unscored"))
            )
    console.print(table)
    for name, reasons in summary["reasons"].items():
        for reason, count in reasons.items():
            console.print(f"{name}: {_rows(count)} unscored ({reason})", markup=False)
    told = [f"{name.partition('.')[2]} {n['mean']:.2g} s" for name, n in waits.items() if n["mean"] is not None]
    if told:
        console.print(f"a row waited on average for: {', '.join(told)}")
    if summary.get("left_out"):
        console.print(f"left out, since a file has no policy: {', '.join(summary['left_out'])}")
    if "out" in summary:
        console.print(f"written: {summary['out']}")


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"
