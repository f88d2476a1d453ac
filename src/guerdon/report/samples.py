"""A dozen rows of the last rollouts: some right, some wrong, each completion cut into tokens with their final credit."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_PARTS = ("parts.", "step_parts.", "token_parts.")


@dataclass(frozen=True)
class Token:
    """A piece of a completion; ``credit`` is None where the policy did not choose it or nothing scored it."""

    text: str
    credit: float | None


@dataclass(frozen=True)
class Sample:
    """A row; numbers are None where they are missing or unscored."""

    prompt: str
    completion: str
    correct: float | None
    reward: float | None
    advantage: float | None
    parts: list[tuple[str, Any]]
    """Name without its level, and a number or (steps, tokens) a list of numbers."""
    tokens: list[Token]


@dataclass(frozen=True)
class Samples:
    """The rows shown, and what is said of all rows of that iteration."""

    iteration: int
    rows: list[Sample]
    total: int
    scale: float
    """Size of credit that gets the full colour: the largest one shown."""
    reasons: list[tuple[str, str, int]]
    """Signal, why rows are unscored, how many rows: the most frequent."""


def read_samples(folder: Path, problems: list[str], count: int = 12) -> Samples | None:
    """The newest readable file of ``folder``; None where there is none."""
    for file in sorted(folder.glob("*.parquet"), reverse=True):
        try:
            table = pq.read_table(file)
            iteration = int(file.stem)
        except (pa.ArrowException, OSError, ValueError) as error:
            problems.append(f"The rollouts {file.name} could not be read ({type(error).__name__}).")
            continue
        rows = [_sample(row) for row in table.take(_choose(table, count)).to_pylist()]
        credits = [abs(t.credit) for row in rows for t in row.tokens if t.credit is not None]
        return Samples(iteration, rows, table.num_rows, max(credits, default=0.0), _reasons(table))
    return None


def _choose(table: pa.Table, count: int) -> list[int]:
    """Half right, half wrong, rows with credit first, evenly spread over the file so that prompts differ."""
    names = set(table.column_names)
    key = next((k for k in ("correct", "rewards", "advantages") if k in names), None)
    if key is None:
        return _spread(list(range(table.num_rows)), count)
    values = [_number(v) for v in table[key].to_pylist()]
    scored = sorted(v for v in values if v is not None)
    bar = 0.5 if key == "correct" else (scored[len(scored) // 2] if scored else 0.0)
    high = [i for i, v in enumerate(values) if v is not None and v >= bar]
    low = [i for i, v in enumerate(values) if v is None or v < bar]
    few = min(count // 2, len(low))
    credited = _credited(table)
    up = _prefer(high, credited, count - few)
    return sorted([*up, *_prefer(low, credited, count - len(up))])


def _credited(table: pa.Table) -> set[int]:
    """Rows with any credit that is not 0."""
    name = next((n for n in ("token_advantages", "step_advantages", "advantages") if n in table.column_names), None)
    values = table[name].to_pylist() if name else []
    return {i for i, v in enumerate(values) if any(_number(c) for c in (v if isinstance(v, list) else [v]))}


def _prefer(rows: list[int], first: set[int], count: int) -> list[int]:
    some = _spread([i for i in rows if i in first], count)
    return some + _spread([i for i in rows if i not in first], count - len(some))


def _spread(items: list[int], count: int) -> list[int]:
    if len(items) <= count:
        return items
    if count <= 0:
        return []
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def _sample(row: dict[str, Any]) -> Sample:
    completion = _text(row.get("completions"))
    parts = [
        (name.split(".", 1)[1], value)
        for name, value in row.items()
        if name.startswith(_PARTS) and not name.startswith("lineage.")
    ]
    advantage = _number(row.get("advantages"))
    return Sample(
        prompt=_text(row.get("prompts")),
        completion=completion,
        correct=_number(row.get("correct")),
        reward=_number(row.get("rewards")),
        advantage=advantage if advantage is not None else _mean(row),
        parts=[(name, _list(value) if isinstance(value, list) else _number(value)) for name, value in parts],
        tokens=_tokens(row, completion),
    )  # fmt: skip


def _list(values: list[Any]) -> list[float | None]:
    """Numbers without the padding at the end."""
    numbers = [_number(v) for v in values]
    while numbers and numbers[-1] is None:
        numbers.pop()
    return numbers


def _mean(row: dict[str, Any]) -> float | None:
    """Mean credit of the chosen positions: what stands for an advantage where credit is finer than rows."""
    credit, mask = row.get("token_advantages"), row.get("mask")
    if not isinstance(credit, list) or not isinstance(mask, list):
        return None
    chosen = [c for c, m in zip(credit, mask, strict=False) if m and _number(c) is not None]
    return sum(chosen) / len(chosen) if chosen else None


def _tokens(row: dict[str, Any], completion: str) -> list[Token]:
    """The completion cut at the spans; text that no span covers has no credit; [] where spans were not kept."""
    starts, ends = row.get("token_start"), row.get("token_end")
    if not isinstance(starts, list) or not isinstance(ends, list):
        return []
    credit = _credit(row, len(starts))
    mask = row.get("mask") or [True] * len(starts)
    made, cursor = [], 0
    for start, end, value, chosen in zip(starts, ends, credit, mask, strict=False):
        if start > cursor:
            made.append(Token(completion[cursor:start], None))
        start = max(start, cursor)
        made.append(Token(completion[start:end] if end > start else "", value if chosen else None))
        cursor = max(cursor, end)
    if cursor < len(completion):
        made.append(Token(completion[cursor:], None))
    return made


def _credit(row: dict[str, Any], width: int) -> Sequence[float | None]:
    """Credit per position: the token's own, else its step's, else its row's."""
    token, step, ids = row.get("token_advantages"), row.get("step_advantages"), row.get("step_ids")
    if isinstance(token, list):
        return [_number(v) for v in token]
    if isinstance(step, list) and isinstance(ids, list):
        return [_number(step[i]) if 0 <= i < len(step) else None for i in ids]
    return [_number(row.get("advantages"))] * width


def _reasons(table: pa.Table) -> list[tuple[str, str, int]]:
    counted = Counter(
        (name.split(".", 1)[1], reason)
        for name in table.column_names
        if name.startswith("reasons.")
        for reason in table[name].to_pylist()
        if isinstance(reason, str) and reason
    )
    return [(name, reason, count) for (name, reason), count in counted.most_common(8)]


def _text(value: Any) -> str:
    """Text, or chat messages as ``role: content`` lines."""
    if isinstance(value, list):
        return "\n".join(
            f"{m.get('role', '')}: {m.get('content', '')}" if isinstance(m, dict) else str(m) for m in value
        )
    return "" if value is None else str(value)


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and math.isfinite(value) else None
