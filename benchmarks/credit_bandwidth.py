"""Every method of credit on 512 answers of 4,096 tokens in 32 steps, against the time to read and write its numbers once.

For each registered method of the room: the time of a call, over the time that copying its inputs and outputs once would
take at the bandwidth of this machine, measured in turns with it (``share``; bar: at most 8). Methods whose numbers are
per row or per step are so small that only the fixed cost of a call is left; they are listed with that cost
(``microseconds``) and are not judged by bandwidth.

Every one against its plain loop over rows and positions (`tests.credit.loops`; ``over_loops``, bar: at least 20), equal to
1e-4: where it reads tokens the loop runs on a few of the rows and its time is scaled to all, elsewhere on the same rows.
"""

import statistics
from typing import Any

import torch
from torch import Tensor

from benchmarks._harness import beside_a_copy, main, times
from guerdon.method import Method, methods
from guerdon.quantities import QUANTITIES
from tests.contract.inputs import OPTIONS
from tests.credit import loops

B, T, S, G, D = 512, 4096, 32, 8, 32
ROWS_OF_LOOPS = 8
BAR, BAR_LOOPS = 8.0, 20.0


def batch(rows: int = B, width: int = T, steps: int = S, seed: int = 0) -> dict[str, Any]:
    """Random quantities of a realistic shape: answers of half to all of the width, in steps, in groups of eight."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(width // 2, width + 1, (rows, 1), generator=g)
    where = torch.arange(width).expand(rows, width)
    mask = where < lengths
    step_ids = torch.where(mask, where * steps // lengths, -1)
    cut = torch.rand(rows, generator=g) < 0.2
    data: dict[str, Any] = {
        "mask": mask,
        "attention_mask": mask.clone(),
        "lengths": lengths[:, 0].contiguous(),
        "step_ids": step_ids,
        "turn_ids": step_ids.clone(),
        "step_mask": torch.ones(rows, steps, dtype=torch.bool),
        "turn_mask": torch.ones(rows, steps, dtype=torch.bool),
        "step_end": (lengths * torch.arange(1, steps + 1) + steps - 1) // steps - 1,
        "group": torch.arange(rows) // G,
        "node_ids": torch.arange(rows)[:, None] // 2 * 1000 + torch.arange(steps),
        "terminated": ~cut,
        "truncated": cut,
        "part_weights": {"a": torch.tensor(1.0), "b": torch.tensor(0.5)},
        "correct": (torch.rand(rows, generator=g) < 0.5).float(),
    }
    sizes = {"B": rows, "T": width, "S": steps, "P": steps + 1, "K": 5, "D": D}
    for q in QUANTITIES.values():
        if q.name in data or q.dtype != "float" or not set(q.axes.split()) <= set(sizes):
            continue
        shape = [sizes[axis] for axis in q.axes.split()]

        def draw(shape: list[int] = shape, name: str = q.name) -> Tensor:
            value = torch.randn(shape, generator=g)
            return -value.abs() if name.endswith("logp") else value

        data[q.name] = {"a": draw(), "b": draw()} if q.keyed and not q.single else draw()
    return data


def measure() -> dict[str, Any]:
    data, copied = batch(), []
    room = [m for m in methods().values() if m.room == "credit" and _numeric(m)]
    large, small = {}, {}
    for method in room:
        call, inputs = _bound(method, data)
        made = call()
        size = _bytes(inputs) + _bytes(made)
        fastest, bandwidth = beside_a_copy(call, 7)
        copied.append(bandwidth / 1e9)
        if size < 1 << 20:
            small[method.name] = {"microseconds": 1e3 * fastest}
            continue
        share = fastest / (1e3 * size / bandwidth)
        large[method.name] = {"ms": fastest, "megabytes": size / 2**20, "share": share, "within": share <= BAR}
    looped = {m.name: _against_loops(m.name, data, B if m.name in small else ROWS_OF_LOOPS) for m in room}
    return {
        "ratio": min(entry["over_loops"] for entry in looped.values()),
        "bars": {"share": BAR, "over_loops": BAR_LOOPS},
        "details": {
            "shape": [B, T, S],
            "copy_gigabytes_per_second": {
                "least": min(copied),
                "median": statistics.median(copied),
                "most": max(copied),
            },
            "largest_share": max(entry["share"] for entry in large.values()),
            "beyond_the_bar": sorted(name for name, entry in large.items() if not entry["within"]),
            "below_the_bar": sorted(name for name, entry in looped.items() if entry["over_loops"] < BAR_LOOPS),
            "by_tokens": large,
            "by_rows_and_steps": small,
            "against_loops": looped,
        },
    }


def _numeric(method: Method) -> bool:
    """Takes tensors only: a splitter reads text, and belongs to another bar."""
    return all(t.optional or (t.quantity is not None and t.quantity.dtype != "object") for t in method.takes) and not {
        "token_spans",
        "completions",
    } & {t.name for t in method.takes}


def _bound(method: Method, data: dict[str, Any]):
    inputs = {t.name: data[t.name] for t in method.takes if not t.optional}
    options = OPTIONS.get(method.name, {})
    extra = {name: torch.Generator().manual_seed(0) for name in method.injected}
    if method.stateful:
        instance = method.call(**options)
        return lambda: instance(**inputs, **extra), inputs
    return lambda: method.call(**inputs, **options, **extra), inputs


def _bytes(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(map(_bytes, value.values()))
    return sum(map(_bytes, value)) if isinstance(value, tuple) else 0


def _against_loops(name: str, data: dict[str, Any], rows: int) -> dict[str, float]:
    """Speed over the plain loop: ours on all rows, the loop on so many of them, per row."""
    method, loop = methods()[name], loops.LOOPS[name]
    some = {k: v for k, v in batch(rows).items() if k in {t.name for t in method.takes if not t.optional}}
    call, _ = _bound(method, data)
    ours = times({"ours": call}, 5)["ours"]["median_ms"] / B
    theirs = times({"loop": lambda: loop(**some)}, 1, warm_up=0)["loop"]["median_ms"] / rows
    checked, _ = _bound(method, some)
    wanted, made = loop(**some), checked()
    for a, b in zip(
        made if isinstance(made, tuple) else (made,), wanted if isinstance(wanted, tuple) else (wanted,), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, equal_nan=True)
    return {"over_loops": theirs / ours, "loop_ms_per_row": theirs, "ours_ms_per_row": ours}


if __name__ == "__main__":
    main("credit_bandwidth", measure)
