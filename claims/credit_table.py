"""Every estimator of credit against the truth: bias, variance and what a policy gradient made of it is worth.

    python -m claims.credit_table              # prints the table
    python -m claims.credit_table --save       # also writes docs/credit-table.json and docs/credit-table.md

On the chain of `claims._chain` the advantage of every decision is known. Each estimator sees groups of eight answers, as
it would in a trainer, and gives an advantage to every step. Per decision (step, state, action), over many groups:

- ``bias``: root mean square of E[estimate | decision] - advantage, over decisions as often as the policy takes them;
- ``bias beyond a baseline``: the same after the mean over actions is taken out of both, which no gradient sees;
- ``deviation``: root mean square of the estimate's standard deviation given the decision;
- ``direction``: cosine between the expected gradient that it gives and the exact policy gradient;
- ``groups``: how many groups of eight until the gradient's noise is as large as the gradient (fewer is better).

Scales differ on purpose (a normalised advantage is larger than a raw one); direction and groups do not depend on scale.
"""

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from claims._chain import ACTIONS, SPOILT, STATES, STEPS, SUCCESS, WRONG, World, along, batch
from claims._run import interval
from guerdon.method import find

GROUPS, SIZE, SEEDS = 4000, 8, 5
ROOT = Path(__file__).parents[1]
Given = dict[str, Any]
Seen = tuple[Given, Tensor, Tensor]
"""Other rollouts than the plain ones, the estimate on them, and the weight of each step in the gradient."""
Estimator = Callable[[World, Given, torch.Generator], "Tensor | Seen"]


def call(name: str, given: Mapping[str, Any], **more: Any) -> Any:
    """A method by name on what it takes of ``given``; tensors in ``more`` replace quantities, the rest are options."""
    info = find(name)
    takes = {t.name for t in info.takes}
    quantities = {t.name: more.get(t.name, given.get(t.name)) for t in info.takes if t.name in {*more, *given}}
    options = {k: v for k, v in more.items() if k not in takes}
    target = info.call(**options) if info.stateful else lambda **q: info.call(**q, **options)
    return target(**quantities)


