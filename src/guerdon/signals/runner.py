"""Calling a signal so that nothing it does can end a run: failure is a value.

A signal may be anybody's function: it may raise, hang, return too few scores or NaN. Its rows are then unscored (NaN)
with a reason each, and the caller counts the failed ones. This is the only place that treats them so. `run_signal` is
one call; `ask` is a whole batch of rows as a recipe wants it asked: in pieces, several at once, again after a failure,
from a cache, in a process that can be killed, or only some rows.
"""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from guerdon.method import Method
from guerdon.sandbox.threads import side_by_side
from guerdon.signals.cache import Cache
from guerdon.signals.event_loop import run_awaitable
from guerdon.signals.scores import FAILED, Outcome, Unfit, filled, judge, read, rows_of, scatter, unscored


@dataclass(frozen=True)
class How:
    """How a signal is asked.

    Attributes:
        timeout: seconds for one call.
        batch: rows of one call; None: all at once.
        concurrency: calls at the same time.
        retries: further tries of a call that raised or timed out; a wait before each doubles from ``back_off`` seconds,
            or is what the error says in ``retry_after``.
        cache: answers of rows that were scored before, where the signal looks at rows one by one.
        name: of the signal and its options, under which the cache keeps them.
    """

    timeout: float | None = None
    batch: int | None = None
    concurrency: int = 1
    retries: int = 0
    back_off: float = 0.5
    cache: Cache | None = None
    name: str = ""


PLAIN = How()


def ask(
    call: Callable[..., Any] | Method,
    arguments: Mapping[str, Any],
    rows: int,
    *,
    how: How = PLAIN,
    makes: Sequence[str] | None = None,
    shape: Sequence[int] = (),
    wanted: Tensor | None = None,
    otherwise: float | None = None,
) -> Outcome:
    """Ask a signal for every row, or for those that are ``wanted`` [B] bool; see `run_signal` for what may come back.

    Rows that are not wanted are NaN, ``not asked``, or have the score ``otherwise`` (never ``correct``). A failure is never put into the cache.
    """
    began = time.perf_counter()
    names = _names(call, makes)
    at = torch.arange(rows) if wanted is None else wanted.cpu().nonzero().squeeze(-1)
    pieces: list[tuple[Tensor, Outcome]] = []
    keys: list[bytes] = []
    if how.cache is not None and len(at):
        keys = how.cache.keys(how.name, rows_of(arguments, at, rows), len(at))
        known, missing = how.cache.look(keys, names)
        pieces += [(at[i : i + 1], outcome) for i, outcome in known]
        at, keys = at[missing], [keys[i] for i in missing.tolist()]
    if how.batch is None and not pieces and wanted is None and how.retries == 0:
        whole = run_signal(call, arguments, rows, timeout=how.timeout, makes=names, shape=shape)
        if how.cache is not None:
            how.cache.keep(keys, whole)
        return whole
    calls = list(at.split(how.batch or max(1, len(at)))) if len(at) else []

    def one(part: Tensor) -> Outcome:
        given = rows_of(arguments, part, rows)
        return _tries(lambda: run_signal(call, given, len(part), timeout=how.timeout, makes=names, shape=shape), how)

    made = side_by_side([partial(one, part) for part in calls], how.concurrency)
    if how.cache is not None:
        unsaved = iter(keys)
        for part, outcome in zip(calls, made, strict=True):
            how.cache.keep(list(islice(unsaved, len(part))), outcome)
    whole = scatter([*pieces, *zip(calls, made, strict=True)], names, rows, time.perf_counter() - began)
    return whole if otherwise is None or wanted is None else filled(whole, ~wanted.cpu(), otherwise)


def _tries(call: Callable[[], Outcome], how: How) -> Outcome:
    """The first outcome that is no failure of the whole call, or the last."""
    outcome = call()
    for i in range(how.retries):
        if not isinstance(outcome, _Failure):
            break
        time.sleep(min(60.0, outcome.wait if outcome.wait is not None else how.back_off * 2**i))
        outcome = call()
    return outcome


