"""Processes that wait for work: lent to one caller at a time, ended and replaced when something is wrong with them."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar, runtime_checkable


@runtime_checkable
class Worker(Protocol):
    """A process that has been started."""

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        ...

    def greet(self) -> None:
        """Wait until it is ready; raises where it never will be."""
        ...

    def kill(self) -> None:
        """End it and all that it started, and let go of its descriptors; may be called again."""
        ...


W = TypeVar("W", bound=Worker)


class Pool(Generic[W]):
    """Up to ``size`` workers, which start when first needed; the one that was used last is lent first.

    Args:
        size: workers at the same time.
        start: starts one, without waiting until it is ready. It may not hold on to the pool, so that a pool that nobody
            uses any more ends its workers.
    """

    def __init__(self, size: int, start: Callable[[], W]):
        self._start = start
        self._free: queue.LifoQueue[W | None] = queue.LifoQueue()
        for _ in range(size):
            self._free.put(None)
        self._all: set[W] = set()
        self._lock = threading.Lock()

    @property
    def workers(self) -> frozenset[W]:
        """Those that run, lent or not."""
        with self._lock:
            return frozenset(self._all)

    @contextmanager
    def worker(self) -> Iterator[W]:
        """A worker of one's own, for which this waits; it is replaced where the block raises, or drops it.

        Raises:
            whatever ``start`` and ``greet`` raise.
        """
        worker = self._free.get()
        try:
            if worker is not None and not worker.alive:
                self.drop(worker)
                worker = None
            if worker is None:
                worker = self._start()
                with self._lock:
                    self._all.add(worker)
                worker.greet()
            yield worker
        except BaseException:
            if worker is not None:
                self.drop(worker)
            raise
        finally:
            self._free.put(worker if worker in self.workers else None)

    def drop(self, worker: W) -> None:
        """End a worker; another takes its place when it is needed."""
        worker.kill()
        with self._lock:
            self._all.discard(worker)

    def close(self) -> None:
        """End every worker."""
        with self._lock:
            workers, self._all = self._all, set()
        for worker in workers:
            worker.kill()

    def __del__(self):
        if hasattr(self, "_lock"):
            self.close()
