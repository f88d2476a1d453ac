"""Build what a recipe names: task, policy, pipeline, sampling; each with its options checked."""

from dataclasses import dataclass
from typing import Any

import torch

from guerdon.method import hypers_of, load_object
from guerdon.pipeline import ModelFace, Pipeline, compile_recipe
from guerdon.pipeline.extra import check_turns
from guerdon.policies import POLICIES
from guerdon.policies.engines import ENGINES
from guerdon.policies.engines.policy import EnginePolicy
from guerdon.policies.engines.protocol import EngineError, Served
from guerdon.policies.protocol import Policy, Sampling
from guerdon.recipe import Component, Recipe, RecipeError, check_options, nearest
from guerdon.reward_models import MODELS
from guerdon.reward_models.protocol import InLoopModel
from guerdon.tasks import TASKS
from guerdon.tasks.environment import EnvironmentTask
from guerdon.tasks.protocol import Task
from guerdon.training.balance import check_imitation
from guerdon.training.episodes import turn_structure
from guerdon.training.generators import derive
from guerdon.training.micro import shares_prompts
from guerdon.training.models import LoopModel, LoopModels
from guerdon.training.ranks import ONE, Ranks
from guerdon.training.replay import check_replay


@dataclass(frozen=True, eq=False)
class Parts:
    """A recipe with everything it names."""

    recipe: Recipe
    task: Task
    pipeline: Pipeline
    sampling: Sampling

    @property
    def forks(self) -> int:
        """Branches of an unfinished completion after each step; 1: completions are independent."""
        return self.recipe.rollouts.forks

    def policy(self) -> Policy:
        """A new policy with its initial weights, with a value head where the pipeline reads values."""
        own = self._initial(heads=bool(self.pipeline.needs & {"values", "old_values", "bootstrap_values"}))
        spec = self.recipe.sampling.engine
        if spec is None:
            return own
        if not isinstance(own, Served):
            raise RecipeError(
                f"sampling.engine: expected a policy that tells its tokenizer and end tokens (ends), got {type(own).__name__}; "
                "leave the engine out"
            )
        policy = EnginePolicy(own, create("sampling.engine", spec, ENGINES), sync_every=spec.sync_every)
        try:
            policy.engine.check()
        except EngineError as error:
            raise RecipeError(f"sampling.engine ({spec.use}): {error}") from error
        return policy

    def prover(self) -> Policy | None:
        """The policy that continues prefixes, where the recipe names another than the one that is trained."""
        spec = self.recipe.rollouts.prover
        return None if spec is None else create("rollouts.prover", spec, POLICIES)

    def models(self, ranks: Ranks = ONE) -> LoopModels:
        """The models under [[model]], new, on backbones with the initial weights of the policy."""
        made = {}
        for spec in self.recipe.model:
            model: InLoopModel = create(f"model ({spec.label})", spec, MODELS)
            backbone = None
            if model.backbone:
                try:
                    backbone = self._initial(heads=False)
                    model.attach(backbone)
                except (ValueError, OSError) as error:
                    raise RecipeError(f"model ({spec.label}): {error}") from error
            if spec.update == "never" and getattr(model, "untaught", False):
                raise RecipeError(
                    f"model ({spec.label}): expected a checkpoint in which its heads learned, since update is never, got "
                    f"{spec.options.get('checkpoint')!r}; give one (guerdon fit writes it), or let it learn"
                )
            made[spec.label] = LoopModel(
                spec,
                model,
                micro_tokens=self.recipe.training.micro_tokens,
                temperature=self.sampling.temperature,
                seed=self.recipe.training.seed,
                ranks=ranks,
                by_prompt=shares_prompts(backbone),
            )
        return LoopModels(made)

    def _initial(self, *, heads: bool) -> Policy:
        # Initial weights of heads and adapters come from torch's global generator inside the libraries; fork it.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(self.recipe.training.seed, "initial").initial_seed())
            policy: Policy = create("policy", self.recipe.policy, POLICIES)
            if heads:
                policy.add_value_head()
        return policy


