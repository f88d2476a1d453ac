"""What the commands share: consoles, errors that end a command, overrides."""

import json
import os
import sys
import tomllib
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
    except (RecipeError, FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError) as error:
        fail(str(error), 2)


def fail(message: str, code: int) -> None:
    """Say it on stderr and end with this exit code.

    Of several processes the first does. The others end in silence with 0: a launcher ends all as soon as one ends with
    anything else, and the first may not have spoken yet.
    """
    from rich.console import Console

    if "RANK" in os.environ:
        from guerdon.training.ranks import speaks

        if not speaks():
            raise typer.Exit(0)
    Console(stderr=True, highlight=False).print(f"[bold red]error:[/] {_escape(message)}", soft_wrap=True)
    raise typer.Exit(code)


def print_json(data: Any) -> None:
    """One JSON value on stdout."""
    sys.stdout.write(json.dumps(data, default=str) + "\n")


def overridden(source: str | None, changes: dict[str, Any], settings: list[str]) -> Any:
    """A recipe with options of the command line laid over it.

    ``--set`` takes ``stage.option=value``, or ``training.``, ``sampling.``, ``task.`` or ``policy.`` and a setting of that
    table; values are read as TOML, and as text where they are none.
    """
    from guerdon.recipe import load

    recipe = load(source)
    data = recipe.model_dump(exclude_unset=True)
    tables = {name: dict(data.get(name) or {}) for name in ("training", "sampling", "task", "policy") if data.get(name)}
    tables["training"] = {**tables.get("training", {}), **{k: v for k, v in changes.items() if v is not None}}
    stages: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set: expected stage.option=value, got {setting!r}; write it with an equals sign")
        head, _, option = key.strip().partition(".")
        if head in ("training", "sampling", "task", "policy") and option:
            *path, last = option.split(".")
            table = tables.setdefault(head, {})
            for name in path:
                table = table.setdefault(name, {})
                if not isinstance(table, dict):
                    raise RecipeError(f"--set: expected the settings of a table, got {key.strip()!r}; {name} has none")
            table[last] = _value(value.strip())
        else:
            stages[key.strip()] = _value(value.strip())
    return load({**data, **tables, "set": stages})


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
