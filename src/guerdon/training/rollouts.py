"""Collect: sample the policy on an iteration's prompts and run the rollout phase on what it said."""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.credit.steps import split_steps
from guerdon.pipeline.extra import ancestors
from guerdon.pipeline.run import Outcome
from guerdon.policies.engines.policy import EnginePolicy
from guerdon.policies.prefixes import Boundaries, boundaries, completed, said_after
from guerdon.policies.protocol import Policy, Sampling
from guerdon.quantities import QUANTITIES
from guerdon.sandbox.threads import Started
from guerdon.signals.scores import Outcome as Said
from guerdon.signals.scores import scatter
from guerdon.tasks.environment import EnvironmentTask
from guerdon.tasks.protocol import Task
from guerdon.training.cast import Cast
from guerdon.training.generators import derive
from guerdon.training.parts import Parts
from guerdon.training.passes import evaluate_all
from guerdon.training.ranks import together
from guerdon.training.shares import (
    gathered_answers,
    own_generator,
    shared_continuations,
    shared_draw,
    shared_passes,
    split_of,
)
from guerdon.training.trees import sample_branches, sample_tree
from guerdon.training.turns import continue_turns, sample_turns


def collect(parts: Parts, cast: Cast, iteration: int) -> tuple[Outcome, "Provider"]:
    """Rollouts of iteration ``iteration`` with all that the pipeline makes of them, and who provided for it."""
    spec = parts.recipe.training
    start = iteration * spec.prompts
    if isinstance(cast.policy, EnginePolicy):
        cast.policy.refresh(iteration, cast.counters.steps)
    columns = parts.task.problems("train", start, spec.prompts)
    chunks = min(parts.recipe.rollouts.chunks, spec.prompts)
    if chunks == 1:
        generator, draw = derive(spec.seed, iteration, "sample"), partial(_draw, parts, cast, iteration)
        batch, said = shared_draw(cast.ranks, columns, start, generator, draw), {}
    else:
        batch, said = _draw_in_chunks(parts, cast, columns, start, iteration, chunks)
    provider = Provider(parts, cast, columns, start, iteration)
    outcome = parts.pipeline.run(
        batch,
        provide=provider,
        progress=iteration / spec.iterations,
        generator_for=lambda label: derive(spec.seed, iteration, label),
        said=said,
        split=split_of(cast.ranks),
    )
    return outcome, provider


def heldout(parts: Parts, cast: Cast, iteration: int) -> Rollouts:
    """Rollouts of held-out prompts, behind those of the evaluation, with credit: what [imitation] looks ahead to."""
    spec, own = parts.recipe.training, parts.recipe.imitation
    assert own is not None
    start = spec.evaluate_prompts + iteration * own.heldout
    columns = parts.task.problems("heldout", start, own.heldout)
    draws = derive(spec.seed, iteration, "heldout")
    batch = sample(cast.policy, columns, parts.sampling, spec.samples, start, draws, parts.task)
    outcome = parts.pipeline.run(
        batch,
        provide=Provider(parts, cast, columns, start, iteration, main=False),
        progress=iteration / spec.iterations,
        generator_for=lambda label: derive(spec.seed, iteration, "heldout", label),
    )
    return outcome.batch


def _draw_in_chunks(
    parts: Parts, cast: Cast, columns: dict[str, list[Any]], start: int, iteration: int, chunks: int
) -> tuple[Rollouts, dict[str, Said]]:
    """Rollouts drawn a chunk of prompts at a time, and what the signals said of one while the next was drawn."""
    spec, pipeline, ranks = parts.recipe.training, parts.pipeline, cast.ranks
    drawn: list[Rollouts] = []
    scored: list[Started[Outcome]] = []
    own = torch.arange(spec.prompts)[ranks.rows(spec.prompts)]
    for i, at in enumerate(own.tensor_split(min(chunks, len(own))) if len(own) else ()):
        some = {name: [values[row] for row in at.tolist()] for name, values in columns.items()}
        generator = own_generator(ranks, derive(spec.seed, iteration, "sample", i))
        drawn.append(_draw(parts, cast, iteration, some, start + int(at[0]), generator))
        score = partial(
            pipeline.run,
            drawn[-1],
            progress=iteration / spec.iterations,
            generator_for=partial(derive, spec.seed, iteration, "chunk", i, *ranks.key),
            stages=pipeline.early(drawn[-1]),
        )
        scored.append(Started(score, f"guerdon-chunk-{i}"))
    rows = [batch.rows for batch in drawn]
    places = torch.arange(sum(rows)).split(rows)
    outcomes = [chunk.result() for chunk in scored]
    stages = pipeline.early(drawn[0]) if drawn else ()
    said = {
        stage.label: scatter(
            [(at, outcome.said[stage.label]) for at, outcome in zip(places, outcomes, strict=True)],
            stage.method.makes,
            sum(rows),
            sum(outcome.said[stage.label].seconds for outcome in outcomes),
        )
        for stage in stages
    }
    batch = ranks.gather(together(drawn) if drawn else None)
    return batch, gathered_answers(ranks, pipeline.early(batch), said, sum(rows))


