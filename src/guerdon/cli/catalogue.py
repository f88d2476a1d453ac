"""``guerdon methods`` and ``guerdon papers``: read from the decorators, signatures, docstrings and evidence."""

import inspect
import textwrap
from dataclasses import asdict
from typing import Annotated, Any

import typer

from guerdon.cli.common import fail, print_json


def methods(
    name: Annotated[str | None, typer.Argument(help="One method; none: all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
) -> None:
    """List the methods, or show one: what it takes and makes, its options, its paper.

    Examples:

      guerdon methods

      guerdon methods group-normalise

      guerdon methods --json

    Exit codes: 0 done, 2 no method of that name.
    """
    from guerdon.method import find
    from guerdon.method import methods as table
    from guerdon.recipe import shipped

    try:
        chosen = [find(name)] if name else list(table().values())
    except LookupError as error:
        if name in shipped("presets"):
            fail(
                f'expected a method, got the preset {name!r}; guerdon explain shows a recipe with preset = "{name}"', 2
            )
        fail(str(error.args[0]), 2)
        return
    if as_json:
        entries = [_method(m) for m in chosen]
        print_json(entries[0] if name else entries)
    elif name:
        _show(chosen[0])
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        console = Console(highlight=False)
        for room in dict.fromkeys(sorted(m.room for m in chosen)):
            console.print(f"[bold]{room}[/]")
            listing = Table.grid(padding=(0, 2))
            listing.add_column(no_wrap=True)
            listing.add_column()
            for m in chosen:
                if m.room == room:
                    listing.add_row(f"  {m.name}", Text(f"{m.summary} Makes {', '.join(m.makes)}."))
            console.print(listing)


def papers(
    key: Annotated[str | None, typer.Argument(metavar="id", help="arXiv number or short name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: arxiv, name, methods, example, claim.")] = False,
) -> None:
    """List the papers of the catalogue, with the methods that follow them and the evidence.

    Examples:

      guerdon papers

      guerdon papers 2310.10505

      guerdon papers remax

    Exit codes: 0 done, 2 no such paper in the catalogue.
    """
    from guerdon.catalogue import papers as catalogue

    wanted = None if key is None else key.removeprefix("arXiv:").casefold()
    entries = [e for e in catalogue() if wanted is None or wanted in (e.arxiv, e.name.casefold())]
    if not entries:
        fail(f"expected an arXiv number or a short name of the catalogue, got {key!r}; guerdon papers lists them", 2)
    if as_json:
        print_json(
            [
                {**asdict(e), "example": e.example or None, "claim": e.claim or None, "module": e.module or None}
                for e in entries
            ]
        )
        return
    if key is not None:
        for e in entries:
            _paper(e)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    here = [e for e in entries if e.methods]
    rest = [e for e in entries if not e.methods]
    console.print(
        f"[bold]{len(here)} of {len(entries)} papers have methods here[/]; the claim of each, put to the test"
    )
    listing = Table.grid(padding=(0, 2))
    listing.add_column(no_wrap=True)
    listing.add_column()
    for e in here:
        said = Text.assemble(e.name, (f"  {e.claim}", "green" if e.claim == "reproduced" else "yellow"))
        listing.add_row(f"  {e.arxiv or '-'}", said)
        listing.add_row("", Text(", ".join(m.rsplit(".", 1)[-1] for m in e.methods), "dim"))
    console.print(listing)
    console.print(f"\n[bold]{len(rest)} have none yet[/]")
    listing = Table.grid(padding=(0, 2))
    listing.add_column(no_wrap=True)
    listing.add_column()
    for e in rest:
        listing.add_row(f"  {e.arxiv or '-'}", e.name)
    console.print(listing)


def _paper(e: Any) -> None:
    print(f"{e.title}")
    print(f"  arXiv    {f'https://arxiv.org/abs/{e.arxiv}' if e.arxiv else 'none'}")
    print(f"  name     {e.name}  ({e.room})")
    print(f"  methods  {', '.join(e.methods) or 'none yet'}")
    print(f"  example  {e.example or 'none yet'}")
    print(f"  claim    {e.claim or 'none yet'}{f'  (claims.{e.module})' if e.module else ''}")
    for module, verdict in e.also.items():
        print(f"  also     {verdict}  (claims.{module})")


def _method(m: Any) -> dict[str, Any]:
    return {
        "name": m.name,
        "room": m.room,
        "takes": [{"name": t.name, "optional": t.optional} for t in m.takes],
        "makes": list(m.makes),
        "options": {h.name: None if h.required else repr(h.default) for h in m.hypers.values()},
        "papers": list(m.papers),
        "stateful": m.stateful,
        "doc": inspect.getdoc(m.call) or "",
    }


def _show(m: Any) -> None:
    options = ", ".join(h.name if h.required else f"{h.name}={h.default!r}" for h in m.hypers.values())
    print(f"{m.name}  ({m.room})")
    print(f"  takes    {', '.join(t.name + (' (optional)' if t.optional else '') for t in m.takes)}")
    print(f"  makes    {', '.join(m.makes)}")
    print(f"  options  {options or 'none'}")
    if m.papers:
        print(f"  papers   {', '.join(m.papers)}")
    print()
    print("\n\n".join(_flowed(p) for p in (inspect.getdoc(m.call) or "").split("\n\n")))


def _flowed(paragraph: str) -> str:
    """A paragraph in 80 columns; equations and lists, which are indented, stay as they are."""
    return paragraph if "\n " in f"\n{paragraph}" else textwrap.fill(paragraph, 80, break_on_hyphens=False)
