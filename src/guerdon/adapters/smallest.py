"""The smallest recipe that uses a method, of what a host can run around it."""

from typing import Any

from guerdon.adapters.plainest import MADE_BY, READ_BY, model_that_makes, options, plainness, read_by_losses
from guerdon.batch import DERIVED_FROM
from guerdon.method import Method, methods
from guerdon.pipeline import Host
from guerdon.pipeline.known import CARRIED
from guerdon.pipeline.losses import DIFFERENTIABLE
from guerdon.quantities import lookup
from guerdon.recipe import Recipe, load
from guerdon.training.parts import faces

Stages = list[dict[str, Any]]

_PARTS = {"parts", "step_parts", "token_parts"}
_LOSSES = {"token_loss", "loss"}
_STRUCTURE = CARRIED | {"step_ids", "turn_ids"}
_ASKING = ("model", "greedy", "extra")
_FROM = {name: needs[0] for name, needs in DERIVED_FROM.items()}


def smallest(method: Method, host: Host) -> Recipe:
    """The smallest recipe that uses the method, of what the host can run around it."""
    return load(_Smallest(host).recipe(method))


class _Smallest:
    """Builds a recipe around a method: what it takes is made by the plainest methods that the host can run."""

    def __init__(self, host: Host):
        self.host = host
        self.known = methods(shipped=True)
        self.made_by: dict[str, list[Method]] = {}
        self.stages: Stages = []
        self.models: Stages = []

    def recipe(self, method: Method) -> dict[str, Any]:
        """The recipe, with a reward of rows and credit for it, so that the method is all that may be missing."""
        self.known.setdefault(method.name, method)
        objective = bool(set(method.makes) & _LOSSES)
        if set(method.makes) & (_LOSSES | DIFFERENTIABLE) and self.host.runs in ("rewards", "advantages"):
            self._credit()  # of any kind, since the losses are left out
            self.stages.append(self._stage(method))
        else:
            self._around(method, objective)
        kinds: dict[str, Stages] = {"reward": [], "pipeline": [], "loss": []}
        for stage in self.stages:
            makes = set(self.known[stage["use"]].makes)
            kinds["reward" if makes & _PARTS else "loss" if makes & _LOSSES else "pipeline"].append(stage)
        read = {name for s in self.stages for name in _read_by(s, self.known[s["use"]])}
        if not any("parts" in self.known[r["use"]].makes for r in kinds["reward"]):  # some hosts log no other
            use = "environment-score" if "turn_scores" in self.host.carries else "random-reward"
            kinds["reward"].append({"use": use} if "parts" in read else {"use": use, "weight": 0.0})
        if "parts" in _taken(method) and "parts" in {
            s.split(".")[0] for r in kinds["reward"] for s in self.known[r["use"]].makes
        }:
            kinds["reward"].append({**kinds["reward"][0], "name": "another"})  # what combines parts needs two
        for stage in kinds["pipeline"]:
            for hyper in self.known[stage["use"]].hypers.values():
                if hyper.entry_of and (hyper.required or isinstance(hyper.default, str)):
                    part = kinds["reward"][0]["use"]
                    stage[hyper.name] = {part: 0.5} if isinstance(stage.get(hyper.name), dict) else part
            if "given" in self.known[stage["use"]].hypers:
                stage["given"] = "margin"  # any score will do
        if not objective or "token_advantages" not in _taken(method):
            kinds["loss"].insert(0, {"use": "reinforce", "weighted": not method.claims.get("for_penalty")})
        kinds["loss"] += read_by_losses(method, read)
        return {"model": self.models, **kinds}

    def _credit(self) -> None:
        use = "group-centre" if _given("group", self.host) else "moving-average-baseline"
        self._make("rewards", ())
        self._add({"use": use}, self.known[use], ())

    def _around(self, method: Method, objective: bool) -> None:
        """What the method takes, the method, and what reads it."""
        if objective:
            self._make("token_advantages" if "token_advantages" in _taken(method) else "advantages", ())
        self._add(self._stage(method), method, ())
        if not objective:
            self._read(method)
        if self.host.runs == "rewards":
            self._make("rewards", ())
        elif not self._there("token_advantages"):
            self._make("advantages", ())

    def _stage(self, method: Method) -> dict[str, Any]:
        """The method as a stage; scores of steps stand in for their advantages where nothing makes those."""
        stage = {"use": method.name, **options(method)}
        if "step_advantages" in _taken(method) and not self._can("step_advantages", (method.name,)):
            stage["take"] = {"step_advantages": "step_rewards"}
        return stage

    def _read(self, method: Method) -> None:
        """Readers after the method, up to what the host takes."""
        goals = {"rewards"} if self.host.runs == "rewards" else {"advantages", "token_advantages"}
        made = set(method.makes)
        for _ in range(len(READ_BY)):
            next_ = next((m for m in READ_BY if m in made), None)
            if next_ is None or made & goals:
                return
            stage = READ_BY[next_]
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
        if name in MADE_BY:
            stage = MADE_BY[name]
            self._make("parts", above)
            self._add(stage, self.known[stage["use"]], above)
            return
        makers = sorted(self._makers(name, above), key=lambda m: (not self._feasible(m, above), *plainness(m)))
        if makers:
            self._add(self._stage(makers[0]), makers[0], above)

    def _model(self, what: str, above: tuple[str, ...]) -> None:
        model = model_that_makes(what)
        if model is not None and model not in self.models:
            self.models.append(model)
            recipe = load({"model": [model]})
            face = faces(recipe)[recipe.model[0].label]
            for need in (*face.reads, *face.learns_from):
                self._make(need, above)

    def _there(self, name: str) -> bool:
        made = {m for s in self.stages for m in ([s["make"]] if "make" in s else self.known[s["use"]].makes)}
        return name in made or name in self.host.carries or (name not in _STRUCTURE and _given(name, self.host))

    def _makers(self, name: str, above: tuple[str, ...]) -> list[Method]:
        """Methods that make a quantity from others."""
        if name not in self.made_by:
            self.made_by[name] = [m for m in self.known.values() if name in m.makes and name not in _taken(m)]
        return [m for m in self.made_by[name] if m.name not in above]

    def _feasible(self, method: Method, above: tuple[str, ...]) -> bool:
        """Whether a method can stand in the host, on what the host and other methods make."""
        if self.host.together is not None and not self._told(method):
            return False
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

    def _told(self, method: Method) -> bool:
        """Whether a host of two halves (`guerdon.adapters.halves`) tells the half that a method stands in what it takes."""
        names, known = {n for n in _taken(method) if lookup(n) is not None}, self.host.alone
        if set(method.makes) & (_PARTS | {"rewards"}):
            return names <= known and not method.stateful
        return not names & (known - (self.host.together or frozenset()))


def _taken(method: Method) -> set[str]:
    return {t.name for t in method.takes if not t.optional}


def _read_by(stage: dict[str, Any], method: Method) -> set[str]:
    return {stage.get("take", {}).get(name, name).split(".")[0] for name in _taken(method)}


def _given(name: str, host: Host) -> bool:
    """Whether the host has a quantity ready for what runs in it; models and extra rollouts come with needs of their own."""
    quantity = lookup(name)
    asks = quantity is not None and quantity.provider in _ASKING and name != "answer_logp"
    return not asks and host.provides(name) and host.withheld(name) is None
