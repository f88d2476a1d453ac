"""The command line: one module per command; heavy imports happen inside the command that needs them.

Exit codes: 0 done; 2 a recipe, file or option that cannot work (the message says what to do); 3 a signal failed past the
limit; 4 three non-finite steps in a row; 130 interrupted, resumable.
"""

import typer

from guerdon.cli.catalogue import methods, papers
from guerdon.cli.explain import explain
from guerdon.cli.report import report
from guerdon.cli.score import score
from guerdon.cli.train import train

app = typer.Typer(
    name="guerdon",
    help="The reward layer of reinforcement learning: train, explain, score, report.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, explain, score, report, methods, papers):
    app.command()(command)


def main() -> None:
    """Entry point of the ``guerdon`` command."""
    app()