def _draw(
    parts: Parts, cast: Cast, iteration: int, columns: dict[str, list[Any]], start: int, generator: torch.Generator
) -> Rollouts:
    spec = parts.recipe.training
    if isinstance(parts.task, EnvironmentTask):
        batch = sample_turns(
            cast.policy, parts.task, columns, parts.sampling, spec.samples, start, generator, forks=parts.forks
        )
    elif parts.forks > 1:
        grown = sample_tree(
            cast.policy,
            columns["prompts"],
            parts.sampling,
            spec.samples,
            generator,
            forks=parts.forks,
            separator=parts.task.separator,
        )
        batch = with_columns(grown, columns, spec.samples, start)
    elif parts.recipe.rollouts.branching is not None:
        batch = with_columns(_branched(parts, cast, columns, generator), columns, spec.samples, start)
    else:
        batch = sample(cast.policy, columns, parts.sampling, spec.samples, start, generator, parts.task)
    version = cast.policy.version if isinstance(cast.policy, EnginePolicy) else cast.counters.steps
    assert version is not None  # refreshed before anything is drawn
    return batch.with_(
        origin=torch.zeros(batch.rows, dtype=torch.long),
        policy_version=torch.full((batch.rows,), version, dtype=torch.long),
    )


def _branched(parts: Parts, cast: Cast, columns: dict[str, list[Any]], generator: torch.Generator) -> Rollouts:
    """Completions that branch where the policy was undecided; their steps are those of the task unless nodes are read."""
    spec, recipe = parts.recipe.rollouts.branching, parts.recipe
    assert spec is not None
    passes = partial(evaluate_all, cast.policy, make=frozenset({"entropy"}), temperature=parts.sampling.temperature)
    batch = sample_branches(
        cast.policy,
        columns["prompts"],
        parts.sampling,
        recipe.training.samples,
        generator,
        entropy_of=lambda whole: passes(batch=whole, micro_tokens=recipe.training.micro_tokens)["entropy"].cpu(),
        **spec.model_dump(),
    )
    own = parts.task.separator is not None and not any("node_ids" in stage.reads for stage in parts.pipeline.stages)
    return batch.without("step_ids", "node_ids") if own else batch


def sample(
    policy: Policy,
    columns: dict[str, list[Any]],
    sampling: Sampling,
    copies: int,
    start: int,
    generator: torch.Generator,
    task: Task | None = None,
) -> Rollouts:
    """Completions of the prompts in ``columns``, with the columns and unique group ids (from ``start`` on).

    A ``task`` that is played in turns is played.
    """
    if isinstance(task, EnvironmentTask):
        return sample_turns(policy, task, columns, sampling, copies, start, generator)
    batch = policy.sample(columns["prompts"], sampling, copies=copies, generator=generator)
    return with_columns(batch, columns, copies, start)


def with_columns(batch: Rollouts, columns: dict[str, list[Any]], copies: int, start: int) -> Rollouts:
    """Rows of adjacent copies with their prompt's columns and group."""
    groups = torch.arange(start, start + len(columns["prompts"])).repeat_interleave(copies)
    return batch.with_(
        group=groups, **{name: [v for v in values for _ in range(copies)] for name, values in columns.items()}
    )


