"""Rollouts and Pairs: frozen batches of named quantities.

A batch is a mapping from names (`guerdon.quantities`) to tensors, lists (text, dataset columns) or, for keyed
quantities such as ``parts``, dictionaries of tensors. Nothing is changed in place: ``with_`` returns a new batch.
Names that the vocabulary does not know are dataset columns and must be per row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from guerdon.quantities import QUANTITIES, Quantity, shape_of

_KINDS = {"float": torch.float32, "int": torch.int64, "bool": torch.bool}
_LEFT_PADDED = {"prompt_tokens", "prompt_mask"}
_PADDING = {"step_ids": -1, "turn_ids": -1, "node_ids": -1}


@dataclass(frozen=True, eq=False)
class Rollouts(Mapping[str, Any]):
    """Named quantities of B rows.

    ``batch["rewards"]`` reads a stored or derived quantity, ``batch["parts.length"]`` an entry of a keyed one.

    Raises:
        ValueError: a quantity has the wrong shape, dtype or number of rows, or nothing tells the number of rows.
    """

    data: Mapping[str, Any]
    rows: int = field(init=False)

    def __post_init__(self):
        data = dict(self.data)
        object.__setattr__(self, "rows", _count_rows(data))
        object.__setattr__(self, "data", MappingProxyType(_validated(data, self.rows)))

    # reading
    def __getitem__(self, name: str) -> Any:
        if name in self.data:
            return self.data[name]
        if "." in name:
            head, key = name.split(".", 1)
            if head in self.data and key in self.data[head]:
                return self.data[head][key]
        elif name in _DERIVED and all(need in self.data for need in _DERIVED[name][0]):
            return _DERIVED[name][1](self)
        raise KeyError(f"expected a quantity of this batch, got {name!r}; it holds {sorted(self.data)}")

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        if name in self.data:
            return True
        if "." in name:
            head, key = name.split(".", 1)
            return head in self.data and key in self.data[head]
        return name in _DERIVED and all(need in self.data for need in _DERIVED[name][0])

    def __iter__(self):
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    # new batches
    def with_(self, **quantities: Any) -> "Rollouts":
        """A new batch with these quantities added or replaced."""
        return Rollouts({**self.data, **quantities})

    def without(self, *names: str) -> "Rollouts":
        """A new batch that lacks these quantities."""
        return Rollouts({k: v for k, v in self.data.items() if k not in names})

    def to(self, device: torch.device | str) -> "Rollouts":
        """Every tensor on ``device``."""
        return Rollouts({k: _map(v, lambda t: t.to(device)) for k, v in self.data.items()})

    def index(self, rows: Tensor | Sequence[int]) -> "Rollouts":
        """The rows with these indices (int64, repeats allowed) or this boolean mask, in that order."""
        at = torch.as_tensor(rows)
        at = at.nonzero().squeeze(-1) if at.dtype == torch.bool else at.long()
        listed: list[int] | None = None

        def pick(value, name):
            nonlocal listed
            if isinstance(value, Tensor):
                return value[at.to(value.device)]
            if isinstance(value, Mapping):
                return {k: pick(v, name) for k, v in value.items()}
            listed = at.tolist() if listed is None else listed
            return [value[i] for i in listed]

        return Rollouts({k: v if _per_batch(k) else pick(v, k) for k, v in self.data.items()})

    def trim(self) -> "Rollouts":
        """The same rows without the columns of T and L that are padding in all of them."""
        if "attention_mask" not in self.data:
            return self
        width = max(1, int(self.data["attention_mask"].sum(-1).max())) if self.rows else 1
        left = 0
        if "prompt_mask" in self.data and self.rows:
            left = self.data["prompt_mask"].shape[1] - max(1, int(self.data["prompt_mask"].sum(-1).max()))

        def crop(name, value):
            q = QUANTITIES.get(name)
            if q is None:
                return value
            axes = shape_of(q)
            if "T" in axes:
                return _map(value, lambda t: t[:, :width])
            return _map(value, lambda t: t[:, left:]) if "L" in axes else value

        return Rollouts({k: crop(k, v) for k, v in self.data.items()})

    @staticmethod
    def cat(batches: Iterable["Rollouts"]) -> "Rollouts":
        """Rows of all batches, one after another; L, T and S are padded to the widest.

        Raises:
            ValueError: no batch, or the batches hold different quantities.
        """
        batches = list(batches)
        if not batches:
            raise ValueError("expected at least one batch to concatenate, got none")
        names = set(batches[0].data)
        for other in batches[1:]:
            if set(other.data) != names:
                odd = sorted(names ^ set(other.data))
                raise ValueError(
                    f"expected batches with the same quantities, got {odd} in some of them only; drop them with without()"
                )
        return Rollouts(
            {k: batches[0].data[k] if _per_batch(k) else _cat([b.data[k] for b in batches], k) for k in batches[0].data}
        )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Preference pairs: per-sequence sums and lengths, so that sum or mean is the caller's explicit choice.

    All tensors [B] float32: log-probabilities of the chosen and the rejected completion under the policy and,
    where there is one, the reference; lengths in tokens; ``margin``, ``weight`` and ``tie`` are optional.
    """

    chosen_logp: Tensor
    rejected_logp: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor
    ref_chosen_logp: Tensor | None = None
    ref_rejected_logp: Tensor | None = None
    margin: Tensor | None = None
    weight: Tensor | None = None
    tie: Tensor | None = None

    def __post_init__(self):
        rows = self.chosen_logp.shape
        for name, value in vars(self).items():
            if value is not None and value.shape != rows:
                raise ValueError(f"expected {name} of shape {tuple(rows)} as chosen_logp, got {tuple(value.shape)}")


