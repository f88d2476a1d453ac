"""Make the base checkpoint: supervised training on worked derivations of the training split, stopped young.

    python -m guerdon.policies.pretrain --out base.safetensors

The base has seen nothing but correct derivations and is simply not done learning: it writes the right form and gets
about half of the held-out expressions right when sampled. One seed and one step count give one checkpoint.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import BASE, Tiny, save
from guerdon.policies.tokenizer import END
from guerdon.signals.expressions import evaluate
from guerdon.tasks.arithmetic import Arithmetic
from guerdon.tasks.derivation import worked

STEPS = 400
ROWS = 256
LEARNING_RATE = 3e-3


def demonstrations(policy: Tiny, task: Arithmetic, start: int, count: int) -> Rollouts:
    """Training problems with their reference derivations as responses."""
    problems = task.problems("train", start, count)
    chains = ["=".join(worked(expression)) for expression in problems["expression"]]
    prompt_tokens, prompt_mask = policy.tokenizer.encode_left_padded(problems["prompts"])
    ids = [[*policy.tokenizer.encode(chain), END] for chain in chains]
    width = max(map(len, ids))
    tokens = torch.tensor([row + [END] * (width - len(row)) for row in ids])
    mask = torch.arange(width) < torch.tensor([len(row) for row in ids])[:, None]
    return Rollouts(
        {
            "prompts": problems["prompts"],
            "completions": chains,
            "prompt_tokens": prompt_tokens,
            "prompt_mask": prompt_mask,
            "tokens": tokens,
            "attention_mask": mask,
            "mask": mask,
        }
    )


def pretrain(
    policy: Tiny,
    task: Arithmetic,
    *,
    steps: int,
    rows: int,
    rate: float,
    log: Callable[[int, float, float], None] | None = None,
) -> None:
    """Cross-entropy on the responses, AdamW with warm-up; the rate is held, as in a run that was stopped early.

    ``log`` is called after each step with its number, its loss and the seconds so far.
    """
    optimiser = torch.optim.AdamW(policy.module.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    began = time.perf_counter()
    for step in range(steps):
        for part in optimiser.param_groups:
            part["lr"] = rate * min(1.0, (step + 1) / 50)
        batch = demonstrations(policy, task, step * rows, rows)
        order = (batch["prompt_mask"].sum(-1) + batch["mask"].sum(-1)).argsort()
        tokens, total = batch["mask"].sum(), 0.0
        optimiser.zero_grad()
        for half in order.chunk(2):
            part = batch.index(half).trim()
            loss = -policy.evaluate(part, frozenset({"logp"}))["logp"].sum() / tokens
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(policy.module.parameters(), 1.0)
        optimiser.step()
        if log is not None:
            log(step + 1, total, time.perf_counter() - began)


def accuracy(policy: Tiny, task: Arithmetic, *, count: int = 1000, temperature: float = 1.0, start: int = 0) -> float:
    """Share of held-out expressions whose last written number is the value; temperature 0 is greedy."""
    problems = task.problems("heldout", start, count)
    sampling = Sampling(temperature=temperature, max_tokens=task.max_tokens)
    said = policy.sample(problems["prompts"], sampling, generator=torch.Generator().manual_seed(1))["completions"]
    right = [
        evaluate(text.split("=")[-1]) == evaluate(value) for text, value in zip(said, problems["answer"], strict=True)
    ]
    return sum(right) / len(right)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of the module."""
    parser = argparse.ArgumentParser(
        prog="python -m guerdon.policies.pretrain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=BASE, help="file to write (default: the base of the package)")
    parser.add_argument("--steps", type=int, default=STEPS, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--rows", type=int, default=ROWS, help="derivations per step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=LEARNING_RATE, help="learning rate (default: %(default)s)")
    parser.add_argument("--width", type=int, default=96, help="width of the network (default: %(default)s)")
    parser.add_argument("--layers", type=int, default=3, help="blocks of the network (default: %(default)s)")
    parser.add_argument("--heads", type=int, default=3, help="attention heads (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and problems (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    if chosen.steps < 1 or chosen.rows < 1 or math.isnan(chosen.rate) or chosen.rate <= 0:
        parser.error("expected --steps, --rows and --rate above 0")
    torch.set_num_threads(1)  # sums in one order, so that the checkpoint is the same on every run
    policy = Tiny(width=chosen.width, layers=chosen.layers, heads=chosen.heads, seed=chosen.seed)
    task = Arithmetic(seed=chosen.seed)

    def log(step: int, loss: float, seconds: float) -> None:
        if step % 50 == 0 or step == chosen.steps:
            print(f"step {step}/{chosen.steps}  loss {loss:.4f}  {seconds:.0f} s", file=sys.stderr, flush=True)

    pretrain(policy, task, steps=chosen.steps, rows=chosen.rows, rate=chosen.rate, log=log)
    save(policy, chosen.out)
    sampled, greedy = accuracy(policy, task), accuracy(policy, task, temperature=0)
    print(f"held-out pass@1 {sampled:.3f}, greedy {greedy:.3f}; wrote {chosen.out}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
