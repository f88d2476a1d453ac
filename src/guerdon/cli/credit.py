"""``guerdon credit``: one completion, each token coloured by its advantage, and where that advantage came from."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guerdon.cli.common import fail, mistakes_end_the_command, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from guerdon.cli.tokens import Signs
    from guerdon.report.views import Comparison, Made, Microscope, View

_NARROWEST = 38
"""Cells that a column needs where two stand side by side."""
_TABULAR = 60
"""Cells from which steps and stages are tables; below, each is a paragraph."""
_MOST_PEERS = 16
_MOST_TEXT = 400


def credit(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    sample: Annotated[
        int | None, typer.Option(help="Row of the iteration; default: the largest spread of token advantages.")
    ] = None,
    iteration: Annotated[int | None, typer.Option(help="A saved iteration; default: the last.")] = None,
    against: Annotated[
        list[str] | None, typer.Option("--with", help="Preset, recipe or file whose credit is shown too; at most two.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show one completion with the advantage of each token, and what made it.

    Blue and underlined is negative, green positive. Without colour (NO_COLOR, a
    pipe) the numbers stand below the tokens. --with credits the same saved
    rollouts, all rows of the iteration, with another recipe; a preset takes the
    run's own rewards.

    Examples:

      guerdon credit runs/20260101-120000-arithmetic

      guerdon credit runs/20260101-120000-arithmetic --sample 7 --with grpo

    Exit codes: 0 done, 2 no such rollouts, or a recipe that cannot credit them.
    """
    if against is not None and len(against) > 2:
        fail(f"expected at most two --with, got {len(against)}; leave some out", 2)
    from guerdon.report.microscope import look

    with mistakes_end_the_command():
        try:
            seen = look(run, iteration=iteration, sample=sample, others=against or ())
        except ValueError as error:
            fail(str(error), 2)
            return
    if as_json:
        print_json(seen.as_dict())
        return
    from rich.console import Console

    _print(Console(highlight=False), seen)


def _print(console: "Console", seen: "Microscope") -> None:
    from rich.text import Text

    from guerdon.cli.tokens import Signs

    signs = Signs.of(console.encoding)
    place = f"sample {seen.sample} of {seen.rows}, iteration {seen.iteration}"
    console.print(Text(place, "bold").append(f" ({seen.chosen})", "not bold"))
    console.print(Text(signs.show(seen.run), "dim"), overflow="fold")
    _headed(console, "prompt")
    for line in seen.prompt.split("\n"):
        console.print(Text(signs.show(_cut(line))), overflow="fold")
    _credits(console, seen, signs)
    for comparison in seen.comparisons:
        _comparison(console, comparison, signs)
    for view in seen.views:
        _view(console, seen, view, signs)


def _headed(console: "Console", title: str, rest: str = "") -> None:
    from rich.text import Text

    console.print()
    console.print(Text(title, "bold").append(f"  {rest}" if rest else "", "not bold"))


def _credits(console: "Console", seen: "Microscope", signs: "Signs") -> None:
    """The completion under each recipe: side by side where two fit, else one below the other."""
    from rich.table import Table
    from rich.text import Text

    from guerdon.cli.tokens import legend, lines

    colour = console.color_system is not None and not console.no_color
    beside = len(seen.views) > 1 and console.width >= 2 * _NARROWEST + 3
    width = (console.width - 3) // 2 if beside else console.width

    def block(view: "View") -> Text:
        head = Text("credit of ").append(signs.show(view.name), "bold").append("\n")
        body = lines(seen.tokens, view.advantages, view.scale, width, signs, colour)
        return Text("\n").join([head + legend(view.scale, colour, seen.tokens, view.advantages), *body])

    views = seen.views
    while views:
        now, views = (views[:2], views[2:]) if beside else (views[:1], views[1:])
        console.print()
        if len(now) == 1:
            console.print(block(now[0]), overflow="fold")
            continue
        table = Table.grid(padding=(0, 3, 0, 0))
        for _ in now:
            table.add_column(width=width, overflow="fold")
        table.add_row(*(block(view) for view in now))
        console.print(table)


def _comparison(console: "Console", made: "Comparison", signs: "Signs") -> None:
    from rich.text import Text

    from guerdon.cli.tokens import signed

    correlation = "none, since one is constant" if made.correlation is None else f"{made.correlation:.3f}"
    differ = "-" if made.signs_differ is None else f"{made.signs_differ:.1%}"
    _headed(console, f"own and {signs.show(made.name)}", f"{made.tokens} tokens of the iteration")
    console.print(f"correlation of token advantages  {correlation}", markup=False)
    console.print(f"tokens whose sign differs        {differ}", markup=False)
    if made.spans:
        console.print("they differ most here, own and other:")
    rows = [[f"  {signed(s.own)}", signed(s.other), Text(signs.show(_cut(s.text, 60)) or "<end>")] for s in made.spans]
    _table(console, [("", "right"), ("", "right"), ("", "fold")], rows)


