"""What becomes of a recipe's settings in another trainer: no key of its tables is passed over.

- used: the recipe's value is the one that runs;
- mapped: it becomes the host's own setting; where the host was told another value, the two are refused;
- told: the host decides, and a warning at the start names both;
- refused: the host has nothing like it, so that a recipe that sets it does not run there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from guerdon.pipeline.host import Host
from guerdon.recipe import Recipe, RecipeError
from guerdon.recipe.spec import RolloutSpec, SamplingSpec, Training

How = Literal["used", "mapped", "told", "refused"]
TABLES = {"training": Training, "sampling": SamplingSpec, "rollouts": RolloutSpec}


@dataclass(frozen=True)
class Fate:
    """What a host does with one setting."""

    how: How
    where: str = ""
    """The host's own setting; of a refused one, what to do instead."""
    as_its: Callable[[Any], Any] = lambda value: value
    """The recipe's value as the host writes it."""
    fine: tuple[Any, ...] = ()
    """Values of a refused setting that change nothing there."""


USED = Fate("used")


def _told(where: str = "", as_its: Callable[[Any], Any] = lambda value: value) -> Fate:
    return Fate("told", where, as_its)


def _refused(instead: str, *fine: Any) -> Fate:
    return Fate("refused", instead, fine=fine)


_COMMON = {
    "training.failure_limit": USED,
    "training.statistics": USED,
    "rollouts.forks": _refused("completions do not branch there"),
    "rollouts.branches": _told(),
    "rollouts.demonstration": _told(),
    "rollouts.chunks": _told(),
    "replay": _refused("its batches are drawn anew; train it with guerdon train"),
    "imitation": _refused("its losses are those of rollouts; train it with guerdon train"),
    "task": _told("its data set"),
    "sampling.engine": _refused("the host draws by its own engine; leave it out"),
}

TRL: Mapping[str, Fate] = {
    **_COMMON,
    "training.iterations": _told("max_steps"),
    "training.prompts": _told("generation_batch_size"),
    "training.samples": _told("num_generations"),
    "training.epochs": Fate("mapped", "num_iterations"),
    "training.minibatches": _told("steps_per_generation"),
    "training.micro_tokens": USED,
    "training.learning_rate": Fate("mapped", "learning_rate"),
    "training.warmup": _told("warmup_steps"),
    "training.decay": Fate("mapped", "lr_scheduler_type", lambda how: {"none": "constant"}.get(how, how)),
    "training.final_learning_rate": _refused("set args.lr_scheduler_type and args.lr_scheduler_kwargs"),
    "training.betas": Fate("mapped", "adam_beta1, adam_beta2"),
    "training.weight_decay": Fate("mapped", "weight_decay"),
    "training.clip_gradient": Fate("mapped", "max_grad_norm"),
    "training.old_logp": _refused("take sampled_logp in place of old_logp", "recompute"),
    "training.reference_decay": USED,
    "training.seed": Fate("mapped", "seed"),
    "training.evaluate_every": _told("eval_steps"),
    "training.evaluate_prompts": _told("eval_dataset"),
    "training.evaluate_samples": _told("num_generations_eval"),
    "training.checkpoint_every": _told("save_steps"),
    "training.keep_checkpoints": _told("save_total_limit"),
    "training.save_rollouts_every": _told("log_completions"),
    "training.tensorboard": _told("report_to"),
    "training.threads": _told("OMP_NUM_THREADS"),
    "training.fsdp": _refused("configure FSDP in accelerate"),
    "sampling.temperature": Fate("mapped", "temperature"),
    "sampling.top_p": Fate("mapped", "top_p"),
    "sampling.top_k": Fate("mapped", "top_k"),
    "sampling.max_tokens": Fate("mapped", "max_completion_length"),
    "sampling.stop": _refused("set args.generation_kwargs"),
    "rollouts.prefix_draws": USED,
    "rollouts.prefix_suffix": USED,
    "rollouts.where": USED,
    "rollouts.prover": USED,
    "policy.nucleus": USED,
    "policy.top": USED,
    "policy": _told("its model"),
}
"""TRL's, where ``where`` names a field of `GRPOConfig`."""

