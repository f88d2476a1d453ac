"""Update: K epochs of mini-batches, each accumulated exactly over micro-batches, with non-finite steps skipped."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest

import torch
from torch import Tensor

from guerdon.batch import Rollouts
from guerdon.kernels import broadcast_rows, masked_mean
from guerdon.pipeline import Pipeline
from guerdon.pipeline.weights import FACTORS, OTHERS
from guerdon.policies.protocol import Policy
from guerdon.recipe import Training
from guerdon.training.balance import Balance
from guerdon.training.counters import PATIENCE, Counters, NonFinite
from guerdon.training.demonstrations import demonstrations
from guerdon.training.generators import derive
from guerdon.training.micro import shares_prompts
from guerdon.training.passes import evaluate_all
from guerdon.training.ranks import ONE, Ranks
from guerdon.training.replay import Replay
from guerdon.training.sharding import full, lockstep, whole
from guerdon.training.shares import dealt_micro_batches, passes_of


def learning_rate(spec: Training, iteration: int) -> float:
    """Warm-up from 0 over ``warmup`` iterations, then the decay down to ``final_learning_rate`` of it."""
    if iteration < spec.warmup:
        return spec.learning_rate * (iteration + 1) / (spec.warmup + 1)
    u = (iteration - spec.warmup) / max(1, spec.iterations - spec.warmup)
    share = {"linear": 1 - u, "cosine": (1 + math.cos(math.pi * u)) / 2, "none": 1.0}[spec.decay]
    floor = 1.0 if spec.decay == "none" else spec.final_learning_rate
    return spec.learning_rate * (floor + (1 - floor) * share)


def make_optimiser(policy: Policy, spec: Training) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters; weight decay on matrices only."""
    trainable = [p for p in policy.module.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    fused = all(p.device.type in ("cpu", "cuda") for p in trainable)
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=spec.learning_rate, betas=spec.betas, fused=fused)


def update(
    policy: Policy,
    pipeline: Pipeline,
    batch: Rollouts,
    optimiser: torch.optim.Optimizer,
    counters: Counters,
    *,
    iteration: int,
    temperature: float,
    ranks: Ranks = ONE,
    replay: Replay | None = None,
    balance: Balance | None = None,
    look_ahead: Callable[[], Rollouts] | None = None,
) -> dict[str, float]:
    """One iteration's optimiser steps.

    Several ranks hold the same batch, train on rank 0's credit of it to the last bit, and make some of the passes each.

    Returns:
        Metrics: ``loss``, each loss by label, ``gradient_norm``, ``learning_rate``, ``trained_rows``,
        ``trained_tokens``, ``demonstrations`` where a loss imitates them, and, where a loss reads ``old_logp``, ``effective_sample_size``: of the weights that the
        tokens of the old policy have under the policy at each step, the mean over steps.

    Raises:
        NonFinite: three steps in a row were not finite.
    """
    spec = pipeline.recipe.training
    data = pipeline.objective.boundary(batch)
    if ranks.size > 1:
        data = Rollouts(ranks.same(dict(data.data)))
    told: dict[str, float] = {}
    if replay is not None:
        where = replay.spec.where
        told_of_rows = (batch["rewards"], batch["group"], None if where is None else batch[where])
        fresh, (rewards, group, wanted) = data, ranks.same(told_of_rows)
        data, told = replay.mix(fresh, pipeline, iteration, derive(spec.seed, iteration, "replay"))
        replay.add(fresh, rewards, group, iteration, wanted)
    if "counts" in data:
        data = data.index(torch.arange(data.rows).repeat_interleave(data["counts"]))
    rate = learning_rate(spec, iteration)
    for group in optimiser.param_groups:
        group["lr"] = rate
    progress = iteration / spec.iterations
    if balance is not None and look_ahead is not None:

        def gradient_of(rows: Rollouts) -> None:
            draws = partial(derive, spec.seed, iteration, "look ahead")
            accumulate(policy, pipeline, rows, progress, temperature, ranks, draws)

        told |= balance.move(
            policy,
            iteration,
            float(-masked_mean(batch["sampled_logp"], batch["mask"])),
            explore=lambda: gradient_of(data),
            look_ahead=lambda: gradient_of(pipeline.objective.boundary(look_ahead())),
            temperature=temperature,
            learning_rate=rate,
        )
    shown = _demonstrations(policy, pipeline, batch)
    order, dealing = derive(spec.seed, iteration, "minibatches"), derive(spec.seed, iteration, "demonstrations")
    sums: dict[str, list[float]] = {}
    for _ in range(spec.epochs):
        cuts = _minibatches(0 if shown is None else shown.rows, spec.minibatches, dealing)
        for rows, own in zip_longest(_minibatches(data.rows, spec.minibatches, order), cuts, fillvalue=torch.arange(0)):
            mini = data if rows is None else data.index(rows)
            demos = shown if own is None or shown is None else shown.index(own)
            draws = partial(derive, spec.seed, iteration, "weights", counters.steps + counters.skipped)
            metrics = _step(
                policy, pipeline, mini, demos, optimiser, counters, progress, temperature, ranks, draws, balance
            )
            for name, value in metrics.items():
                sums.setdefault(name, []).append(value)
    totals = ("trained_rows", "trained_tokens", "demonstrations")
    return {"learning_rate": rate, **told} | {k: sum(v) if k in totals else sum(v) / len(v) for k, v in sums.items()}