# derived quantities ------------------------------------------------------------------------------------------------


def _lengths(batch: Rollouts) -> Tensor:
    return batch.data["mask"].sum(-1)


def _steps(batch: Rollouts) -> int:
    """S: the width of any stored per-step quantity, else one more than the largest step id."""
    for name, value in batch.data.items():
        q = QUANTITIES.get(name)
        if q is not None and shape_of(q)[:2] == ("B", "S"):
            values = list(value.values()) if isinstance(value, Mapping) else [value]
            if values:
                return values[0].shape[1]
    ids = batch.data["step_ids"]
    return max(1, int(ids.max()) + 1) if ids.numel() else 1


def even_steps(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same quantities with one number of steps: what has fewer than the widest (or than ``step_ids``) is padded.

    Signals count the steps of what they see: one that was asked about some rows only may know of fewer.
    """
    found = {name: q for name in data if (q := QUANTITIES.get(name)) is not None and _per_step(name)}
    extra = {name: int("P" in shape_of(q)) for name, q in found.items()}
    held = {name: data[name] if isinstance(data[name], Mapping) else {None: data[name]} for name in found}
    widths = [v.shape[1] - extra[name] for name, values in held.items() for v in values.values()]
    ids = data.get("step_ids")
    if ids is not None and ids.numel():
        widths.append(int(ids.max()) + 1)
    padded = {
        name: {key: _pad(v, max(widths) + extra[name], _padding(name, v), left=False) for key, v in values.items()}
        for name, values in held.items()
    }
    return {**data, **{name: values.get(None, values) for name, values in padded.items()}}


def _has(ids: Tensor, width: int) -> Tensor:
    hit = torch.zeros(ids.shape[0], width + 1, dtype=torch.bool, device=ids.device)
    return hit.scatter_(1, torch.where(ids < 0, width, ids.clamp(max=width)), True)[:, :width]


def _step_end(batch: Rollouts) -> Tensor:
    ids, mask, width = batch.data["step_ids"], batch.data["mask"], _steps(batch)
    at = torch.where((ids < 0) | ~mask, width, ids.clamp(max=width))
    where = torch.arange(ids.shape[1], device=ids.device).expand_as(ids).contiguous()
    end = torch.zeros(ids.shape[0], width + 1, dtype=torch.long, device=ids.device)
    return end.scatter_reduce_(1, at, where, "amax")[:, :width]


def _chosen_steps(batch: Rollouts) -> Tensor:
    return _has(batch.data["step_ids"].masked_fill(~batch.data["mask"], -1), _steps(batch))


def _turn_mask(batch: Rollouts) -> Tensor:
    ids = batch.data["turn_ids"]
    return _has(ids, max(1, int(ids.max()) + 1) if ids.numel() else 1)


_DERIVED = {
    "lengths": (("mask",), _lengths),
    "step_mask": (("step_ids", "mask"), _chosen_steps),
    "step_end": (("step_ids", "mask"), _step_end),
    "turn_mask": (("turn_ids",), _turn_mask),
}
DERIVED_FROM = {name: needs for name, (needs, _) in _DERIVED.items()}
"""What each derived quantity is read from."""


# plumbing ----------------------------------------------------------------------------------------------------------


def _per_batch(name: str) -> bool:
    q = QUANTITIES.get(name)
    return q is not None and "B" not in shape_of(q)


def _per_step(name: str) -> bool:
    q = QUANTITIES.get(name)
    return q is not None and bool({"S", "P"} & set(shape_of(q)))


def _map(value, f):
    if isinstance(value, Tensor):
        return f(value)
    if isinstance(value, Mapping):
        return {k: _map(v, f) for k, v in value.items()}
    return value


def _count_rows(data: Mapping[str, Any]) -> int:
    for name, value in data.items():
        if _per_batch(name):
            continue
        if isinstance(value, Mapping):
            if not value:
                continue
            value = next(iter(value.values()))
        return len(value)
    raise ValueError(f"expected at least one quantity per row (such as completions or rewards), got {sorted(data)}")


def _validated(data: dict[str, Any], rows: int) -> dict[str, Any]:
    sizes: dict[str, tuple[int, str]] = {"B": (rows, "the batch")}
    for name, value in data.items():
        q = QUANTITIES.get(name)
        if q is None:
            if "." in name:
                raise ValueError(f"expected a column name without a dot, got {name!r}; rename the column")
            if not hasattr(value, "__len__") or len(value) != rows:
                raise ValueError(f"expected column {name!r} with {rows} rows, got {_describe(value)}")
        elif q.keyed:
            if not isinstance(value, Mapping):
                raise ValueError(f"expected {name} to be a dictionary keyed by reward name, got {_describe(value)}")
            if q.axes:
                for key, entry in value.items():
                    _check(f"{name}.{key}", entry, q, sizes)
        else:
            _check(name, value, q, sizes)
    return data


def _check(name: str, value: Any, q: Quantity, sizes: dict[str, tuple[int, str]]) -> None:
    axes = shape_of(q)
    if q.dtype == "object":
        if isinstance(value, str) or not hasattr(value, "__len__") or len(value) != sizes["B"][0]:
            raise ValueError(f"expected {name} as a list of {sizes['B'][0]} entries, got {_describe(value)}")
        return
    want = f"[{', '.join(axes)}] {q.dtype}"
    if not isinstance(value, Tensor):
        raise ValueError(f"expected {name} as a tensor {want}, got {_describe(value)}")
    if value.ndim != len(axes) or value.dtype != _KINDS[q.dtype]:
        raise ValueError(f"expected {name} as {want} ({_KINDS[q.dtype]}), got {_describe(value)}")
    for axis, size in zip(axes, value.shape, strict=True):
        if axis.isdigit():
            if size != int(axis):
                raise ValueError(f"expected {name} as {want}, got {_describe(value)}")
            continue
        known = sizes.setdefault(axis, (size, name))
        if size != known[0]:
            raise ValueError(f"expected {name} with {axis} = {known[0]} as in {known[1]}, got {_describe(value)}")


def _describe(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor {list(value.shape)} of {value.dtype}"
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    return f"{type(value).__name__}{size}"


def _cat(values: list[Any], name: str) -> Any:
    first = values[0]
    if isinstance(first, Mapping):
        return {k: _cat([v[k] for v in values], name) for k in first}
    if not isinstance(first, Tensor):
        return [x for v in values for x in v]
    if first.ndim > 1:
        width = max(v.shape[1] for v in values)
        values = [_pad(v, width, _padding(name, v), left=name in _LEFT_PADDED) for v in values]
    return torch.cat(values)


def _padding(name: str, value: Tensor) -> float:
    return _PADDING.get(name, float("nan") if value.is_floating_point() and _per_step(name) else 0)


def _pad(value: Tensor, width: int, pad: float, left: bool) -> Tensor:
    if value.shape[1] == width:
        return value
    extra = value.new_full((value.shape[0], width - value.shape[1], *value.shape[2:]), pad)
    return torch.cat([extra, value] if left else [value, extra], dim=1)
