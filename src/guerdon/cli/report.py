"""``guerdon report``: a run as one self-contained page."""

from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli.common import fail, mistakes_end_the_command


def report(run: Annotated[Path, typer.Argument(help="Run folder.")]) -> None:
    """Write RUN/report.html from what the run has logged so far, and print its path.

    Example:

      guerdon report runs/20260101-120000-arithmetic

    Exit codes: 0 done, 2 not a run folder.
    """
    from guerdon.report import write_report

    if not (run / "recipe.toml").exists():
        fail(f"expected a run folder, got {str(run)!r} without recipe.toml; name a folder that guerdon train made", 2)
    with mistakes_end_the_command():
        print(write_report(run))
