"""What a signal said: values or NaN, and why a row has none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from guerdon.quantities import QUANTITIES, shape_of

NAN = float("nan")
NOT_ASKED = "not asked"
FAILED = "failed: "


@dataclass(frozen=True)
class Scores:
    """What a signal may return in place of bare scores, to say more of each row.

    ``values`` are what it would have returned (for a signal that makes several quantities, a tuple); ``reasons`` one
    entry per row, None or why it is unscored (``"failed: ..."``, or anything else for a row that was not asked);
    ``cost`` one number per row in the signal's own unit (tokens, cents).
    """

    values: Any
    reasons: Sequence[str | None] | None = None
    cost: Sequence[float] | None = None


@dataclass(frozen=True)
class Outcome:
    """What a signal said: a float32 tensor for each quantity that it makes, and why a row is unscored.

    ``reasons`` holds one entry per row: None (scored), ``"not asked"`` (the signal gave None for the row), or
    ``"failed: ..."``. ``seconds`` is wall clock of the whole; ``latency`` [B] what each row waited for its batch (NaN:
    not asked); ``cost`` [B] what each row cost, where the signal says; ``cached`` rows were answered from the cache.
    """

    values: dict[str, Tensor]
    reasons: list[str | None]
    seconds: float
    latency: Tensor | None = None
    cost: Tensor | None = None
    cached: int = 0

    @property
    def latencies(self) -> Tensor:
        """Seconds that each row waited [B]; NaN: not asked."""
        if self.latency is not None:
            return self.latency
        waited = torch.full((len(self.reasons),), self.seconds, dtype=torch.float32)
        if NOT_ASKED in self.reasons:
            waited[torch.tensor([reason == NOT_ASKED for reason in self.reasons])] = NAN
        return waited

    @property
    def failed(self) -> int:
        """Rows that failed: what counts toward the limit past which a run stops."""
        return sum(reason is not None and reason.startswith(FAILED) for reason in self.reasons)


class Unfit(Exception):
    """The signal returned something that is not a score per row."""


def read(result: Any, names: Sequence[str], rows: int) -> tuple[dict[str, Tensor], list[str | None], Tensor | None]:
    """Values by quantity, reasons and cost from whatever a signal returned.

    Raises:
        Unfit: it is no score per row.
    """
    said = result if isinstance(result, Scores) else Scores(result)
    several = (said.values,) if len(names) == 1 else said.values
    if not isinstance(several, tuple) or len(several) != len(names):
        raise Unfit(f"expected a tuple of {len(names)} results ({', '.join(names)}), got {_kind(result)}")
    values: dict[str, Tensor] = {}
    reasons: list[str | None] = [None] * rows
    for name, value in zip(names, several, strict=True):
        values[name], unasked = _tensor(name, value, rows)
        if name != "correct":
            reasons = [NOT_ASKED if row in unasked else reason for row, reason in enumerate(reasons)]
    if said.reasons is not None:
        if len(said.reasons) != rows:
            raise Unfit(f"expected {rows} reasons, got {len(said.reasons)}")
        reasons = [told or own for told, own in zip(said.reasons, reasons, strict=True)]
    cost = None
    if said.cost is not None:
        cost = torch.as_tensor(said.cost, dtype=torch.float32)
        if cost.shape != (rows,):
            raise Unfit(f"expected a cost for each of {rows} rows, got shape {list(cost.shape)}")
    return values, reasons, cost


def judge(values: dict[str, Tensor], reasons: list[str | None]) -> tuple[dict[str, Tensor], list[str | None]]:
    """Rows that are NaN, infinite or have a reason are NaN with a reason."""
    rows = len(reasons)
    silent, infinite = torch.zeros(rows, dtype=torch.bool), torch.zeros(rows, dtype=torch.bool)
    for name, value in values.items():
        flat = value.flatten(1) if value.ndim > 1 else value.unsqueeze(1)
        infinite |= flat.isinf().any(-1).cpu()
        if name != "correct":
            silent |= flat.isnan().all(-1).cpu()
    told = [
        reason or (FAILED + "the signal returned inf" if inf else FAILED + "the signal returned NaN" if nan else None)
        for reason, inf, nan in zip(reasons, infinite.tolist(), silent.tolist(), strict=True)
    ]
    lost = torch.tensor([reason is not None for reason in told], dtype=torch.bool)
    if bool(lost.any()):
        at = {name: lost.to(v.device).reshape(rows, *[1] * (v.ndim - 1)) for name, v in values.items()}
        values = {name: value.masked_fill(at[name], NAN) for name, value in values.items()}
    return values, told


def unscored(names: Sequence[str], rows: int, reason: str, shape: Sequence[int] = ()) -> Outcome:
    """Every row NaN, for one reason."""
    values = {name: torch.full((rows, *_tail(name, shape)), NAN) for name in names}
    return Outcome(values, [reason] * rows, 0.0)


def scatter(pieces: Sequence[tuple[Tensor, Outcome]], names: Sequence[str], rows: int, seconds: float) -> Outcome:
    """One outcome of ``rows`` rows from outcomes of some of them each; the rest was not asked."""
    values: dict[str, Tensor] = {}
    reasons: list[str | None] = [NOT_ASKED] * rows
    latency = torch.full((rows,), NAN)
    cost = torch.full((rows,), NAN) if any(o.cost is not None for _, o in pieces) else None
    for name in names:
        made = [o.values[name] for _, o in pieces]
        width = [max((v.shape[axis] for v in made), default=1) for axis in range(1, len(shape_of(QUANTITIES[name])))]
        values[name] = torch.full((rows, *width), NAN)
    for at, outcome in pieces:
        listed = at.tolist()
        for name, value in outcome.values.items():
            values[name][(at, *(slice(size) for size in value.shape[1:]))] = value.cpu()
        for row, reason in zip(listed, outcome.reasons, strict=True):
            reasons[row] = reason
        latency[at] = outcome.seconds if outcome.latency is None else outcome.latency
        if cost is not None and outcome.cost is not None:
            cost[at] = outcome.cost
    return Outcome(values, reasons, seconds, latency, cost, sum(o.cached for _, o in pieces))


def filled(outcome: Outcome, at: Tensor, value: float) -> Outcome:
    """Rows ``at`` [B] bool have the score ``value``, and so no reason to have none; ``correct`` stays as it is."""
    values = {
        name: made if name == "correct" else made.masked_fill(at.reshape(-1, *[1] * (made.ndim - 1)), value)
        for name, made in outcome.values.items()
    }
    reasons = [None if here else reason for here, reason in zip(at.tolist(), outcome.reasons, strict=True)]
    return replace(outcome, values=values, reasons=reasons)


def rows_of(arguments: Mapping[str, Any], at: Tensor, rows: int) -> dict[str, Any]:
    """The arguments of a signal at some rows; what is not per row stays."""
    listed = at.tolist()

    def pick(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[at.to(value.device)] if value.ndim and value.shape[0] == rows else value
        if isinstance(value, Mapping):
            return {k: pick(v) for k, v in value.items()}
        return [value[i] for i in listed] if isinstance(value, Sequence) and not isinstance(value, str) else value

    return {name: pick(value) for name, value in arguments.items()}


def _tensor(name: str, value: Any, rows: int) -> tuple[Tensor, set[int]]:
    unasked: set[int] = set()
    if hasattr(value, "__array__") and not isinstance(value, Tensor):
        value = value.tolist() if value.ndim else value
    if isinstance(value, Sequence) and not isinstance(value, str):
        unasked = {row for row, score in enumerate(value) if score is None}
        for score in value:
            if isinstance(score, str) or not (
                score is None or hasattr(score, "__float__") or isinstance(score, Sequence)
            ):
                raise Unfit(f"expected a number or None for each row, got {_kind(score)} {str(score)[:40]!r}")
        if any(isinstance(score, Sequence) for score in value):
            width = max(len(score) for score in value if isinstance(score, Sequence))
            lists = [list(score) if isinstance(score, Sequence) else [NAN] * width for score in value]
            value = [[NAN if s is None else float(s) for s in row] + [NAN] * (width - len(row)) for row in lists]
        else:
            value = [NAN if score is None else float(score) for score in value]
        value = torch.tensor(value, dtype=torch.float64)
    if not isinstance(value, Tensor) or value.is_complex():
        raise Unfit(f"expected {rows} scores, got {_kind(value)}")
    axes = len(shape_of(QUANTITIES[name]))
    if value.ndim != axes:
        raise Unfit(f"expected {rows} scores with {axes} axes ({QUANTITIES[name].axes}), got shape {list(value.shape)}")
    if value.shape[0] != rows:
        raise Unfit(f"expected {rows} scores, got {value.shape[0]}")
    return value.detach().to(torch.float32), unasked


def _tail(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    axes = len(shape_of(QUANTITIES[name])) - 1
    return tuple(shape[:axes]) + (1,) * (axes - len(shape[:axes]))


def _kind(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, Sequence) and not isinstance(value, str) else ""
    return f"{type(value).__name__}{size}"
