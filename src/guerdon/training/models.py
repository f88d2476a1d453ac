"""Models in the loop: their optimisers, when they learn and score, and what a checkpoint holds of them.

A model learns from the outcome of an iteration before or after it scores it. Gradients go from the loss to the model's
outputs on the whole batch first, and then through the model one micro-batch at a time, so that a loss may compare rows
and memory stays that of a micro-batch. Scores are numbers: no gradient passes from the policy's loss to a model.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Policy
from guerdon.quantities import QUANTITIES
from guerdon.recipe import Model
from guerdon.reward_models.protocol import InLoopModel
from guerdon.training.counters import PATIENCE, NonFinite
from guerdon.training.generators import derive
from guerdon.training.ranks import ONE, Ranks
from guerdon.training.shares import dealt_micro_batches, dealt_rows

Fetch = Callable[[str, Rollouts], Any]
"""Gives a quantity that the batch does not hold yet."""


class LoopModel:
    """One model under [[model]] with its optimiser."""

    def __init__(
        self,
        spec: Model,
        model: InLoopModel,
        *,
        micro_tokens: int,
        temperature: float,
        seed: int,
        by_prompt: bool = False,
        ranks: Ranks = ONE,
    ):
        self.spec, self.model, self.by_prompt, self.ranks = spec, model, by_prompt, ranks
        self.micro_tokens, self.temperature, self.seed = micro_tokens, temperature, seed
        self.learned = 0
        """Iterations that it has learned from: a resumed run does not learn from the same twice."""
        trainable = [p for p in model.module.parameters() if p.requires_grad]
        self.optimiser = (
            torch.optim.AdamW(trainable, lr=spec.learning_rate, weight_decay=spec.weight_decay)
            if trainable and spec.update != "never"
            else None
        )
        self._scored: tuple[int, dict[str, Tensor]] = (-1, {})
        self._pending: tuple[int, float] = (-1, 0.0)
        self.metrics: dict[str, float] = {}
        self.skipped = 0
        """Updates left out because loss or gradient was not finite."""
        self.skipped_in_a_row = 0

    def needs(self) -> set[str]:
        """Every quantity that it reads or learns from."""
        return {*self.model.reads, *(self.model.learns_from if self.optimiser is not None else ())}

    def score(self, batch: Rollouts, iteration: int, fetch: Fetch, *, learn: bool) -> dict[str, Tensor]:
        """What it makes of a batch, without gradient; it learns from it first where its recipe says so."""
        if learn and self.spec.update == "before":
            self.learn(batch, iteration, fetch)
        if learn and self._at_once(batch, iteration):
            return self._score_and_learn(batch, iteration, fetch)
        batch = _with(batch, self.model.reads, fetch)
        with torch.no_grad():
            made = self._pass(batch, learning=False)
        if learn:
            self._scored = (iteration, made)
        return self._told(made)

    def _told(self, made: dict[str, Tensor]) -> dict[str, Tensor]:
        """Without what only its loss reads."""
        return {name: value for name, value in made.items() if name in self.model.makes}

    def _at_once(self, batch: Rollouts, iteration: int) -> bool:
        """Whether one pass may serve both: it learns after scoring, row by row, and knows the outcomes already."""
        known = all(name in batch or name.endswith("_logp") for name in self.model.learns_from)
        due = self.optimiser is not None and self.learned <= iteration and iteration % self.spec.every == 0
        return due and known and self.spec.update == "after" and self.model.separable

    def _score_and_learn(self, batch: Rollouts, iteration: int, fetch: Fetch) -> dict[str, Tensor]:
        """Scores of the model as it is, and its gradient from the same pass; ``learn`` takes the step later."""
        assert self.optimiser is not None
        batch = _with(batch, (*self.model.reads, *self.model.learns_from), fetch)
        counted = self.model.counted(batch)
        total = max(1, int(counted.sum()))
        self.optimiser.zero_grad(set_to_none=True)
        whole: dict[str, Tensor] = {}
        loss = 0.0
        for rows in self._micro_batches(batch):
            micro, share = batch.index(rows).trim(), int(counted[rows].sum()) / total
            with torch.enable_grad():
                made = self.model.outputs(micro, self.temperature, learning=True)
                value = share * self.model.loss(made, micro)
            if value.requires_grad and share:
                value.backward()
            loss += float(value.detach())
            for name, output in made.items():
                _put(whole, name, output.detach(), rows, batch)
        self.ranks.add_gradients(self.model.module.parameters())
        self._pending = (iteration, self.ranks.total({"loss": loss})["loss"])
        return self._told(self._whole(whole, batch))

    def learn(self, batch: Rollouts, iteration: int, fetch: Fetch) -> None:
        """One optimiser step on an iteration's rollouts; nothing where it has learned from them or does not learn.

        A loss or gradient that is not finite is passed over and counted in ``metrics``; see ``check``.
        """
        if self.optimiser is None or self.learned > iteration or iteration % self.spec.every:
            return
        if self._pending[0] == iteration:
            self.learned = iteration + 1
            self._step(self._pending[1])
            self._pending = (-1, 0.0)
            return
        batch = _with(batch, (*self.model.reads, *self.model.learns_from), fetch)
        known = self._scored[1] if self._scored[0] == iteration and not self.model.noisy else None
        with torch.no_grad():
            made = self._pass(batch, learning=True, iteration=iteration) if known is None else known
        self._scored = (-1, {})
        leaves = {name: value.detach().clone().requires_grad_() for name, value in made.items()}
        with torch.enable_grad():
            loss = self.model.loss(leaves, batch)
            if loss.requires_grad:
                loss.backward()
        self.learned = iteration + 1
        gradients = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
        self.optimiser.zero_grad(set_to_none=True)
        if gradients:
            with torch.enable_grad():
                self._pass(batch, learning=True, iteration=iteration, gradients=gradients)
            self.ranks.add_gradients(self.model.module.parameters())
        self._step(float(loss.detach()))

    @torch.no_grad()
    def loss_on(self, batch: Rollouts, fetch: Fetch) -> float:
        """Its loss on rows that it does not learn from."""
        batch = _with(batch, (*self.model.reads, *self.model.learns_from), fetch)
        return float(self.model.loss(self._pass(batch, learning=True), batch))

    def _step(self, loss: float) -> None:
        """Clip and step, or leave out and count; ``metrics`` say which."""
        assert self.optimiser is not None
        parameters = [p for p in self.model.module.parameters() if p.grad is not None]
        norm = 0.0
        if parameters:
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, self.spec.clip_gradient, foreach=True))
            if math.isfinite(loss) and math.isfinite(norm):
                self.optimiser.step()
                self.skipped_in_a_row = 0
            else:
                self.skipped += 1
                self.skipped_in_a_row += 1
                self.optimiser.zero_grad(set_to_none=True)
        self.metrics = {"loss": loss, "gradient_norm": norm, "skipped": float(self.skipped)}

    def check(self) -> None:
        """Stop a model that does not learn any more.

        Raises:
            NonFinite: its last three updates were left out.
        """
        if self.skipped_in_a_row >= PATIENCE:
            loss, norm = self.metrics.get("loss", math.nan), self.metrics.get("gradient_norm", math.nan)
            raise NonFinite(
                f"model ({self.spec.label}): expected a finite loss and gradient, got three updates in a row that are not "
                f"(loss {loss}, gradient norm {norm}); lower the model's learning_rate, or look at what it learns from "
                f"({', '.join(self.model.learns_from)})"
            )

    def _pass(
        self,
        batch: Rollouts,
        *,
        learning: bool,
        iteration: int = 0,
        gradients: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Forward over the whole batch; with ``gradients`` of the outputs, backward through each micro-batch instead."""
        whole: dict[str, Tensor] = {}
        for k, rows in enumerate(self._micro_batches(batch)):
            if gradients is not None and not any(bool(g[rows].any()) for g in gradients.values()):
                continue
            with torch.random.fork_rng(devices=[], enabled=self.model.noisy):
                if self.model.noisy:
                    torch.manual_seed(derive(self.seed, iteration, self.spec.label, k, *self.ranks.key).initial_seed())
                made = self.model.outputs(batch.index(rows).trim(), self.temperature, learning=learning)
            if gradients is None:
                for name, value in made.items():
                    _put(whole, name, value, rows, batch)
                continue
            pulled = [(made[name], g[rows]) for name, g in gradients.items()]
            torch.autograd.backward(
                [value for value, _ in pulled],
                [(g[:, : value.shape[1]] if value.ndim > 1 else g).to(value) for value, g in pulled],
            )
        return whole if gradients is not None else self._whole(whole, batch)

    def _micro_batches(self, batch: Rollouts) -> list[Tensor]:
        """Those of this rank."""
        dealt = dealt_micro_batches(self.ranks, batch, self.micro_tokens, by_prompt=self.by_prompt)
        return dealt[self.ranks.rank]

    def _whole(self, made: dict[str, Tensor], batch: Rollouts) -> dict[str, Tensor]:
        """What all ranks made, each of its own rows."""
        if self.ranks.size == 1:
            return made
        dealt = dealt_rows(self.ranks, batch)
        own = dealt[self.ranks.rank]
        return self.ranks.assemble({n: v[own.to(v.device)] for n, v in made.items()}, dealt, batch.rows)

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds: weights, the optimiser's moments, and how many iterations it has learned from."""
        counts = {"learned": self.learned, "skipped": self.skipped, "skipped_in_a_row": self.skipped_in_a_row}
        held: dict[str, Any] = dict(counts)
        held |= {f"weight.{name}": value.detach().clone() for name, value in self._changing()}
        if self.optimiser is not None:
            for i, entry in self.optimiser.state_dict()["state"].items():
                held |= {f"optimiser.{i}.{key}": torch.as_tensor(value).clone() for key, value in entry.items()}
        return held

    def _changing(self) -> Iterator[tuple[str, Tensor]]:
        """What is not as it was made: what learns or follows, and the buffers of a model that is no language model."""
        if self.optimiser is not None or self.model.follows:
            for name, weight in self.model.module.named_parameters():
                if weight.requires_grad or self.model.follows:
                    yield name, weight
            if not self.model.backbone:
                yield from self.model.module.named_buffers()

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` gave."""
        self.learned, self.skipped = int(state["learned"]), int(state["skipped"])
        self.skipped_in_a_row = min(int(state.get("skipped_in_a_row", 0)), PATIENCE - 1)  # it may try once more
        with torch.no_grad():
            for name, value in self._changing():
                value.copy_(state[f"weight.{name}"])
        if self.optimiser is not None:
            moments: dict[int, dict[str, Tensor]] = {}
            for key, value in state.items():
                if key.startswith("optimiser."):
                    _, i, name = key.split(".", 2)
                    moments.setdefault(int(i), {})[name] = value
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
        self._scored, self._pending = (-1, {}), (-1, 0.0)


class LoopModels(Mapping[str, LoopModel]):
    """Every model of a recipe, by name."""

    def __init__(self, models: Mapping[str, LoopModel]):
        self.models = dict(models)

    def __getitem__(self, name: str) -> LoopModel:
        return self.models[name]

    def __iter__(self):
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)

    @property
    def warm_up(self) -> int:
        """Iterations in which the policy does not learn yet."""
        return max((m.spec.warm_up for m in self.models.values()), default=0)

    def learn(self, batch: Rollouts, iteration: int, fetch: Fetch, policy: Policy) -> dict[str, float]:
        """After the policy's update: let those learn that learn after scoring; metrics by ``model/NAME/...``."""
        metrics: dict[str, float] = {}
        for name, model in self.models.items():
            if model.spec.update == "after":
                model.learn(batch, iteration, fetch)
            model.model.follow(policy)
            metrics |= {f"model/{name}/{key}": value for key, value in model.metrics.items()}
        return metrics

    def check(self) -> None:
        """Stop where one of them does not learn any more.

        Raises:
            NonFinite: the last three updates of a model were left out.
        """
        for model in self.models.values():
            model.check()

    def relabel(self, batch: Rollouts, fetch: Fetch) -> Rollouts:
        """Rollouts that were kept (a replay), with what every model says of them now; nobody learns.

        Scores of an old model are never reused: they would be in the coin of another reward.
        """
        kept = {name: dict(value) for name, value in batch.data.items() if name.startswith("model_")}
        for name, model in self.models.items():
            for what, value in model.score(batch, -1, fetch, learn=False).items():
                kept.setdefault(f"model_{what}", {})[name] = value
        return batch.with_(**kept)

    def state(self) -> dict[str, Any]:
        """By ``model NAME``."""
        return {f"model {name}": model.state() for name, model in self.models.items()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` gave."""
        for name, model in self.models.items():
            model.load_state(state[f"model {name}"])


def _with(batch: Rollouts, names: tuple[str, ...], fetch: Fetch) -> Rollouts:
    """The batch with these quantities, derived ones stored: a micro-batch has the steps of the whole."""
    found = {}
    for name in names:
        need = {"step_mask": "step_ids", "step_end": "step_ids", "turn_mask": "turn_ids"}.get(name, name)
        if need not in batch:
            batch = batch.with_(**{need: fetch(need, batch)})
        if name in ("step_mask", "step_end"):
            found[name] = batch[name]
    return batch.with_(**found)


def _put(whole: dict[str, Tensor], name: str, value: Tensor, rows: Tensor, batch: Rollouts) -> None:
    quantity = QUANTITIES.get(f"model_{name.split('.')[0]}")
    axes = "B T" if quantity is None else quantity.axes
    if name not in whole:
        width = {"B": (), "B T": batch["mask"].shape[1:], "B K": value.shape[1:]}.get(axes)
        width = batch["step_mask"].shape[1:] if width is None else width
        fill = torch.nan if axes in ("B S", "B K") else 0.0
        whole[name] = value.new_full((batch.rows, *width), fill)
    if value.ndim == 1:
        whole[name][rows] = value.detach()
    else:
        whole[name][rows, : value.shape[1]] = value.detach()