def run_signal(
    call: Callable[..., Any] | Method,
    arguments: Mapping[str, Any],
    rows: int,
    *,
    timeout: float | None = None,
    makes: Sequence[str] | None = None,
    shape: Sequence[int] = (),
) -> Outcome:
    """Call a signal once with keyword arguments and check what it returns.

    A registered method says itself what it makes; anything else makes ``parts`` (TRL's reward signature, a list of
    float or None) unless ``makes`` says otherwise. Where it returns

    - an exception, nothing within ``timeout`` seconds, the wrong number, shape or type: every row is NaN with reason
      ``failed: ...``;
    - None for a row: NaN, ``not asked``;
    - NaN in place of a row's score (for steps and positions: nothing but NaN), or an infinite one: NaN, ``failed``.
      ``correct`` may be NaN of its own: nothing verified the row;
    - `Scores`: the same, with reasons and costs of its own.

    What an async function (or anything else that returns an awaitable) does runs on one event loop for the whole
    process, so that clients keep their connections; it is cancelled past its timeout. With a timeout, or under a running
    event loop, the call runs in a thread of its own without gradient; one that outlives its timeout is abandoned (it is a
    daemon and ends with the process): a signal that may hang for good belongs in a process (``process = true`` in a
    recipe), which is killed and replaced. Lists are copied before the call; tensors must not be changed by it.
    KeyboardInterrupt and SystemExit are not failures of the signal and pass.

    Args:
        shape: further axes of a quantity that is made per step or position, as far as known; used for failed rows.
    """
    names = _names(call, makes)
    function = call.call if isinstance(call, Method) else call
    given = {name: list(value) if isinstance(value, list) else value for name, value in arguments.items()}
    start = time.perf_counter()
    box = _Box()
    if timeout is None and not inspect.iscoroutinefunction(function) and not _within_event_loop():
        _work(function, given, names, rows, box, timeout)
    else:
        worker = threading.Thread(
            target=_work, args=(function, given, names, rows, box, timeout), daemon=True, name="guerdon-signal"
        )
        worker.start()
        worker.join(timeout)
        if worker.is_alive():
            box = _Box(failure=f"timed out after {timeout:g} s")
    seconds = time.perf_counter() - start
    if box.stop is not None:
        raise box.stop
    if box.failure is not None:
        if not shape and "token_parts" in names and isinstance(arguments.get("mask"), Tensor):
            shape = tuple(arguments["mask"].shape[1:])  # a failed row has its positions all the same
        lost = unscored(names, rows, FAILED + box.failure, shape)
        return _Failure(lost.values, lost.reasons, seconds, wait=box.wait)
    values, reasons = judge(box.values, box.reasons)
    return Outcome(values, reasons, seconds, cost=box.cost)


def chat_form(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments as a function with TRL's signature expects them: where prompts are chat messages, so are completions."""
    prompts, completions = arguments.get("prompts"), arguments.get("completions")
    if not prompts or isinstance(prompts[0], str) or completions is None:
        return dict(arguments)
    said = [[{"role": "assistant", "content": c}] if isinstance(c, str) else c for c in completions]
    return {**arguments, "completions": said}


@dataclass(frozen=True)
class _Failure(Outcome):
    """The whole call failed, and may be tried again."""

    wait: float | None = None


class _Box:
    """What the worker leaves for the caller."""

    def __init__(self, failure: str | None = None):
        self.failure = failure
        self.wait: float | None = None
        self.stop: BaseException | None = None
        self.values: dict[str, Tensor] = {}
        self.reasons: list[str | None] = []
        self.cost: Tensor | None = None


def _names(call: Callable[..., Any] | Method, makes: Sequence[str] | None) -> tuple[str, ...]:
    info = call if isinstance(call, Method) else getattr(call, "__guerdon_method__", None)
    return tuple(makes or (info.makes if info is not None else ("parts",)))


def _within_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _work(
    function: Callable[..., Any],
    arguments: dict[str, Any],
    names: Sequence[str],
    rows: int,
    box: _Box,
    timeout: float | None,
) -> None:
    try:
        with torch.no_grad():  # the gradient mode belongs to the thread
            result = function(**arguments)
            if inspect.isawaitable(result):
                result = run_awaitable(result, timeout)
        box.values, box.reasons, box.cost = read(result, names, rows)
    except Exception as error:  # noqa: BLE001  somebody else's code may raise anything, and its rows must tell, not the run
        box.failure = f"{type(error).__name__}: {_line(error)}" if not isinstance(error, Unfit) else str(error)
        wait = getattr(error, "retry_after", None)
        box.wait = float(wait) if isinstance(wait, int | float) else None
    except BaseException as stop:  # noqa: BLE001  Ctrl-C and exit pass, also out of the thread: raised again by the caller
        box.stop = stop


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
