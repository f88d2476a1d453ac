"""What exact comparison leaves open: math-verify, in a process that is killed when it takes too long.

math-verify parses LaTeX into sympy and simplifies. Both can run for ever or eat all memory on hostile text, and its own
time limit is an alarm signal, which works in the main thread only and whose exception is no ``Exception``. Here it runs
without it, in a worker process under a clock of ours and a limit on memory. The reference goes first: its comparison is
not symmetric.

References:
    Math-Verify, https://github.com/huggingface/Math-Verify
"""

import importlib.util
import logging
import os
import queue
import re
import resource
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from typing import Any

from guerdon.signals.clocked import CHUNK, Clocked, Verdict

LONGEST = 300
"""Characters of an answer that is handed over."""
DEEPEST = 10
"""Levels of brackets."""
LONGEST_NUMBER = 24
"""Digits in a row."""
_LONG_NUMBER = re.compile(rf"[0-9]{{{LONGEST_NUMBER + 1}}}")
_WILD_POWER = re.compile(
    r"\^[-+({]*[0-9]{4}|\^[-+]?[0-9]+\^|\^[{(][^{}()^]{0,40}[0-9]\^|\^[{(][^{}()]{0,40}!|[)}]\^[({]*[0-9]{3}|!!"
)
"""Exponents of four digits, towers of numbers, factorials in exponents, large powers of brackets."""
_FIRST = {"\\sin x \\cos x": "\\frac{\\sin 2x}{2}", "(1,2)": "[1,2]", "x = 2": "2x = 4", "\\{1,2\\}": "\\{x, 2\\}"}
"""Pairs that a new worker starts with: the first of a kind is slow, because much is imported and cached then."""
WORKERS = 4
"""Processes at most: each holds some 200 MB."""
MEMORY = 3 << 30
"""Bytes of data that a worker may allocate."""

UNREADABLE = "failed: the reference cannot be read"
MISSING = (
    "expected math-verify, which compares what exact arithmetic leaves open, got an environment without it; "
    "pip install 'guerdon[text]', or symbolic = false"
)


def available() -> bool:
    """Whether math-verify is installed."""
    return importlib.util.find_spec("math_verify") is not None


def modest(text: str) -> bool:
    """Whether a text is small, flat and tame enough to be handed to a symbolic checker; linear in its length."""
    if len(text) > LONGEST or "\\boxed" in text or "$" in text or not text.isprintable():
        return False
    depth = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if depth > DEEPEST:
            return False
    return not _LONG_NUMBER.search(text) and not _WILD_POWER.search(text.replace("**", "^").replace(" ", ""))


class Symbolic:
    """Some workers, one for each core up to ``WORKERS``, which start when first needed; pairs go to them in chunks.

    Args:
        timeout: seconds for one pair.
    """

    def __init__(self, *, timeout: float = 5.0):
        if not available():
            raise ImportError(MISSING)
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        first = tuple(_FIRST.items())
        self._workers = [
            Clocked(f"{__name__}:verdicts", ("gold", "given"), first, timeout=timeout)
            for _ in range(min(WORKERS, cores or 1))
        ]
        self._free: queue.LifoQueue[Clocked] = queue.LifoQueue()  # the one that was used last, and is warm, goes first
        for worker in reversed(self._workers):
            self._free.put(worker)

    def decide(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """A verdict for each (reference, answer); a pair that took too long or killed its process says so."""
        many = len(pairs) > CHUNK  # fewer are done before a second worker has started
        size = min(CHUNK, -(-len(pairs) // (2 * len(self._workers)))) if many else CHUNK
        chunks = [pairs[start : start + size] for start in range(0, len(pairs), size)]
        with ThreadPoolExecutor(min(len(self._workers), max(1, len(chunks)))) as pool:
            return [verdict for said in pool.map(self._decide, chunks) for verdict in said]

    def _decide(self, chunk: Sequence[tuple[str, str]]) -> list[Verdict]:
        worker = self._free.get()
        try:
            return worker.decide(chunk)
        finally:
            self._free.put(worker)

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.close()


def verdicts(gold: list[str], given: list[str]) -> list[bool | str]:
    """What runs in the worker: math-verify on each pair; a string says why there is no verdict."""
    from math_verify import verify

    logging.disable(logging.WARNING)  # it warns that its own clock is off
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    said: list[bool | str] = []
    for reference, answer in zip(gold, given, strict=True):
        known = _read(reference)
        said.append(bool(verify(known, _read(answer), timeout_seconds=None)) if known else UNREADABLE)
    return said


@lru_cache(maxsize=1024)
def _read(text: str) -> list[Any]:
    """Kept, because the answers to a prompt share its reference and are often the same."""
    from math_verify import LatexExtractionConfig, parse

    return parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=0)
