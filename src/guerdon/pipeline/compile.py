"""Bind every stage of a recipe by its signature, and refuse what cannot run before anything runs.

Refused, each with the place, what was expected, what was there, and what to do: an unknown method; a quantity that
nothing above makes; a wrong level or phase; a result that nothing reads, or that is overwritten before it is read;
unknown names of parts; an objective without advantages.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from guerdon.method import Method, Take, find
from guerdon.pipeline.asking import check_asking
from guerdon.pipeline.entries import check_entries
from guerdon.pipeline.extra import check_extra
from guerdon.pipeline.host import OWN, Host
from guerdon.pipeline.known import Known, heads
from guerdon.pipeline.levels import check_made, check_taken
from guerdon.pipeline.losses import DIFFERENTIABLE, Objective, imitates
from guerdon.pipeline.models import BoundModels
from guerdon.pipeline.nested import check_node, combined
from guerdon.pipeline.ratios import check_ratios
from guerdon.pipeline.run import Pipeline
from guerdon.pipeline.stage import Binding, BoundStage, ModelFace
from guerdon.pipeline.weights import check_weights
from guerdon.quantities import QUANTITIES, lookup
from guerdon.recipe import Node, Recipe, RecipeError, Stage, check_options


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
        self.known = Known(columns, carried, host, recipe.rollouts.demonstration)
        self.models = self.known.models = BoundModels(recipe, models, self.known.known, self.known.read)
        self.objective = objective
        self.stages: list[BoundStage] = []
        self.losses: list[BoundStage] = []
        taken = sorted(self.known.columns & set(QUANTITIES) - {"prompts", "completions"})
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
            self.known.below = self.recipe.pipeline[i + 1 :]
            if not self.objective and heads(spec) <= DIFFERENTIABLE:
                continue  # a part of the losses, which are left out
            self._add_tree(spec, f"pipeline[{i}]")
        if self.objective:
            self._close_credit()
            for i, spec in enumerate(self.recipe.loss):
                self._add(spec, "loss", f"loss[{i}] ({spec.label})")
            self.models.close()
            self.known.refuse_unread()
            check_ratios(self.stages, self.losses)
            check_weights(self.stages, [loss for loss in self.losses if not imitates(loss)])
        where = self.recipe.rollouts.where
        if where is not None and (where not in self.known.made or QUANTITIES[where.split(".")[0]].axes != "B"):
            raise RecipeError(
                f"rollouts.where: expected a quantity of rows that a stage makes, got {where!r}; "
                f"name one of {sorted(m for m in self.known.made if QUANTITIES[m.split('.')[0]].axes == 'B')}"
            )
        check_extra(self.stages, "greedy_rewards", "a greedy completion")
        check_extra(self.stages, "prefix_values", "a continuation")
        rollout = tuple(s for s in self.stages if not s.update_phase)
        update = tuple(s for s in self.stages if s.update_phase)
        return Pipeline(
            recipe=self.recipe,
            stages=rollout,
            objective=Objective(update, tuple(self.losses), self.recipe.sampling.max_tokens),
            columns=self.known.columns,
            models=self.models.asked,
        )

    def _add_tree(self, spec: Stage, place: str) -> None:
        """A stage and, before it, the tables that stand in its ``of``."""
        for i, child in enumerate(spec.of or ()):
            if isinstance(child, Node):
                inner = f"{place}.of[{i}]"
                check_node(child, self.known, f"{inner} ({child.label})")
                self._add_tree(child.model_copy(update={"make": f"combined.{child.label}"}), inner)
        self._add(spec, "pipeline", f"{place} ({spec.label})")

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
        spec, chosen = combined(spec, info, self.known, place, kind)
        bindings = chosen + tuple(
            b
            for t in info.takes
            if t.name not in {c.parameter for c in chosen}
            and (b := self._bind(info, t, spec, place, kind, each)) is not None
        )
        if info.columns:
            bindings += tuple(
                Binding(c, c) for c in sorted(self.known.columns - {b.parameter for b in bindings} - {"prompts"})
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
        check_entries(stage, self.known)
        apart = {n: (q := lookup(n)) is not None and q.provider == "demonstration" for n in stage.reads}
        if any(apart.values()) and not all(apart.values()):
            other = next(name for name, its in apart.items() if not its)
            raise RecipeError(
                f"{place}: expected a loss of demonstrations to read nothing else, since their rows are not those of the rollouts, "
                f"got {other}; take a quantity of demonstrations in its place"
            )
        fine = set(makes) <= DIFFERENTIABLE or set(makes) <= {"weights", "token_weights"}
        if stage.update_phase and kind != "loss" and not fine:
            raise RecipeError(
                f"{place}: expected a stage that takes {self._update_reads(stage)} to make only weights, the ratio or windowed_entropy, got {makes[0]}; "
                "stand it under [[loss]], or take the quantity at the start of the iteration (old_logp, old_entropy)"
            )
        if kind == "reward":
            check_asking(stage, self.known.available)
            for name in stage.needs:
                self.known.read(name)
        for binding in bindings:
            for name in binding.reads:
                self.known.read(name)
            if self.models.make(binding.source):
                self.models.ask(binding.source.rpartition(".")[2], f"before {place}")
        for made in makes:
            self.known.make(made, stage)
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
        known = self.known.part_names()
        names = known if spec.each == "*" else list(spec.each)
        unknown = [n for n in names if n not in known]
        if unknown or not names:
            raise RecipeError(
                f"{place}: expected each among the rewards {known}, got {unknown[0] if unknown else 'none'!r}; correct it"
            )
        return tuple(names)

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
            if source not in self.known.columns:
                raise RecipeError(
                    f"{place}: expected {source!r} to be a quantity or a column of the task, got columns "
                    f'{sorted(self.known.columns) or "none"}; rename a column or take = {{{take.name} = "..."}}'
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
            self.known.lift()
        if source == "ratio" and "ratio" not in self.known.made:  # the one implicit stage: the ratio of each token
            self._add(Stage(use="token-ratio"), "pipeline", f"{place}, by its token-ratio", implicit=True)
        for name in names:
            if not self.known.available(name):
                raise RecipeError(self.known.missing(place, take, name))
        if head in ("prefix_values", "greedy_rewards"):
            if "rewards" not in self.known.made:
                raise RecipeError(
                    f"{place}: takes {head}, which are rewards of extra completions, but nothing above makes rewards; "
                    "add a stage that does above, such as weighted-sum"
                )
            self.known.read("rewards")
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

        try:
            return info.call(**{name: at(value, 0.0) for name, value in options.items()})
        except ValueError as error:
            raise RecipeError(f"{place}: {error}") from error

    def _close_credit(self) -> None:
        if not self.recipe.loss:
            raise RecipeError(
                'expected at least one [[loss]], got none; add one such as use = "clipped-surrogate", or a preset'
            )
        self.known.lift()

    def _update_reads(self, stage: BoundStage) -> str:
        return ", ".join(n for n in stage.reads if (q := lookup(n)) is not None and q.phase == "update")
