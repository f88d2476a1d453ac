"""Every stage per token that an objective is built of, beside the clipped surrogate as a textbook writes it.

    python -m benchmarks.objective_stages --json --save

512 rows of 4,096 positions, 85% of them chosen; forward, and backward in what carries gradient. The textbook takes
log-probabilities, old ones, advantages and mask to the mean loss and back. A stage is called with its defaults on what
the vocabulary names; stages that make weights run without gradient, as the trainer runs them, and one that draws is given a
generator, at which a graph ends. Eager, and compiled beside
the compiled textbook where there is a compiler. ``ratio`` is the slowest stage's time over the textbook's; the bar is
1.5. Stages that rank or draw among all tokens of a row or of the mini-batch are in it like any other. Times are the least
of the repetitions, each beside a textbook of its own. ``GUERDON_ROWS`` makes the problem smaller.

The compiled textbook reads its inputs once in either direction and keeps one exponential in between; about half of its time
goes into the mask, whose bytes the compiler unpacks one by one. So what a stage costs is counted in passes over a mask,
conditions of a byte kept for the backward pass (as dear again to pack), exponentials, and sums that everything waits for.
"""

import os
import shutil
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from benchmarks._harness import main, times
from guerdon.method import Method, methods

ROWS, LENGTH, REPETITIONS, BAR = int(os.environ.get("GUERDON_ROWS", "512")), 4096, 5, 1.5
LEARNT = {"logp", "demonstration_logp", "entropy", "values", "ratio", "nucleus_entropy", "entropy_slope"}


def inputs(rows: int = ROWS, length: int = LENGTH) -> dict[str, Tensor]:
    """Quantities by name."""
    g = torch.Generator().manual_seed(0)

    def draw(spread: float, centre: float = 0.0) -> Tensor:
        return centre + spread * torch.randn(rows, length, generator=g)

    old_logp, entropy, values = -draw(1.0).abs(), draw(0.5).abs(), draw(1.0)
    logp = (old_logp + draw(0.1)).clamp(max=0)
    made = {
        "logp": logp,
        "old_logp": old_logp,
        "ref_logp": old_logp + draw(0.1),
        "ratio": (logp - old_logp).exp(),
        "token_advantages": draw(1.0),
        "entropy": entropy,
        "old_entropy": entropy + 0.01,
        "nucleus_entropy": entropy,
        "old_nucleus_entropy": entropy + 0.01,
        "entropy_slope": draw(0.1),
        "values": values,
        "old_values": values + draw(0.1),
        "token_returns": draw(1.0),
        "rewards": draw(1.0)[:, 0].contiguous(),
        "turn_ids": (torch.arange(length) // (length // 8)).expand(rows, -1).contiguous(),
        "mask": torch.arange(length) < (length * (0.7 + 0.3 * torch.rand(rows, 1, generator=g))).long(),
    }
    made |= {"demonstration_logp": logp.clone(), "demonstration_mask": made["mask"]}
    return {name: x.requires_grad_(name in LEARNT) for name, x in made.items()}


def textbook(logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor) -> Tensor:
    ratio = (logp - old_logp).exp()
    loss = -torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages)
    return (loss * mask).sum() / mask.sum()


def stage(
    method: Method, given: dict[str, Tensor], draw: torch.Generator | Tensor | None = None
) -> Callable[..., Tensor]:
    """The method to a scalar, from its tensors; ``draw`` is the generator, or the seed, of one that draws."""
    call = method.call() if method.stateful else method.call
    if method.stateful and hasattr(call, "update"):
        wanted = call.update.__code__.co_varnames[1 : call.update.__code__.co_argcount]
        call.update(**{name: given[name].detach() for name in wanted})
    draw = torch.Generator().manual_seed(0) if draw is None else draw
    extra = {"generator": draw} if "generator" in method.injected else {}

    def run(**tensors: Tensor) -> Tensor:
        return torch.where(tensors.get("mask", tensors.get("demonstration_mask")), call(**tensors, **extra), 0.0).sum()

    return run


def backward(run: Callable[..., Tensor], tensors: dict[str, Tensor], *, gradient: bool) -> Callable[[], None]:
    def once() -> None:
        if not gradient:
            with torch.no_grad():
                run(**tensors)
            return
        run(**tensors).backward()
        for x in tensors.values():
            x.grad = None

    return once


def compared(wrap: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]) -> dict[str, dict[str, float]]:
    """Milliseconds of each stage and of a textbook beside it, and their ratio."""
    given, told = inputs(), {}
    base = {"logp": given["logp"], "old_logp": given["old_logp"]}
    base |= {"advantages": given["token_advantages"], "mask": given["mask"]}
    for name, method in stages().items():
        torch.compiler.reset()  # stages share one code object, of which only so many variants are compiled
        plain = backward(wrap(textbook), base, gradient=True)
        tensors = {take.name: given[take.name] for take in method.takes if not take.optional}
        gradient = "token_weights" not in method.makes
        once = backward(wrap(stage(method, given)), tensors, gradient=gradient)
        taken = times({"textbook": plain, "stage": once}, REPETITIONS, warm_up=2)
        told[name] = {
            "milliseconds": taken["stage"]["min_ms"],
            "textbook_milliseconds": taken["textbook"]["min_ms"],
            "ratio": taken["stage"]["min_ms"] / taken["textbook"]["min_ms"],
        }
    return told


def stages() -> dict[str, Method]:
    return {name: m for name, m in methods().items() if m.room == "objectives"}


def measure() -> dict[str, Any]:
    """Eager, then compiled."""
    told = {"eager": compared(lambda run: run)}
    if shutil.which("c++") or shutil.which("g++"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            told["compiled"] = compared(lambda run: torch.compile(run, dynamic=False))
    slow = {
        f"{name}, {how}": round(m["ratio"], 2)
        for how, all_ in told.items()
        for name, m in all_.items()
        if m["ratio"] > BAR
    }
    return {
        "ratio": max(m["ratio"] for all_ in told.values() for m in all_.values()),
        "details": {"rows": ROWS, "length": LENGTH, "threads": torch.get_num_threads(), **told, "above_the_bar": slow},
    }


if __name__ == "__main__":
    main("objective_stages", measure)
