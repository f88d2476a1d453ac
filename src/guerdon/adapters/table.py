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
from typing import Any, Literal

from guerdon.adapters.hosts import HOSTS, columns_of, compile_for, left_to, refuse_made
from guerdon.batch import DERIVED_FROM
from guerdon.method import Method, methods
from guerdon.pipeline import Host, compile_recipe
from guerdon.pipeline.known import CARRIED
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import Recipe, RecipeError, load
from guerdon.reward_models import MODELS
from guerdon.training.parts import create, faces

Verdict = Literal["runs", "left", "refused"]
Stages = list[dict[str, Any]]

_PARTS = {"parts", "step_parts", "token_parts"}
_LOSSES = {"token_loss", "loss"}
_READ_BY: dict[str, dict[str, Any]] = {
    "parts": {"use": "weighted-sum"},
    "step_parts": {"use": "weighted-step-sum"},
    "token_parts": {"use": "weighted-token-sum"},
    "part_advantages": {"use": "sum-part-advantages"},
    "prefix_values": {"use": "progress"},
    "rewards": {"use": "group-centre"},
    "step_rewards": {"use": "step-credit", "take": {"step_advantages": "step_rewards"}},
    "step_returns": {"use": "step-credit", "take": {"step_advantages": "step_returns"}},
    "step_advantages": {"use": "step-credit"},
    "token_rewards": {"use": "discounted-returns"},
    "token_returns": {"use": "whiten", "take": {"token_advantages": "token_returns"}},
    "turn_ids": {"use": "turns-as-steps"},
    "step_ids": {"use": "step-credit", "take": {"step_advantages": "step_rewards"}},
    "ratio": {"use": "weighted-likelihood"},
}
"""The plainest reader of each quantity on its way to credit, or to the loss."""
_MADE_BY: dict[str, dict[str, Any]] = {
    "part_advantages": {
        "use": "group-centre",
        "each": "*",
        "take": {"rewards": "parts"},
        "make": "part_advantages",
    },
}
"""What no method makes under its own name."""
_STRUCTURE = CARRIED | {"step_ids", "turn_ids"}
_PART_NAMES = {"part", "progress", "rule", "learned"}
"""Options that name a part."""
_ASKING = ("model", "greedy", "extra")
_FROM = {name: needs[0] for name, needs in DERIVED_FROM.items()}


@dataclass(frozen=True)
class Cell:
    """What became of a method in a host, and the words of a refusal."""

    verdict: Verdict
    words: str = ""


def cell(method: Method, host: Host) -> Cell:
    """Compile the smallest recipe that uses the method, in the host."""
    objective = bool(set(method.makes) & (_LOSSES | {"ratio"}))
    if host.runs != "loss" and objective != (host.runs == "losses"):
        return Cell("left")
    try:
        recipe = smallest(method, host)
        known: dict[str, Any] = {
            "columns": columns_of(recipe),
            "steps": "step_ids" in host.carries,
            "structure": host.carries - {"step_ids"},
        }
        if host.runs in ("loss", "losses"):
            pipeline = compile_recipe(recipe, **known, models=faces(recipe), host=host, objective=objective)
            if host.runs == "losses":
                refuse_made(host, pipeline)
            return Cell("runs")
        left = left_to(host, compile_for(host, recipe, **known))
    except RecipeError as error:
        return Cell("refused", _words(str(error), method.name))
    if method.name in left:
        return Cell("left")
    if known["columns"] and "rollout" in host.lacks and not host.provides("prompts"):
        column = min(known["columns"])
        return Cell(
            "refused", f"it takes the column {column!r}, but {host.name} has no data set; train it with guerdon train"
        )
    return Cell("runs")


def smallest(method: Method, host: Host) -> Recipe:
    """The smallest recipe that uses the method, of what the host can run around it."""
    return load(_Smallest(host).recipe(method))


