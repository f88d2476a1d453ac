"""Recipes: typed data that says what to train, on what, with which rewards, credit and objective.

Written in TOML or built in Python, the same object either way. Order is explicit and top to bottom. A recipe may
include a preset (``preset = "grpo"``): the recipe's own pipeline stages stand before the preset's (shaping before
credit), its losses after the preset's (bonuses after the objective). ``set`` changes a hyper-parameter of one stage:
``set = {"clipped-surrogate.clip_high" = 0.28}``.
"""

import json
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from guerdon.method import Hyper
from guerdon.quantities import QUANTITIES
from guerdon.recipe_words import first_problem, nearest
from guerdon.schedules import Schedule, is_schedule


class RecipeError(ValueError):
    """A recipe that cannot run: where, what was expected, what was there, what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Component(BaseModel):
    """``use`` names it; every other key is an option of what it names."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)
    use: str = Field(min_length=1)

    @property
    def options(self) -> dict[str, Any]:
        """The keys that belong to what ``use`` names."""
        return dict(self.model_extra or {})


class Stage(Component):
    """One method in the pipeline, with its rebindings."""

    name: str | None = None
    """Label in lineage, ``set`` and messages; by default what ``use`` says."""
    take: dict[str, str] = {}
    """Parameter -> quantity to read instead (``{rewards = "step_returns"}``)."""
    make: str | list[str] | None = None
    """Quantity to make instead of the method's own."""
    each: list[str] | Literal["*"] | None = None
    """Run once per part: parameters bound to a keyed quantity receive one entry; ``"*"`` means every part."""

    @property
    def label(self) -> str:
        """How messages and lineage call it."""
        return self.name or self.use.split(":")[-1].replace("_", "-")


class When(_Strict):
    """Which rows a signal is asked for: those of which all that is given here holds. Each names quantities of rows."""

    true: tuple[str, ...] = ()
    """All of these are above 0 (``["correct"]``)."""
    false: tuple[str, ...] = ()
    """All of these are scored, and not above 0."""
    unscored: tuple[str, ...] = ()
    """All of these are NaN."""
    differ: tuple[str, ...] = ()
    """These, as far as scored, are not all equal (``["parts.exact", "parts.loose"]``)."""

    otherwise: float | None = None
    """What the other rows get; by default they are unscored, ``not asked``."""

    @property
    def reads(self) -> tuple[str, ...]:
        """Every quantity that it names."""
        return (*self.true, *self.false, *self.unscored, *self.differ)


class Reward(Stage):
    """A signal: makes an entry of ``parts`` (or ``step_parts``, ``token_parts``) named after it."""

    weight: float | Schedule = 1.0
    timeout: float | None = Field(default=60.0, gt=0)
    """Seconds for one call; past it its rows are unscored."""
    batch: int | None = Field(default=None, ge=1)
    """Rows of one call; by default all at once."""
    concurrency: int = Field(default=1, ge=1)
    """Calls at the same time."""
    retries: int = Field(default=0, ge=0)
    """Further tries of a call that raised or timed out; the wait before each doubles."""
    cache: bool = False
    """Whether rows that were scored before are read from disk (``$GUERDON_CACHE``, or the user's cache folder)."""
    process: bool = False
    """Whether it runs in processes of its own (as many as ``concurrency``), which are killed when they time out."""
    when: When | None = None
    """Only these rows are asked."""


class Loss(Stage):
    """An objective: its coefficient, and how its positions are aggregated."""

    weight: float | Schedule = 1.0
    aggregate: Literal["token-mean", "sequence-mean", "sequence-sum"] = "token-mean"
    constant: float | None = Field(default=None, gt=0)
    """Denominator per row of sequence-sum; by default sampling.max_tokens."""
    weighted: bool = True
    """Whether weights and token_weights multiply it; false for a price, such as a KL, that all positions pay alike."""