_ACTOR, _ROLLOUT = "actor_rollout_ref.actor", "actor_rollout_ref.rollout"
VERL: Mapping[str, Fate] = {
    **_COMMON,
    "training.iterations": _told("trainer.total_training_steps"),
    "training.prompts": _told("data.train_batch_size"),
    "training.samples": _told(f"{_ROLLOUT}.n"),
    "training.epochs": _told(f"{_ACTOR}.ppo_epochs"),
    "training.minibatches": _told(f"{_ACTOR}.ppo_mini_batch_size"),
    "training.micro_tokens": _told(f"{_ACTOR}.ppo_max_token_len_per_gpu"),
    "training.learning_rate": _told(f"{_ACTOR}.optim.lr"),
    "training.warmup": _told(f"{_ACTOR}.optim.lr_warmup_steps"),
    "training.decay": _told(f"{_ACTOR}.optim.lr_scheduler_type", lambda how: {"none": "constant"}.get(how, how)),
    "training.final_learning_rate": _told(f"{_ACTOR}.optim.min_lr_ratio"),
    "training.betas": _told(f"{_ACTOR}.optim.betas", list),
    "training.weight_decay": _told(f"{_ACTOR}.optim.weight_decay"),
    "training.clip_gradient": _told(f"{_ACTOR}.optim.clip_grad"),
    "training.old_logp": _refused("set algorithm.rollout_correction.bypass_mode", "recompute"),
    "training.reference_decay": _refused("its reference stays as it is; train it in TRL or with guerdon train"),
    "training.seed": _told("data.seed"),
    "training.evaluate_every": _told("trainer.test_freq"),
    "training.evaluate_prompts": _told("data.val_files"),
    "training.evaluate_samples": _told(f"{_ROLLOUT}.val_kwargs.n"),
    "training.checkpoint_every": _told("trainer.save_freq"),
    "training.keep_checkpoints": _told("trainer.max_actor_ckpt_to_keep"),
    "training.save_rollouts_every": _told("trainer.rollout_data_dir"),
    "training.tensorboard": _told("trainer.logger"),
    "training.threads": _told("OMP_NUM_THREADS"),
    "training.fsdp": _told(f"{_ACTOR}.strategy"),
    "sampling.temperature": _told(f"{_ROLLOUT}.temperature"),
    "sampling.top_p": _told(f"{_ROLLOUT}.top_p"),
    "sampling.top_k": _told(f"{_ROLLOUT}.top_k", lambda k: k or -1),
    "sampling.max_tokens": _told("data.max_response_length"),
    "sampling.stop": _refused("set the stop strings of the rollout engine"),
    "rollouts.prefix_draws": _told(),
    "rollouts.prefix_suffix": _told(),
    "rollouts.where": _told(),
    "rollouts.prover": _told(),
    "policy.nucleus": _told(),
    "policy.top": _told(),
    "policy": _told("actor_rollout_ref.model"),
}
"""verl's, where ``where`` is a path in its configuration."""

FATES = {"guerdon.adapters.trl": TRL, "guerdon.adapters.verl": VERL}
"""By the module of the adapter."""


def given(recipe: Recipe) -> dict[str, Any]:
    """The settings that a recipe, or its preset, says: ``training.learning_rate`` and so on, with their values."""
    said: dict[str, Any] = {}
    for table in TABLES:
        held = getattr(recipe, table)
        said |= {f"{table}.{name}": getattr(held, name) for name in sorted(held.model_fields_set)}
    said |= {name: held for name in ("replay", "imitation") if (held := getattr(recipe, name)) is not None}
    said |= {"task": recipe.task.use} if recipe.task is not None else {}
    if "policy" in recipe.model_fields_set:
        own = {f"policy.{name}": value for name, value in recipe.policy.options.items() if name in ("nucleus", "top")}
        said |= {"policy": recipe.policy.use, **own}
    return said


def refuse(host: Host, recipe: Recipe) -> None:
    """Refuse settings that a host has nothing for.

    Raises:
        RecipeError: with the setting, the host, and what to do.
    """
    fates = FATES.get(host.adapter, {})
    for name, value in given(recipe).items():
        fate = fates.get(name)
        if fate is not None and fate.how == "refused" and value not in (default_of(name), *fate.fine):
            raise RecipeError(
                f"{name}: expected a recipe without it in {host.name}, got {value if '.' in name else 'a table'!r}; {fate.where}, "
                "or leave it out"
            )


def default_of(name: str) -> Any:
    """What a setting is where nobody says it."""
    table, _, field = name.partition(".")
    return TABLES[table].model_fields[field].default if table in TABLES else None


def differences(host: Host, recipe: Recipe, theirs: Callable[[str], Any]) -> list[str]:
    """A line for each setting that the recipe says and the host decides, unless it is known to be the same there; [task] and
    [policy] are always the host's own.

    ``theirs`` reads the host's own setting, None where it has none of that name.
    """
    lines = []
    for name, value in given(recipe).items():
        fate = FATES[host.adapter][name]
        if fate.how != "told" or value == default_of(name) or name in ("task", "policy"):
            continue
        own = theirs(fate.where) if fate.where else None
        if own is None:
            lines.append(f"{name}: left to {host.name}{f' ({fate.where})' if fate.where else ''}")
        elif own != fate.as_its(value):
            lines.append(f"{name} = {value} in the recipe, {fate.where} = {own} in {host.name}, which decides")
    return lines
