"""Which method runs in which host: every method in the smallest recipe that uses it, compiled for every host.

``python -m guerdon.adapters.table`` prints the page ``docs/hosts.md``; ``--write FILE`` writes it. What a cell says is what the
compiler says: a method runs, is left to the host, or is refused in the refusal's own words.
"""

import argparse
import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from guerdon.adapters.fitting import columns_of, compile_at_best
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.smallest import smallest
from guerdon.method import Method, methods
from guerdon.pipeline import Host
from guerdon.quantities import QUANTITIES
from guerdon.recipe import RecipeError

Verdict = Literal["runs", "left", "refused"]


@dataclass(frozen=True)
class Cell:
    """What became of a method in a host, and the words of a refusal."""

    verdict: Verdict
    words: str = ""


def cell(method: Method, host: Host) -> Cell:
    """Compile the smallest recipe that uses the method, in the host."""
    try:
        recipe = smallest(method, host)
        pipeline = compile_at_best(host, recipe)
    except RecipeError as error:
        return Cell("refused", _words(str(error), method.name))
    if all(stage.method.name != method.name for stage in (*pipeline.stages, *pipeline.objective.stages)):
        return Cell("left")
    columns = columns_of(recipe)
    if host.runs != "losses" and columns and "rollout" in host.lacks and not host.provides("prompts"):
        column = min(columns)
        return Cell(
            "refused", f"it takes the column {column!r}, but {host.name} has no data set; train it with guerdon train"
        )
    return Cell("runs")


def _words(message: str, name: str) -> str:
    """A refusal without the place in a recipe that nobody wrote and without what a quantity means (`guerdon explain
    --quantities`); with the stage's name where it is another's."""
    for quantity in QUANTITIES.values():
        message = message.replace(f" ({quantity.meaning})", "")
    found = re.match(r"\w+\[\d+\] \(([^)]*)\): (.*)", message, re.DOTALL)
    if found is None:
        return message
    return found[2] if found[1] == name else f"{found[1]} {found[2]}"


# the page ----------------------------------------------------------------------------------------------------------

_MARK = {"runs": "yes", "left": "its own", "refused": "no"}
_RUNS = {
    "rewards": "rewards; credit and losses are its own",
    "advantages": "rewards and credit; losses are its own",
    "loss": "rewards, credit and losses",
    "losses": "losses",
}


Table = dict[str, dict[str, Cell]]


def table() -> Table:
    """Every cell, by host and method of this package."""
    known = methods(shipped=True)
    return {name: {m: cell(known[m], host) for m in sorted(known)} for name, host in HOSTS.items()}


def page(made: Table) -> str:
    """The page ``docs/hosts.md``."""
    return "\n".join(_page(made)) + "\n"


def _page(table: Table) -> Iterator[str]:
    yield "# Where a method runs\n"
    yield (
        "Made by `python -m guerdon.adapters.table --write docs/hosts.md`: every registered method in the smallest recipe that uses\n"
        "it, compiled for every host. `guerdon explain --host NAME my.toml` says the same of a recipe of yours. *yes*: the recipe's\n"
        "stage runs there. *its own*: the host does its own in place of it, and the stage is left out. *no*: refused, for the reason\n"
        "under the host's name below.\n"
    )
    yield "| host | what it is | what of a recipe runs there | methods | adapter |"
    yield "|---|---|---|---:|---|"
    for name, host in HOSTS.items():
        count = sum(c.verdict == "runs" for c in table[name].values())
        adapter = f"`{host.adapter}`" if host.adapter else ""
        yield f"| {name} | {host.name} | {_RUNS[host.runs]} | {count} | {adapter} |"
    yield "\n| method | " + " | ".join(HOSTS) + " |"
    yield "|---|" + "---|" * len(HOSTS)
    for method in table["guerdon"]:
        yield f"| {method} | " + " | ".join(_MARK[table[name][method].verdict] for name in HOSTS) + " |"
    told: dict[str, str] = {}
    for name, host in HOSTS.items():
        why: dict[str, list[str]] = defaultdict(list)
        for method, found in table[name].items():
            if found.verdict == "refused":
                why[found.words].append(method)
        if not why and not host.adapter:
            continue
        yield f"\n## {name}\n"
        if host.adapter in told:
            yield f"Set up as under {told[host.adapter]}.\n"
        elif host.adapter:
            told[host.adapter] = name
            yield f"{_told(host.adapter)}\n"
        if why:
            yield f"What {host.name} refuses:\n"
            for words, names in sorted(why.items(), key=lambda item: (-len(item[1]), item[0])):
                yield f"- {', '.join(names)}: {words}"


def _told(module: str) -> str:
    """What an adapter says of itself; read, not imported, since its host may not be here."""
    path = Path(__file__).with_name(f"{module.rpartition('.')[2]}.py")
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""


def main() -> None:
    """Print or write the page."""
    parser = argparse.ArgumentParser(prog="python -m guerdon.adapters.table", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page there instead of printing it")
    given = parser.parse_args()
    if given.write is None:
        print(page(table()), end="")
    else:
        given.write.write_text(page(table()), "utf-8")


if __name__ == "__main__":
    main()