class Provider:
    """Makes, when first read, what no method makes; each thing at most once per iteration.

    ``main`` is False for the rows of extra rollouts: models score them, but do not learn from them.
    """

    def __init__(
        self,
        parts: Parts,
        cast: Cast,
        columns: dict[str, list[Any]],
        start: int,
        iteration: int,
        *,
        main: bool = True,
    ):
        self.parts, self.cast = parts, cast
        self.columns, self.start, self.iteration, self.main = columns, start, iteration, main
        self.forward: dict[str, Tensor] = {}
        self.scored: dict[str, Tensor] = {}
        self.reference = torch.empty(0)

    def __call__(self, name: str, batch: Rollouts) -> Any:
        if name == "step_ids":
            return self._make(name, batch)
        if name in ("prefix_values", "answer_logp"):
            batch = self._with_steps(batch)
        wanted = self._wanted(batch)
        if wanted is None:
            return self._make(name, batch)
        made = self._make(name, self.asked(batch))
        out = made.new_full((batch.rows, *made.shape[1:]), torch.nan)
        out[wanted] = made
        return out

    def asked(self, batch: Rollouts) -> Rollouts:
        """The rows that are not filtered (``rollouts.where``), with as many steps as the whole has."""
        wanted = self._wanted(batch)
        if wanted is None:
            return batch
        width = {"step_mask": batch["step_mask"][wanted]} if "step_mask" in batch else {}
        return batch.index(wanted).with_(**width)

    def _wanted(self, batch: Rollouts) -> Tensor | None:
        """Rows that forward passes and models are asked for; None: all of them."""
        where = self.parts.recipe.rollouts.where
        if where is None or where not in batch:
            return None
        wanted = batch[where].isfinite()
        return None if bool(wanted.all()) or not bool(wanted.any()) else wanted

    def _make(self, name: str, batch: Rollouts) -> Any:
        if name == "step_ids":
            assert self.parts.task.separator is not None
            return split_steps(
                batch["completions"], batch["token_spans"], batch["mask"], separator=self.parts.task.separator
            )
        if name == "greedy_rewards":
            return self._greedy(batch)
        if name == "prefix_values":
            return self._prefix_values(batch)
        if name == "answer_logp":
            return self._answer_logp(batch)
        if name.startswith("model_"):
            return self._model(name, batch)
        if name == "ref_logp":
            if len(self.reference) != batch.rows:
                assert self.cast.reference is not None
                self.reference = self._evaluate(self.cast.reference, batch, frozenset({"logp"}))["logp"]
            return self.reference
        if name == "old_logp" and sampled_is_old(self.parts):
            return batch["sampled_logp"]
        if not self.forward or len(next(iter(self.forward.values()))) != batch.rows:
            needs = self.parts.pipeline.needs
            plain = {
                "old_logp": "logp",
                "old_entropy": "entropy",
                "old_nucleus_entropy": "nucleus_entropy",
                "old_top_entropy": "top_entropy",
                "old_values": "values",
                "old_hidden": "hidden",
                "bootstrap_values": "bootstrap_values",
            }
            skip = {"old_logp"} if sampled_is_old(self.parts) else set()
            made = self._evaluate(
                self.cast.policy, batch, frozenset(p for n, p in plain.items() if n in needs and n not in skip)
            )
            self.forward = {n: made[p] for n, p in plain.items() if p in made}
        if name not in self.forward:
            raise KeyError(f"expected a quantity that the trainer provides, got {name!r}")
        return self.forward[name]

    def _evaluate(self, policy: Policy, batch: Rollouts, make: frozenset[str]) -> dict[str, Tensor]:
        with torch.no_grad():
            return evaluate_all(
                policy,
                batch,
                make,
                self.parts.sampling.temperature,
                self.parts.recipe.training.micro_tokens,
                self.cast.ranks,
            )

    def _greedy(self, batch: Rollouts) -> Tensor:
        """One greedy completion per prompt, scored by the stages that make rewards (card 052)."""
        sampling = Sampling(max_tokens=self.parts.sampling.max_tokens, stop=self.parts.sampling.stop, greedy=True)
        seed = self.parts.recipe.training.seed
        generator = derive(seed, self.iteration, "greedy")
        greedy = shared_draw(
            self.cast.ranks,
            self.columns,
            self.start,
            generator,
            lambda columns, start, own: sample(self.cast.policy, columns, sampling, 1, start, own, self.parts.task),
        )
        return self._rewards_of(greedy, "greedy_rewards")[batch["group"] - self.start]

    def _rewards_of(self, batch: Rollouts, quantity: str) -> Tensor:
        """Rewards of extra rollouts, by the stages above the first that takes ``quantity``."""
        stages = self.parts.pipeline.stages
        first = next(i for i, stage in enumerate(stages) if quantity in stage.reads)
        seed = self.parts.recipe.training.seed
        return self.parts.pipeline.run(
            batch,
            provide=Provider(self.parts, self.cast, self.columns, self.start, self.iteration, main=False),
            progress=self.iteration / self.parts.recipe.training.iterations,
            generator_for=lambda label: derive(seed, self.iteration, quantity, label),
            stages=tuple(ancestors(list(stages[:first]), {"rewards"})),
            split=split_of(self.cast.ranks),
        ).batch["rewards"]

    def _prefix_values(self, batch: Rollouts) -> Tensor:
        """Mean reward of continuations from every step boundary; the last boundary of a row has the row's own reward."""
        draws = self.parts.recipe.rollouts.prefix_draws
        return shared_continuations(
            self.cast.ranks,
            self._with_steps(batch),
            derive(self.parts.recipe.training.seed, self.iteration, "prefixes"),
            self._continued,
            lambda whole: self._rewards_of(whole, "prefix_values").reshape(-1, draws).nanmean(-1),
        )

    def _continued(self, batch: Rollouts, generator: torch.Generator) -> tuple[Rollouts, Boundaries]:
        """``prefix_draws`` ways on from every step boundary, and where each beginning belongs."""
        spec, sampling = self.parts.recipe.rollouts, self.parts.sampling
        policy = self.cast.prover or self.cast.policy
        if isinstance(self.parts.task, EnvironmentTask):
            return continue_turns(policy, self.parts.task, batch, sampling, spec.prefix_draws, generator)
        cuts = boundaries(batch, policy, spec.prefix_suffix)
        room = max(1, sampling.max_tokens - int(cuts.kept.min()) if len(cuts.rows) else 1)
        drawn = policy.extend(
            *cuts.contexts, replace(sampling, max_tokens=room), copies=spec.prefix_draws, generator=generator
        )
        rows = cuts.rows.repeat_interleave(spec.prefix_draws)
        whole = completed(drawn, cuts, spec.prefix_draws, batch, policy, sampling.max_tokens)
        names = [n for n in batch if QUANTITIES.get(n) is None or n in ("prompts", "group")]
        return whole.with_(**{n: v for n, v in batch.index(rows).data.items() if n in names}), cuts

    def _with_steps(self, batch: Rollouts) -> Rollouts:
        return batch if "step_ids" in batch else batch.with_(step_ids=self("step_ids", batch))

    def _answer_logp(self, batch: Rollouts) -> Tensor:
        """How likely the answer is, said at every step boundary, the last included."""
        suffix = self.parts.recipe.rollouts.prefix_suffix

        def said(batch: Rollouts) -> Tensor:
            cuts = boundaries(batch, self.cast.policy, suffix, last=True)
            answers = [str(batch["answer"][i]) for i in cuts.rows.tolist()]
            return cuts.spread(said_after(self.cast.policy, *cuts.contexts, answers), None)

        with torch.no_grad():
            return shared_passes(self.cast.ranks, self._with_steps(batch), said)

    def _model(self, name: str, batch: Rollouts) -> Tensor:
        what, _, model = name.removeprefix("model_").partition(".")
        if len(self.scored.get(f"{what}.{model}", ())) != batch.rows:
            made = self.cast.models[model].score(batch, self.iteration, self, learn=self.main)
            self.scored |= {f"{key}.{model}": value for key, value in made.items()}
        return self.scored[f"{what}.{model}"]


def sampled_is_old(parts: Parts) -> bool:
    """Whether the log-probabilities of the sampler serve as those of the policy at the start of the iteration."""
    if parts.recipe.sampling.engine is not None:
        return False  # another program, perhaps with older weights
    how = parts.recipe.training.old_logp
    return how == "sampled" or (how == "auto" and parts.sampling.full_support)


__all__ = ["Cast", "Provider", "collect", "sample", "sampled_is_old"]
