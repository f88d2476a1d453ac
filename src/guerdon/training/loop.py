"""The loop: evaluate, then rollouts and updates until the recipe's iterations are done, then evaluate again.

A run can stop at any moment and go on: ``resume`` gives the weights that an uninterrupted run would have had. What a
person sees comes from the events (``observe``); the loop prints nothing.
"""

import threading
import time
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from guerdon.batch import Rollouts
from guerdon.kernels.masked import masked_mean
from guerdon.pipeline.run import Outcome, SignalFailure
from guerdon.policies.engines.policy import EnginePolicy
from guerdon.policies.engines.protocol import EngineError
from guerdon.policies.protocol import Policy
from guerdon.recipe import Recipe, RecipeError, load
from guerdon.training import checkpoint
from guerdon.training.balance import Balance
from guerdon.training.cast import Cast
from guerdon.training.counters import NonFinite
from guerdon.training.evaluate import Evaluation, evaluate
from guerdon.training.optimise import effective_sample_size, importance, make_optimiser, update
from guerdon.training.parts import Parts, build
from guerdon.training.process import interrupts, threads
from guerdon.training.ranks import Ranks
from guerdon.training.replay import Replay
from guerdon.training.rollouts import collect, heldout
from guerdon.training.runfolder import RunFolder, write_text
from guerdon.training.sharding import whole

Observe = Callable[[str, dict[str, Any]], None]
"""Called with ("start" | "evaluation" | "iteration" | "warning" | "stopping" | "end", data)."""


class Stopped(RuntimeError):
    """The run stopped before its end and can be resumed; ``reason`` is interrupt, signal, non-finite or engine."""

    def __init__(self, reason: str, message: str, run: RunFolder):
        super().__init__(message)
        self.reason, self.run = reason, run


@dataclass(frozen=True)
class Result:
    """What a finished run leaves."""

    run: RunFolder
    start: Evaluation | None
    final: Evaluation | None
    seconds: float
    policy: Policy


def train(
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    run: str | Path | None = None,
    *,
    resume: bool = False,
    observe: Observe | None = None,
) -> Result:
    """Train a recipe's policy, in this process or in all that a launcher such as torchrun started together.

    Args:
        recipe: a recipe, its dictionary, file or shipped name; None is the embedded arithmetic recipe. Left out when
            resuming: the run folder holds it.
        run: the run folder; by default a new one under ``runs/``.
        resume: go on from the newest sound checkpoint of ``run``.
        observe: receives the events; in the first of several processes only.

    Raises:
        RecipeError: the recipe cannot run.
        Stopped: interrupted (Ctrl-C), a signal failed past the limit, three non-finite steps in a row (of the policy or a
            model), or a sampling engine that does not answer; the run folder holds a checkpoint.
        FileExistsError: ``run`` holds a run and ``resume`` is False.
        RankLost: another process of the run has failed or cannot be reached.
    """
    began = time.perf_counter()
    with Ranks.join() as ranks:
        return _train(recipe, run, resume, observe, ranks, began)


def _train(
    recipe: Recipe | Mapping[str, Any] | str | Path | None,
    run: str | Path | None,
    resume: bool,
    observe: Observe | None,
    ranks: Ranks,
    began: float,
) -> Result:
    if resume:
        if run is None:
            raise RecipeError("expected the run folder to resume, got none; name it")
        folder = RunFolder(Path(run))
        if not folder.recipe.exists():
            raise RecipeError(
                f"expected a run folder with recipe.toml, got {str(run)!r}; name a folder that `guerdon train` made"
            )
        parts = build(load(folder.recipe))
        cast = Cast.of(parts, ranks)
    else:
        parts = build(load(recipe))
        cast = Cast.of(parts, ranks)  # before the folder: what cannot be loaded leaves nothing behind
        ranks.barrier()
        folder = ranks.lead(lambda: _new_folder(None if run is None else Path(run), parts.recipe))
    try:
        with threads(parts.recipe.training.threads):
            return _Loop(parts, cast, folder, observe or (lambda event, data: None)).run(resume, began)
    finally:
        if isinstance(cast.policy, EnginePolicy):
            cast.policy.engine.close()


def _new_folder(path: Path | None, recipe: Recipe) -> RunFolder:
    folder = RunFolder.create(path, recipe.task.use if recipe.task else "run")
    write_text(folder.recipe, recipe.toml())
    return folder


