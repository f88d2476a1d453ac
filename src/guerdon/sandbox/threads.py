"""Several calls at the same time, in threads that never keep a process alive."""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Made = TypeVar("Made")


class Started(Generic[Made]):
    """A call that runs in a thread of its own from now on.

    The thread is a daemon: a person who interrupts a run does not wait for a judge.
    """

    def __init__(self, call: Callable[[], Made], name: str = "guerdon-started"):
        self._call = call
        self._made: list[Made] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True, name=name)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._made.append(self._call())
        except BaseException as error:  # noqa: BLE001  kept for the thread that waits, which raises it
            self._error = error

    def result(self) -> Made:
        """Wait for the call and give what it returned, or raise what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._made[0]


def side_by_side(calls: Sequence[Callable[[], Made]], most: int) -> list[Made]:
    """What the calls return, in their order, with up to ``most`` of them at work at a time.

    Raises:
        BaseException: the first, in order, that a call raised; calls that had not begun by then do not begin.
    """
    if most <= 1 or len(calls) <= 1:
        return [call() for call in calls]
    waiting = iter(enumerate(calls))
    lock = threading.Lock()
    made: dict[int, Made] = {}
    broken = threading.Event()

    def work() -> None:
        while not broken.is_set():
            with lock:
                at, call = next(waiting, (-1, None))
            if call is None:
                return
            try:
                made[at] = call()
            except BaseException:
                broken.set()
                raise

    workers = [Started(work) for _ in range(min(most, len(calls)))]
    for worker in workers:
        worker.result()
    return [made[i] for i in range(len(calls))]
