"""Collect: sample the policy on an iteration's prompts and run the rollout phase on what it said."""

from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.credit.steps import split_steps
from guerdon.pipeline.compile import ancestors
from guerdon.pipeline.run import Outcome
from guerdon.policies.protocol import Policy, Sampling
from guerdon.training.generators import derive
from guerdon.training.parts import Parts


def collect(parts: Parts, policy: Policy, reference: Policy | None, iteration: int) -> Outcome:
    """Rollouts of iteration ``iteration`` with all that the pipeline makes of them."""
    spec = parts.recipe.training
    start = iteration * spec.prompts
    columns = parts.task.problems("train", start, spec.prompts)
    batch = sample(policy, columns, parts.sampling, spec.samples, start, derive(spec.seed, iteration, "sample"))
    batch = batch.with_(
        origin=torch.zeros(batch.rows, dtype=torch.long),
        policy_version=torch.full((batch.rows,), iteration, dtype=torch.long),
    )
    return parts.pipeline.run(
        batch,
        provide=Provider(parts, policy, reference, columns, start, iteration),
        progress=iteration / spec.iterations,
        generator_for=lambda label: derive(spec.seed, iteration, label),
    )


def sample(
    policy: Policy,
    columns: dict[str, list[Any]],
    sampling: Sampling,
    copies: int,
    start: int,
    generator: torch.Generator,
) -> Rollouts:
    """Completions of the prompts in ``columns``, with the columns and unique group ids (from ``start`` on)."""
    batch = policy.sample(columns["prompts"], sampling, copies=copies, generator=generator)
    groups = torch.arange(start, start + len(columns["prompts"])).repeat_interleave(copies)
    repeated = {
        name: [v for v in values for _ in range(copies)] for name, values in columns.items() if name != "prompts"
    }
    return batch.with_(group=groups, **repeated)


class Provider:
    """Makes, when first read, what no method makes; each thing at most once per iteration."""

    def __init__(
        self,
        parts: Parts,
        policy: Policy,
        reference: Policy | None,
        columns: dict[str, list[Any]],
        start: int,
        iteration: int,
    ):
        self.parts, self.policy, self.reference = parts, policy, reference
        self.columns, self.start, self.iteration = columns, start, iteration
        self.forward: dict[str, Tensor] = {}

    def __call__(self, name: str, batch: Rollouts) -> Any:
        if name == "step_ids":
            assert self.parts.task.separator is not None
            return split_steps(
                batch["completions"], batch["token_spans"], batch["mask"], separator=self.parts.task.separator
            )
        if name == "greedy_rewards":
            return self._greedy(batch)
        if name == "ref_logp":
            assert self.reference is not None
            return self._evaluate(self.reference, batch, frozenset({"logp"}))["logp"]
        if name == "old_logp" and sampled_is_old(self.parts):
            return batch["sampled_logp"]
        if not self.forward:
            needs = self.parts.pipeline.needs
            plain = {
                "old_logp": "logp",
                "old_entropy": "entropy",
                "old_values": "values",
                "old_hidden": "hidden",
                "bootstrap_values": "bootstrap_values",
            }
            skip = {"old_logp"} if sampled_is_old(self.parts) else set()
            made = self._evaluate(
                self.policy, batch, frozenset(p for n, p in plain.items() if n in needs and n not in skip)
            )
            self.forward = {n: made[p] for n, p in plain.items() if p in made}
        if name not in self.forward:
            raise KeyError(f"expected a quantity that the trainer provides, got {name!r}")
        return self.forward[name]

    def _evaluate(self, policy: Policy, batch: Rollouts, make: frozenset[str]) -> dict[str, Tensor]:
        with torch.no_grad():
            return evaluate_all(
                policy, batch, make, self.parts.sampling.temperature, self.parts.recipe.training.micro_tokens
            )

    def _greedy(self, batch: Rollouts) -> Tensor:
        """One greedy completion per prompt, scored by the stages that make rewards (card 052)."""
        sampling = Sampling(max_tokens=self.parts.sampling.max_tokens, stop=self.parts.sampling.stop, greedy=True)
        seed = self.parts.recipe.training.seed
        greedy = sample(self.policy, self.columns, sampling, 1, self.start, derive(seed, self.iteration, "greedy"))
        above = [s for s in self.parts.pipeline.stages if "greedy_rewards" not in s.reads]
        scored = self.parts.pipeline.run(
            greedy,
            provide=Provider(self.parts, self.policy, self.reference, self.columns, self.start, self.iteration),
            progress=self.iteration / self.parts.recipe.training.iterations,
            generator_for=lambda label: derive(seed, self.iteration, "greedy", label),
            stages=tuple(ancestors(above, {"rewards"})),
        ).batch
        return scored["rewards"][batch["group"] - self.start]


def sampled_is_old(parts: Parts) -> bool:
    """Whether the log-probabilities of the sampler serve as those of the policy at the start of the iteration."""
    how = parts.recipe.training.old_logp
    return how == "sampled" or (how == "auto" and parts.sampling.full_support)


def micro_batches(batch: Rollouts, micro_tokens: int) -> list[Tensor]:
    """Rows sorted by length and packed so that rows x widest row stays within ``micro_tokens`` (at least one row)."""
    lengths = batch["attention_mask"].sum(-1) + (batch["prompt_mask"].sum(-1) if "prompt_mask" in batch else 0)
    order = lengths.argsort(stable=True)
    chunks, begin = [], 0
    widths = lengths[order].tolist()
    for i, width in enumerate(widths):
        if i > begin and (i + 1 - begin) * width > micro_tokens:
            chunks.append(order[begin:i])
            begin = i
    chunks.append(order[begin:])
    return chunks


def evaluate_all(
    policy: Policy, batch: Rollouts, make: frozenset[str], temperature: float, micro_tokens: int
) -> dict[str, Tensor]:
    """A forward pass over a whole batch in micro-batches, put together in the batch's order and width."""
    whole: dict[str, Tensor] = {}
    for rows in micro_batches(batch, micro_tokens):
        made = policy.evaluate(batch.index(rows).trim(), make, temperature=temperature)
        for name, value in made.items():
            if name not in whole:
                shape = (batch.rows,) if value.ndim == 1 else (batch.rows, batch["mask"].shape[1], *value.shape[2:])
                whole[name] = value.new_zeros(shape)
            if value.ndim == 1:
                whole[name][rows] = value
            else:
                whole[name][rows, : value.shape[1]] = value
    return whole


__all__ = ["Provider", "collect", "evaluate_all", "micro_batches", "sample", "sampled_is_old"]