class _Loop:
    def __init__(self, parts: Parts, cast: Cast, folder: RunFolder, observe: Observe):
        self.parts, self.folder, self.ranks = parts, folder, cast.ranks
        self.observe: Observe = observe if self.ranks.first else lambda event, data: None
        self.spec = parts.recipe.training
        self.cast, self.policy, self.models, self.counters = cast, cast.policy, cast.models, cast.counters
        self.optimiser = make_optimiser(self.policy, self.spec)
        self.replay = Replay(parts.recipe.replay) if parts.recipe.replay else None
        spec = parts.recipe.imitation
        self.balance = None if spec is None else Balance(spec, parts.task, self.spec.micro_tokens)
        own = [held for held in (self.replay, self.balance) if held is not None]
        self.holders = (parts.pipeline, self.models, self.cast.anchor, *own)
        self.stop = threading.Event()
        self.board = _tensorboard(folder.path) if self.spec.tensorboard and self.ranks.first else None

    def run(self, resume: bool, began: float) -> Result:
        start, first = None, 0
        if resume:
            first = checkpoint.restore(
                self.folder.checkpoints,
                self.policy,
                self.optimiser,
                self.holders,
                self.counters,
                self._warn,
                self.ranks,
            )
            start = self.ranks.lead(lambda: self._rewound(first))
        self.observe(
            "start",
            {
                "run": str(self.folder.path),
                "iterations": self.spec.iterations,
                "first": first,
                "recipe": self.parts.recipe,
            },
        )
        with interrupts(self.stop):
            if not resume:
                start = self._evaluate(0)
                self._checkpoint(0)
            for iteration in range(first, self.spec.iterations):
                self._iterate(iteration)
                done = iteration + 1
                if self.ranks.any(self.stop.is_set()) and done < self.spec.iterations:
                    self._checkpoint(done)
                    raise Stopped(
                        "interrupt", f"interrupted after iteration {done} of {self.spec.iterations}", self.folder
                    )
                if self.spec.evaluate_every and done % self.spec.evaluate_every == 0 and done < self.spec.iterations:
                    self._evaluate(done)
                if done % self.spec.checkpoint_every == 0 or done == self.spec.iterations:
                    self._checkpoint(done)
            final = self._evaluate(self.spec.iterations)
        policy = self.policy.own if isinstance(self.policy, EnginePolicy) else self.policy
        result = Result(self.folder, start, final, time.perf_counter() - began, policy)
        if self.board is not None:
            self.board.close()
        self.observe("end", {"result": result})
        return result

    def _rewound(self, first: int) -> Evaluation | None:
        """What was logged from ``first`` on taken away; the evaluation of the policy as it was at the start."""
        self.folder.rewind(first)
        logged = [e for e in self.folder.events() if e["event"] == "evaluation" and e["iteration"] == 0]
        return _evaluation(logged[0]) if logged else None

    def _iterate(self, iteration: int) -> None:
        clock = time.perf_counter()
        with self._resumable(iteration), whole(self.policy):
            outcome, provide = collect(self.parts, self.cast, iteration)
        self._stop_if_models_fail(iteration)
        sampled = time.perf_counter()
        save = self.spec.save_rollouts_every
        if save and iteration % save == 0 and self.ranks.first:
            self._tolerate(lambda: self.folder.save_rollouts(iteration, outcome), "rollouts")
        try:
            self.parts.pipeline.check_failures(outcome, self.spec.failure_limit)
        except SignalFailure as failure:
            self._checkpoint(iteration)
            raise Stopped("signal", str(failure), self.folder) from failure
        saved = time.perf_counter()
        metrics: dict[str, float] = {}
        if iteration >= self.models.warm_up:
            try:
                metrics = update(
                    self.policy,
                    self.parts.pipeline,
                    outcome.batch,
                    self.optimiser,
                    self.counters,
                    iteration=iteration,
                    temperature=self.parts.sampling.temperature,
                    ranks=self.ranks,
                    replay=self.replay,
                    balance=self.balance,
                    look_ahead=partial(heldout, self.parts, self.cast, iteration),
                )
            except NonFinite as failure:
                self._checkpoint(iteration)
                raise Stopped("non-finite", str(failure), self.folder) from failure
            self.cast.anchor.follow(self.policy.module)
        self.parts.pipeline.update(outcome.batch)
        metrics |= self.parts.pipeline.metrics()
        if self.models:
            with whole(self.policy):
                metrics |= self.models.learn(provide.asked(outcome.batch), iteration, provide, self.policy)
        now = time.perf_counter()
        event = {
            "event": "iteration", "iteration": iteration, **summary(outcome), **self._staleness(outcome, iteration), **metrics, **asdict(self.counters),
            "seconds": now - clock, "seconds/rollouts": sampled - clock, "seconds/update": now - saved,
            "tokens_per_second": float(outcome.batch["lengths"].sum()) / (now - clock),
        }  # fmt: skip
        self._log(event)
        self.observe("iteration", event)
        self._stop_if_models_fail(iteration + 1)

    def _stop_if_models_fail(self, iteration: int) -> None:
        """A model whose updates are not finite three times in a row says nothing that one should train on."""
        try:
            self.models.check()
        except NonFinite as failure:
            self._checkpoint(iteration)
            raise Stopped("non-finite", str(failure), self.folder) from failure

    def _staleness(self, outcome: Outcome, iteration: int) -> dict[str, float]:
        """How far an engine's samples are from the policy: iterations, nats per token (an estimate of the KL), and the
        share of its tokens that are worth something (the effective sample size).
        """
        batch = outcome.batch
        if not isinstance(self.policy, EnginePolicy):
            return {}
        numbers = {"engine/lag": float(iteration - (self.policy.synced or 0))}
        if "old_logp" in batch:
            numbers["engine/kl"] = float(masked_mean(batch["sampled_logp"] - batch["old_logp"], batch["mask"]))
            sums = importance(batch["old_logp"], batch["sampled_logp"], batch["mask"])
            numbers["engine/effective_sample_size"] = effective_sample_size(sums)
        return numbers

    def _evaluate(self, iteration: int) -> Evaluation | None:
        with self._resumable(iteration), whole(self.policy):
            policy = self.policy
            if self.spec.evaluate_prompts and isinstance(policy, EnginePolicy):
                policy = policy.current(iteration, self.counters.steps)
            result = evaluate(self.parts, policy, self.ranks)
        if result is not None:
            event = {"event": "evaluation", "iteration": iteration, **result.as_dict()}
            if self.ranks.first and not any(
                e["event"] == "evaluation" and e["iteration"] == iteration for e in self.folder.events()
            ):
                self._log(event)
            self.observe("evaluation", event)
        return result

    @contextmanager
    def _resumable(self, iteration: int):
        """An engine that fails ends the run with a checkpoint of what there is."""
        try:
            yield
        except EngineError as error:
            self._checkpoint(iteration)
            raise Stopped("engine", f"the sampling engine failed: {error}", self.folder) from error

    def _checkpoint(self, iteration: int) -> None:
        self._tolerate(
            lambda: checkpoint.save(
                self.folder.checkpoints,
                iteration,
                self.policy,
                self.optimiser,
                self.holders,
                self.counters,
                self.spec.keep_checkpoints,
                self.ranks,
            ),
            "checkpoint",
        )

    def _log(self, event: dict[str, Any]) -> None:
        if not self.ranks.first:
            return
        self._tolerate(lambda: self.folder.log(event), "metrics")
        if self.board is not None:
            for name, value in event.items():
                if isinstance(value, int | float) and name != "iteration":
                    self.board.add_scalar(name, value, event["iteration"])

    def _tolerate(self, write: Callable[[], Any], what: str) -> None:
        """A full disk must not end a run: what was written before stays, and the person is told."""
        try:
            write()
        except OSError as error:
            self._warn(f"the {what} could not be written ({error}); the run goes on with what is on disk")

    def _warn(self, text: str) -> None:
        self.observe("warning", {"message": text})
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def summary(outcome: Outcome) -> dict[str, Any]:
    """Numbers of one batch of rollouts: mean of every part, reward, correctness, length, turns, entropy, failures."""
    batch = outcome.batch
    numbers: dict[str, Any] = {}
    for head in ("parts", "step_parts", "token_parts"):
        for name, value in batch.get(head, {}).items():
            numbers[f"{head}/{name}"] = float(value.nanmean())
    for name in ("rewards", "correct"):
        if name in batch:
            numbers[name] = float(batch[name].nanmean())
    for name in ("advantages", "token_advantages"):
        if name in batch:
            numbers[f"{name}/std"] = _std(batch, name)
    mask = batch["mask"]
    numbers["length"] = float(batch["lengths"].float().mean())
    numbers["truncated"] = float(batch["truncated"].float().mean())
    if "turn_ids" in batch:
        numbers["turns"] = float(batch["turn_mask"].sum(-1).float().mean())
    numbers["entropy"] = float(-masked_mean(batch["sampled_logp"], mask).nan_to_num(nan=0.0))
    for label, share in outcome.failed.items():
        if share:
            numbers[f"failed/{label}"] = share
    for label, said in outcome.said.items():
        numbers[f"seconds/signal/{label}"] = said.seconds
        waited = said.latencies[~said.latencies.isnan()]
        if len(waited):
            low, high = torch.quantile(waited, torch.tensor([0.5, 0.95])).tolist()
            numbers |= {f"seconds_per_row/{label}/p50": low, f"seconds_per_row/{label}/p95": high}
        if said.cost is not None:
            numbers[f"cost/{label}"] = float(said.cost.nansum())
        if said.cached:
            numbers[f"cached/{label}"] = said.cached / len(said.reasons)
    return numbers


def _std(batch: Rollouts, name: str) -> float:
    value = batch[name]
    value = value[batch["mask"]] if value.ndim == 2 else value
    value = value[value.isfinite()]
    return float(value.std()) if value.numel() > 1 else 0.0


def _evaluation(event: Mapping[str, Any]) -> Evaluation:
    return Evaluation(**{k: v for k, v in event.items() if k not in ("event", "iteration")})


def _tensorboard(path: Path):
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise RecipeError(
            "training.tensorboard: expected the tensorboard package, got none; install the extra: pip install guerdon[tensorboard]"
        ) from error
    return SummaryWriter(str(path / "tensorboard"))
