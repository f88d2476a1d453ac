"""What becomes of each setting of a recipe in each host, as tables; `guerdon.adapters.settings` reads them.

- used: the recipe's value is the one that runs;
- mapped: it becomes the host's own setting; where the host was told another value, the two are refused;
- told: the host decides, and a warning at the start names both;
- refused: the host has nothing like it, so that a recipe that sets it does not run there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

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
    "training.seed": USED,
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

_KEYS = [f"{table}.{name}" for table, spec in TABLES.items() for name in spec.model_fields]
_OUTSIDE: Mapping[str, Fate] = {
    **dict.fromkeys([*_KEYS, "policy", "policy.nucleus", "policy.top"], _told()),
    **_COMMON,
    "training.seed": USED,
    "training.statistics": _told(),
}
"""Of a host that asks for rewards or credit and tells nothing of its own settings."""

SLIME: Mapping[str, Fate] = {
    **_OUTSIDE,
    "training.iterations": _told("num_rollout"),
    "training.prompts": _told("rollout_batch_size"),
    "training.samples": _told("n_samples_per_prompt"),
    "training.learning_rate": _told("lr"),
    "training.weight_decay": _told("weight_decay"),
    "training.clip_gradient": _told("clip_grad"),
    "training.evaluate_every": _told("eval_interval"),
    "training.checkpoint_every": _told("save_interval"),
    "sampling.temperature": _told("rollout_temperature"),
    "sampling.top_p": _told("rollout_top_p"),
    "sampling.top_k": _told("rollout_top_k", lambda k: k or -1),
    "sampling.max_tokens": _told("rollout_max_response_len"),
    "sampling.stop": _told("rollout_stop", list),
    "task": _told("prompt_data"),
    "policy": _told("hf_checkpoint"),
}
"""slime's, where ``where`` is an argument of its command line, as its code writes it."""

SB3: Mapping[str, Fate] = {
    **_OUTSIDE,
    "training.iterations": _told("total_timesteps"),
    "training.epochs": _told("n_epochs"),
    "training.minibatches": _told("batch_size"),
    "training.learning_rate": _told("learning_rate"),
    "training.clip_gradient": _told("max_grad_norm"),
    "task": _told("env"),
    "policy": _told("policy"),
}
"""Stable-Baselines3's, where ``where`` is an argument of its models."""

FATES: Mapping[str, Mapping[str, Fate]] = {
    "guerdon.adapters.trl": TRL,
    "guerdon.adapters.trl_rewards": _OUTSIDE,
    "guerdon.adapters.verl": VERL,
    "guerdon.adapters.slime": SLIME,
    "guerdon.adapters.prime_rl": {
        **_OUTSIDE,
        "training.reference_decay": _refused("its reference stays as it is; train it in TRL or with guerdon train"),
    },
    "guerdon.adapters.openrlhf": _OUTSIDE,
    "guerdon.adapters.ms_swift": _OUTSIDE,
    "guerdon.adapters.verifiers": _OUTSIDE,
    "guerdon.adapters.sb3": SB3,
}
"""By the module of the adapter: every host but our own trainer."""
