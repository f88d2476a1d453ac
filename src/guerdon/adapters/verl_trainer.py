"""verl's trainers with a whole recipe as their advantage; needs verl with its TransferQueue."""

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import verl.trainer.ppo.v1.trainer_base  # pyright: ignore[reportMissingImports]
from omegaconf import OmegaConf, open_dict  # pyright: ignore[reportMissingImports]
from tensordict import TensorDict  # pyright: ignore[reportMissingImports]
from verl.workers.utils.padding import response_to_nested  # pyright: ignore[reportMissingImports]

from guerdon.adapters.data import group_ids, rollouts_of, with_steps, with_turns
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.refusals import refuse_update
from guerdon.adapters.settings import tell
from guerdon.adapters.verl_credit import CREDIT, NAME, credited
from guerdon.adapters.verl_cut import RECIPE, cut, writes_tools
from guerdon.adapters.verl_data import columns_of, ended, unpack
from guerdon.adapters.verl_settings import OF_CREDIT, OF_LOSSES, refuse_taken_over
from guerdon.batch import Rollouts
from guerdon.pipeline.run import Outcome, Pipeline
from guerdon.policies.token_text import TokenText
from guerdon.recipe import RecipeError
from guerdon.signals.scores import Outcome as Said
from guerdon.training.generators import derive

logger = logging.getLogger(__name__)
_verl: Any = verl.trainer.ppo.v1.trainer_base

FIELDS = {
    "old_logp": ("old_log_probs", "algorithm.rollout_correction.bypass_mode=false"),
    "ref_logp": ("ref_log_prob", "actor_rollout_ref.actor.use_kl_loss=true, with kl_loss_coef=0 for none in the loss"),
    "old_entropy": ("entropy", "algorithm.rollout_correction.bypass_mode=false"),
    "old_values": ("values", "critic.enable=true"),
    "sampled_logp": ("rollout_log_probs", "actor_rollout_ref.rollout.calculate_log_probs=true"),
}
"""What verl's queue holds of each position: its name there, and the setting that makes verl compute it."""
_ROWS = ("uid", "prompts", "responses", "response_mask", "raw_prompt", "extra_fields", "extra_info", "reward_model")


def subclass(base: Any, mode: str) -> type:
    """One of verl's trainers, with the recipe's credit of the whole batch in place of an estimator."""

    class GuerdonTrainer(base):
        def __init__(self, config):
            config = config.copy()
            with open_dict(
                config
            ):  # verl tells its modes apart by this name, and takes an unknown one for asynchronous
                config.trainer.v1.trainer_mode = mode
            super().__init__(config)
            self.recipe = cut(tools=writes_tools(config))
            _check(config, self.recipe.pipeline)

        def _compute_advantage(self, batch, metrics):
            pipeline, queue = self.recipe.pipeline, _Queue(batch)
            whole = rollouts(queue, self.tokenizer, self.config.data.max_response_length, self.recipe)
            outcome = pipeline.run(
                whole.index(queue.last),
                stages=self.recipe.late,
                provide=_lacking,
                progress=min(1.0, self.global_steps / max(1, self.total_training_steps)),
                generator_for=partial(derive, pipeline.recipe.training.seed, self.global_steps),
            )
            outcome = with_failures(outcome)
            metrics.update(summary(outcome))
            pipeline.check_failures(outcome, pipeline.recipe.training.failure_limit)
            advantages, returns, keep = credited(spread(outcome.batch, whole, queue))
            queue.narrow(keep)
            token = CREDIT.set((advantages, returns))
            try:
                done = super()._compute_advantage(batch, metrics)
            finally:
                CREDIT.reset(token)
            pipeline.update(outcome.batch)
            return done

    GuerdonTrainer.__name__ = f"Guerdon{base.__name__}"
    return GuerdonTrainer


class _Queue:
    """The fields of one batch in verl's TransferQueue."""

    def __init__(self, batch: Any):
        self.keys, self.partition = batch.keys, batch.partition_id
        self.padding = [bool(tag.get("is_padding", False)) for tag in batch.tags]

        sessions = [key.rsplit("_", 1)[0] for key in self.keys]
        ends = {s: i for i, s in sorted(enumerate(sessions), key=lambda at: int(self.keys[at[0]].rsplit("_", 1)[1]))}
        self.last = sorted(ends.values())
        """The row of each session's last output, the one that was scored."""
        self.session = [self.last.index(ends[s]) for s in sessions]
        """Which of ``last`` each row belongs to."""

    def get(self, *fields: str) -> Any:
        return _verl.tq.kv_batch_get(keys=self.keys, partition_id=self.partition, select_fields=list(fields))

    def narrow(self, keep: torch.Tensor) -> None:
        """Leave only the positions ``keep`` in the loss, and in what verl divides it by."""
        kept = response_to_nested(keep.long(), self.get("response_mask")["response_mask"])
        fields = TensorDict({"response_mask": kept, "loss_mask": kept.clone()}, batch_size=len(keep))
        _verl.tq.kv_batch_put(keys=self.keys, partition_id=self.partition, fields=fields)


