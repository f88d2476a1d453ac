"""Small bases, made anew within a claim: a network that was stopped early in supervised training on a task."""

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from guerdon.batch import Rollouts
from guerdon.policies.tiny import Tiny, save
from guerdon.policies.tokenizer import END
from guerdon.training import Result, train

Answer = Callable[[str, str, int], str]
"""(expression, value, index) -> the completion to imitate; one that is to go on for ever ends in "..."."""


def supervise(policy: Tiny, task: Any, answer: Answer, *, steps: int, rows: int = 128, rate: float = 5e-3) -> None:
    """Cross-entropy on what ``answer`` writes for the task's training problems."""
    optimiser = torch.optim.AdamW(policy.module.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)
    for step in range(steps):
        for part in optimiser.param_groups:
            part["lr"] = rate * min(1.0, (step + 1) / 50)
        problems = task.problems("train", step * rows, rows)
        columns = zip(problems["expression"], problems["answer"], range(step * rows, (step + 1) * rows), strict=True)
        batch = demonstrations(policy, problems["prompts"], [answer(*row) for row in columns])
        loss = -policy.evaluate(batch, frozenset({"logp"}))["logp"].sum() / batch["mask"].sum()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.module.parameters(), 1.0)
        optimiser.step()


def demonstrations(policy: Tiny, prompts: Sequence[str], completions: Sequence[str]) -> Rollouts:
    """Prompts with given completions; each ends, save those that end in "..."."""
    prompt_tokens, prompt_mask = policy.tokenizer.encode_left_padded(prompts)
    endless = [text.endswith("...") for text in completions]
    texts = [text.removesuffix("...") for text in completions]
    ids = [policy.tokenizer.encode(text) + ([] if on else [END]) for text, on in zip(texts, endless, strict=True)]
    width = max(map(len, ids))
    mask = torch.arange(width) < torch.tensor([len(row) for row in ids])[:, None]
    return Rollouts(
        {
            "prompts": list(prompts),
            "completions": texts,
            "prompt_tokens": prompt_tokens,
            "prompt_mask": prompt_mask,
            "tokens": torch.tensor([row + [END] * (width - len(row)) for row in ids]),
            "attention_mask": mask,
            "mask": mask.clone(),
        }
    )


@lru_cache
def scratch() -> Path:
    """A folder that goes when the process does."""
    folder = tempfile.TemporaryDirectory(prefix="guerdon-claims-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


def keep(policy: Tiny, name: str) -> str:
    """Write a base into the scratch folder; its path, for a recipe's policy."""
    path = scratch() / f"{name}.safetensors"
    save(policy, path)
    return str(path)


def learn(recipe: dict[str, Any], label: str) -> Result:
    """Train a recipe without leaving rollouts or checkpoints behind."""
    training = {"save_rollouts_every": 0, "checkpoint_every": 10**6, **recipe["training"]}
    return train({**recipe, "training": training}, scratch() / label)
