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


def without_a_jail(source: Any) -> list[str]:
    """The settings that let every reward of a recipe that runs programs run them without a jail; says what is lost.

    Raises:
        RecipeError: no reward of the recipe runs programs.
    """
    from rich.console import Console

    from guerdon.method import find
    from guerdon.recipe import load
    from guerdon.sandbox.jail import LOST

    rewards = load(source).reward
    labels = [reward.label for reward in rewards if "unsafe_local" in find(reward.use).hypers]
    if not labels:
        raise RecipeError(
            f"--unsafe-local: expected a reward that runs programs, got {[reward.label for reward in rewards]}; leave it out"
        )
    Console(stderr=True, highlight=False).print(
        f"[yellow]warning:[/] no jail for {', '.join(labels)}: {LOST}. Only for programs that you would run by hand.",
        soft_wrap=True,
    )
    return [f"{label}.unsafe_local=true" for label in labels]


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