class Model(Component):
    """An auxiliary model that scores in the loop, and learns in it unless ``update`` is never."""

    name: str | None = None
    """What the recipe calls its results by: ``take = {model_logp = "NAME.logp"}``."""
    update: Literal["before", "after", "never"] = "after"
    """Whether it learns from an iteration's rollouts before it scores them, after, or not at all."""
    every: int = Field(default=1, ge=1)
    """Iterations between two updates."""
    warm_up: int = Field(default=0, ge=0)
    """Iterations at the start in which it learns and the policy does not."""
    learning_rate: float = Field(default=1e-4, gt=0)
    clip_gradient: float = Field(default=10.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)

    @property
    def label(self) -> str:
        """How messages and other stages call it."""
        return self.name or self.use.split(":")[-1].replace("_", "-")


class RolloutSpec(_Strict):
    """How the rollouts of an iteration branch and are continued from their prefixes, and which rows are asked of more."""

    forks: int = Field(default=1, ge=1)
    """Branches that an unfinished completion may take after each step; 1: completions of a prompt are independent."""
    prefix_draws: int = Field(default=4, ge=1)
    """Continuations from each step boundary whose mean reward is prefix_values."""
    prefix_suffix: str = ""
    """Text put after a prefix before it is continued, such as one that forces an answer."""
    chunks: int = Field(default=1, ge=1)
    """Parts in which an iteration's prompts are sampled: signals score one part while the next is sampled."""
    where: str | None = None
    """A quantity of rows, such as ``advantages`` after a filter: rows where it is NaN are left out of all forward passes,
    models and extra rollouts that come after it, and what those would have given is NaN."""
    prover: Component | None = None
    """The policy that continues prefixes; by default the policy itself as it is now."""


class EngineSpec(Component):
    """Another program that draws the completions (see `guerdon.policies.engines`)."""

    sync_every: int = Field(default=1, ge=1)
    """Iterations between two times that it gets the policy's weights; more than 1: completions come from older weights."""


