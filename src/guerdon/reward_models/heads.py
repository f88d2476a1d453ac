"""Heads on a language model: hidden states behind chosen positions, and weights that an earlier run learned."""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Policy

METHODS = "methods.safetensors"
"""The file of a checkpoint that holds what learned beside the policy."""
_HEADS = "heads."


def states_after(policy: Policy, batch: Rollouts, at: Int64[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
    """The hidden state that has seen the token at each position, whoever said it; -1: that has seen the prompt only.

    It is read before the next position; behind the last token one more is added, whose token nobody sees.
    """
    exists = batch["attention_mask"]
    behind = at + 1
    along = torch.arange(exists.shape[1] + 1, device=exists.device)
    wanted = torch.zeros(len(exists), len(along), dtype=torch.bool, device=exists.device).scatter(1, behind, True)
    longer = {
        "prompt_tokens": batch["prompt_tokens"],
        "prompt_mask": batch["prompt_mask"],
        "tokens": F.pad(batch["tokens"], (0, 1)),
        "attention_mask": along <= exists.sum(-1, keepdim=True),
        "mask": wanted,
    }
    states = policy.evaluate(Rollouts(longer), frozenset({"hidden"}))["hidden"]
    return states.gather(1, behind.to(states.device)[..., None].expand(-1, -1, states.shape[-1]))


def last_position(batch: Rollouts) -> Int64[Tensor, "B 1"]:
    """Where each answer's last token stands; -1 where there is none."""
    return batch["attention_mask"].sum(-1, keepdim=True) - 1


def size_of_states(policy: Policy) -> int:
    """How wide hidden states are."""
    one, there = torch.zeros(1, 1, dtype=torch.long), torch.ones(1, 1, dtype=torch.bool)
    nothing = {"prompt_tokens": one, "prompt_mask": there, "tokens": one, "attention_mask": there, "mask": there}
    with torch.no_grad():
        return states_after(policy, Rollouts(nothing), torch.zeros(1, 1, dtype=torch.long)).shape[-1]


def learned(path: Path) -> dict[str, dict[str, Tensor]] | None:
    """Weights of the models with heads in a checkpoint of a run, by the models' places; None where the path is none."""
    path = path / METHODS if path.is_dir() else path
    if path.name != METHODS or not path.is_file():
        return None
    from safetensors.torch import load_file

    models: dict[str, dict[str, Tensor]] = {}
    for key, value in load_file(path).items():
        place, _, name = key.partition("\t")
        if name.startswith("weight."):
            models.setdefault(place, {})[name.removeprefix("weight.")] = value
    return {place: weights for place, weights in models.items() if any(n.startswith(_HEADS) for n in weights)}


def load_learned(module: nn.Module, trained: Mapping[str, Mapping[str, Tensor]], what: str) -> None:
    """Take what the one model of the same shape in ``trained`` learned.

    Raises:
        ValueError: none of them has this shape, or several have; ``what`` says what was expected.
    """
    own = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    shapes = {name: weight.shape for name, weight in own.items()}
    fits = [w for w in trained.values() if {n: v.shape for n, v in w.items()} == shapes]
    if len(fits) != 1:
        raise ValueError(
            f"expected {what}, got {len(fits)} among the models {sorted(trained)}; give it the options it learned with"
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(fits[0][name])
