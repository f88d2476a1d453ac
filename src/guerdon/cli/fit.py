"""``guerdon fit``: train a reward model on labelled completions, before any policy is."""

from pathlib import Path
from typing import Annotated

import typer

from guerdon.cli.common import fail, mistakes_end_the_command, overridden, print_json


def fit(
    recipe: Annotated[str, typer.Argument(help="Recipe with a [policy] and the [[model]] to fit.")],
    file: Annotated[
        Path, typer.Argument(help="JSONL, Parquet or CSV: prompts, completions, and what the model learns.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the weights, the model's checkpoint in a recipe.")],
    model: Annotated[str | None, typer.Option(help="Which of several models.")] = None,
    epochs: Annotated[int, typer.Option(help="How often each row is learned from.")] = 3,
    rows: Annotated[int, typer.Option(help="Rows of an update.")] = 16,
    warm_up: Annotated[int, typer.Option(help="Updates over which the learning rate rises; at most a tenth.")] = 50,
    heldout: Annotated[float, typer.Option(help="Share of the prompts that are not learned from.")] = 0.1,
    separator: Annotated[str | None, typer.Option(help="What separates steps, in place of the recipe's.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="stage.option=value, repeatable.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="What came of it as one JSON object.")] = False,
) -> None:
    """Train a reward model of a recipe on labelled completions, and write its weights.

    The file has a column prompts, a column completions, and what the model learns
    from: numbers per row (correct), or a list of numbers per step (the column
    that step_target names). An empty field is no label. A recipe then has the
    model score with checkpoint = FOLDER and update = "never".

    Example:

      guerdon fit prm.toml labelled.jsonl --out prm

    Exit codes: 0 done, 2 the file or the recipe cannot be used, 4 three updates
    in a row that are not finite.
    """
    from rich.console import Console

    console = Console(stderr=True, highlight=False)

    def say(epoch: dict[str, float | None]) -> None:
        held = epoch["heldout_loss"]
        beside = "" if held is None else f", held-out {held:.4g}"
        console.print(f"epoch {epoch['epoch']}: loss {epoch['loss']:.4g}{beside}")

    with mistakes_end_the_command():
        from guerdon.training.counters import NonFinite
        from guerdon.training.fit import fit as fit_model

        try:
            fitted = fit_model(
                overridden(recipe, {}, settings or []),
                str(file),
                out,
                model=model,
                epochs=epochs,
                rows=rows,
                warm_up=warm_up,
                heldout=heldout,
                separator=separator,
                observe=say,
            )
        except NonFinite as error:
            fail(str(error), 4)
            return
        except ValueError as error:
            fail(str(error), 2)
            return
    if as_json:
        print_json(fitted.summary())
    else:
        console.print(f"written: {fitted.folder}", markup=False)
