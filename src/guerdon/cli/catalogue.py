"""``guerdon methods`` and ``guerdon papers``: read from the decorators, signatures, docstrings and evidence."""

import inspect
from dataclasses import asdict
from typing import Annotated, Any

import typer

from guerdon.cli.common import mistakes_end_the_command, print_json


def methods(
    name: Annotated[str | None, typer.Argument(help="One method; none: all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON.")] = False,
) -> None:
    """List the methods, or show one: what it takes and makes, its options, its paper.

    Examples:

      guerdon methods

      guerdon methods group-normalise
    """
    from guerdon.method import find
    from guerdon.method import methods as table

    with mistakes_end_the_command():
        chosen = [find(name)] if name else list(table().values())
    if as_json:
        entries = [_method(m) for m in chosen]
        print_json(entries[0] if name else entries)
    elif name:
        _show(chosen[0])
    else:
        from rich.console import Console
        from rich.table import Table

        listing = Table(box=None, padding=(0, 1), header_style="bold")
        for column in ("room", "method", "makes", "what it does"):
            listing.add_column(column, overflow="fold")
        for m in sorted(chosen, key=lambda m: (m.room, m.name)):
            listing.add_row(m.room, m.name, "\n".join(m.makes), m.summary)
        Console(highlight=False).print(listing)


def papers(
    key: Annotated[str | None, typer.Argument(metavar="[ID]", help="arXiv number or short name.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON: arxiv, name, methods, example, claim.")] = False,
) -> None:
    """List the papers of the catalogue, with the methods that follow them and the evidence.

    Examples:

      guerdon papers

      guerdon papers 2310.10505
    """
    from guerdon.catalogue import papers as catalogue

    entries = [e for e in catalogue() if key is None or key in (e.arxiv, e.name)]
    with mistakes_end_the_command():
        if not entries:
            raise LookupError(
                f"expected an arXiv number or a short name of the catalogue, got {key!r}; guerdon papers lists them"
            )
    if as_json:
        print_json([asdict(e) for e in entries])
        return
    from rich.console import Console
    from rich.table import Table

    listing = Table(box=None, padding=(0, 1), header_style="bold")
    for column in ("arXiv", "name", "methods", "example", "claim"):
        listing.add_column(column, overflow="fold")
    for e in entries:
        listing.add_row(e.arxiv or "-", e.name, "\n".join(e.methods), "yes" if e.example else "", e.claim or "")
    console = Console(highlight=False)
    console.print(listing)
    console.print(f"{sum(bool(e.methods) for e in entries)} of {len(entries)} papers have a method here")


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
    print(inspect.getdoc(m.call) or "")
