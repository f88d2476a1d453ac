"""What the commands share: consoles, errors that end a command, overrides."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from guerdon.recipe import RecipeError


@contextmanager
def mistakes_end_the_command() -> Iterator[None]:
    """A person's mistake is one message on stderr and exit code 2, never a traceback."""
    try:
        yield
    except (RecipeError, FileNotFoundError, FileExistsError, LookupError) as error:
        fail(str(error.args[0] if isinstance(error, LookupError) and error.args else error), 2)


def fail(message: str, code: int) -> None:
    """Say it on stderr and end with this exit code."""
    from rich.console import Console

    Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {_escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def print_json(data: Any) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(data, default=str) + "\n")


def overridden(source: str | None, changes: dict[str, Any], settings: list[str]) -> Any:
    """A recipe with options of the command line laid over it (training.* and ``--set stage.option=value``)."""
    from guerdon.recipe import load

    recipe = load(source)
    data = recipe.model_dump(exclude_unset=True)
    training = {**data.get("training", {}), **{k: v for k, v in changes.items() if v is not None}}
    given = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set: expected stage.option=value, got {setting!r}; write it with an equals sign")
        given[key.strip()] = _value(value.strip())
    table = {k.removeprefix("training."): v for k, v in given.items() if k.startswith("training.")}
    stages = {k: v for k, v in given.items() if not k.startswith("training.")}
    return load({**data, "training": {**training, **table}, "set": stages})


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
