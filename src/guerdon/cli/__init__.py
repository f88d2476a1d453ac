"""The command line: one module per command; heavy imports happen inside the command that needs them.

Exit codes: those that `options` tells. 1 is a bug of ours or of a method; the message of 2 says what to do.
"""

import sys
from typing import Annotated

import typer

from guerdon.cli.catalogue import methods, papers
from guerdon.cli.credit import credit
from guerdon.cli.explain import explain
from guerdon.cli.fit import fit
from guerdon.cli.report import report
from guerdon.cli.score import score
from guerdon.cli.shape import shape
from guerdon.cli.train import train

app = typer.Typer(
    name="guerdon",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool | None) -> None:
    if asked:
        from guerdon import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool | None, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = None,
) -> None:
    """The reward layer of reinforcement learning: a recipe says what is rewarded.

    Examples:

      guerdon train

      guerdon explain my.toml

      guerdon COMMAND --help

    Exit codes: 0 done; 1 a bug, with its traceback; 2 a recipe, file or option
    that cannot work; 3 a signal failed past the limit; 4 three non-finite steps
    in a row; 5 another process of the run was lost, or the sampling engine does
    not answer; 130 interrupted. After 3, 4, 5 and 130 a run can be resumed.
    """


for command in (train, fit, explain, score, shape, report, credit, methods, papers):
    app.command()(command)


def main() -> None:
    """Entry point of the ``guerdon`` command.

    Rewards and methods that a recipe names by import path may lie in the working folder, as for ``python -m``.
    """
    if "" not in sys.path:
        sys.path.append("")
    app()
