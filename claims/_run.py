"""What every claim shares: seeds and arms, effects with intervals, the verdict, and the JSON that is kept."""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

RESULTS = Path(__file__).with_name("results")
Verdict = Literal["reproduced", "not reproduced", "not reproducible at this scale"]
Numbers = Mapping[str, np.ndarray]
"""Name of a number -> one value per seed."""


@dataclass(frozen=True)
class Effect:
    """The mean of an effect over seeds with its percentile-bootstrap interval (95 percent)."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Claim:
    """One finding and how it is put to the test.

    ``measure(arm, seed)`` gives the numbers of one arm on one seed. ``effects`` turns all of them into named effects
    per seed, the first of which is the main one; ``judge`` reads their means and intervals only.
    """

    name: str
    paper: str
    statement: str
    """What the paper finds, and what counts as reproducing it."""
    arms: tuple[str, ...]
    seeds: int
    measure: Callable[[str, int], Mapping[str, float]]
    effects: Callable[[Mapping[str, Numbers]], dict[str, np.ndarray]]
    judge: Callable[[Mapping[str, Effect]], Verdict]
    variants_tried: int
    """Settings (sizes, rates, lengths) that were run, those of this file included."""
    limits: str = ""
    """What the experiment does not show, and what differed between the variants."""
    workers: int = 1
    """Processes that share the measurements, one thread each; with more than one the claim is ``claims.NAME.CLAIM``."""


def interval(values: np.ndarray, *, draws: int = 10_000, seed: int = 0) -> Effect:
    """Mean over seeds, and the middle 95 percent of the means of resampled seeds."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (draws, len(values))).mean(-1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Effect(float(values.mean()), float(low), float(high))


def run(claim: Claim, seeds: int | None = None, saved: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Measure every arm on every seed, and judge.

    ``saved``: an earlier result, whose seeds are not measured again save the first, which must give the same numbers.

    Raises:
        ValueError: it does not.
    """
    began, spent = time.perf_counter(), sum(os.times()[:4])
    chosen = list(range(seeds or claim.seeds))
    wanted = [(arm, seed) for seed in chosen for arm in claim.arms]
    known = {} if saved is None else _known(saved)
    fresh = [one for one in wanted if one not in known or one[1] == chosen[0]]
    measured = dict(known)
    for (arm, seed), numbers in zip(fresh, _measured(claim, fresh), strict=True):
        told = ", ".join(f"{k} {v:.3f}" for k, v in numbers.items())
        print(f"seed {seed}  {arm}: {told}  ({time.perf_counter() - began:.0f} s)", file=sys.stderr, flush=True)
        again, before = {k: round(float(v), 4) for k, v in numbers.items()}, known.get((arm, seed))
        if before is not None and again != before:
            raise ValueError(f"expected {arm} to give {before} again, got {again}; measure all seeds, without --keep")
        measured[arm, seed] = numbers
    rows = {arm: [measured[arm, seed] for seed in chosen] for arm in claim.arms}
    arms = {arm: {k: np.array([row[k] for row in got]) for k in got[0]} for arm, got in rows.items()}
    per_seed = claim.effects(arms)
    effects = {name: interval(values) for name, values in per_seed.items()}
    main = next(iter(effects))
    return {
        "claim": claim.name,
        "paper": claim.paper,
        "statement": " ".join(claim.statement.split()),
        "verdict": claim.judge(effects),
        "effect": {"name": main, "mean": round(effects[main].mean, 4)},
        "interval": [round(effects[main].low, 4), round(effects[main].high, 4)],
        "effects": {
            name: {
                "mean": round(e.mean, 4),
                "interval": [round(e.low, 4), round(e.high, 4)],
                "per_seed": _rounded(per_seed[name]),
            }
            for name, e in effects.items()
        },
        "seeds": chosen,
        "arms": {arm: {k: _rounded(v) for k, v in got.items()} for arm, got in arms.items()},
        "variants_tried": claim.variants_tried,
        "limits": " ".join(claim.limits.split()),
        "hardware": {
            "machine": platform.machine(),
            "cores": os.cpu_count(),
            "workers": claim.workers,
            "threads": torch.get_num_threads() if claim.workers == 1 else 1,
            "device": "cpu",
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "kept": sorted({seed for _, seed in known} & set(chosen[1:])),
        "seconds": round(time.perf_counter() - began + (saved or {}).get("seconds", 0), 1),
        "cpu_seconds": round(sum(os.times()[:4]) - spent + (saved or {}).get("cpu_seconds", 0), 1),
    }


def _known(saved: Mapping[str, Any]) -> dict[tuple[str, int], Mapping[str, float]]:
    """The numbers of each arm and seed of a result."""
    return {
        (arm, seed): {name: values[at] for name, values in numbers.items()}
        for arm, numbers in saved["arms"].items()
        for at, seed in enumerate(saved["seeds"])
    }


def _measured(claim: Claim, wanted: Sequence[tuple[str, int]]) -> Iterator[Mapping[str, float]]:
    """The numbers of each arm and seed, in this order, by as many processes as the claim wants."""
    if claim.workers == 1:
        yield from (claim.measure(arm, seed) for arm, seed in wanted)
        return
    fresh = get_context("spawn")
    with ProcessPoolExecutor(claim.workers, fresh, torch.set_num_threads, (1,)) as pool:
        yield from pool.map(_measure, (claim.name for _ in wanted), *zip(*wanted, strict=True))


def _measure(name: str, arm: str, seed: int) -> Mapping[str, float]:
    """In a process of its own, which imports the claim and keeps its base from one measurement to the next."""
    return import_module(f"claims.{name}").CLAIM.measure(arm, seed)


def main(claim: Claim, arguments: Sequence[str] | None = None) -> int:
    """Command line of a claim's module."""
    parser = argparse.ArgumentParser(prog=f"python -m claims.{claim.name}", description=claim.statement)
    parser.add_argument("--save", action="store_true", help=f"write claims/results/{claim.name}.json")
    parser.add_argument("--keep", action="store_true", help="measure only the seeds that the saved result lacks")
    parser.add_argument("--seeds", type=int, default=claim.seeds, help="how many (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if chosen.seeds < 1:
        parser.error("expected --seeds of at least 1")
    if chosen.save and chosen.seeds < claim.seeds:
        parser.error(f"expected --save with all {claim.seeds} seeds, got {chosen.seeds}")
    file = RESULTS / f"{claim.name}.json"
    saved = json.loads(file.read_text("utf-8")) if chosen.keep and file.exists() else None
    text = json.dumps(run(claim, chosen.seeds, saved), indent=1)
    if chosen.save:
        RESULTS.mkdir(exist_ok=True)
        file.write_text(text + "\n", "utf-8")
    print(text)
    return 0


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(v), 4) for v in values]