def _minibatches(rows: int, count: int, generator: torch.Generator) -> list[Tensor | None]:
    if count == 1:
        return [None]
    return list(torch.randperm(rows, generator=generator).chunk(count))


def _demonstrations(policy: Policy, pipeline: Pipeline, batch: Rollouts) -> Rollouts | None:
    """Those of the iteration's prompts, where a loss imitates them."""
    if not pipeline.objective.imitations:
        return None
    said = pipeline.recipe.sampling
    return demonstrations(
        policy, batch, pipeline.recipe.rollouts.demonstration, stop=said.stop, max_tokens=said.max_tokens
    )


def _step(
    policy: Policy,
    pipeline: Pipeline,
    mini: Rollouts,
    demos: Rollouts | None,
    optimiser: torch.optim.Optimizer,
    counters: Counters,
    progress: float,
    temperature: float,
    ranks: Ranks,
    draws: Callable[[str], torch.Generator],
    balance: Balance | None,
) -> dict[str, float]:
    optimiser.zero_grad(set_to_none=True)
    mu = 0.0 if balance is None else balance.mu
    done = accumulate(policy, pipeline, mini, progress, temperature, ranks, draws, demos=demos, scale=1 - mu)
    loss = done.loss
    if balance is not None:
        number = counters.steps + counters.skipped
        done.parts["imitation"] = balance.imitate(policy, number, scale=mu, temperature=temperature)
        loss += mu * done.parts["imitation"]
    norm = _apply(policy, optimiser, counters, loss, done.parts, pipeline.recipe.training)
    counters.total_tokens += int(mini["mask"].sum())
    return {
        "loss": loss,
        **{f"loss/{label}": amount for label, amount in done.parts.items()},
        **({"effective_sample_size": effective_sample_size(done.spread)} if done.spread else {}),
        **{name: amount / max(1, done.tokens) for name, amount in done.factors.items()},
        **({"demonstrations": float(demos.rows)} if demos is not None else {}),
        "gradient_norm": norm,
        "trained_rows": float(done.rows),
        "trained_tokens": float(done.tokens),
    }


@dataclass
class Accumulated:
    """What the passes over one mini-batch gave, over all ranks, beside the gradient."""

    loss: float
    parts: dict[str, float]
    factors: dict[str, float]
    spread: dict[str, float]
    rows: int
    tokens: int


