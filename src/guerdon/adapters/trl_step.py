"""What an optimiser step of TRL sees: its denominators and weights, over all its micro-batches on all processes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from guerdon.adapters import trl_batch, trl_model
from guerdon.adapters.processes import gathered
from guerdon.batch import Rollouts
from guerdon.pipeline import Objective
from guerdon.training.generators import derive


class OptimiserStep:
    """The micro-batches of one optimiser step, together; in an evaluation, the batch by itself."""

    def __init__(self, trainer: Any, objective: Objective, progress: Any):
        self.trainer, self.objective, self.progress = trainer, objective, progress
        self._shares: list[Tensor] = []
        self._weights: list[dict[str, Any]] = []

    @property
    def _at(self) -> int:
        """Which of the buffered micro-batches is the next."""
        return self.trainer._step % (self.trainer.args.steps_per_generation or 1)

    def _chunks(self, inputs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        steps = self.trainer.args.gradient_accumulation_steps
        first = self._at - self._at % steps
        return self.trainer._buffered_inputs[first:][:steps] if self.trainer.model.training else [inputs]

    def denominators(self, inputs: Mapping[str, Any]) -> list[Tensor]:
        """Of all micro-batches, one per loss."""
        training, accelerator = self.trainer.model.training, self.trainer.accelerator
        if training and self._at % self.trainer.args.gradient_accumulation_steps and self._shares:
            return self._shares
        mask = torch.cat([chunk[trl_batch.CARRIED + "mask"] for chunk in self._chunks(inputs)]).int()
        mask = gathered(accelerator, accelerator.pad_across_processes(mask, dim=1)).bool()
        shares = self.objective.denominators(Rollouts({"mask": mask}))
        self._shares = shares if training else []
        return shares

    def weighed(
        self, model: Any, inputs: Mapping[str, Any], batch: Rollouts, made: Mapping[str, Tensor], *, alone: bool
    ) -> Rollouts:
        """The micro-batch with the weights of the update phase; those that look across rows see the rows of the whole step,
        in one more forward pass without gradient, unless each micro-batch is to be looked at ``alone``.
        """
        steps, training = self.trainer.args.gradient_accumulation_steps, self.trainer.model.training
        if not self.objective.weighting:
            return batch
        draws = partial(derive, self.trainer.args.seed, "weights")
        if alone or not training or not self.objective.across:
            return self.objective.weigh(batch, made, self.progress(), partial(draws, self.trainer._step))
        if not self._at % steps or not self._weights:
            self._weights = self._of_all(model, self._chunks(inputs), partial(draws, self.trainer._step // steps))
        return batch.with_(**self._weights[self._at % steps])

    @torch.no_grad()
    def _of_all(self, model: Any, chunks: list[Mapping[str, Any]], draws: Any) -> list[dict[str, Any]]:
        pieces, names = [], frozenset[str]()
        for inputs in chunks:
            batch = trl_batch.carried(inputs)
            made, _ = trl_model.forward(self.trainer, model, inputs, batch)
            pieces.append(trl_batch.with_old(batch, inputs, made["logp"]).with_(**made))
            names = frozenset(made)
        own, rank = Rollouts.cat(pieces), self.trainer.accelerator.process_index
        shared = [own]
        if self.trainer.accelerator.num_processes > 1:
            shared = [Rollouts(data) for data in gather_object([dict(own.to("cpu").data)])]
        whole = Rollouts.cat(shared).to(own["mask"].device)
        weighed = self.objective.weigh(
            whole.without(*names), {name: whole[name] for name in names}, self.progress(), draws
        )
        first = sum(batch.rows for batch in shared[:rank])
        rows = torch.arange(first, first + own.rows).split([piece.rows for piece in pieces])
        width = own["mask"].shape[1]
        return [trl_batch.weights_of(weighed, some, width) for some in rows]
