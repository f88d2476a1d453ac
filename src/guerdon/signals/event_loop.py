"""One event loop for every async signal of the process, in a thread of its own.

A client of a remote service keeps its connections only on the loop that opened them; so all async signals share one.
A coroutine that blocks it (instead of awaiting) would stop the others: a loop that does not answer any more is left
behind, and the next call gets a new one.
"""

import asyncio
import concurrent.futures
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

_ANSWER = 1.0
"""Seconds within which a healthy loop runs a callback."""


class _Loop:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self._run, daemon=True, name="guerdon-async")
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def answers(self) -> bool:
        """Whether it still runs callbacks."""
        told = threading.Event()
        self.loop.call_soon_threadsafe(told.set)
        return told.wait(_ANSWER)


_lock = threading.Lock()
_current: list[_Loop] = []


def run_awaitable(awaitable: Awaitable[Any], timeout: float | None) -> Any:
    """Run an awaitable to its end on the shared loop, from any other thread.

    Raises:
        TimeoutError: it took longer than ``timeout`` seconds; it is cancelled.
    """
    with _lock:
        if not _current:
            _current.append(_Loop())
        loop = _current[0]
    future = asyncio.run_coroutine_threadsafe(_wait(awaitable), loop.loop)
    try:
        result = future.result(timeout)
    except concurrent.futures.TimeoutError:
        if future.done():
            raise  # the signal's own
        future.cancel()
        if not loop.answers():
            with _lock:
                if _current and _current[0] is loop:
                    _current.clear()
        raise TimeoutError(f"timed out after {timeout:g} s") from None
    if isinstance(result, _Stop):
        raise result.stop
    return result


@dataclass(frozen=True)
class _Stop:
    stop: BaseException


async def _wait(awaitable: Awaitable[Any]) -> Any:
    try:
        return await awaitable
    except (KeyboardInterrupt, SystemExit) as stop:  # let through, it would end the loop under everybody's connections
        return _Stop(stop)