def branching(world: World, plain: Given, g: torch.Generator, *, fork: float, row: float, scale: bool = True) -> Seen:
    """PORTool on rollouts that part in two: rewards of the tree, compared at the fork and, over whole rows, in the group."""
    given = batch(world, len(plain["rewards"]) // SIZE, SIZE, g, forks=2)
    reward = call("tree-step-reward", given)
    steps = call("fork-relative", given, step_rewards=reward, scale=scale)
    of_row = call("group-normalise", given) if scale else call("group-centre", given)
    return given, fork * steps + row * of_row[:, None], call("node-weights", given)


def last_step(given: Given) -> Tensor:
    """The outcome as the reward of the last step."""
    return torch.cat([torch.zeros(len(given["rewards"]), STEPS - 1), given["rewards"][:, None]], dim=1)


def igpo(given: Given) -> Tensor:
    """Information gain of a belief that is the exact value, pooled over the group, added up."""
    belief = given["prefix_values"].clamp(min=1e-6).log()
    turns = call("information-gain", given, answer_logp=belief)
    return call("returns-to-go", given, step_rewards=call("pooled-normalise", given, step_rewards=turns))


def shaped(given: Given) -> Tensor:
    steps = call(
        "potential-shaping", given, step_rewards=last_step(given), potentials=given["prefix_values"], gamma=1.0
    )
    return to_go(given, steps)


def increments(given: Given) -> Tensor:
    """A dense reward of the environment: half a point for each of the first two useful steps, in turn-rewards' layout."""
    useful = given["states"].clamp(max=2)
    fresh = (useful[:, 1:] > useful[:, :-1]) & (given["states"][:, 1:] != SPOILT)
    return call("turn-rewards", given, turn_scores=fresh.float(), norm="max-total", maximum=2.0)


def rows(name: str, **options: Any) -> Estimator:
    """A row's advantage on each of its steps."""
    return lambda world, given, g: call(name, given, **options)[:, None].expand(-1, STEPS)


def to_go(given: Given, step_rewards: Tensor) -> Tensor:
    """Returns from each step on, compared with the group's at the same step."""
    returns = call("returns-to-go", given, step_rewards=step_rewards)
    return call("group-centre", given, rewards=returns)


def labels(given: Given) -> Tensor:
    """Exact step labels: 0 for a wrong step or one in a spoilt answer, else 1."""
    return ((given["actions"] != WRONG) & (given["states"][:, :-1] != SPOILT)).float()


def flawed(given: Given) -> Tensor:
    """A process reward that likes filler: .9 for it, .6 for a useful step, -.5 for a wrong one."""
    return torch.tensor([0.6, 0.9, -0.5])[given["actions"]]


def drawn_values(world: World, given: Given, g: torch.Generator, draws: int = 4) -> Tensor:
    """Values of prefixes from ``draws`` continuations each; the last boundary is the reward itself."""
    states = given["states"]
    values = torch.empty(states.shape)
    values[:, -1] = given["rewards"]
    for h in range(STEPS):
        ends = [SUCCESS[world.draw(len(states), g, (h, states[:, h]))[0][:, -1]] for _ in range(draws)]
        values[:, h] = torch.stack(ends).mean(0)
    return values


def implied(world: World, given: Given, beta: float = 0.2) -> Given:
    """Log-probabilities of an implicit reward model that has converged: its ratios are differences of soft values."""
    q = along(world.soft_values(beta), given["states"]) / beta
    return {**given, "model_logp": given["ref_logp"] + q.diff(dim=1)}


def contributions(world: World, given: Given, g: torch.Generator) -> Tensor:
    """Contributions of (step, state, action) fitted by least squares to the rewards of 2,000 other answers."""

    def features(states: Tensor, actions: Tensor) -> Tensor:
        return (torch.arange(STEPS) * STATES + states[:, :-1]) * ACTIONS + actions

    states, actions = world.draw(2000, g)
    size = STEPS * STATES * ACTIONS
    table = torch.zeros(2000, size, dtype=torch.float64).scatter_add_(
        1, features(states, actions), torch.ones(2000, STEPS, dtype=torch.float64)
    )
    gram = table.T @ table + 1e-3 * torch.eye(size, dtype=torch.float64)
    fitted = torch.linalg.solve(gram, table.T @ SUCCESS[states[:, -1]].double())
    return fitted[features(given["states"], given["actions"])].float()


def spoilt_critic(world: World, given: Given, g: torch.Generator) -> Given:
    """Values of a critic that is wrong by a fixed amount in every state (standard deviation .15)."""
    error = 0.15 * torch.randn(STEPS + 1, STATES, generator=torch.Generator().manual_seed(99), dtype=torch.float64)
    return {**given, "old_values": along(world.values()[0] + error, given["states"])[:, :-1].contiguous()}


def gae(given: Given, lam: float) -> Tensor:
    token_rewards = call("place-rewards", given)
    return call("gae", given, token_rewards=token_rewards, lam=lam)[0]


def progress(world: World, given: Given, values: Tensor, *, k: int | None = None, alpha: float = 3.0) -> Tensor:
    if k is not None:
        values = call("best-of-k", given, prefix_values=values, k=k)
    gained = call("progress", given, prefix_values=values)
    return to_go(given, call("effective-reward", given, step_rewards=gained, alpha=alpha))


def alone(given: Given, values: Tensor) -> Tensor:
    """Progress as the step's own advantage, without returns."""
    return call("group-centre", given, rewards=call("progress", given, prefix_values=values))


def prime(world: World, given: Given, g: torch.Generator) -> Tensor:
    token_rewards = call("implicit-token-reward", implied(world, given))
    token_rewards = call("return-max-norm", given, token_rewards=token_rewards)
    token_rewards = call("rloo-tokens", given, token_rewards=token_rewards)
    outcome = call("leave-one-out", given)
    both = call("add-outcome", given, token_rewards=token_rewards, rewards=outcome)
    return call("whiten", given, token_advantages=call("discounted-returns", given, token_rewards=both))


def rto(world: World, given: Given, g: torch.Generator) -> Tensor:
    token_rewards = call("implicit-token-reward", implied(world, given), beta=0.05, clip=0.05)
    return call("gae", given, token_rewards=call("rto-reward", given, token_rewards=token_rewards))[0]


def istar(world: World, given: Given, g: torch.Generator) -> Tensor:
    step_rewards = call("implicit-step-reward", implied(world, given))
    steps = call("pooled-normalise", given, step_rewards=step_rewards, estimator="rloo")
    return call("leave-one-out", given)[:, None] + steps


def pure(given: Given) -> Tensor:
    return to_go(given, call("min-form", given, step_rewards=flawed(given)))


def oreal(world: World, given: Given, g: torch.Generator) -> Tensor:
    q = along(world.values()[0], given["states"])[:, 1:].clamp(1e-3, 1 - 1e-3)
    running = q.logit() * torch.arange(1, STEPS + 1)  # scores whose running mean is the logit of the value
    scores = torch.cat([running[:, :1], running.diff(dim=1)], dim=1)
    weights = call("running-mean-importance", given, model_token_scores=scores)
    return weights * call("leave-one-out", given)[:, None]


ESTIMATORS: dict[str, tuple[str, Estimator]] = {
    "reinforce": ("no baseline", lambda w, x, g: x["rewards"][:, None].expand(-1, STEPS)),
    "moving-average-baseline": ("a running mean", rows("moving-average-baseline")),
    "greedy-baseline": ("ReMax", rows("greedy-baseline")),
    "leave-one-out": ("RLOO", rows("leave-one-out")),
    "group-centre": ("Dr. GRPO", rows("group-centre")),
    "group-normalise": ("GRPO", rows("group-normalise")),
    "gae, exact values, lambda 1": ("PPO", lambda w, x, g: gae(x, 1.0)),
    "gae, exact values, lambda .95": ("PPO", lambda w, x, g: gae(x, 0.95)),
    "gae, exact values, lambda 0": ("PPO", lambda w, x, g: gae(x, 0.0)),
    "gae, wrong values, lambda .95": ("PPO", lambda w, x, g: gae(spoilt_critic(w, x, g), 0.95)),
    "gae, wrong values, lambda 0": ("PPO", lambda w, x, g: gae(spoilt_critic(w, x, g), 0.0)),
    "step labels, own step": ("exact labels", lambda w, x, g: call("group-centre", x, rewards=labels(x))),
    "step labels, sum": ("exact labels", lambda w, x, g: to_go(x, labels(x))),
    "flawed scores, sum": ("a reward that likes filler", lambda w, x, g: to_go(x, flawed(x))),
    "flawed scores, min-form": ("PURE", lambda w, x, g: pure(x)),
    "flawed scores, min-return": (
        "PURE, strict",
        lambda w, x, g: call("group-centre", x, rewards=call("min-return", x, step_rewards=flawed(x))),
    ),
    "progress, exact": ("own values, own step", lambda w, x, g: alone(x, x["prefix_values"])),
    "progress, 4 draws": ("drawn values, own step", lambda w, x, g: alone(x, drawn_values(w, x, g))),
    "progress + outcome, own prover": ("PAV, mu = pi", lambda w, x, g: progress(w, x, x["prefix_values"])),
    "progress + outcome, best of 4": ("PAV", lambda w, x, g: progress(w, x, x["prefix_values"], k=4)),
    "progress + outcome, best of 64": ("PAV, strong prover", lambda w, x, g: progress(w, x, x["prefix_values"], k=64)),
    "progress + outcome, 4 draws": ("PAV, drawn", lambda w, x, g: progress(w, x, drawn_values(w, x, g), k=4)),
    "termination-baseline": ("MRT", rows("termination-baseline")),
    "prime": ("PRIME, converged model", prime),
    "rto": ("RTO, converged model", rto),
    "istar": ("iStar, converged model", istar),
    "implicit steps, own step": (
        "Implicit PRM, converged",
        lambda w, x, g: call("group-centre", x, rewards=call("implicit-step-reward", implied(w, x), beta=0.2)),
    ),
    "fitted contributions, own step": (
        "SPA, 2,000 answers",
        lambda w, x, g: call("group-centre", x, rewards=contributions(w, x, g)),
    ),
    "fitted contributions, sum": ("SPA, 2,000 answers", lambda w, x, g: to_go(x, contributions(w, x, g))),
    "fork-relative": ("PORTool, forks alone", lambda w, x, g: branching(w, x, g, fork=1.0, row=0.0)),
    "fork-relative, unscaled": (
        "PORTool, forks alone",
        lambda w, x, g: branching(w, x, g, fork=1.0, row=0.0, scale=False),
    ),
    "fork-relative + group": ("PORTool", lambda w, x, g: branching(w, x, g, fork=1.0, row=1.0)),
    "information-gain": ("IGPO, belief = exact value", lambda w, x, g: igpo(x)),
    "turn-rewards, dense": ("meow-tea-taro, partial marks", lambda w, x, g: to_go(x, increments(x))),
    "potential-shaping": ("Robo-Dopamine, exact potential", lambda w, x, g: shaped(x)),
    "entropy-modulated": (
        "EMPG",
        lambda w, x, g: call("entropy-modulated", x, advantages=call("group-normalise", x)),
    ),
    "selective-advantage": (
        "SPARK, exact verdicts",
        lambda w, x, g: call("selective-advantage", x, advantages=call("group-normalise", x), step_rewards=labels(x)),
    ),
    "importance": ("OREAL, converged model", oreal),
}


def measure(name: str, seed: int, groups: int = GROUPS) -> dict[str, float]:
    """The five numbers of one estimator on one policy."""
    world = World.random(seed)
    g = torch.Generator().manual_seed(10_000 + seed)
    given = batch(world, groups, SIZE, g)
    made = ESTIMATORS[name][1](world, given, g)
    given, estimate, weight = made if isinstance(made, tuple) else (given, made, torch.ones(made.shape))
    groups = len(given["rewards"]) // SIZE
    estimate, weight = estimate.double().nan_to_num(nan=0.0), weight.double()
    states, actions = given["states"][:, :-1], given["actions"]
    cell = (torch.arange(STEPS) * STATES + states) * ACTIONS + actions
    size = STEPS * STATES * ACTIONS
    count = torch.bincount(cell.flatten(), weights=weight.flatten(), minlength=size)
    seen = count > 0
    total = torch.bincount(cell.flatten(), weights=(weight * estimate).flatten(), minlength=size)
    square = torch.bincount(cell.flatten(), weights=(weight * estimate.square()).flatten(), minlength=size)
    mean = torch.where(seen, total / count, 0.0)
    variance = torch.where(seen, square / count - mean.square(), 0.0).clamp(min=0)
    v, q = world.values()
    truth = (q - v[:-1][..., None]).flatten()
    share = count / count.sum()
    off = torch.where(seen, mean - truth, 0.0)
    table, chance = off.reshape(STEPS, STATES, ACTIONS), world.chance
    beyond = (table - (chance * table).sum(-1, keepdim=True)).flatten()
    exact = (world.visits()[..., None] * chance).flatten() * truth
    gradient, noise = _gradients(world, states, actions, weight * estimate, groups)
    cosine = float(gradient @ exact / (gradient.norm() * exact.norm()).clamp(min=1e-12))
    return {
        "bias": float((share * off.square()).sum().sqrt()),
        "bias_beyond_baseline": float((share * beyond.square()).sum().sqrt()),
        "deviation": float((share * variance).sum().sqrt()),
        "direction": cosine,
        "groups": float(noise / gradient.square().sum().clamp(min=1e-12)),
    }


def _gradients(world: World, states: Tensor, actions: Tensor, estimate: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Mean over groups of the gradient with respect to the logits, and the trace of its covariance for one group."""
    size = STEPS * STATES * ACTIONS
    where = torch.arange(STEPS) * STATES + states
    rows = torch.zeros(len(states), size, dtype=torch.float64)
    for action in range(ACTIONS):
        score = (actions == action).double() - world.chance[torch.arange(STEPS), states, action]
        rows.scatter_add_(1, where * ACTIONS + action, score * estimate)
    each = rows.reshape(groups, SIZE, size).mean(1)
    mean = each.mean(0)
    return mean, each.var(0).sum()


def table(seeds: int = SEEDS, groups: int = GROUPS) -> dict[str, Any]:
    """Mean and interval over policies of every number of every estimator."""
    result: dict[str, Any] = {}
    for name, (about, _) in ESTIMATORS.items():
        measured = [measure(name, seed, groups) for seed in range(seeds)]
        entry: dict[str, Any] = {"about": about}
        for key in measured[0]:
            effect = interval(np.array([m[key] for m in measured]))
            entry[key] = {"mean": round(effect.mean, 4), "low": round(effect.low, 4), "high": round(effect.high, 4)}
        result[name] = entry
    return {
        "world": f"{STEPS} steps, 3 actions; {groups} groups of {SIZE} on each of {seeds} policies",
        "estimators": result,
    }


def markdown(made: Mapping[str, Any]) -> str:
    """The page."""
    head = (
        "# Bias and variance of credit\n\n"
        "Made by `python -m claims.credit_table --save`. The world is small enough to know the true advantage of every\n"
        f"decision ({made['world']}); the module says what the columns mean. Means over policies. *Direction* is the\n"
        "cosine between the expected gradient and the exact one: 1 is unbiased. *Groups* is how many groups of eight\n"
        "answers it takes until the noise of the gradient is as large as the gradient: fewer is better, but only where the\n"
        "direction is right.\n\n"
        "| estimator | what it is | bias | beyond a baseline | deviation | direction | groups |\n"
        "|---|---|---:|---:|---:|---:|---:|\n"
    )
    lines = []
    for name, entry in made["estimators"].items():
        n = {k: v["mean"] for k, v in entry.items() if k != "about"}
        lines.append(
            f"| {name} | {entry['about']} | {n['bias']:.3f} | {n['bias_beyond_baseline']:.3f} | {n['deviation']:.3f} "
            f"| {n['direction']:.3f} | {n['groups']:.1f} |"
        )
    return head + "\n".join(lines) + "\n"


def main() -> None:
    """Parse the command line, measure, print, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.add_argument("--save", action="store_true", help="write the results and the page of the documentation")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--groups", type=int, default=GROUPS)
    options = parser.parse_args()
    made = table(options.seeds, options.groups)
    print(json.dumps(made) if options.json else markdown(made))
    if options.save:
        (ROOT / "docs" / "credit-table.json").write_text(json.dumps(made, indent=2) + "\n")
        (ROOT / "docs" / "credit-table.md").write_text(markdown(made))


if __name__ == "__main__":
    main()
