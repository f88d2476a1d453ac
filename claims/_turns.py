"""The tiny policy with a calculator, played in turns: a young base that gropes, and how runs from it go.

An expression of four numbers takes three calls and an answer. The base has seen transcripts of somebody who mostly does
what is next, and else says the last call once more, computes something beside the point, or answers with a number at hand.
"""

import random
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from claims._base import keep, learn
from guerdon.batch import Rollouts
from guerdon.policies.protocol import Sampling
from guerdon.policies.tiny import Tiny
from guerdon.recipe import load
from guerdon.signals import environment_score
from guerdon.tasks.calculator import Calculator
from guerdon.training import build
from guerdon.training.cast import Cast
from guerdon.training.rollouts import collect
from guerdon.training.turns import sample_turns

TASK: dict[str, Any] = {"operands": 4, "largest": 9, "max_turns": 8, "turn_tokens": 12, "max_tokens": 128}
NEXT, AGAIN, OTHER = 0.7, 0.15, 0.08
"""How often the demonstrations do what is next, repeat the last call, and make another; the rest answers at once."""
ITERATIONS, EVERY = 60, 15
LOOKS = tuple(range(0, ITERATIONS + 1, EVERY))
TRAINING: dict[str, Any] = {
    "iterations": ITERATIONS,
    "prompts": 16,
    "samples": 8,
    "minibatches": 2,
    "learning_rate": 1e-3,
    "decay": "none",
    "warmup": 3,
    "evaluate_every": EVERY,
    "evaluate_prompts": 128,
    "evaluate_samples": 4,
    "threads": 1,
}


def transcript(expression: str, rng: random.Random) -> list[tuple[str, str]]:
    """(what is said, what the calculator answers) turn by turn, by somebody who gropes."""
    task = Calculator(**TASK)
    episode = task.environment({"expression": expression})
    left = _parts_of(expression)
    seen = left[::2]
    turns: list[tuple[str, str]] = []
    call = ""
    while len(turns) < task.max_turns:
        mood = rng.random()
        if mood < NEXT and len(left) == 1:
            return [*turns, (f"answer {left[0]}\n", "")]
        if mood >= NEXT + AGAIN + OTHER:
            return [*turns, (f"answer {rng.choice(seen)}\n", "")]
        if mood < NEXT:
            at = _where(left)
            call = "".join(left[at - 1 : at + 2])
            left[at - 1 : at + 2] = [episode.step(f"calc {call}").observation.strip()]
        elif mood >= NEXT + AGAIN or not call:
            call = f"{rng.choice(seen)}{rng.choice('+-*')}{rng.choice(left[::2])}"
        turns.append((f"calc {call}\n", episode.step(f"calc {call}").observation))
        seen.append(turns[-1][1].strip())
    return turns


def _demonstrations(policy: Tiny, prompts: list[str], talks: list[list[tuple[str, str]]]) -> Rollouts:
    """Transcripts as rows; what the calculator said is there, but not to be learnt."""
    prompt_tokens, prompt_mask = policy.tokenizer.encode_left_padded(prompts)
    rows = [[(policy.encode(text), i % 2 == 0) for turn in talk for i, text in enumerate(turn)] for talk in talks]
    tokens = [[token for ids, _ in row for token in ids] for row in rows]
    own = [[chosen for ids, chosen in row for _ in ids] for row in rows]
    width = max(map(len, tokens))
    exists = torch.arange(width) < torch.tensor([len(row) for row in tokens])[:, None]
    return Rollouts(
        {
            "prompt_tokens": prompt_tokens,
            "prompt_mask": prompt_mask,
            "tokens": torch.tensor([row + [0] * (width - len(row)) for row in tokens]),
            "attention_mask": exists,
            "mask": torch.tensor([row + [False] * (width - len(row)) for row in own]),
        }
    )


@lru_cache
def base(steps: int = 500) -> str:
    """One young base for all arms and seeds."""
    task = Calculator(**TASK)
    policy = Tiny(width=32, layers=2, heads=2, vocabulary=task.vocabulary, seed=0)
    rng, rows, rate = random.Random(0), 64, 8e-3
    optimiser = torch.optim.AdamW(policy.module.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / 50)
        problems = task.problems("train", step * rows, rows)
        talks = [transcript(expression, rng) for expression in problems["expression"]]
        batch = _demonstrations(policy, problems["prompts"], talks)
        loss = -policy.evaluate(batch, frozenset({"logp"}))["logp"].sum() / batch["mask"].sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.module.parameters(), 1.0)
        optimiser.step()
    return keep(policy, "calculator-base")


