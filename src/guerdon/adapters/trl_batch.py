"""TRL's lists as our tensors, and our quantities in its dictionaries."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.adapters.data import rollouts_of, with_turns
from guerdon.batch import Rollouts
from guerdon.pipeline.weights import FACTORS, OTHERS, note_factor
from guerdon.policies.prefixes import left_padded
from guerdon.policies.token_text import TokenText
from guerdon.quantities import lookup

CARRIED = "guerdon."
"""Before the names of our quantities in TRL's dictionary of a batch."""
_TRLS = ("tokens", "attention_mask", "prompt_tokens", "prompt_mask", "old_logp")


def batch_of(
    said: Sequence[Any],
    prompts: Sequence[Any],
    ids: Sequence[Sequence[int]],
    group: Tensor,
    columns: Mapping[str, Sequence[Any]],
    text: TokenText,
    ends: Sequence[int],
) -> Rollouts:
    """Rollouts of one process from what ``GRPOTrainer._generate`` returned.

    A row ended by itself where its last token ends a completion: a padding token, which TRL counts too, does not.
    """
    prompt_ids, _, tool_mask, _, sampled, *_ = said
    context, context_mask = left_padded(prompt_ids)
    known: dict[str, Any] = {"prompt_tokens": context, "prompt_mask": context_mask}
    if sampled is not None:
        known["sampled_logp"] = right_padded([[torch.nan if x is None else x for x in row] for row in sampled])[0]
    if tool_mask is not None:
        known["chosen"] = right_padded(tool_mask)[0] > 0
    tokens, present = right_padded(ids)
    ended = torch.tensor([bool(row) and row[-1] in ends for row in ids])
    batch = rollouts_of(
        prompts=prompts,
        tokens=tokens,
        present=present,
        group=group,
        terminated=ended,
        text=text,
        columns=columns,
        **known,
    )
    return with_turns(batch)


def asked(batch: Rollouts, columns: Mapping[str, Sequence[Any]]) -> tuple[dict[str, list[Any]], int]:
    """What was asked, once per group, and the number of the first group; a group's rows are adjacent."""
    group = batch["group"].tolist()
    heads = [i for i, g in enumerate(group) if i == 0 or g != group[i - 1]]
    return {name: [batch[name][i] for i in heads] for name in ("prompts", *columns)}, group[0]


def right_padded(rows: Sequence[Sequence[float]]) -> tuple[Tensor, Tensor]:
    """Numbers and mask [B, T] of rows of any length, padding 0; at least one column."""
    width = max(1, max((len(row) for row in rows), default=1))
    present = torch.arange(width) < torch.tensor([len(row) for row in rows])[:, None]
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows]), present


def carry(mine: Rollouts, output: dict[str, Any]) -> None:
    """Put what the losses read of this process's rows into TRL's dictionary, which it shuffles and cuts by rows."""
    factors = {
        f"{name}.{label}": value for name in FACTORS.values() for label, value in mine.data.get(name, {}).items()
    }
    for name, value in {**mine.data, **factors}.items():
        if isinstance(value, Tensor) and name not in _TRLS:
            output[CARRIED + name] = _fit(value, name, output["completion_ids"].shape[1]).to(
                output["completion_ids"].device
            )
    output[CARRIED + "mask"] &= output["completion_mask"].bool()  # empty rows where TRL masks truncated completions
    output["advantages"] = output.pop(CARRIED + "token_advantages")


def carried(inputs: Mapping[str, Any]) -> Rollouts:
    """A micro-batch from TRL's dictionary, with ``importance_sampling_ratio`` (vLLM's) among the weights."""
    data: dict[str, Any] = {}
    for key, value in inputs.items():
        name, _, label = key.removeprefix(CARRIED).partition(".")
        if key.startswith(CARRIED):
            data[name] = {**data.get(name, {}), label: value} if name in FACTORS.values() else value
    data |= {"tokens": inputs["completion_ids"], "attention_mask": inputs["completion_mask"].bool()}
    data |= {"prompt_tokens": inputs["prompt_ids"], "prompt_mask": inputs["prompt_mask"].bool()}
    data["token_advantages"] = inputs["advantages"]
    if "importance_sampling_ratio" in inputs:
        ratio = inputs["importance_sampling_ratio"].expand(data["mask"].shape)
        data["token_weights"] = ratio * data.get("token_weights", 1.0)
        note_factor(data, OTHERS, "token_weights", ratio)
    return Rollouts(data)


def with_old(batch: Rollouts, inputs: Mapping[str, Any], logp: Tensor) -> Rollouts:
    """The micro-batch with ``old_logp``: TRL's, or, where none of its steps has moved the policy yet, the policy's own."""
    old = inputs.get("old_per_token_logps")
    return batch.with_(old_logp=logp.detach() if old is None else old.float())


def weights_of(batch: Rollouts, rows: Tensor, width: int) -> dict[str, Any]:
    """The weights of some rows and their factors, for a micro-batch of ``width`` positions."""
    made: dict[str, Any] = {}
    for product, factors in FACTORS.items():
        if product in batch:
            made[product] = _fit(batch[product][rows], product, width)
        if factors in batch:
            made[factors] = {label: _fit(value[rows], product, width) for label, value in batch[factors].items()}
    return made


def _fit(value: Tensor, name: str, width: int) -> Tensor:
    """A quantity of positions cut or padded with 0 to ``width`` columns; others as they are."""
    quantity = lookup(name)
    if quantity is None or "T" not in quantity.axes.split():
        return value
    fitting = value.new_zeros(value.shape[0], width, *value.shape[2:])
    common = min(width, value.shape[1])
    fitting[:, :common] = value[:, :common]
    return fitting
