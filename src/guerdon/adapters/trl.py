"""A recipe inside TRL: the whole of it in `GRPOTrainer`.

    from guerdon.adapters.trl import GuerdonGRPOTrainer

    trainer = GuerdonGRPOTrainer(model, recipe="my.toml", args=args, train_dataset=data, separator="=")
    trainer.train()

TRL samples, steps and logs; everything between its completions and the scalar that it differentiates is the recipe's.

Written against TRL 1.16; docs/trl.md has whole scripts.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from guerdon.adapters import trl_batch, trl_model, trl_settings
from guerdon.adapters.data import with_steps
from guerdon.adapters.fitting import compile_for
from guerdon.adapters.hosts import HOSTS
from guerdon.adapters.processes import Shared, gathered, score
from guerdon.adapters.trl_rewards import OWN, named, of_rows, reward_functions
from guerdon.adapters.trl_step import OptimiserStep
from guerdon.kernels.masked import masked_mean
from guerdon.policies.token_text import TokenText
from guerdon.recipe import Recipe
from guerdon.training.generators import derive
from guerdon.training.rollouts import Provider

__all__ = ["GuerdonGRPOTrainer", "reward_functions"]


class GuerdonGRPOTrainer(GRPOTrainer):
    """TRL's GRPO trainer with a recipe in place of its rewards, advantages and loss.

    Denominators are counted over all that an optimiser step sees, on all processes. Unscored completions are in neither
    the loss nor a denominator. TRL's logs show the recipe's parts by name, its advantages and its losses.

    Args:
        model: as for `GRPOTrainer`.
        recipe: as for `guerdon.recipe.load`; `guerdon.adapters.fates.TRL` says what becomes of its settings.
        args: TRL's settings; those that the recipe takes over (``beta``, ``loss_type`` ...) must be left alone.
        train_dataset: its columns besides ``prompt`` are columns for signals.
        separator: what separates the steps of a completion, where the recipe has steps.
        columns: columns that a ``rollout_func`` adds.
        options: everything else that `GRPOTrainer` takes.

    Raises:
        RecipeError: what cannot run in TRL, or a setting that the recipe takes over.
        ImportError: a version of TRL whose methods are others.
    """

    args: GRPOConfig  # as TRL declares them nowhere
    model: Any
    _buffered_inputs: Any

    def __init__(
        self,
        model: Any,
        *,
        recipe: Recipe | Mapping[str, Any] | str | Path,
        args: GRPOConfig | None = None,
        train_dataset: Any = None,
        separator: str | None = None,
        columns: Iterable[str] = (),
        **options: Any,
    ):
        trl_settings.check_version(GRPOTrainer)
        trl_settings.check_rewards(["reward_funcs"] if "reward_funcs" in options else [], ())
        args = GRPOConfig("guerdon-GRPO") if args is None else args
        trl_settings.check_settings(args)
        args = trl_settings.adopted(recipe, args)
        self.recipe = trl_settings.fitted(recipe, args)
        found = {*(getattr(train_dataset, "column_names", None) or ()), *columns} - OWN
        self.pipeline = compile_for(
            HOSTS["trl"], self.recipe, columns=found, steps=separator is not None, structure={"turn_ids"}
        )
        labels = [s.label for s in self.pipeline.signals]
        super().__init__(model, [named(label) for label in labels], args=args, train_dataset=train_dataset, **options)
        trl_settings.check_rewards(self.reward_func_names, labels)
        self._text = TokenText(self._tokenizer)
        base = self.accelerator.unwrap_model(self.model)
        wanted = trl_settings.served(
            self.pipeline,
            args,
            processes=self.accelerator.num_processes,
            sharded=self.is_fsdp_enabled or self.is_deepspeed_enabled,
            drawn=self.use_vllm or self.rollout_func is not None,
        )
        self._parts = trl_model.HostedParts.of(
            self.recipe, self.pipeline, separator, base, self._tokenizer, self.args.cast_lm_head_to_fp32
        )
        self._cast = self._parts.cast(wanted, self._tokenize_prompts)
        self._learning = trl_model.Learning(self.pipeline, self._cast)
        self._optimiser_step = OptimiserStep(self, self.pipeline.objective, lambda: self._progress)

    @property
    def _progress(self) -> float:
        return self.state.global_step / max(1, self.state.max_steps)

    @property
    def _iteration(self) -> int:
        """How many times completions for training have been drawn before."""
        micro = self.state.global_step * self.args.gradient_accumulation_steps
        return micro // ((self.args.steps_per_generation or 1) * self.num_iterations)

    # rollout phase --------------------------------------------------------------------------------------------------

    def _generate(self, prompts: list):
        self._said = super()._generate(prompts)
        return self._said

    def _calculate_rewards(self, inputs, prompts, completions, completion_ids_list):
        self._learning.learn()
        training, iteration = self.model.training, self._iteration
        size = self.num_generations if training else self.num_generations_eval
        rank, count = self.accelerator.process_index, len(prompts)
        self._rows = slice(rank * count, (rank + 1) * count)
        group = (rank * count + torch.arange(count)) // size
        columns = {name: [row[name] for row in inputs] for name in self.pipeline.columns}
        batch = trl_batch.batch_of(
            self._said, prompts, completion_ids_list, group, columns, self._text, self.eos_token_ids
        )
        batch = with_steps(batch, self._parts.task.separator)
        provider = Provider(self._parts, self._cast, *trl_batch.asked(batch, columns), iteration, main=training)
        shared = Shared(provider, self._rows, self.accelerator.unwrap_model(self.model), self.accelerator)
        settings: dict[str, Any] = {
            "progress": self._progress,
            "generator_for": lambda label: derive(self.args.seed, iteration, label),
        }
        whole, said = score(self.pipeline, batch, shared, rank=rank, **settings)
        # all stages by name, since old_logp, which the losses read, is TRL's
        outcome = self.pipeline.run(whole, provide=shared, said=said, stages=self.pipeline.stages, **settings)
        self.pipeline.check_failures(outcome, self.recipe.training.failure_limit)
        whole, signals = outcome.batch, self.pipeline.signals
        self._outcome = whole = self.pipeline.provided(whole, shared, but={"old_logp"})
        if training:
            self._learning.pending = (whole, provider, iteration)
        self.reward_weights = torch.stack([whole["part_weights"][s.label] for s in signals])
        return torch.stack([of_rows(s, whole) for s in signals], dim=1).to(self.accelerator.device)

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        batch = self.pipeline.objective.boundary(self._outcome)
        credit = batch["token_advantages"].masked_fill(~batch["mask"], torch.nan)
        table = self._logs["advantages"]
        for _ in range(min(batch.rows, len(table))):
            table.pop()
        table.extend(credit.nanmean(-1).tolist())
        trl_batch.carry(batch.index(torch.arange(batch.rows)[self._rows]), output)
        mode = "train" if self.model.training else "eval"
        self._metrics[mode]["unscored"].append(1 - float(batch["mask"].any(-1).float().mean()))
        return output

    # update phase ---------------------------------------------------------------------------------------------------

    def _compute_loss(self, model, inputs):
        batch = trl_batch.carried(inputs)
        made, price = trl_model.forward(self, model, inputs, batch)
        batch = trl_batch.with_old(batch, inputs, made["logp"])
        alone = self.recipe.training.statistics == "micro-batch"
        batch = self._optimiser_step.weighed(model, inputs, batch, made, alone=alone)
        shares = self._optimiser_step.denominators(inputs)
        loss, parts = self.pipeline.objective.loss(batch, made, shares, self._progress)
        mode, steps = ("train", self.args.gradient_accumulation_steps) if self.model.training else ("eval", 1)
        processes = self.accelerator.num_processes
        told = {f"loss/{label}": torch.tensor(value * steps * processes) for label, value in parts.items()}
        told["entropy"] = masked_mean(made["entropy"].detach(), batch["mask"])
        for name, value in told.items():
            everywhere = gathered(self.accelerator, value.to(loss.device))
            self._metrics[mode][name].append(everywhere.nanmean().item())
        if self._iteration < self._cast.models.warm_up:
            loss = 0.0 * loss
        # gradients are averaged over processes, and the denominators are of all of them
        return loss * processes + price / steps

    def _save_checkpoint(self, model, trial):
        super()._save_checkpoint(model, trial)
        folder = f"{self._get_output_dir(trial=trial)}/checkpoint-{self.state.global_step}"
        self._learning.save(folder, write=self.args.should_save)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self._learning.load(resume_from_checkpoint)