def build(recipe: Recipe) -> Parts:
    """Compile a recipe against its task.

    Raises:
        RecipeError: what cannot run.
    """
    if recipe.task is None:
        raise RecipeError('expected a [task], got none; add one, such as use = "arithmetic"')
    task: Task = create("task", recipe.task, TASKS)
    check_options("policy", hypers_of(_named("policy", recipe.policy, POLICIES)), recipe.policy.options)
    try:
        columns = task.problems("train", 0, 1)
    except ValueError as error:
        raise RecipeError(f"task ({recipe.task.use}): {error}; correct the option") from error
    sampling = Sampling(
        temperature=recipe.sampling.temperature,
        top_p=recipe.sampling.top_p,
        top_k=recipe.sampling.top_k,
        max_tokens=recipe.sampling.max_tokens or task.max_tokens,
        stop=recipe.sampling.stop,
    )
    recipe = recipe.model_copy(
        update={"sampling": recipe.sampling.model_copy(update={"max_tokens": sampling.max_tokens})}
    )
    if recipe.sampling.engine is not None:
        check_options(
            "sampling.engine",
            hypers_of(_named("sampling.engine", recipe.sampling.engine, ENGINES)),
            recipe.sampling.engine.options,
        )
        if recipe.training.old_logp == "sampled":
            raise RecipeError(
                'training.old_logp: expected "auto" or "recompute" with an engine, whose log-probabilities are not the '
                'policy\'s, got "sampled"; leave it out'
            )
    branching = _branching(recipe, task)
    pipeline = compile_recipe(
        recipe,
        columns=set(columns) - {"prompts"},
        steps=task.separator is not None or isinstance(task, EnvironmentTask),
        structure=turn_structure(task) | branching,
        models=faces(recipe),
    )
    check_turns(pipeline.stages)
    if isinstance(task, EnvironmentTask) and "prefix_values" in pipeline.needs:
        for stage in pipeline.stages:
            if "prefix_values" in stage.reads:
                break
            if "step_ids" in stage.makes and "turn_ids" not in stage.reads:
                raise RecipeError(
                    f"{stage.place}: expected steps that are turns above what takes prefix_values, since an environment can be "
                    f"continued at the end of a turn only, got {stage.method.name}; stand it below"
                )
    if isinstance(task, EnvironmentTask) and recipe.rollouts.prefix_suffix and "prefix_values" in pipeline.needs:
        raise RecipeError(
            "rollouts.prefix_suffix: expected none for a task that is played in turns, since its environment would have to "
            f"answer it, got {recipe.rollouts.prefix_suffix!r}; leave it out"
        )
    if recipe.rollouts.prover is not None:
        check_options(
            "rollouts.prover",
            hypers_of(_named("rollouts.prover", recipe.rollouts.prover, POLICIES)),
            recipe.rollouts.prover.options,
        )
    if recipe.replay is not None:
        check_replay(pipeline)
    if recipe.imitation is not None:
        check_imitation(recipe.imitation, task, columns)
    return Parts(recipe, task, pipeline, sampling)


def _branching(recipe: Recipe, task: Task) -> set[str]:
    """The structure that branching completions bring with them."""
    spec = recipe.rollouts
    if spec.forks > 1 and task.separator is None and not isinstance(task, EnvironmentTask):
        raise RecipeError(
            f"rollouts.forks: expected a task whose steps are separated, or that is played in turns, got {type(task).__name__} without a separator; "
            "set task.separator, or forks = 1"
        )
    if spec.branching is not None and (spec.forks > 1 or isinstance(task, EnvironmentTask)):
        got = f"forks = {spec.forks}" if spec.forks > 1 else f"{type(task).__name__}, which is played in turns"
        raise RecipeError(
            f"rollouts.branches: expected completions of one turn without forks, got {got}; set rollouts.branches.share = 0, or leave the other out"
        )
    if spec.chunks > 1 and (spec.forks > 1 or spec.branching is not None):
        how = f"forks = {spec.forks}" if spec.forks > 1 else "branches"
        raise RecipeError(
            f"rollouts.chunks: expected 1 where completions branch, got {spec.chunks} with {how}; leave one of them out"
        )
    if spec.branching is not None:
        return {"node_ids", "step_ids"}
    return {"node_ids"} if spec.forks > 1 else set()


def faces(recipe: Recipe) -> dict[str, ModelFace]:
    """What each model under [[model]] makes and takes; its options are checked, no backbone is made."""
    models: dict[str, InLoopModel] = {m.label: create(f"model ({m.label})", m, MODELS) for m in recipe.model}
    return {name: ModelFace(m.makes, m.reads, m.learns_from) for name, m in models.items()}


def resolve(use: str, table: dict[str, str]) -> Any:
    """The class that ``use`` names in a table of ``module:Class``, or as an import path itself."""
    path = table.get(use, use)
    if ":" not in path:
        raise RecipeError(
            f"expected one of {sorted(table)} or package.module:Class, got {use!r}; {nearest(use, sorted(table)) or 'choose one'}"
        )
    try:
        return load_object(path)
    except LookupError as error:
        raise RecipeError(f"{error.args[0]}, or install the extra that has it (see README)") from error


def create(what: str, component: Component, table: dict[str, str]) -> Any:
    """Make a task or policy from its table of names, with its options checked."""
    kind = _named(what, component, table)
    options = check_options(what, hypers_of(kind), component.options)
    try:
        return kind(**options)
    except (ValueError, OSError, ImportError) as error:
        raise RecipeError(f"{what} ({component.use}): {error}") from error


def _named(what: str, component: Component, table: dict[str, str]) -> Any:
    try:
        return resolve(component.use, table)
    except RecipeError as error:
        raise RecipeError(f"{what}: {error}") from None
