"""``guerdon train``: the main job, with a live line while it runs and a table at its end."""

from pathlib import Path
from typing import Annotated, Any

import typer

from guerdon.cli.common import fail, mistakes_end_the_command, overridden, print_json, without_a_jail


def train(
    recipe: Annotated[str | None, typer.Argument(help="Recipe file or shipped name; none: the embedded task.")] = None,
    recipe_file: Annotated[str | None, typer.Option("--recipe", help="The same as the argument.")] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder; default: a new one under runs/.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run folder.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of prompts, sampling and mini-batches.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Rounds of rollouts and updates.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="stage.option=value, or task.largest=12, training.prompts=64 ...; repeatable."),
    ] = None,
    unsafe_local: Annotated[
        bool, typer.Option("--unsafe-local", help="Run programs without a jail; it says what is lost.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout; progress on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Train a policy on a recipe's rewards.

    Without a recipe: the embedded arithmetic task, policy and base checkpoint;
    nothing is downloaded.

    Examples:

      guerdon train

      guerdon train my.toml --seed 1 --set training.learning_rate=1e-4

      guerdon train --resume runs/20260101-120000-arithmetic

      torchrun --nproc-per-node 2 -m -- guerdon train my.toml --seed 1

    Exit codes: 0 done, 2 the recipe cannot run, 3 a signal failed past the limit,
    4 three non-finite steps in a row, 5 another process of the run was lost or
    the sampling engine does not answer, 130 interrupted. After 3, 4, 5 and 130 a
    run can be resumed.
    """
    from guerdon.cli.progress import Progress, before_and_after
    from guerdon.report import write_report
    from guerdon.training import Stopped
    from guerdon.training import train as run_training
    from guerdon.training.checkpoint import CheckpointError
    from guerdon.training.ranks import RankLost, speaks

    if recipe is not None and recipe_file is not None:
        fail(f"expected one recipe, got {recipe!r} and --recipe {recipe_file!r}; leave one out", 2)
    if resume is not None:
        given = {"a recipe": recipe or recipe_file, "--run": run, "--seed": seed, "--iterations": iterations}
        also = [
            name
            for name, value in {**given, "--set": settings or None, "--unsafe-local": unsafe_local or None}.items()
            if value is not None
        ]
        if also:
            fail(f"expected --resume alone, got {also[0]} too; the run folder holds its recipe: leave it out", 2)
    with mistakes_end_the_command():
        progress = Progress(quiet=quiet or not speaks(), to_stderr=as_json)
        with progress:
            try:
                if resume is not None:
                    result = run_training(None, resume, resume=True, observe=progress)
                else:
                    changes = {"seed": seed, "iterations": iterations}
                    source = recipe_file or recipe
                    unsafe = without_a_jail(source) if unsafe_local else []
                    chosen = overridden(source, changes, [*unsafe, *(settings or [])])
                    result = run_training(chosen, run, observe=progress)
            except CheckpointError as error:
                fail(str(error), 2)
                return
            except RankLost as lost:
                progress.stop()
                fail(str(lost), 5)
                return
            except Stopped as stopped:
                progress.stop()
                if speaks():
                    _report_quietly(stopped.run.path)
                code = {"interrupt": 130, "signal": 3, "non-finite": 4, "engine": 5}[stopped.reason]
                fail(f"{stopped}\nresume with: guerdon train --resume {stopped.run.path}", code)
                return
        if not speaks():
            return
        report = write_report(result.run.path)
    summary = _summary(result, report)
    if as_json:
        print_json(summary)
    elif not quiet:
        before_and_after(result, report)


def _summary(result: Any, report: Path) -> dict[str, Any]:
    start, final = result.start, result.final
    return {
        "start_accuracy": start.accuracy if start else None,
        "final_accuracy": final.accuracy if final else None,
        "start_greedy": start.greedy if start else None,
        "final_greedy": final.greedy if final else None,
        "seconds": result.seconds,
        "run": str(result.run.path),
        "report": str(report),
    }


def _report_quietly(run: Path) -> None:
    """A run that stopped has a report too, where there is anything to show."""
    from guerdon.report import write_report

    if (run / "metrics.jsonl").exists():
        write_report(run)
