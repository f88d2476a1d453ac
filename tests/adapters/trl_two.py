"""What a trainer makes of given completions, whatever the number of processes: started by `test_trl_processes`."""

import random
import sys
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guerdon.kernels import group_max
from tests.adapters import trl_world as world

ROWS, GROUP = 12, 4  # on two processes of two micro-batches of 3 rows, the second group is spread over both


def behind_the_best(completions, group, **columns) -> list[float]:
    """A signal that compares a group: how much shorter than the longest."""
    length = torch.tensor([float(len(c)) for c in completions])
    return (length - group_max(length, group)).tolist()


def sometimes(completions, **columns) -> list[float | None]:
    """Digits, unscored where there is a bracket."""
    return [None if "(" in text else n for text, n in zip(completions, world.digits(completions), strict=True)]


SIGNALS = [
    {"use": "tests.adapters.trl_two:sometimes"},
    {"use": "tests.adapters.trl_two:behind_the_best", "weight": 0.5},
]
RECIPES: dict[str, Any] = {
    "grpo": {"preset": "grpo", "reward": SIGNALS},
    "weights across rows": {"preset": "steer", "reward": SIGNALS},
    "greedy, reference": {"preset": "remax", "reward": SIGNALS[:1], "loss": [{"use": "kl-loss", "weight": 0.1}]},
    "model": {"preset": "prime", "reward": [*SIGNALS, {"use": "final-answer"}], "set": {"accuracy-filter.low": 0.0}},
}


def rollout(prompts: list[str], trainer: Any) -> dict[str, Any]:
    """Completions that depend on the row's place in the whole batch, some positions not chosen."""
    tokens = trainer.processing_class
    first = trainer.accelerator.process_index * len(prompts)
    made: dict[str, list] = {"prompt_ids": [], "completion_ids": [], "logprobs": [], "env_mask": []}
    for i, prompt in enumerate(prompts):
        draw = random.Random(f"{prompt} {first + i}")
        text = "".join(draw.choice(world.CHARACTERS) for _ in range(draw.randint(2, 8)))
        ids = tokens.encode(text) + [1] * draw.randint(0, 1)
        made["prompt_ids"].append(tokens.encode(prompt))
        made["completion_ids"].append(ids)
        made["logprobs"].append([-1.0] * len(ids))
        made["env_mask"].append([1] + [int(draw.random() < 0.8) for _ in ids[1:]])
    return made


def measure(folder: Path, processes: int) -> dict[str, Any]:
    """Advantages of the first batch in its order, and the weights after two optimiser steps, for every recipe."""
    warnings.simplefilter("ignore")
    told: dict[str, Any] = {}
    for name, recipe in RECIPES.items():
        config = world.settings(
            folder, per_device_train_batch_size=ROWS // processes // 2, gradient_accumulation_steps=2,
            num_generations=GROUP, optim="sgd", learning_rate=0.05, ddp_find_unused_parameters=False,
        )  # fmt: skip
        trainer = world.ours(folder, recipe, config=config, rollout_func=rollout)
        batches: list[Tensor] = []
        score = trainer._generate_and_score_completions

        def keep(inputs, score=score, batches=batches, trainer=trainer):
            output = score(inputs)
            whole = trainer.accelerator.pad_across_processes(output["advantages"], dim=1)
            batches.append(trainer.accelerator.gather(whole))
            return output

        trainer._generate_and_score_completions = keep
        trainer.train()
        weights = trainer.accelerator.unwrap_model(trainer.model).state_dict()
        losses = [entry["loss/" + label] for entry in trainer.state.log_history for label in _labels(entry)]
        told[name] = {"advantages": batches, "weights": {k: v.clone() for k, v in weights.items()}, "losses": losses}
    return told


def _labels(entry: dict) -> list[str]:
    return sorted(k.removeprefix("loss/") for k in entry if k.startswith("loss/"))


if __name__ == "__main__":
    import os

    told = measure(Path(sys.argv[1]), int(os.environ["WORLD_SIZE"]))
    if os.environ["RANK"] == "0":
        torch.save(told, Path(sys.argv[1]) / "told.pt")
    torch.distributed.destroy_process_group()
