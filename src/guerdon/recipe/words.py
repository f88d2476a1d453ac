"""What is wrong with a recipe, in words: pydantic's findings as place, expected, got, what to do."""

import difflib
from collections.abc import Sequence

from pydantic import ValidationError

from guerdon.schedules import is_schedule


class RecipeError(ValueError):
    """A recipe that cannot run: where, what was expected, what was there, what to do."""


def first_problem(error: ValidationError, prefix: str = "", *, settings: Sequence[str] = ()) -> str:
    """The first mistake that pydantic found: place, expected, got, what to do. ``settings``: the names that there are."""
    items = error.errors()
    items = [e for e in items if not (e["loc"][-1:] == ("str",) and isinstance(e["input"], dict))] or items
    schedules = [e for e in items if "Schedule" in e["loc"] and is_schedule(e["input"])]
    item = (schedules or [e for e in items if "Schedule" in e["loc"] and e["loc"][-1] != "Schedule"] or items)[0]
    place = _place(item["loc"], prefix)
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        name = str(item["loc"][-1])
        return f"{place}: expected a known setting, got {name!r}; " + (
            nearest(name, settings) or "`guerdon explain --schema` lists them"
        )
    if item["type"] == "missing":
        return f"{place}: expected this setting, got none; add it"
    if message.startswith("expected"):
        return f"{place}: {message}".removeprefix(": ")
    if item["type"] in ("tuple_type", "list_type") and place in ("model", "reward", "pipeline", "loss"):
        return f"{place}: expected a list of tables, got one; write [[{place}]] with two brackets"
    wanted = [_wanted(e["msg"]) for e in items if _place(e["loc"], prefix) == place]
    return f"{place}: expected {' or '.join(dict.fromkeys(wanted))}, got {item['input']!r}; correct it"


def _place(loc: tuple[int | str, ...], prefix: str) -> str:
    """``reward[0].weight``; the names that pydantic gives to the branches of a union are left out."""
    names = [f"[{piece}]" if isinstance(piece, int) else piece for piece in loc]
    kept = [
        n for n in names if n not in ("float", "Schedule", "str", "Node") and not n.startswith(("list[", "literal["))
    ]
    return ".".join(filter(None, (prefix, *kept))).replace(".[", "[")


def _wanted(message: str) -> str:
    for lead in ("Input should be ", "Value should be "):
        message = message.removeprefix(lead)
    message = message.replace("a valid array", "a list").replace("a valid dictionary", "a table")
    message = message.replace("a valid ", "a ").replace("a integer", "an integer")
    if message.startswith(("greater", "less")):
        message = f"a number {message}"
    if message.endswith("instance of Schedule"):
        message = "a schedule"
    return message[:1].lower() + message[1:]


def nearest(name: str, known: Sequence[str]) -> str:
    """``did you mean 'temperature'?``, or nothing."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else ""