def rollouts(queue: _Queue, tokenizer: Any, limit: int, recipe: Any) -> Rollouts:
    """A batch of verl's queue as rollouts, with what the reward manager's signals said of it.

    Rows that verl added to fill its batch are unscored and in a group of their own.
    """
    data = queue.get(*_ROWS, *(name for name, _ in FIELDS.values()))
    lengths = data["responses"].offsets().diff()
    tokens = data["responses"].to_padded_tensor(0)
    present = torch.arange(tokens.shape[1]) < lengths[:, None]
    extra = [{} if pad else dict(x) for x, pad in zip(list(data["extra_fields"]), queue.padding, strict=True)]
    said = unpack([x.get("reward_extra_info") or {} for x in extra], tokens.shape[1])
    given = {ours: data[theirs].to_padded_tensor(0.0).float() for ours, (theirs, _) in FIELDS.items() if theirs in data}
    columns = [
        columns_of({n: list(data[n])[i] for n in ("extra_info", "reward_model") if n in data})
        for i in range(len(tokens))
    ]
    shared = set.intersection(*(set(c) for c in columns)) if columns else set()
    batch = rollouts_of(
        prompts=list(data["raw_prompt"]),
        tokens=tokens,
        present=present,
        chosen=data["response_mask"].to_padded_tensor(0).bool(),
        group=group_ids(list(data["uid"])),
        terminated=ended(tokens, present, [tokenizer.eos_token_id], limit),
        text=TokenText(tokenizer),
        columns={name: [c[name] for c in columns] for name in sorted(shared)},
        **given,
    )
    return with_steps(with_turns(batch.with_(**said)), recipe.separator)


def spread(made: Rollouts, whole: Rollouts, queue: _Queue) -> Rollouts:
    """What the last outputs of all sessions earned, on every output of theirs."""
    if len(queue.last) == whole.rows:
        return made
    if "token_advantages" in made:
        raise RecipeError(
            "expected an advantage of the whole row where sessions have several outputs, got one of positions, which "
            "says nothing of the earlier outputs; leave out stages such as step-credit and add-levels"
        )
    return whole.with_(advantages=made["advantages"][torch.tensor(queue.session)])


def with_failures(outcome: Outcome) -> Outcome:
    """The outcome with what each signal said, here or in the reward manager."""
    reasons = outcome.batch.get("reasons", {})
    return replace(outcome, said={label: Said({}, found, 0.0) for label, found in reasons.items()})


def summary(outcome: Outcome) -> dict[str, float]:
    """What verl's logger gets: the mean of each part over the rows that it scored, and how many it did not."""
    parts = outcome.batch.get("parts", {})
    found = {f"{NAME}/{label}/mean": value.nanmean().item() for label, value in parts.items()}
    found |= {f"{NAME}/{label}/unscored": value.isnan().float().mean().item() for label, value in parts.items()}
    return found | {f"{NAME}/{label}/failed": share for label, share in outcome.failed.items()}


def _lacking(name: str, _: Rollouts) -> Any:
    advice = FIELDS.get(name, ("", "another method"))[1]
    raise RuntimeError(f"expected {name} from verl, got none; set {advice}")


def _check(config: Any, pipeline: Pipeline) -> None:
    tell(HOSTS["verl"], pipeline.recipe, partial(OmegaConf.select, config))
    refuse_taken_over(OF_CREDIT, partial(OmegaConf.select, config))
    algorithm, loss = config.algorithm, config.actor_rollout_ref.actor.policy_loss.loss_mode
    if algorithm.adv_estimator != NAME or algorithm.use_kl_in_reward:
        raise RecipeError(
            f"expected algorithm.adv_estimator={NAME} and algorithm.use_kl_in_reward=false, got "
            f"{algorithm.adv_estimator} and {algorithm.use_kl_in_reward}; put kl-in-reward into the recipe ({RECIPE})"
        )
    if loss == NAME:
        refuse_update(HOSTS["verl"], pipeline)
        refuse_taken_over(OF_LOSSES, partial(OmegaConf.select, config))
    else:
        logger.warning("the recipe's losses are left to verl: actor.policy_loss.loss_mode is %s, not %s", loss, NAME)
