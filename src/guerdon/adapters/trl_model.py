"""TRL's model as our policy, with what a recipe needs beside it and what learns in the loop."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.trl_settings import OWN_PASS
from guerdon.batch import Rollouts
from guerdon.pipeline import Pipeline
from guerdon.policies.hf_loading import copied
from guerdon.policies.huggingface import HuggingFace
from guerdon.policies.prefixes import left_padded
from guerdon.policies.protocol import Policy, Prompt, Sampling
from guerdon.recipe import Recipe
from guerdon.tasks.protocol import Split
from guerdon.training.anchor import Anchor
from guerdon.training.cast import Cast
from guerdon.training.parts import Parts
from guerdon.training.rollouts import Provider


@dataclass
class HostTask:
    """The host's data set, of which a provider needs to know no more than this."""

    separator: str | None
    max_tokens: int
    stratum: str | None = None

    def problems(self, split: Split, start: int, count: int) -> dict[str, list[Any]]:
        """Not asked: the host draws the prompts."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class HostedParts(Parts):
    """A recipe with its host's model in place of its [policy]."""

    model: Any = None
    tokenizer: Any = None
    exact_head: bool = False

    @classmethod
    def of(
        cls, recipe: Recipe, pipeline: Pipeline, separator: str | None, model: Any, tokenizer: Any, exact_head: bool
    ) -> "HostedParts":
        """All that a provider asks for; ``exact_head``: the last layer is in float32 (``cast_lm_head_to_fp32``)."""
        said = recipe.sampling
        limit = said.max_tokens or 256
        sampling = Sampling(temperature=said.temperature, top_p=said.top_p, top_k=said.top_k, max_tokens=limit)
        return cls(recipe, HostTask(separator, limit), pipeline, sampling, model, tokenizer, exact_head)

    def cast(self, wanted: frozenset[str], tokenize: Callable[[list[Any]], Any]) -> Cast:
        """The host's model as our policy, and what stands beside it where the recipe needs it; a value head becomes a
        part of the model, so that the host's optimiser and checkpoints have it.
        """
        options = {name: value for name, value in self.recipe.policy.options.items() if name in ("nucleus", "top")}
        policy = HuggingFace.of(self.model, self.tokenizer, **options)
        policy.exact_head = self.exact_head

        def encode_prompts(prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
            """As the host gives them to the model, template and tools included."""
            ids, mask = left_padded(tokenize(list(prompts))[0])
            return ids.to(policy.device), mask.to(policy.device)

        policy.encode_prompts = encode_prompts
        reference = policy.reference() if "ref_logp" in self.pipeline.needs else None
        frozen = None if reference is None else reference.module
        anchor = Anchor(policy.module, frozen, self.recipe.training.reference_decay)
        models = self.models()
        if wanted & {"values", "old_values", "bootstrap_values"}:
            policy.add_value_head()
            self.model.guerdon_value_head = policy.module["value_head"]  # pyright: ignore[reportIndexIssue]
        return Cast(policy, reference, self.prover(), models, anchor=anchor)

    def _initial(self, *, heads: bool) -> Policy:
        policy = HuggingFace.of(copied(self.model), self.tokenizer)
        policy.exact_head = self.exact_head
        if heads:
            policy.add_value_head()
        return policy


class Learning:
    """What learns in the loop beside the policy: methods with state, models under [[model]], a reference that follows.

    They learn from rollouts once the policy has, that is, when the next are drawn or a checkpoint is written.
    """

    def __init__(self, pipeline: Pipeline, cast: Cast):
        self.pipeline, self.cast = pipeline, cast
        self.pending: tuple[Rollouts, Provider, int] | None = None
        self._head = dict(cast.policy.module.named_children()).get("value_head")

    def learn(self) -> None:
        """Learn from the last rollouts, once."""
        if self.pending is not None:
            batch, provider, iteration = self.pending
            self.pipeline.update(batch)
            if self.cast.models:
                self.cast.models.learn(provider.asked(batch), iteration, provider, self.cast.policy)
            self.cast.anchor.follow(self.cast.policy.module)
            self.pending = None

    def save(self, folder: str | Path, *, write: bool) -> None:
        """Learn, and ``write`` the state into the folder of a checkpoint; every process calls it, one of them writes."""
        self.learn()
        held = self.pipeline.state() | self.cast.models.state() | self.cast.anchor.state()
        if self._head is not None:  # a checkpoint of an adapter holds nothing but the adapter
            held |= {"guerdon_value_head": dict(self._head.state_dict())}
        if held and write:
            torch.save(held, Path(folder) / "guerdon.pt")

    def load(self, folder: str | Path) -> None:
        """Restore what ``save`` wrote, if it did."""
        file = Path(folder) / "guerdon.pt"
        if file.is_file():
            held = torch.load(file, weights_only=True)
            self.pipeline.load_state(held)
            self.cast.models.load_state(held)
            self.cast.anchor.load_state(held)
            if self._head is not None and "guerdon_value_head" in held:
                self._head.load_state_dict(held["guerdon_value_head"])


def forward(trainer: Any, model: Any, inputs: Mapping[str, Any], batch: Rollouts) -> tuple[dict[str, Tensor], Any]:
    """What the policy being updated makes of a micro-batch, and the price of unbalanced experts; TRL's own pass where
    log-probabilities and entropies are all that the losses read.
    """
    makes, training = trainer.pipeline.objective.policy_makes, model.training
    if makes & OWN_PASS:
        with trainer.accelerator.autocast():
            made = trainer._cast.policy.evaluate(batch, makes | {"logp", "entropy"}, temperature=trainer.temperature)
        model.train(training)
        return made, 0.0
    call = trainer._get_per_token_logps_and_entropies
    given = {name: inputs[name] for name in inspect.signature(call).parameters if name in inputs}  # images
    for name, ids in (("input_ids", "ids"), ("attention_mask", "mask")):
        given[name] = torch.cat([inputs[f"prompt_{ids}"], inputs[f"completion_{ids}"]], dim=1)
    width, balance = inputs["completion_ids"].shape[1], trainer.aux_loss_enabled
    logp, entropy, price = call(model, logits_to_keep=width, compute_entropy=True, compute_aux_loss=balance, **given)
    price = 0.0 if price is None else trainer.router_aux_loss_coef * price
    return {"logp": logp.float(), "entropy": entropy.float()}, price
