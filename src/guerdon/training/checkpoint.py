"""Checkpoints: safetensors and JSON, written whole or not at all, verified before they are used.

A checkpoint is a folder ``<iteration>/`` with ``policy.safetensors``, ``optimiser.safetensors``, ``methods.safetensors``
and ``state.json``, which names the others with their SHA-256. It appears by a rename, so that a kill leaves the
previous one. Generators are derived from (seed, iteration, stage) and need no saving.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from guerdon.policies.protocol import Policy
from guerdon.training.counters import Counters
from guerdon.training.ranks import ONE, Ranks
from guerdon.training.sharding import full, like

FORMAT = 1


@runtime_checkable
class Holder(Protocol):
    """Holds state by place: the methods of a pipeline, the models beside the policy."""

    def state(self) -> dict[str, Any]:
        """Tensors and numbers, by place."""
        ...

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore its own places."""
        ...


class CheckpointError(RuntimeError):
    """No usable checkpoint."""


def save(
    folder: Path,
    iteration: int,
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    holders: Sequence[Holder],
    counters: Counters,
    keep: int,
    ranks: Ranks = ONE,
) -> Path:
    """Write the checkpoint taken before ``iteration`` and remove all but the newest ``keep``.

    Rank 0 writes what one process would have written; where weights are sharded, all ranks must call.

    Raises:
        OSError: it could not be written (a full disk); the earlier ones are untouched.
    """
    target = folder / f"{iteration:06d}"
    weights, (optimiser_tensors, optimiser_numbers) = dict(policy.state()), _pack_optimiser(optimiser)
    if not ranks.first:
        return target
    partial = folder / f"{iteration:06d}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        method_tensors, method_numbers = _split({k: v for holder in holders for k, v in holder.state().items()})
        files = {"policy": weights, "optimiser": optimiser_tensors, "methods": method_tensors}
        for name, tensors in files.items():
            _write_tensors(partial / f"{name}.safetensors", tensors)
        state = {
            "format": FORMAT,
            "iteration": iteration,
            "counters": asdict(counters),
            "optimiser": optimiser_numbers,
            "methods": method_numbers,
            "sha256": {f"{name}.safetensors": _digest(partial / f"{name}.safetensors") for name in files},
        }
        with (partial / "state.json").open("w", encoding="utf-8") as file:
            json.dump(state, file)
            file.flush()
            os.fsync(file.fileno())
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise OSError(f"the checkpoint before iteration {iteration} could not be written: {error}") from error
    for old in sorted(p for p in folder.iterdir() if p.is_dir() and p.name.isdigit())[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def restore(
    folder: Path,
    policy: Policy,
    optimiser: torch.optim.Optimizer,
    holders: Sequence[Holder],
    counters: Counters,
    warn: Callable[[str], None],
    ranks: Ranks = ONE,
) -> int:
    """Load the newest sound checkpoint and return its iteration; a damaged one is reported and passed over.

    Several ranks load the one that rank 0 finds sound, whatever the number of processes that wrote it.

    Raises:
        CheckpointError: there is none.
    """
    found = _newest_sound(folder, warn) if ranks.first else None
    name = ranks.same(None if found is None else found[0])
    if name is None:
        raise CheckpointError(f"expected a sound checkpoint in {str(folder)!r}, got none; start the run anew")
    state, tensors = _read(folder / name) if found is None else found[1:]
    policy.load_state(tensors["policy"])
    _unpack_optimiser(optimiser, tensors["optimiser"], state["optimiser"])
    held = _join(state["methods"], tensors["methods"])
    for holder in holders:
        holder.load_state(held)
    for counter, value in state["counters"].items():
        setattr(counters, counter, value)
    return int(state["iteration"])


def _newest_sound(
    folder: Path, warn: Callable[[str], None]
) -> tuple[str, dict[str, Any], dict[str, dict[str, Tensor]]] | None:
    for path in sorted((p for p in folder.glob("*") if p.is_dir() and p.name.isdigit()), reverse=True):
        try:
            return path.name, *_read(path)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            warn(f"the checkpoint {path.name} is damaged ({error}); the one before it is used")
    return None


def _read(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    state = json.loads((path / "state.json").read_text("utf-8"))
    if state["format"] != FORMAT:
        raise ValueError(f"format {state['format']}, expected {FORMAT}")
    tensors = {}
    for name, digest in state["sha256"].items():
        if _digest(path / name) != digest:
            raise ValueError(f"{name} does not match its SHA-256")
        tensors[name.removesuffix(".safetensors")] = load_file(path / name)
    return state, tensors


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _pack_optimiser(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    state = optimiser.state_dict()
    tensors = {f"{i}.{name}": full(value) for i, entry in state["state"].items() for name, value in entry.items()}
    return tensors, [
        {k: v for k, v in g.items() if isinstance(v, int | float | bool | list | tuple)} for g in state["param_groups"]
    ]


def _unpack_optimiser(
    optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]
) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = value
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state = {i: {key: like(value, parameters[i]) for key, value in entry.items()} for i, entry in state.items()}
    now = optimiser.state_dict()["param_groups"]
    merged = [
        {**current, **{k: tuple(v) if k == "betas" else v for k, v in saved.items()}}
        for current, saved in zip(now, groups, strict=True)
    ]
    optimiser.load_state_dict({"state": state, "param_groups": merged})


def _split(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, numbers = {}, {}
    for place, entry in state.items():
        numbers[place] = {k: v for k, v in entry.items() if not isinstance(v, Tensor)}
        tensors |= {f"{place}\t{k}": v for k, v in entry.items() if isinstance(v, Tensor)}
    return tensors, numbers


def _join(numbers: dict[str, Any], tensors: dict[str, Tensor]) -> dict[str, Any]:
    state = {place: dict(entry) for place, entry in numbers.items()}
    for name, value in tensors.items():
        place, _, key = name.partition("\t")
        state[place][key] = value
    return state
