"""``guerdon shape``: what a recipe's shaping and credit do to scored rollouts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli.common import mistakes_end_the_command, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from guerdon.training.shape import Shaped, Spread

_BARS = " \u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588"


def shape(
    recipe: Annotated[
        str | None, typer.Argument(help="Recipe file or shipped name; none: the embedded task's.")
    ] = None,
    on: Annotated[Path, typer.Option(help="Scored rollouts: a run's .parquet, or what guerdon score wrote.")] = ...,  # pyright: ignore[reportArgumentType]
    html: Annotated[Path | None, typer.Option(help="Write a page with the figures here.")] = None,
    moved: Annotated[int, typer.Option(help="Rows to show of those that a stage moved most.", min=0)] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what each stage does to the scores in a file: spread before and after, order, and who explains the credit.

    The file holds rollouts whose signals have spoken: one that a run saved
    (RUN/rollouts/000010.parquet), or scored rows of guerdon score. A signal of
    which the file says nothing is asked, where the file has what it reads.

    Order: of the pairs of rows of one group that an input tells apart, how many
    the result puts the other way round, and how many it no longer tells apart.
    Share: what the final credit loses of its variance when a part tells nothing.

    Examples:

      guerdon score samples.jsonl --recipe my.toml --out scored.jsonl

      guerdon shape my.toml --on scored.jsonl --html shape.html

      guerdon shape other.toml --on runs/NAME/rollouts/000100.parquet

    Exit codes: 0 done, 2 the file or the recipe cannot be used.
    """
    with mistakes_end_the_command():
        from guerdon.training.shape import shape as look

        shaped = look(on, recipe, most_moved=max(moved, 3 if html else 0))
        if html is not None:
            from guerdon.report.shape import page
            from guerdon.training.runfolder import write_text

            write_text(html, page(shaped, str(on)))
        if as_json:
            print_json(_data(shaped))
        else:
            _print(shaped, moved)
            if html is not None:
                typer.echo(f"written: {html}")


def _print(shaped: "Shaped", moved: int) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    groups = "no groups" if shaped.groups is None else f"{shaped.groups} groups"
    console.print(f"{shaped.rows} rows, {groups}")
    for stage in shaped.stages:
        console.print()
        named = "" if stage.method == stage.stage else f" = {stage.method}"
        console.print(Text.assemble((stage.stage, "bold"), (f"{named} \u2192 {stage.quantity}", "dim")))
        for one in stage.inputs:
            _line(console, one.quantity, one.spread)
        _line(console, stage.quantity, stage.after, after=True)
        for one in stage.inputs:
            if one.reversed is None:
                continue
            lines = [f"order of {one.quantity}: {_order(one)}"]
            lines += [
                f"  row {row.row} of group {row.group}: place {row.before + 1:g}, now {row.after + 1:g}  {_short(row.text)!r}"
                for row in one.moved[:moved]
            ]
            for line in lines:
                console.print(Text(f"    {line}", "dim"), overflow="ellipsis", no_wrap=True)
    _print_shares(console, shaped)
    for line in shaped.without_effect:
        console.print(Text(f"warning: {line}", "yellow"))
    if shaped.left_out:
        console.print(f"left out, since the file lacks what they read: {', '.join(shaped.left_out)}")


def _print_shares(console: "Console", shaped: "Shaped") -> None:
    from rich.text import Text

    console.print(f"\n[bold]what explains the variance of {shaped.credit}[/]")
    known = {name: share for name, share in shaped.shares.items() if share is not None}
    if not known:
        console.print(f"  {shaped.credit} is the same everywhere: there is nothing to learn")
        return
    for name, share in sorted(known.items(), key=lambda item: -item[1]):
        bar = "\u2588" * round(30 * min(1.0, max(0.0, share)))
        console.print(Text(f"  {_cut(name, 28):28} {share:7.1%}  {bar}"))
    rest = 1 - sum(known.values())
    if abs(rest) >= 0.01:
        console.print(Text(f"  {'parts together':28} {rest:7.1%}", "dim"))
    for name in shaped.silent:
        console.print(Text(f"  {name} explains nothing", "yellow"))


def _line(console: "Console", name: str, spread: "Spread", *, after: bool = False) -> None:
    numbers = f"{spread.low:7.3g} {spread.mean:7.3g} {spread.high:7.3g}" if spread.count else "unscored in every row"
    lost = f"  {spread.unscored} unscored" if spread.unscored else ""
    mark = "\u2192 " if after else "  "
    console.print(f"  {mark}{_cut(name, 24):24} {spark(spread):12} {numbers}{lost}", markup=False)


def spark(spread: "Spread", width: int = 12) -> str:
    """The counts of a spread as a row of bars from its lowest to its highest value."""
    if len(spread.bins) <= 1:
        return ("\u2588" if spread.bins else "").center(width).rstrip()
    per = len(spread.bins) / width
    counts = [sum(spread.bins[round(i * per) : round((i + 1) * per)]) for i in range(width)]
    top = max(counts)
    return "".join(_BARS[0 if not c else max(1, round(8 * c / top))] for c in counts)


def _order(one: Any) -> str:
    told = [f"{one.reversed:.1%} reversed"] if one.reversed else []
    told += [f"{one.tied:.1%} no longer told apart"] if one.tied else []
    return ", ".join(told) or "kept"


def _short(text: str) -> str:
    return " ".join(text.split())[:60]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "\u2026"


def _data(shaped: "Shaped") -> dict[str, Any]:
    from dataclasses import asdict

    from guerdon.cli.composition import branch_data

    return {
        "rows": shaped.rows,
        "groups": shaped.groups,
        "stages": [asdict(stage) for stage in shaped.stages],
        "composition": branch_data(shaped.root),
        "credit": shaped.credit,
        "shares": dict(shaped.shares),
        "silent": shaped.silent,
        "left_out": list(shaped.left_out),
        "without_effect": list(shaped.without_effect),
    }