def accumulate(
    policy: Policy,
    pipeline: Pipeline,
    mini: Rollouts,
    progress: float,
    temperature: float,
    ranks: Ranks,
    draws: Callable[[str], torch.Generator],
    *,
    demos: Rollouts | None = None,
    scale: float = 1.0,
) -> Accumulated:
    """Add ``scale`` times the gradient of the losses on a mini-batch, and on demonstrations, to that of the policy's weights."""
    objective, spec = pipeline.objective, pipeline.recipe.training
    denominators = objective.denominators(mini)
    together = objective.across and spec.statistics == "mini-batch"
    if together:
        with torch.no_grad(), whole(policy):
            made = evaluate_all(policy, mini, objective.policy_makes, temperature, spec.micro_tokens, ranks)
        mini = objective.weigh(mini, made, progress, draws)
    alive = mini["mask"].any(-1)
    if objective.idle_at_zero:
        alive &= (mini["token_advantages"] != 0).any(-1)
    active = mini if bool(alive.all()) else mini.index(alive)
    parts: dict[str, float] = {}
    factors: dict[str, float] = {}
    spread: dict[str, float] = {}
    loss = 0.0

    def of_rollouts(micro: Rollouts, made: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        if objective.weighting and not together:
            micro = objective.weigh(micro, made, progress, draws)
        _add(factors, weight_sums(micro))
        if "old_logp" in micro and "logp" in made:
            _add(spread, importance(made["logp"].detach(), micro["old_logp"], micro["mask"]))
        return objective.loss(micro, made, denominators, progress)

    passes = partial(_passes, policy, micro_tokens=spec.micro_tokens, ranks=ranks, parts=parts, scale=scale)
    if active.rows and objective.losses:
        loss += passes(active, objective.policy_makes, of_rollouts, temperature=temperature)
    if demos is not None and demos.rows:
        shares = objective.denominators(demos, imitations=True)
        loss += passes(
            demos,
            frozenset({"logp"}),
            lambda micro, made: objective.imitation(micro, made["logp"], shares, progress),
            temperature=1.0,
        )
    if ranks.size > 1:
        if not lockstep(policy):
            ranks.add_gradients(policy.module.parameters())
        sums = ranks.total({"": loss, **{f"loss/{k}": v for k, v in parts.items()}, **factors, **spread})
        loss = sums.pop("")
        parts = {k.removeprefix("loss/"): v for k, v in sums.items() if k.startswith("loss/")}
        factors = {k: v for k, v in sums.items() if k.startswith("weight/")}
        spread = {k: v for k, v in sums.items() if not k.startswith(("loss/", "weight/"))}
    return Accumulated(loss, parts, factors, spread, active.rows, int(active["mask"].sum()) if active.rows else 0)


def weight_sums(micro: Rollouts) -> dict[str, float]:
    """Of each stage that weighs in the update phase: the sum of its weights over the chosen positions."""
    mask, sums = micro["mask"], {}
    for product, factors in FACTORS.items():
        for label, value in micro.get(factors, {}).items():
            spread = value if product == "token_weights" else broadcast_rows(value, mask)
            sums |= {f"weight/{label}": float(spread[mask].sum())} if label != OTHERS else {}
    return sums


def _passes(
    policy: Policy,
    batch: Rollouts,
    make: frozenset[str],
    loss_of: Callable[[Rollouts, dict[str, Tensor]], tuple[Tensor, dict[str, float]]],
    *,
    temperature: float,
    micro_tokens: int,
    ranks: Ranks,
    parts: dict[str, float],
    scale: float,
) -> float:
    """Add the gradients of this rank's micro-batches; their loss, and, to ``parts``, that of each loss by label."""
    loss = 0.0
    dealt = dealt_micro_batches(ranks, batch, micro_tokens, by_prompt=shares_prompts(policy))
    for rows, counts in passes_of(dealt, ranks.rank, lockstep=lockstep(policy)):
        micro = batch.index(rows).trim()
        made = policy.evaluate(micro, make, temperature=temperature)
        if not counts:
            torch.stack([value.sum() for value in made.values()]).sum().mul(0.0).backward()
            continue
        value, named = loss_of(micro, made)
        value = scale * value
        if value.requires_grad:
            value.backward()
        loss += float(value.detach())
        _add(parts, named)
    return loss


def importance(logp: Tensor, other_logp: Tensor, mask: Tensor) -> dict[str, float]:
    """Sums over chosen positions for `effective_sample_size`: of w = exp(logp - other_logp), of w^2, and their number."""
    weight = (logp - other_logp)[mask].double().clamp(-20, 20).exp()
    return {"weight": float(weight.sum()), "square": float(weight.square().sum()), "count": float(weight.numel())}


def effective_sample_size(sums: dict[str, float]) -> float:
    """``(sum w)^2 / (n sum w^2)``: 1 where all importance weights are equal, 1 / n where one carries everything.

    Reference: Kong, A note on importance sampling using standardized weights, 1992.
    """
    return sums["weight"] ** 2 / (sums["count"] * sums["square"]) if sums["count"] else 1.0


def _add(into: dict[str, float], sums: dict[str, float]) -> None:
    for name, amount in sums.items():
        into[name] = into.get(name, 0.0) + amount


def _apply(
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    counters: Counters,
    loss: float,
    parts: dict[str, float],
    spec: Training,
) -> float:
    """Clip and step, or skip and count where loss or gradient is not finite."""
    parameters = [p for p in policy.module.parameters() if p.grad is not None]
    if not parameters:
        return 0.0
    norm = float(full(torch.nn.utils.clip_grad_norm_(parameters, spec.clip_gradient, foreach=True)))
    if math.isfinite(loss) and math.isfinite(norm):
        optimiser.step()
        counters.steps += 1
        counters.skipped_in_a_row = 0
        return norm
    counters.skipped += 1
    counters.skipped_in_a_row += 1
    if counters.skipped_in_a_row >= PATIENCE:
        raise NonFinite(_diagnosis(policy, loss, parts))
    optimiser.zero_grad(set_to_none=True)
    return norm


def _diagnosis(policy: Policy, loss: float, parts: dict[str, float]) -> str:
    bad = [label for label, amount in parts.items() if not math.isfinite(amount)]
    weights = [n for n, p in policy.module.named_parameters() if not bool(full(p).isfinite().all())]
    gradients = [
        n for n, p in policy.module.named_parameters() if p.grad is not None and not bool(full(p.grad).isfinite().all())
    ]
    where = (
        f"the loss of {', '.join(bad)} is not finite"
        if bad
        else f"the weights {weights[:3]} are not finite"
        if weights
        else f"the gradient of {len(gradients)} parameters is not finite, first {gradients[:1]}"
    )
    return (
        f"expected a finite loss and gradient, got three steps in a row that are not (loss {loss}): {where}; "
        "lower training.learning_rate, bound the rewards (clip-rewards), or look at the last rollouts"
    )
