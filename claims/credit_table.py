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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from claims._chain import ACTIONS, STATES, STEPS, World, batch
from claims._estimators import ESTIMATORS, LEFT_OUT, SIZE
from claims._run import interval

GROUPS, SEEDS = 4000, 5
ROOT = Path(__file__).parents[1]


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
    left = [f"- {', '.join(f'`{name}`' for name in names.split())}: {why}." for names, why in LEFT_OUT.items()]
    return head + "\n".join(lines) + "\n\nMethods of credit without a line of their own:\n\n" + "\n".join(left) + "\n"


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