def _view(console: "Console", seen: "Microscope", view: "View", signs: "Signs") -> None:
    from rich.text import Text

    from guerdon.cli.tokens import signed

    console.print()
    console.rule(Text(signs.show(view.name), "bold"), align="left", characters="-", style="dim")
    for note in view.notes:
        console.print(f"note: {signs.show(note)}", markup=False)
    verdict = {None: "not verified", True: "yes", False: "no"}[None if view.correct is None else view.correct >= 0.5]
    facts = [f"reward {_plain(view.reward)}", f"correct {verdict}"]
    facts += [f"ended {seen.ended}"] if seen.ended else []
    facts += [f"{signs.show(name)} {_plain(value)}" for name, value in view.parts.items()]
    console.print(" | ".join(facts), markup=False, overflow="fold")
    if view.peers:
        _headed(console, f"group {seen.group}", f"{len(view.peers)} completions of this prompt")
        at = [p.row for p in view.peers].index(seen.sample)
        first = max(0, min(at - _MOST_PEERS // 2, len(view.peers) - _MOST_PEERS))
        rows = [
            [
                f"{p.row}{' <' if p.row == seen.sample else '  '}",
                _plain(p.reward),
                _plain(p.correct),
                signed(p.advantage),
            ]
            for p in view.peers[first : first + _MOST_PEERS]
        ]
        _table(
            console, [("sample  ", "right"), ("reward", "right"), ("correct", "right"), ("advantage", "right")], rows
        )
        if len(view.peers) > len(rows):
            console.print(f"{len(view.peers) - len(rows)} more", style="dim")
    if view.steps:
        _headed(console, f"{seen.unit}s")
        _steps(console, seen, view, signs)
    if view.stages:
        _headed(console, "what each stage made of this completion")
        rows = [[signs.show(m.stage or "-"), signs.show(m.quantity), _value(m)] for m in view.stages]
        if console.width >= _TABULAR:
            _table(console, [("stage", "fold"), ("quantity", "fold"), ("value", "fold")], rows)
            return
        for stage, quantity, value in rows:
            console.print(Text(f"{stage}: {quantity}"), overflow="fold")
            _indented(console, value)


def _steps(console: "Console", seen: "Microscope", view: "View", signs: "Signs") -> None:
    from rich.text import Text

    from guerdon.cli.tokens import signed

    columns = [(name, [s.parts[name] for s in view.steps]) for name in view.steps[0].parts]
    columns += [("reward", [s.reward for s in view.steps]), ("return", [s.value for s in view.steps])]
    columns = [(name, values) for name, values in columns if any(v is not None for v in values)]
    rows = [
        [*(_plain(values[i]) for _, values in columns), signed(step.advantage)] for i, step in enumerate(view.steps)
    ]
    names = [*(signs.show(n) for n, _ in columns), "advantage"]
    texts = [signs.show(_cut(step.text, 160)) for step in view.steps]
    if console.width >= _TABULAR:
        heads = [("", "right"), ("text", "fold"), *((n, "right") for n in names)]
        _table(console, heads, [[str(s.number), t, *r] for s, t, r in zip(view.steps, texts, rows, strict=True)])
        return
    for step, text, row in zip(view.steps, texts, rows, strict=True):
        console.print(Text(f"{step.number}  {text}"), overflow="fold")
        _indented(console, " | ".join(f"{name} {value}" for name, value in zip(names, row, strict=True)))


def _indented(console: "Console", text: str) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(text, overflow="fold"), (0, 0, 0, 3)))


def _table(console: "Console", columns: list[tuple[str, str]], rows: list[list[Any]]) -> None:
    """A grid without lines; ``right`` for numbers, ``fold`` for text."""
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=any(name for name, _ in columns), header_style="dim")
    for name, kind in columns:
        if kind == "right":
            table.add_column(Text(name), justify="right", no_wrap=len(columns) <= 6, overflow="fold")
        else:
            table.add_column(Text(name), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    if rows:
        console.print(table)


def _value(made: "Made") -> str:
    """A number; the numbers of steps; of more than a dozen, their range and mean."""
    from guerdon.cli.tokens import signed

    show = signed if "advantages" in made.quantity else _plain
    if not isinstance(made.value, list):
        return show(made.value)
    scored = [v for v in made.value if v is not None]
    if len(made.value) <= 12 or not scored:
        return " ".join(show(v) for v in made.value) or "-"
    mean = sum(scored) / len(scored)
    return f"{show(min(scored))} to {show(max(scored))}, mean {show(mean)} ({len(scored)} scored)"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value + 0.0:.4g}"


def _cut(text: str, most: int = _MOST_TEXT) -> str:
    return text if len(text) <= most else f"{text[: most - 12]} ... {text[-6:]}"