class SamplingSpec(_Strict):
    """How completions are drawn in training (see `guerdon.policies.protocol.Sampling`)."""

    temperature: float = Field(default=1.0, gt=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    max_tokens: int | None = Field(default=None, ge=1)
    """By default what the task says suffices."""
    stop: tuple[str, ...] = ()
    engine: EngineSpec | None = None
    """By default the policy samples by itself."""


class Training(_Strict):
    """Optimisation and bookkeeping."""

    iterations: int = Field(default=200, ge=1)
    """Rounds of rollouts and updates."""
    prompts: int = Field(default=64, ge=1)
    """Prompts per iteration."""
    samples: int = Field(default=8, ge=1)
    """Completions per prompt: the group."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the rollouts of an iteration."""
    minibatches: int = Field(default=1, ge=1)
    """Optimiser steps per pass."""
    micro_tokens: int = Field(default=16384, ge=1)
    """Positions (prompt and response, padding included) of one forward pass; memory, not mathematics."""
    learning_rate: float = Field(default=1e-5, gt=0)
    warmup: int = Field(default=0, ge=0)
    """Iterations over which the learning rate rises from 0."""
    decay: Literal["linear", "cosine", "none"] = "linear"
    final_learning_rate: float = Field(default=0.0, ge=0)
    """Share of learning_rate at the end of the decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(default=0.0, ge=0)
    clip_gradient: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient; inf: no clipping."""
    old_logp: Literal["auto", "sampled", "recompute"] = "auto"
    """Where old_logp comes from; auto: as sampled where the sampler cut nothing off."""
    reference_decay: float | None = Field(default=None, ge=0, lt=1)
    """Decay of the average of the policy's weights that the reference follows, one step per iteration; none: it stays as it is."""
    seed: int = Field(default=0, ge=0)
    failure_limit: float = Field(default=0.2, ge=0, le=1)
    """Share of failed scores of one signal in one iteration past which the run stops."""
    evaluate_every: int = Field(default=0, ge=0)
    """Iterations between evaluations on held-out prompts; 0: only before and after."""
    evaluate_prompts: int = Field(default=512, ge=0)
    evaluate_samples: int = Field(default=1, ge=1)
    """k of pass@k: completions per held-out prompt."""
    checkpoint_every: int = Field(default=50, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    save_rollouts_every: int = Field(default=1, ge=0)
    """Iterations between saved rollouts; 0: none."""
    tensorboard: bool = False
    threads: int | None = Field(default=None, ge=1)
    """CPU threads of torch; by default torch's own choice."""
    fsdp: bool = False
    """Whether several processes share out the policy's weights and optimiser state (FSDP2); alone, a process keeps all."""


class Recipe(_Strict):
    """A whole recipe. See the module's docstring for how presets are merged."""

    preset: str | None = None
    set: dict[str, Any] = {}
    task: Component | None = None
    policy: Component = Component(use="tiny")
    sampling: SamplingSpec = SamplingSpec()
    rollouts: RolloutSpec = RolloutSpec()
    model: tuple[Model, ...] = ()
    reward: tuple[Reward, ...] = ()
    pipeline: tuple[Stage, ...] = ()
    loss: tuple[Loss, ...] = ()
    training: Training = Training()

    @model_validator(mode="after")
    def _names(self) -> "Recipe":
        seen: set[str] = set()
        for reward in self.reward:
            if "." in reward.label:
                raise ValueError(f"expected a reward name without a dot, got {reward.label!r}; pass name = ...")
            if reward.label in seen:
                raise ValueError(
                    f"expected different reward names, got {reward.label!r} twice; give one of them name = ..."
                )
            seen.add(reward.label)
        named: set[str] = set()
        for model in self.model:
            if "." in model.label or model.label in QUANTITIES:
                raise ValueError(
                    f"expected a model name without a dot that is no quantity, got {model.label!r}; pass name = ..."
                )
            if model.label in named:
                raise ValueError(
                    f"expected different model names, got {model.label!r} twice; give one of them name = ..."
                )
            named.add(model.label)
        return self

    def toml(self) -> str:
        """The recipe as TOML that loads to the same recipe."""
        return tomli_w.dumps(_plain(self.model_dump(exclude_defaults=True, exclude_none=True)))


_SETTINGS = [
    f for m in (Recipe, Training, SamplingSpec, EngineSpec, RolloutSpec, When, Schedule) for f in m.model_fields
]
_STAGE_SETTINGS = tuple(dict.fromkeys(f for m in (Reward, Loss, EngineSpec) for f in m.model_fields if f != "use"))


def shipped(kind: Literal["recipes", "presets"]) -> list[str]:
    """Names of the recipes or presets that come with the package."""
    folder = resources.files("guerdon") / kind
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def load(source: "Recipe | Mapping[str, Any] | str | Path | None" = None) -> Recipe:
    """Read a recipe from a TOML file, the name of a shipped recipe, a dictionary, or (None) the embedded default.

    The result has its preset merged and its ``set`` applied.

    Raises:
        RecipeError: unreadable or malformed, with the place and what to do.
    """
    if isinstance(source, Recipe):
        return _expand(source.model_dump(exclude_unset=True), "recipe") if source.preset or source.set else source
    if isinstance(source, Mapping):
        return _expand(dict(source), "recipe")
    name = "arithmetic" if source is None else str(source)
    if not name.endswith(".toml") and name in shipped("recipes"):
        return _expand(
            tomllib.loads((resources.files("guerdon") / "recipes" / f"{name}.toml").read_text("utf-8")), name
        )
    return _expand(_read(Path(name)), name)


def check_options(label: str, hypers: Mapping[str, Hyper], given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method, task or policy, checked against its keyword-only parameters.

    Raises:
        RecipeError: an unknown, missing or mistyped option, or a schedule of something that is not a float.
    """
    unknown = sorted(set(given) - set(hypers))
    if unknown:
        raise RecipeError(
            f"{label}: expected {f'options among {sorted(hypers)}' if hypers else 'no options'}, got {unknown[0]!r}; "
            f"{nearest(unknown[0], [*hypers, *_STAGE_SETTINGS]) or 'remove or correct it'}"
        )
    missing = [h.name for h in hypers.values() if h.required and h.name not in given]
    if missing:
        raise RecipeError(f"{label}: expected the option {missing[0]!r}, got none; add {missing[0]} = ...")
    return {name: _check_option(label, hypers[name], value) for name, value in given.items()}


def _check_option(label: str, hyper: Hyper, value: Any) -> Any:
    if is_schedule(value):
        if not (hyper.annotation is float or float in getattr(hyper.annotation, "__args__", ())):
            raise RecipeError(
                f"{label}: expected {hyper.name} as {_type(hyper)}, got a schedule; only a float can follow one"
            )
        try:
            return value if isinstance(value, Schedule) else Schedule.model_validate(value)
        except ValidationError as error:
            raise RecipeError(f"{label}: {first_problem(error, hyper.name)}") from None
    try:
        adapter = TypeAdapter(hyper.annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticUserError, PydanticUndefinedAnnotation) as error:
        raise RecipeError(
            f"{label}: the annotation of {hyper.name} cannot be checked ({error}); annotate it plainly"
        ) from None
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError):
        raise RecipeError(f"{label}: expected {hyper.name} as {_type(hyper)}, got {value!r}; correct it") from None


def _type(hyper: Hyper) -> str:
    plain = hyper.annotation in (int, float, str, bool)
    return hyper.annotation.__name__ if plain else str(hyper.annotation).replace("typing.", "")


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        raise RecipeError(
            f"expected a recipe file or one of {shipped('recipes')}, got {str(path)!r}, which does not exist; check the path"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"expected a readable TOML file, got {str(path)!r} ({error}); check permissions and encoding (UTF-8)"
        ) from None
    if not text.strip():
        raise RecipeError(f"expected a recipe, got the empty file {str(path)!r}; start from `guerdon explain --toml`")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"expected TOML, got {str(path)!r} with a mistake: {error}; correct that line") from None


def _expand(data: dict[str, Any], where: str) -> Recipe:
    preset = data.get("preset")
    if preset is not None:
        if preset not in shipped("presets"):
            raise RecipeError(
                f"{where}: expected a preset among {shipped('presets')}, got {preset!r}; choose one or write the stages out"
            )
        base = tomllib.loads((resources.files("guerdon") / "presets" / f"{preset}.toml").read_text("utf-8"))
        data = _merge(base, {k: v for k, v in data.items() if k != "preset"})
    try:
        # JSON mode: strict about strings and numbers, tolerant of lists for tuples
        recipe = Recipe.model_validate_json(json.dumps(data, default=_json))
    except ValidationError as error:
        raise RecipeError(f"{where}: {first_problem(error, settings=_SETTINGS)}") from None
    return _apply(recipe, where) if recipe.set else recipe


def _json(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    raise RecipeError(
        f"expected plain data in a recipe, got {type(value).__name__} {value!r}; use numbers, strings, lists and tables"
    )


def _merge(base: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    merged = {**base, **own}
    for table in ("training", "sampling", "rollouts"):
        if table in base and table in own:
            merged[table] = {**base[table], **own[table]}
    merged["pipeline"] = [*own.get("pipeline", []), *base.get("pipeline", [])]
    merged["model"] = [*base.get("model", []), *own.get("model", [])]
    merged["loss"] = [*base.get("loss", []), *own.get("loss", [])]
    return merged


def _apply(recipe: Recipe, where: str) -> Recipe:
    data = recipe.model_dump(exclude_unset=True, exclude={"set"})
    for key, value in recipe.set.items():
        label, dot, option = key.rpartition(".")
        hits = [
            data[table][i]
            for table in ("model", "reward", "pipeline", "loss")
            for i, stage in enumerate(getattr(recipe, table))
            if stage.label == label
        ]
        if not dot or not hits:
            labels = [s.label for s in (*recipe.model, *recipe.reward, *recipe.pipeline, *recipe.loss)]
            raise RecipeError(
                f"{where}: expected set keys of the form stage.option with a stage among {labels}, got {key!r}; correct it"
            )
        for stage in hits:
            stage[option] = value
    return _expand(data, where)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
