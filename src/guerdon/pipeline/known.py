"""What is there and what has been read, while a recipe is compiled from top to bottom; and what to do about what is missing."""

from collections.abc import Iterable

from guerdon.method import Method, Take, find, methods
from guerdon.pipeline.host import OWN, Host
from guerdon.pipeline.models import BoundModels
from guerdon.pipeline.stage import BoundStage
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import RecipeError, Reward, Stage

_ALWAYS_READ = frozenset(
    {"correct", "token_loss", "loss", "weights", "token_weights", "counts", "step_ids", "turn_ids"}
)
CARRIED = frozenset({"node_ids", "turn_scores", "turn_accepted", "potentials"})
"""Structure that some rollouts bring with them and no method makes."""
_BY_ENVIRONMENT = "choose a task with an environment (guerdon explain --quantities says what it gives)"
_CARRIED_BY = {
    "turn_ids": f"{_BY_ENVIRONMENT}, or add split-turns above",
    "turn_mask": f"{_BY_ENVIRONMENT}, or add split-turns above",
    "node_ids": "set rollouts.forks to at least 2, or rollouts.branches, so that completions branch",
    "turn_scores": _BY_ENVIRONMENT,
    "turn_accepted": _BY_ENVIRONMENT,
    "potentials": f"{_BY_ENVIRONMENT}, or take = prefix_values",
}


