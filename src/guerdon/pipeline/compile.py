"""Bind every stage of a recipe by its signature, and refuse what cannot run before anything runs.

Refused, each with the place, what was expected, what was there, and what to do: an unknown method; a quantity that
nothing above makes; a wrong level or phase; a result that nothing reads, or that is overwritten before it is read;
unknown names of parts; an objective without advantages.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from guerdon.method import Method, Take, find, methods
from guerdon.pipeline.asking import check_asking
from guerdon.pipeline.extra import check_extra
from guerdon.pipeline.host import OWN, Host
from guerdon.pipeline.levels import check_made, check_taken
from guerdon.pipeline.losses import Objective
from guerdon.pipeline.models import BoundModels
from guerdon.pipeline.ratios import check_ratios
from guerdon.pipeline.run import Pipeline
from guerdon.pipeline.stage import Binding, BoundStage, ModelFace
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import Recipe, RecipeError, Reward, Stage, check_options

_ALWAYS_READ = frozenset(
    {"correct", "token_loss", "loss", "weights", "token_weights", "counts", "step_ids", "turn_ids"}
)
CARRIED = frozenset({"node_ids", "turn_scores", "turn_accepted", "potentials"})
"""Structure that some rollouts bring with them and no method makes."""
_BY_ENVIRONMENT = "choose a task with an environment (guerdon explain --quantities says what it gives)"
_CARRIED_BY = {
    "turn_ids": f"{_BY_ENVIRONMENT}, or add split-turns above",
    "turn_mask": f"{_BY_ENVIRONMENT}, or add split-turns above",
    "node_ids": "set rollouts.forks to at least 2, so that completions branch",
    "turn_scores": _BY_ENVIRONMENT,
    "turn_accepted": _BY_ENVIRONMENT,
    "potentials": f"{_BY_ENVIRONMENT}, or take = prefix_values",
}


def compile_recipe(
    recipe: Recipe,
    *,
    columns: Iterable[str] = (),
    steps: bool = False,
    structure: Iterable[str] = (),
    models: Mapping[str, ModelFace] | None = None,
    host: Host = OWN,
    objective: bool = True,
) -> Pipeline:
    """Compile a recipe into a `Pipeline`.

    Args:
        recipe: the merged recipe (`guerdon.recipe.load`).
        columns: columns that the task or file gives besides ``prompts``.
        steps: the rollouts carry ``step_ids`` (the task says what separates steps).
        structure: what else the rollouts carry: of ``turn_ids``, ``node_ids``, ``turn_scores``, ``turn_accepted``,
            ``potentials``.
        models: the models under [[model]] by name (`guerdon.reward_models`).
        host: the trainer that runs it, by default our own (`guerdon.adapters.hosts` has the others).
        objective: False where only rewards are wanted (``guerdon score``): losses are left out and a result that
            nothing reads is no mistake.

    Raises:
        RecipeError: what cannot run.
    """
    carried = {*structure, *(["step_ids"] if steps else [])}
    return _Compiler(recipe, columns, carried, models or {}, host, objective).compile()


class _Compiler:
    def __init__(
        self,
        recipe: Recipe,
        columns: Iterable[str],
        carried: set[str],
        models: Mapping[str, ModelFace],
        host: Host,
        objective: bool,
    ):
        self.recipe = recipe
        self.models = BoundModels(recipe, models, self._known, self._read)
        self.columns = frozenset(columns)
        self.host = host
        self.objective = objective
        self.made: dict[str, BoundStage] = {}
        self.unread: dict[str, BoundStage] = {}
        self.structure = carried
        self.stages: list[BoundStage] = []
        self.losses: list[BoundStage] = []
        self.below: tuple[Stage, ...] = ()
        taken = sorted(self.columns & set(QUANTITIES) - {"prompts", "completions"})
        if taken:
            raise RecipeError(
                f"task: expected columns with names of their own, got {taken[0]!r}, which is a quantity; rename the column"
            )

    def compile(self) -> Pipeline:
        if not self.recipe.reward:
            raise RecipeError('expected at least one [[reward]], got none; add one, such as use = "final-answer"')
        for i, spec in enumerate(self.recipe.reward):
            self._add(spec, "reward", f"reward[{i}] ({spec.label})")
        for i, spec in enumerate(self.recipe.pipeline):
            self.below = self.recipe.pipeline[i + 1 :]
            if not self.objective and _heads(spec) == {"ratio"}:
                continue  # a part of the losses, which are left out
            self._add(spec, "pipeline", f"pipeline[{i}] ({spec.label})")
        if self.objective:
            self._close_credit()
            for i, spec in enumerate(self.recipe.loss):
                self._add(spec, "loss", f"loss[{i}] ({spec.label})")
            self.models.close()
            self._refuse_unread()
            check_ratios(self.stages, self.losses)
        where = self.recipe.rollouts.where
        if where is not None and (where not in self.made or QUANTITIES[where.split(".")[0]].axes != "B"):
            raise RecipeError(
                f"rollouts.where: expected a quantity of rows that a stage makes, got {where!r}; "
                f"name one of {sorted(m for m in self.made if QUANTITIES[m.split('.')[0]].axes == 'B')}"
            )
        check_extra(self.stages, "greedy_rewards", "a greedy completion")
        check_extra(self.stages, "prefix_values", "a continuation")
        rollout = tuple(s for s in self.stages if not s.update_phase)
        update = tuple(s for s in self.stages if s.update_phase)
        return Pipeline(
            recipe=self.recipe,
            stages=rollout,
            objective=Objective(update, tuple(self.losses), self.recipe.sampling.max_tokens),
            columns=self.columns,
            models=self.models.asked,
        )

    # one stage ------------------------------------------------------------------------------------------------------

    def _add(self, spec: Stage, kind: str, place: str, *, implicit: bool = False) -> None:
        try:
            info = find(spec.use)
        except LookupError as error:
            raise RecipeError(f"{place}: {error.args[0]}") from None
        self._check_kind(info, kind, place)
        options = check_options(place, info.hypers, spec.options)
        unknown = sorted(set(spec.take) - {t.name for t in info.takes})
        if unknown:
            raise RecipeError(
                f"{place}: expected take to name parameters among {[t.name for t in info.takes]}, got {unknown[0]!r}; correct it"
            )
        each = self._each(spec, place)
        bindings = tuple(b for t in info.takes if (b := self._bind(info, t, spec, place, kind, each)) is not None)
        if info.columns:
            bindings += tuple(
                Binding(c, c) for c in sorted(self.columns - {b.parameter for b in bindings} - {"prompts"})
            )
        if each is not None and not any(b.keyed for b in bindings):
            raise RecipeError(
                f'{place}: expected each with a parameter bound to a keyed quantity, got none; add take = {{rewards = "parts"}}'
            )
        makes = self._makes(info, spec, place, each)
        check_made(info, bindings, makes, place)
        stage = BoundStage(
            place=place,
            label=spec.label,
            kind=kind,
            method=info,
            bindings=bindings,
            makes=makes,
            options=options,
            each=each,
            spec=spec,
            instance=self._instance(info, options, place) if info.stateful else None,
            implicit=implicit,
        )
        fine = makes == ("ratio",) or set(makes) <= {"weights", "token_weights"}
        if stage.update_phase and kind != "loss" and not fine:
            raise RecipeError(
                f"{place}: expected a stage that takes {self._update_reads(stage)} to make only weights or the ratio, got {makes[0]}; "
                "stand it under [[loss]], or take the quantity at the start of the iteration (old_logp, old_entropy)"
            )
        if kind == "reward":
            check_asking(stage, self._available)
            for name in stage.needs:
                self._read(name)
        for binding in bindings:
            self._read(binding.source)
            if binding.source.startswith("model_"):
                self.models.ask(binding.source.rpartition(".")[2], f"before {place}")
        for made in makes:
            self._make(made, stage)
        (self.losses if kind == "loss" else self.stages).append(stage)

    def _check_kind(self, info: Method, kind: str, place: str) -> None:
        heads = set(info.makes)
        signal, objective = bool(heads & {"parts", "step_parts", "token_parts"}), bool(heads & {"token_loss", "loss"})
        home = "reward" if signal else "loss" if objective else "pipeline"
        if kind != home:
            wanted = {
                "reward": "a signal under [[reward]]",
                "loss": "an objective under [[loss]]",
                "pipeline": "a stage that makes rewards, credit or weights",
            }[kind]
            raise RecipeError(
                f"{place}: expected {wanted}, got {info.name}, which makes {', '.join(info.makes)}; stand it under [[{home}]]"
            )

    def _each(self, spec: Stage, place: str) -> tuple[str, ...] | None:
        if spec.each is None:
            return None
        known = self._part_names()
        names = known if spec.each == "*" else list(spec.each)
        unknown = [n for n in names if n not in known]
        if unknown or not names:
            raise RecipeError(
                f"{place}: expected each among the rewards {known}, got {unknown[0] if unknown else 'none'!r}; correct it"
            )
        return tuple(names)

    def _part_names(self, head: str = "parts") -> list[str]:
        return [made.split(".", 1)[1] for made in self.made if made.startswith(f"{head}.")]

    def _bind(self, info: Method, take: Take, spec: Stage, place: str, kind: str, each: Any) -> Binding | None:
        source = spec.take.get(take.name)
        if source is None:
            if take.optional:
                return None
            source = take.name
        source = self.models.source(source, take, place)
        quantity = lookup(source)
        head = source.split(".", 1)[0]
        if quantity is None:
            if source not in self.columns:
                raise RecipeError(
                    f"{place}: expected {source!r} to be a quantity or a column of the task, got columns "
                    f'{sorted(self.columns) or "none"}; rename a column or take = {{{take.name} = "..."}}'
                )
            if take.quantity is not None and take.quantity.dtype != "object":
                raise RecipeError(
                    f"{place}: expected a quantity for {take.name}, got the column {source!r}; "
                    "only a signal reads columns: make a [[reward]] of it and take parts.NAME"
                )
            return Binding(take.name, source)
        if "." in source and not quantity.keyed:
            raise RecipeError(
                f"{place}: expected a keyed quantity before the dot, got {source!r}; parts, step_parts and token_parts are keyed"
            )
        keyed = quantity.keyed and "." not in source and each is not None and take.name in spec.take
        names = [f"{source}.{key}" for key in each or ()] if keyed else [source]
        if info.update_phase and source == "token_advantages":
            self._lift()
        if source == "ratio" and "ratio" not in self.made:  # the one implicit stage: the ratio of each token
            self._add(Stage(use="token-ratio"), "pipeline", f"{place}, by its token-ratio", implicit=True)
        for name in names:
            if not self._available(name):
                raise RecipeError(self._missing(place, take, name))
        if head in ("prefix_values", "greedy_rewards"):
            if "rewards" not in self.made:
                raise RecipeError(
                    f"{place}: takes {head}, which are rewards of extra completions, but nothing above makes rewards; "
                    "add a stage that does above, such as weighted-sum"
                )
            self._read("rewards")
        if quantity.phase == "update" and kind == "reward":
            raise RecipeError(
                f"{place}: expected quantities of the rollout phase for a signal, got {source}; take {'old_' + head} instead"
            )
        check_taken(info, take, source, keyed, place)
        return Binding(take.name, source, keyed)

    def _makes(self, info: Method, spec: Stage, place: str, each: Any) -> tuple[str, ...]:
        makes = info.makes if spec.make is None else (spec.make,) if isinstance(spec.make, str) else tuple(spec.make)
        if len(makes) != len(info.makes):
            raise RecipeError(
                f"{place}: expected make with {len(info.makes)} names for {list(info.makes)}, got {list(makes)}; name each"
            )
        named = []
        for made in makes:
            head = made.split(".", 1)[0]
            if head not in QUANTITIES or QUANTITIES[head].provider == "derived":
                raise RecipeError(
                    f"{place}: expected make to name a quantity, got {made!r}; `guerdon explain --quantities` lists them"
                )
            quantity = QUANTITIES[head]
            if quantity.provider == "rollout" and head not in info.makes:
                raise RecipeError(
                    f"{place}: expected make to name what a method may make, got {made!r}, which comes with the rollouts; choose another"
                )
            if each is not None and not quantity.keyed:
                raise RecipeError(
                    f"{place}: expected make to name a keyed quantity, since each runs once per part, got {made!r}; "
                    'such as make = "part_advantages"'
                )
            if quantity.keyed and "." not in made and each is None:
                made = f"{made}.{spec.label}"
            named.append(made)
        return tuple(named)

    def _instance(self, info: Method, options: dict[str, Any], place: str) -> Any:
        from guerdon.schedules import at

        return info.call(**{name: at(value, 0.0) for name, value in options.items()})

    # what is there, what is read ------------------------------------------------------------------------------------

    def _available(self, name: str) -> bool:
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
        if head in ("prefix_values", "answer_logp") and not self._available("step_ids"):
            return False
        if head in ("origin",) or quantity.provider == "derived":
            return True
        return self.host.provides(head)

    def _missing(self, place: str, take: Take, name: str) -> str:
        head, _, key = name.partition(".")
        provider = QUANTITIES[head].provider
        if not self.host.provides(head) and (head in self.host.lacks or provider in (*self.host.lacks, "model")):
            return self._not_here(place, head)
        if key:
            return f"{place}: expected an entry of {head} among {self._part_names(head)}, got {name!r}; add a [[reward]] of that name or correct it"
        if head in ("step_ids", "step_mask", "step_end") or (
            head in ("prefix_values", "answer_logp") and self.host.provides(head)
        ):
            return f"{place}: expected steps in the rollouts for {head}, got none; {self._steps()}"
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
        late = next((s.label for s in self.below if head in _heads(s)), None)
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
            for w, there in (("split-steps", spans and self._available("token_spans")), ("turns-as-steps", turns))
            if there
        ]
        return f"add {' or '.join(ways)} above" if ways else f"{self.host.name} has none: leave the stage out"

    def _not_here(self, place: str, head: str) -> str:
        meaning, advice = QUANTITIES[head].meaning, self.host.instead(head)
        return f"{place}: takes {head} ({meaning}), which {self.host.name} does not provide; {advice}"

    def _distance(self, info: Method) -> tuple[int, bool]:
        """How far a method is from running here: what it lacks, and, of equals, plain ones before those of a paper."""
        asked = [t.name for t in info.takes if not t.optional]
        return sum(not self._known(name) for name in asked), bool(info.papers)

    def _known(self, name: str) -> bool:
        return name in self.columns if lookup(name) is None else self._available(name)

    def _read(self, name: str) -> None:
        head, _, key = name.partition(".")
        for made in list(self.unread):
            if made == name or (not key and made.startswith(f"{head}.")) or made.split(".", 1)[0] == name:
                del self.unread[made]

    def _make(self, made: str, stage: BoundStage) -> None:
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

    def _close_credit(self) -> None:
        if not self.recipe.loss:
            raise RecipeError(
                'expected at least one [[loss]], got none; add one such as use = "clipped-surrogate", or a preset'
            )
        self._lift()

    def _lift(self) -> None:
        """The one implicit lift: a row's advantage on its chosen positions."""
        if "token_advantages" not in self.made and "advantages" in self.made:
            self.made["token_advantages"] = self.made["advantages"]
            self.unread.pop("advantages", None)

    def _refuse_unread(self) -> None:
        for made, stage in self.unread.items():
            if isinstance(stage.spec, Reward) and (stage.spec.weight == 0 or "correct" in stage.method.makes):
                continue
            head = made.split(".", 1)[0]
            reader = "read it below or remove the stage"
            if head in ("parts", "step_parts"):
                summing = "weighted-sum" if head == "parts" else "weighted-step-sum"
                reader = f"add {summing}, which reads every part, or weight = 0 to only watch it"
            raise RecipeError(f"{stage.place}: makes {made}, but nothing reads it; {reader}")

    def _update_reads(self, stage: BoundStage) -> str:
        return ", ".join(n for n in stage.reads if (q := lookup(n)) is not None and q.phase == "update")


def _heads(spec: Stage) -> set[str]:
    """What a stage that is not bound yet says that it makes."""
    if spec.make is not None:
        return {m.split(".", 1)[0] for m in ([spec.make] if isinstance(spec.make, str) else spec.make)}
    try:
        return set(find(spec.use).makes)
    except LookupError:
        return set()


__all__ = ["CARRIED", "compile_recipe"]
