"""What travels between the two halves of a recipe in verl (`guerdon.adapters.verl_cut`).

verl carries a number and a dictionary per row; `pack` writes what the first half made into one string of it, `unpack`
reads a batch of them. Nothing here imports verl.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from guerdon.batch import Rollouts
from guerdon.credit.levels import place_rewards
from guerdon.quantities import lookup

RECORD = "guerdon"
"""The key of reward_extra_info under which the first half's record travels."""
_SIGNALLED = "parts", "step_parts", "token_parts"


def pack(batch: Rollouts) -> dict[str, Any]:
    """What the signals made of one row, as verl's reward_extra_info: the same keys for every row of a recipe.

    Each part by its name (NaN: unscored) and ``NAME_scored`` (1 or 0); ``acc``, which verl takes for validation, where
    the row was verified or might have been; and ``guerdon``, a string with all of it, steps and positions included.
    """
    record: dict[str, Any] = {name: {k: v[0].tolist() for k, v in batch.get(name, {}).items()} for name in _SIGNALLED}
    record["correct"] = batch["correct"][0].item() if "correct" in batch else None
    record["reasons"] = {k: v[0] for k, v in batch.get("reasons", {}).items()}
    info: dict[str, Any] = {RECORD: json.dumps(record)}
    for name, value in record["parts"].items():
        info |= {name: value, f"{name}_scored": int(value == value)}
    if record["correct"] is not None:
        info["acc"] = record["correct"]
    return info


def unpack(infos: Sequence[Mapping[str, Any]], width: int) -> dict[str, Any]:
    """Quantities of the rows whose reward_extra_info these are; T = ``width``. A row without a record is unscored."""
    records = [json.loads(info[RECORD]) if RECORD in info else {} for info in infos]
    made: dict[str, Any] = {}
    nan = float("nan")
    for name in _SIGNALLED:
        keys = dict.fromkeys(k for r in records for k in r.get(name, {}))
        for key in keys:
            rows = [r.get(name, {}).get(key, nan if name == "parts" else []) for r in records]
            if name == "parts":
                value = torch.tensor(rows, dtype=torch.float32)
            else:
                value = pad_sequence([torch.tensor(r, dtype=torch.float32) for r in rows], True, nan)
            if name == "token_parts":
                value = torch.nn.functional.pad(value, (0, width - value.shape[1]), value=nan)
            made.setdefault(name, {})[key] = value
    if any(r.get("correct") is not None for r in records):
        found = [r.get("correct") for r in records]
        made["correct"] = torch.tensor([nan if c is None else c for c in found], dtype=torch.float32)
    labels = dict.fromkeys(k for r in records for k in r.get("reasons", {}))
    made["reasons"] = {k: [r.get("reasons", {}).get(k, "not asked") for r in records] for k in labels}
    return made


def columns_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of one row of verl's data set: its own, those inside ``extra_info``, and ``ground_truth``."""
    extra, model = fields.get("extra_info"), fields.get("reward_model")
    found = {**(extra if isinstance(extra, Mapping) else {}), **fields}
    if isinstance(model, Mapping):
        found.setdefault("ground_truth", model.get("ground_truth"))
    return {k: v for k, v in found.items() if lookup(k) is None and "." not in k}


def ended(tokens: Tensor, present: Tensor, stop: Iterable[int | None], limit: int) -> Tensor:
    """Whether a response ended by itself [B]: it is shorter than the limit, or its last token is one that stops.

    verl's engines answer "completed" for a response that was cut off as well, so its tokens have to tell.
    """
    lengths = present.sum(-1)
    last = tokens.gather(1, (lengths - 1).clamp(min=0)[:, None])[:, 0]
    stops = torch.tensor([s for s in stop if s is not None], dtype=tokens.dtype, device=tokens.device)
    return (lengths < limit) | torch.isin(last, stops)


def on_chosen(token_rewards: Tensor, mask: Tensor) -> Tensor:
    """What verl calls token_level_rewards [B, T], on positions that the policy chose.

    verl puts a row's score on the last position of its response. Where that is a tool's and not the policy's (mask
    False), it moves to the last position that the policy chose, so that no return loses it.
    """
    if not bool(((token_rewards != 0) & ~mask).any()):
        return token_rewards
    elsewhere = torch.where(mask, 0.0, token_rewards).sum(-1)
    return torch.where(mask, token_rewards, 0.0) + place_rewards(elsewhere, mask)