class Known:
    """Quantities by the stage that made them, and those that nothing has read yet.

    Args:
        columns: of the task.
        carried: structure that the rollouts bring with them.
        host: the trainer that provides the rest.
        demonstration: the column that holds demonstrations.
    """

    def __init__(self, columns: Iterable[str], carried: set[str], host: Host, demonstration: str = "demonstration"):
        self.demonstration = demonstration
        self.columns = frozenset(columns)
        self.structure = carried
        self.host = host
        self.models: BoundModels
        """Set once, by the compiler: models ask back whether what they learn from is known."""
        self.made: dict[str, BoundStage] = {}
        self.unread: dict[str, BoundStage] = {}
        self.below: tuple[Stage, ...] = ()
        """The stages that stand below the one that is being bound."""

    def available(self, name: str) -> bool:
        """Whether a quantity is there at this point: made above, or brought by whoever runs the recipe."""
        if name in self.made:
            return True
        if self.models.make(name):
            return self.host.provides(name)
        head, _, key = name.partition(".")
        quantity = QUANTITIES[head]
        if quantity.keyed and not key:
            return head == "part_weights" or any(m.startswith(f"{head}.") for m in self.made)
        if head in ("step_ids", "step_mask", "step_end"):
            return "step_ids" in self.structure or "step_ids" in self.made
        if head in ("turn_ids", "turn_mask"):
            return "turn_ids" in self.structure or "turn_ids" in self.made
        if head in CARRIED:
            return head in self.structure
        if head in ("prefix_values", "answer_logp") and not self.available("step_ids"):
            return False
        if head in ("origin",) or quantity.provider == "derived":
            return True
        if quantity.provider == "demonstration" and self.demonstration not in self.columns:
            return False
        return self.host.provides(head)

    def missing(self, place: str, take: Take, name: str) -> str:
        """What to say where a stage takes a quantity that is not available, with what would make it."""
        head, _, key = name.partition(".")
        provider = QUANTITIES[head].provider
        if not self.host.provides(head) and (head in self.host.lacks or provider in (*self.host.lacks, "model")):
            return self._not_here(place, head)
        if provider == "demonstration" and self.host.provides(head):
            return (
                f"{place}: expected a column {self.demonstration!r} with completions to imitate, got columns "
                f"{sorted(self.columns) or 'none'}; add it to the data, or name another as rollouts.demonstration"
            )
        if key:
            return f"{place}: expected an entry of {head} among {self.part_names(head)}, got {name!r}; add a [[reward]] of that name or correct it"
        if head in ("step_ids", "step_mask", "step_end") or (
            head in ("prefix_values", "answer_logp") and self.host.provides(head)
        ):
            where = "the rollouts" if self.host is OWN else f"rows of {self.host.name}"
            return f"{place}: expected steps in {where} for {head}, got none; {self._steps()}"
        if (head in ("turn_ids", "turn_mask") or head in CARRIED) and self.host is not OWN:
            return f"{place}: takes {head} ({QUANTITIES[head].meaning}), but rows of {self.host.name} carry none; {self.host.instead(head)}"
        if head in ("turn_ids", "turn_mask") or head in CARRIED:
            return (
                f"{place}: takes {head} ({QUANTITIES[head].meaning}), but the rollouts carry none; {_CARRIED_BY[head]}"
            )
        makers = [m for m in methods().values() if head in m.makes and head not in {t.name for t in m.takes}]
        makers = [m.name for m in sorted(makers, key=self._distance)]
        if provider is not None:
            return self._not_here(place, head)
        advice = f"add one such as {' or '.join(makers[:3])}" if makers else "no method makes it yet"
        if head == "token_advantages":
            advice = (
                "add step-credit (or add-levels) to place step_advantages on tokens"
                if "step_advantages" in self.made
                else "add a stage of credit such as group-normalise, which makes advantages"
            )
        late = next((s.label for s in self.below if head in heads(s)), None)
        if late is not None:
            advice = f"{late}, which makes it, stands below: move it above"
        return f'{place}: takes {head}, but nothing above makes it; {advice}, or take = {{{take.name} = "..."}}'

    def _steps(self) -> str:
        """Where steps may come from."""
        if self.host is OWN:
            return "the task names no separator: set task.separator, or add split-steps above"
        if "step_ids" in self.host.carries:
            return f"name what separates them to the adapter of {self.host.name}, or add split-steps above"
        spans, turns = self.host.withheld("token_spans") is None, "turn_ids" in self.host.carries
        ways = [
            w
            for w, there in (("split-steps", spans and self.available("token_spans")), ("turns-as-steps", turns))
            if there
        ]
        return f"add {' or '.join(ways)} above" if ways else f"{self.host.name} has none: leave the stage out"

    def _not_here(self, place: str, head: str) -> str:
        meaning, advice = QUANTITIES[head].meaning, self.host.instead(head)
        return f"{place}: takes {head} ({meaning}), which {self.host.name} does not provide; {advice}"

    def _distance(self, info: Method) -> tuple[int, bool]:
        """How far a method is from running here: what it lacks, and, of equals, plain ones before those of a paper."""
        asked = [t.name for t in info.takes if not t.optional]
        return sum(not self.known(name) for name in asked), bool(info.papers)

    def known(self, name: str) -> bool:
        """Whether it is an available quantity or a column of the task."""
        return name in self.columns if lookup(name) is None else self.available(name)

    def read(self, name: str) -> None:
        """A stage reads it, and of a keyed quantity every entry."""
        for made in list(self.unread):
            if name in (made, made.split(".", 1)[0]):
                del self.unread[made]

    def make(self, made: str, stage: BoundStage) -> None:
        """A stage makes it.

        Raises:
            RecipeError: it replaces what another stage made and nothing has read.
        """
        head = made.split(".", 1)[0]
        if made in self.unread and QUANTITIES[head].merge == "replace" and head != "correct":
            raise RecipeError(
                f"{stage.place}: makes {made}, which {self.unread[made].place} made and nothing has read since; "
                "remove one of them, or read the first in between"
            )
        self.made[made] = stage
        if stage.each is not None:
            for key in stage.each:
                self.made[f"{made}.{key}"] = stage
        if head not in _ALWAYS_READ and head != "part_weights":
            self.unread[made] = stage

    def part_names(self, head: str = "parts") -> list[str]:
        """Entries of a keyed quantity that were made so far."""
        return [made.split(".", 1)[1] for made in self.made if made.startswith(f"{head}.")]

    def lift(self) -> None:
        """The one implicit lift: a row's advantage on its chosen positions."""
        if "token_advantages" not in self.made and "advantages" in self.made:
            self.made["token_advantages"] = self.made["advantages"]
            self.unread.pop("advantages", None)

    def refuse_unread(self) -> None:
        """At the end of the recipe.

        Raises:
            RecipeError: a stage made what nothing reads, and is not there to be watched.
        """
        for made, stage in self.unread.items():
            if isinstance(stage.spec, Reward) and (stage.spec.weight == 0 or "correct" in stage.method.makes):
                continue
            head = made.split(".", 1)[0]
            reader = "read it below or remove the stage"
            if head in ("parts", "step_parts"):
                summing = "weighted-sum" if head == "parts" else "weighted-step-sum"
                reader = f"add {summing}, which reads every part, or weight = 0 to only watch it"
            raise RecipeError(f"{stage.place}: makes {made}, but nothing reads it; {reader}")


def heads(spec: Stage) -> set[str]:
    """What a stage that is not bound yet says that it makes."""
    if spec.make is not None:
        return {m.split(".", 1)[0] for m in ([spec.make] if isinstance(spec.make, str) else spec.make)}
    try:
        return set(find(spec.use).makes)
    except LookupError:
        return set()
