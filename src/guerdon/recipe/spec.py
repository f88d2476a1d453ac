"""What a recipe may say: its tables and settings, as typed data."""

from collections.abc import Mapping
from typing import Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, model_validator

from guerdon.quantities import QUANTITIES
from guerdon.schedules import Schedule


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
    of: "list[str | Node] | None" = None
    """What it combines, in this order: parts by name, and further tables, each a stage whose result is named after it.
    By default every part."""

    @property
    def label(self) -> str:
        """How messages and lineage call it."""
        return self.name or self.use.split(":")[-1].replace("_", "-")


class Node(Stage):
    """A stage inside the ``of`` of another: it makes ``combined.NAME``, which that one reads."""

    weight: float | Schedule = 1.0
    """Its weight where the stage around it weighs what it combines."""


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
    weighted: bool | list[str] = True
    """Whether weights and token_weights multiply it; false for a price, such as a KL, that all positions pay alike. A list
    names the stages whose weights do: ``["truncated-importance", "kl-cov"]``."""


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


class BranchSpec(_Strict):
    """Branches where a policy was undecided (see `guerdon.training.trees.sample_branches`)."""

    share: float = Field(default=0.25, ge=0, lt=1)
    """Of a prompt's completions: those that branch off the others; 0: none, as if nothing was said of branches."""
    width: int = Field(default=4, ge=1)
    """Positions of a window of entropy."""
    quantile: float = Field(default=0.95, ge=0, le=1)
    """Of a row's windows; its median over the rows is the threshold."""
    words: tuple[str, ...] = ()
    """Where branches may begin; by default anywhere."""


class RolloutSpec(_Strict):
    """How the rollouts of an iteration branch and are continued from their prefixes, and which rows are asked of more."""

    forks: int = Field(default=1, ge=1)
    """Branches that an unfinished completion may take after each step; 1: completions of a prompt are independent."""
    branches: BranchSpec | None = None
    """Completions that branch off others where those were undecided; by default none do."""
    prefix_draws: int = Field(default=4, ge=1)
    """Continuations from each step boundary whose mean reward is prefix_values."""
    prefix_suffix: str = ""
    """Text put after a prefix before it is continued, such as one that forces an answer."""
    chunks: int = Field(default=1, ge=1)
    """Parts in which an iteration's prompts are sampled: signals score one part while the next is sampled."""
    where: str | None = None
    """A quantity of rows, such as ``advantages`` after a filter: rows where it is NaN are left out of all forward passes,
    models and extra rollouts that come after it, and what those would have given is NaN."""
    demonstration: str = "demonstration"
    """The column with the completion that likelihood-loss learns to say: text, a list of which the first counts, or none."""
    prover: Component | None = None
    """The policy that continues prefixes; by default the policy itself as it is now."""

    @property
    def branching(self) -> BranchSpec | None:
        """The branches, where there are any."""
        return self.branches if self.branches is not None and self.branches.share > 0 else None


class ReplaySpec(_Strict):
    """A buffer of good answers that are learnt from once more (see `guerdon.training.replay`); rows of ``origin`` 1."""

    size: int = Field(default=2048, ge=1)
    """Rows of one replay, at most."""
    fill: float = Field(default=1.5, gt=0)
    """It is time for one when more than this many times ``size`` rows are above the median (with ``decay``: are kept)."""
    baselines: int = Field(default=10240, ge=1)
    """Mean rewards of groups, the newest, whose median kept answers are measured by."""
    tolerance: int = Field(default=10, ge=1)
    """Iterations after which a kept answer is dropped."""
    normalise: bool = False
    """Whether the distance to the median is divided by the median of the groups' standard deviations."""
    decay: float | None = Field(default=None, gt=0, le=1)
    """Kept answers have the advantages of their time, times this; none: the distance to the median."""
    where: str | None = None
    """A quantity of rows, such as ``parts.turn-bonus``: only answers of which it is above 0 are kept."""
    weight: float | Schedule = 1.0
    """Of the mean loss of the replayed rows beside the mean loss of the fresh ones."""


class ImitationSpec(_Strict):
    """Demonstrations that are learnt beside the recipe's losses, with a weight that moves (see `guerdon.training.balance`)."""

    column: str = "answer"
    """The task's column that holds what is to be said behind each prompt."""
    prompts: int = Field(default=64, ge=1)
    """Demonstrations of an optimiser step."""
    weight: float = Field(default=0.5, ge=0, le=1)
    """mu at the start; the recipe's losses have 1 - mu."""
    low: float = Field(default=0.05, ge=0, le=1)
    high: float = Field(default=0.95, ge=0, le=1)
    """Bounds of mu."""
    every: int = Field(default=20, ge=0)
    """Iterations between two looks ahead; 0: only the entropy moves mu."""
    meta_rate: float = Field(default=1e-4, ge=0)
    entropy_rate: float = Field(default=5e-4, ge=0)
    """How far a look ahead, and a distance of one nat from the target, move mu."""
    normalise: bool = False
    """Whether a look ahead counts by its direction only (a cosine), whatever the size of the gradients."""
    target: float | None = Field(default=None, ge=0)
    """Entropy in nats per token below which mu rises; none: that on demonstrations when training begins."""
    heldout: int = Field(default=16, ge=1)
    """Held-out prompts of a look ahead, behind those of the evaluation."""


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
    statistics: Literal["mini-batch", "micro-batch"] = "mini-batch"
    """Over which rows weightings that look across them (covariances, quantiles) do so: those of an optimiser step, or of
    each forward pass, as some released code does; then ``micro_tokens`` is mathematics too."""
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
    replay: ReplaySpec | None = None
    imitation: ImitationSpec | None = None
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


for _model in (Stage, Node, Reward, Loss, Recipe):
    _model.model_rebuild()


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


SETTINGS = [
    f
    for m in (
        Recipe,
        Training,
        SamplingSpec,
        EngineSpec,
        RolloutSpec,
        BranchSpec,
        ReplaySpec,
        ImitationSpec,
        When,
        Schedule,
    )
    for f in m.model_fields
]
STAGE_SETTINGS = tuple(dict.fromkeys(f for m in (Reward, Loss, Node, EngineSpec) for f in m.model_fields if f != "use"))