class _Smallest:
    """Builds a recipe around a method: what it takes is made by the plainest methods that the host can run."""

    def __init__(self, host: Host):
        self.host = host
        self.known = methods()
        self.stages: Stages = []
        self.models: Stages = []

    def recipe(self, method: Method) -> dict[str, Any]:
        """The recipe, with a reward of rows and credit for it, so that the method is all that may be missing."""
        objective = bool(set(method.makes) & _LOSSES)
        if objective:
            self._make("token_advantages" if "token_advantages" in _taken(method) else "advantages", ())
        self._add(self._stage(method), method, ())
        if not objective:
            self._read(method)
        if not objective and "ratio" not in method.makes:  # its reader brought advantages
            self._make("rewards" if self.host.runs == "rewards" else "advantages", ())
        kinds: dict[str, Stages] = {"reward": [], "pipeline": [], "loss": []}
        for stage in self.stages:
            makes = set(self.known[stage["use"]].makes)
            kinds["reward" if makes & _PARTS else "loss" if makes & _LOSSES else "pipeline"].append(stage)
        if not kinds["reward"]:
            kinds["reward"] = [{"use": "environment-score" if "turn_scores" in self.host.carries else "random-reward"}]
        if "parts" in _taken(method) and "parts" in {
            s.split(".")[0] for r in kinds["reward"] for s in self.known[r["use"]].makes
        }:
            kinds["reward"].append({**kinds["reward"][0], "name": "another"})  # what combines parts needs two
        for stage in kinds["pipeline"]:
            for name in _PART_NAMES & set(self.known[stage["use"]].hypers):
                stage[name] = kinds["reward"][0]["use"]
            if stage.get("thresholds") == {}:
                stage["thresholds"] = {kinds["reward"][0]["use"]: 0.5}
            if "given" in self.known[stage["use"]].hypers:
                stage["given"] = "margin"  # any score will do
        if objective and "token_advantages" not in _taken(method):
            kinds["loss"].insert(0, {"use": "reinforce"})
        return {"model": self.models, **kinds}

    def _stage(self, method: Method) -> dict[str, Any]:
        """The method as a stage; scores of steps stand in for their advantages where nothing makes those."""
        stage = {"use": method.name, **_options(method)}
        if "step_advantages" in _taken(method) and not self._can("step_advantages", (method.name,)):
            stage["take"] = {"step_advantages": "step_rewards"}
        return stage

    def _read(self, method: Method) -> None:
        """Readers after the method, up to what the host takes."""
        goals = {"rewards"} if self.host.runs == "rewards" else {"advantages", "token_advantages"}
        made = set(method.makes)
        for _ in range(len(_READ_BY)):
            next_ = next((m for m in _READ_BY if m in made), None)
            if next_ is None or made & goals:
                return
            stage = _READ_BY[next_]
            if next_ == "rewards" and not _given("group", self.host):
                stage = {"use": "moving-average-baseline"}
            reader = self.known[stage["use"]]
            self._add(stage, reader, ())
            made = set(reader.makes)

    def _can(self, name: str, above: tuple[str, ...]) -> bool:
        return any(self._feasible(m, above) for m in self._makers(name, above))

    def _add(self, stage: dict[str, Any], method: Method, above: tuple[str, ...]) -> None:
        if any(s["use"] == stage["use"] and s.get("take") == stage.get("take") for s in self.stages):
            return
        take = stage.get("take", {})
        for taken in method.takes:
            if not taken.optional:
                self._make(take.get(taken.name, taken.name), (*above, method.name))
        self.stages.append(stage)

    def _make(self, name: str, above: tuple[str, ...]) -> None:
        quantity = lookup(name)
        name = _FROM.get(name, name)
        if quantity is None or name == "ratio" or self._there(name):  # the compiler adds the ratio of tokens
            return
        if quantity.provider == "model":
            self._model(name.removeprefix("model_"), above)
            return
        if name in ("prefix_values", "greedy_rewards"):
            self._make("rewards", above)
        if name in _MADE_BY:
            stage = _MADE_BY[name]
            self._make("parts", above)
            self._add(stage, self.known[stage["use"]], above)
            return
        makers = sorted(self._makers(name, above), key=lambda m: (not self._feasible(m, above), *_plainness(m)))
        if makers:
            self._add(self._stage(makers[0]), makers[0], above)

    def _model(self, what: str, above: tuple[str, ...]) -> None:
        model = _model_that_makes(what)
        if model is not None and model not in self.models:
            self.models.append(model)
            recipe = load({"model": [model]})
            for need in faces(recipe)[recipe.model[0].label].reads:
                self._make(need, above)

    def _there(self, name: str) -> bool:
        made = {m for s in self.stages for m in ([s["make"]] if "make" in s else self.known[s["use"]].makes)}
        return name in made or name in self.host.carries or (name not in _STRUCTURE and _given(name, self.host))

    def _makers(self, name: str, above: tuple[str, ...]) -> list[Method]:
        """Methods that make a quantity from others."""
        return [m for m in self.known.values() if name in m.makes and name not in _taken(m) and m.name not in above]

    def _feasible(self, method: Method, above: tuple[str, ...]) -> bool:
        """Whether a method can stand in the host, on what the host and other methods make."""
        above = (*above, method.name)
        for taken in method.takes:
            need = _FROM.get(taken.name, taken.name)
            quantity = lookup(need)
            if taken.optional or quantity is None or need in self.host.carries or need == "part_weights":
                continue
            asked = quantity.provider in _ASKING and self.host.provides(need)
            if need not in _STRUCTURE and (asked or _given(need, self.host)):
                continue
            if quantity.provider == "model" or not self._can(need, above):
                return False
        return True


def _taken(method: Method) -> set[str]:
    return {t.name for t in method.takes if not t.optional}


def _given(name: str, host: Host) -> bool:
    """Whether the host has a quantity ready for what runs in it; models and extra rollouts come with needs of their own."""
    quantity = lookup(name)
    asks = quantity is not None and quantity.provider in _ASKING and name != "answer_logp"
    return not asks and host.provides(name) and host.withheld(name) is None


def _plainness(method: Method) -> tuple[bool, int, str]:
    return bool(method.papers), len(method.takes), method.name


def _model_that_makes(what: str) -> dict[str, Any] | None:
    for use in MODELS:
        try:
            if what in create("model", load({"model": [{"use": use}]}).model[0], MODELS).makes:
                return {"use": use}
        except RecipeError:
            continue  # one that needs options
    return None


def _options(method: Method) -> dict[str, Any]:
    """A value for each option that has no default."""
    plain: dict[Any, Any] = {str: "=", int: 1, float: 1.0, dict[str, float]: {}}
    return {h.name: plain.get(h.annotation, "=") for h in method.hypers.values() if h.required}


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
    """Every cell, by host and method."""
    known = methods()
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
    for method in sorted(methods()):
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
