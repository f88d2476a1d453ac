"""Work shared among the threads that torch's own operations run in.

After an operation these threads spin for some milliseconds, waiting for the next. Threads of our own would first have to
wait for a free core; torch's take the work at once. OpenMP hands it to them: a C function that every thread of the team
calls, here one that enters Python and, in it, a compiled walk that gives the lock back.
"""

import ctypes
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import torch

_Entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_LOADED_IN = os.getpid()


def share(job: Callable[..., None], pieces: Iterable[tuple[Any, ...]]) -> None:
    """``job(*piece)`` for all pieces. A thread takes the next one when it is done with one, so that none waits for a slow one."""
    waiting, failures = deque(pieces), []

    def work(_: object = None) -> None:
        while waiting:
            try:
                piece = waiting.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                job(*piece)
            except BaseException as failure:  # noqa: BLE001  a C function calls this; raised again below
                failures.append(failure)
                waiting.clear()

    threads = min(torch.get_num_threads(), len(waiting))
    if threads > 1:
        _in_threads(work, threads)
    else:
        work()
    if failures:
        raise failures[0]


def _in_threads(work: Callable[[], None], threads: int) -> None:
    team = _openmp() if os.getpid() == _LOADED_IN else None  # a fork leaves the threads of the team behind
    if team is not None:
        team(_Entry(work), None, threads, 0)
        return
    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(work) for _ in range(threads - 1)]
        work()
        for other in others:
            other.cancel()


@cache
def _openmp() -> Callable[..., None] | None:
    """``GOMP_parallel(function, data, threads, flags)`` of the OpenMP library that torch is linked to; None if there is none."""
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        parallel = ctypes.CDLL(str(library)).GOMP_parallel
    except (OSError, AttributeError):  # another system, or an OpenMP without GNU's interface
        return None
    parallel.argtypes, parallel.restype = (_Entry, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return parallel
