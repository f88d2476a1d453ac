"""Questions under a clock, in a process that is killed when one of them takes too long."""

import threading
from collections.abc import Sequence
from typing import Any

from guerdon.signals.process import ProcessSignal, WorkerDied

CHUNK = 16
"""Questions of one call."""
START = 120.0
"""Seconds that a worker may take to start and to answer its first questions."""
TIMED_OUT = "failed: comparing this answer took too long; it was stopped and is unscored"
DIED = "failed: the process that compared this answer died; it is unscored"
Verdict = bool | str
"""Yes or no, or why it is not known."""


class Clocked:
    """A pool of one: questions go to a worker in chunks, and one by one where a chunk takes too long.

    Args:
        path: ``module:function`` that takes a list for each of ``names`` and gives a verdict for each place.
        names: what a question consists of.
        first: questions that a new worker starts with, because the first of a kind is slow; not on the clock.
        timeout: seconds for one question.
    """

    def __init__(self, path: str, names: Sequence[str], first: Sequence[Sequence[Any]], *, timeout: float):
        self.timeout, self.names, self.first = timeout, tuple(names), tuple(first)
        self._process = ProcessSignal(path)
        self._ready = False
        self._lock = threading.Lock()

    def decide(self, questions: Sequence[Sequence[Any]]) -> list[Verdict]:
        """A verdict for each question; one that took too long or killed its process says so."""
        result: list[Verdict] = []
        for start in range(0, len(questions), CHUNK):
            chunk = questions[start : start + CHUNK]
            said = self._ask(chunk)
            if isinstance(said, str):
                said = [verdict for one in chunk for verdict in self._alone(one)] if len(chunk) > 1 else [said]
            result += said
        return result

    def _alone(self, question: Sequence[Any]) -> list[Verdict]:
        said = self._ask([question])
        return [said] if isinstance(said, str) else said

    def _ask(self, questions: Sequence[Sequence[Any]]) -> list[Verdict] | str:
        with self._lock:
            return self._asked(questions)

    def _asked(self, questions: Sequence[Sequence[Any]]) -> list[Verdict] | str:
        try:
            if not self._ready:  # starting and importing is not the question's fault
                self._process.timeout = START
                self._process(**self._columns(self.first))
                self._ready = True
            self._process.timeout = self.timeout
            said = self._process(**self._columns(questions))
        except TimeoutError:
            self._ready = False
            return TIMED_OUT
        except WorkerDied:
            self._ready = False
            return DIED
        except RuntimeError as error:
            return f"failed: {error}"
        return [verdict if isinstance(verdict, str) else bool(verdict) for verdict in said]

    def _columns(self, questions: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
        return {name: [question[i] for question in questions] for i, name in enumerate(self.names)}

    def close(self) -> None:
        """End the process."""
        self._process.close()
        self._ready = False