def recipe(changes: Mapping[str, Any], seed: int, **training: Any) -> dict[str, Any]:
    """A run from the base; ``changes`` are its preset or its stages and losses, and its rewards where they differ."""
    common = {
        "task": {"use": "calculator", **TASK},
        "policy": {"use": "tiny", "checkpoint": base()},
        "reward": [{"use": "environment-score"}],
    }
    return {**common, **changes, "training": {**TRAINING, **training, "seed": seed}}


def measured(label: str, changes: Mapping[str, Any], seed: int, **training: Any) -> dict[str, float]:
    """Held-out success at each look as ``solved at ITERATION``, its mean over the run, and how the policy plays at the end.

    The end is 128 held-out problems with 8 episodes each: success, turns of all episodes and of those that were solved.
    """
    result = learn(recipe(changes, seed, **training), f"{label}-{seed}")
    events = list(result.run.events())
    looks = {event["iteration"]: event["accuracy"] for event in events if event["event"] == "evaluation"}
    steps = [event for event in events if event["event"] == "iteration"]
    task = Calculator(**TASK)
    problems, sampling = task.problems("heldout", 0, 128), Sampling(max_tokens=task.max_tokens)
    end = sample_turns(result.policy, task, problems, sampling, 8, 0, torch.Generator().manual_seed(seed))
    right = environment_score(end["turn_scores"])[1] > 0
    turns = end["turn_mask"].sum(-1).float()
    return {
        "solved": float(right.float().mean()),
        "solved along the way": float(np.mean(list(looks.values()))),
        "turns": float(turns.mean()),
        "turns when solved": float(turns[right].mean()) if right.any() else float("nan"),
        "tokens": float(np.sum([event["length"] for event in steps])) * TRAINING["prompts"] * TRAINING["samples"],
        **{f"solved at {at}": value for at, value in looks.items()},
    }


def at_start(changes: Mapping[str, Any], seed: int, batches: int = 4) -> dict[str, float]:
    """What the base's first batches hold: groups whose tokens all have an advantage of 0, and what turns of a kind got."""
    parts = build(load(recipe(changes, seed)))
    cast, idle = Cast.of(parts), []
    paid: dict[str, list[float]] = {kind: [] for kind in ("earlier step", "last step", "other call")}
    for i in range(batches):
        batch = collect(parts, cast, i)[0].batch
        name = "token_advantages" if "token_advantages" in batch else "advantages"
        size = batch[name].nan_to_num(nan=0.0).abs().reshape(TRAINING["prompts"], -1).amax(-1)
        idle.append(float((size == 0).float().mean()))
        for row in range(batch.rows if "step_rewards" in batch else 0):
            turns = int(batch["turn_mask"][row].sum())
            if bool(batch["turn_accepted"][row, :turns].all()):  # else lines are not turns
                calls = kinds(batch["expression"][row], batch["completions"][row])[: turns - 1]
                for kind, gain in zip(calls, batch["step_rewards"][row, : turns - 1].tolist(), strict=True):
                    paid[kind].append(gain)
    return {"idle": float(np.mean(idle)), **{f"paid for {kind}": float(np.mean(v)) for kind, v in paid.items() if v}}


def kinds(expression: str, completion: str) -> list[str]:
    """Of each call: a step of the derivation that leaves more to do, the one that leaves the answer, or something else."""
    left, found = _parts_of(expression), []
    lines = completion.splitlines()
    for said, told in zip(lines[::2], lines[1::2], strict=False):  # the answer gets none
        at = _where(left)
        step = len(left) > 1 and said == "calc " + "".join(left[at - 1 : at + 2])
        if step:
            left[at - 1 : at + 2] = [told]
        found.append(("last step" if len(left) == 1 else "earlier step") if step else "other call")
    return found


def _parts_of(expression: str) -> list[str]:
    """Numbers and operators in turn."""
    return re.findall(r"\d+|[-+*]", expression)


def _where(left: list[str]) -> int:
    """The operator that is next: the first product, or else the first of all."""
    return left.index("*") if "*" in left else 1


PLAIN: dict[str, Any] = {
    "pipeline": [{"use": "weighted-sum"}, {"use": "group-normalise"}],
    "loss": [{"use": "clipped-surrogate"}],
}
"""Outcomes alone: GRPO's advantages, and the objective of the presets."""
SETTING = f"""The tiny policy works out sums, differences and products of four numbers with a calculator that does one
operation a turn, at most {TASK["max_turns"]} turns, from a young base that is right one time in twelve;
{ITERATIONS} iterations of {TRAINING["prompts"]} problems x {TRAINING["samples"]} episodes. """
