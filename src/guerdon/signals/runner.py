"""Calling a signal so that nothing it does can end a run: failure is a value.

A signal may be anybody's function: it may raise, hang, return too few scores or NaN. Its rows are then unscored (NaN)
with a reason each, and the caller counts the failed ones. This is the only place that treats them so.
"""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from guerdon.method import Method
from guerdon.quantities import QUANTITIES, shape_of

NAN = float("nan")
NOT_ASKED = "not asked"
FAILED = "failed: "


@dataclass(frozen=True)
class Outcome:
    """What a signal said: a float32 tensor for each quantity that it makes, and why a row is unscored.

    ``reasons`` holds one entry per row: None (scored), ``"not asked"`` (the signal gave None for the row), or
    ``"failed: ..."``. ``seconds`` is wall clock.
    """

    values: dict[str, Tensor]
    reasons: list[str | None]
    seconds: float

    @property
    def failed(self) -> int:
        """Rows that failed: what counts toward the limit past which a run stops."""
        return sum(reason is not None and reason.startswith(FAILED) for reason in self.reasons)


def run_signal(
    call: Callable[..., Any] | Method,
    arguments: Mapping[str, Any],
    rows: int,
    *,
    timeout: float | None = None,
    makes: Sequence[str] | None = None,
    shape: Sequence[int] = (),
) -> Outcome:
    """Call a signal with keyword arguments and check what it returns.

    A registered method says itself what it makes; anything else makes ``parts`` (TRL's reward signature, a list of
    float or None) unless ``makes`` says otherwise. Where it returns

    - an exception, nothing within ``timeout`` seconds, the wrong number, shape or type: every row is NaN with reason
      ``failed: ...``;
    - None for a row: NaN, ``not asked``;
    - NaN in place of a row's score (for steps and positions: nothing but NaN), or an infinite one: NaN, ``failed``.
      ``correct`` may be NaN of its own: nothing verified the row.

    An async function, or whatever returns an awaitable, is run to its end, also under a running event loop (which it
    blocks). With a timeout, if async, or under a loop, the call runs in a thread of its own without gradient; one that outlives its timeout is abandoned (it is a daemon and ends with the process), so a signal should
    have its own limits too. Lists are copied before the call; tensors must not be changed by it. KeyboardInterrupt and
    SystemExit are not failures of the signal and pass.

    Args:
        shape: further axes of a quantity that is made per step or position, as far as known; used for failed rows.
    """
    info = call if isinstance(call, Method) else getattr(call, "__guerdon_method__", None)
    names = tuple(makes or (info.makes if info is not None else ("parts",)))
    function = call.call if isinstance(call, Method) else call
    given = {name: list(value) if isinstance(value, list) else value for name, value in arguments.items()}
    start = time.perf_counter()
    box = _Box()
    if timeout is None and not inspect.iscoroutinefunction(function) and not _within_event_loop():
        _work(function, given, names, rows, box)
    else:
        worker = threading.Thread(
            target=_work, args=(function, given, names, rows, box), daemon=True, name="guerdon-signal"
        )
        worker.start()
        worker.join(timeout)
        if worker.is_alive():
            box = _Box(failure=f"timed out after {timeout:g} s")
    seconds = time.perf_counter() - start
    if box.stop is not None:
        raise box.stop
    if box.failure is not None:
        values = {name: torch.full((rows, *_tail(name, shape)), NAN) for name in names}
        return Outcome(values, [FAILED + box.failure] * rows, seconds)
    values, reasons = _judge(box.values, box.reasons)
    return Outcome(values, reasons, seconds)


def chat_form(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as a function with TRL's signature expects them: where prompts are chat messages, so are completions."""
    prompts, completions = arguments.get("prompts"), arguments.get("completions")
    if not prompts or isinstance(prompts[0], str) or completions is None:
        return dict(arguments)
    said = [[{"role": "assistant", "content": c}] if isinstance(c, str) else c for c in completions]
    return {**arguments, "completions": said}


class _Box:
    """What the worker leaves for the caller."""

    def __init__(self, failure: str | None = None):
        self.failure = failure
        self.stop: BaseException | None = None
        self.values: dict[str, Tensor] = {}
        self.reasons: list[str | None] = []


def _within_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _work(function: Callable[..., Any], arguments: dict[str, Any], names: Sequence[str], rows: int, box: _Box) -> None:
    try:
        with torch.no_grad():  # the gradient mode belongs to the thread
            result = function(**arguments)
            if inspect.isawaitable(result):
                result = asyncio.run(_wait(result))
        box.values, box.reasons = _read(result, names, rows)
    except Exception as error:  # noqa: BLE001  somebody else's code may raise anything, and its rows must tell, not the run
        box.failure = f"{type(error).__name__}: {_line(error)}" if not isinstance(error, _Unfit) else str(error)
    except BaseException as stop:  # noqa: BLE001  Ctrl-C and exit pass, also out of the thread: raised again by the caller
        box.stop = stop


async def _wait(awaitable: Any) -> Any:
    return await awaitable


class _Unfit(Exception):
    """The signal returned something that is not a score per row."""


def _read(result: Any, names: Sequence[str], rows: int) -> tuple[dict[str, Tensor], list[str | None]]:
    several = (result,) if len(names) == 1 else result
    if not isinstance(several, tuple) or len(several) != len(names):
        raise _Unfit(f"expected a tuple of {len(names)} results ({', '.join(names)}), got {_kind(result)}")
    values: dict[str, Tensor] = {}
    reasons: list[str | None] = [None] * rows
    for name, value in zip(names, several, strict=True):
        values[name], unasked = _tensor(name, value, rows)
        if name != "correct":
            reasons = [NOT_ASKED if row in unasked else reason for row, reason in enumerate(reasons)]
    return values, reasons


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
                raise _Unfit(f"expected a number or None for each row, got {_kind(score)} {str(score)[:40]!r}")
        if any(isinstance(score, Sequence) for score in value):
            width = max(len(score) for score in value if isinstance(score, Sequence))
            lists = [list(score) if isinstance(score, Sequence) else [NAN] * width for score in value]
            value = [[NAN if s is None else float(s) for s in row] + [NAN] * (width - len(row)) for row in lists]
        else:
            value = [NAN if score is None else float(score) for score in value]
        value = torch.tensor(value, dtype=torch.float64)
    if not isinstance(value, Tensor) or value.is_complex():
        raise _Unfit(f"expected {rows} scores, got {_kind(value)}")
    axes = len(shape_of(QUANTITIES[name]))
    if value.ndim != axes:
        raise _Unfit(
            f"expected {rows} scores with {axes} axes ({QUANTITIES[name].axes}), got shape {list(value.shape)}"
        )
    if value.shape[0] != rows:
        raise _Unfit(f"expected {rows} scores, got {value.shape[0]}")
    return value.detach().to(torch.float32), unasked


def _judge(values: dict[str, Tensor], reasons: list[str | None]) -> tuple[dict[str, Tensor], list[str | None]]:
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


def _tail(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    axes = len(shape_of(QUANTITIES[name])) - 1
    return tuple(shape[:axes]) + (1,) * (axes - len(shape[:axes]))


def _kind(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, Sequence) and not isinstance(value, str) else ""
    return f"{type(value).__name__}{size}"


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
