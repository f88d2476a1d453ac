"""A signal in processes of its own: one that hangs, eats memory or dies is killed and replaced.

What goes in and out is JSON over pipes. The function is named by its import path; it is trusted code that may misbehave
(for untrusted code there is the room `sandbox`).
"""

import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

from torch import Tensor

from guerdon.sandbox.pool import Pool
from guerdon.signals.scores import Scores

START = 300.0
"""Seconds that a process has to import its function; the clock of a call does not run meanwhile."""


class WorkerDied(RuntimeError):
    """The process of a signal ended before it answered."""


class ProcessSignal:
    """Calls ``module:function`` in up to ``workers`` processes, which start when first needed.

    Args:
        path: of a function or registered method, as ``package.module:name``.
        timeout: seconds for one call; past it the process is killed and the call raises TimeoutError.
        workers: processes at the same time.
    """

    def __init__(self, path: str, *, timeout: float | None = None, workers: int = 1):
        self.path, self.timeout = path, timeout
        self._pool = Pool(workers, partial(_Worker, path))

    def __call__(self, **arguments: Any) -> Any:
        """One call; waits for a free process.

        Raises:
            TimeoutError: it took too long.
            WorkerDied: the process ended.
            RuntimeError: the function raised; the message says what.
            TypeError: an argument that is not text, numbers, lists or tables.
        """
        line = json.dumps({k: _plain(v) for k, v in arguments.items()})
        with self._pool.worker() as worker:
            said = worker.ask(line, self.timeout)
        if "error" in said:
            raise RuntimeError(said["error"])
        return _result(said)

    def close(self) -> None:
        """End every process."""
        self._pool.close()


class _Worker:
    def __init__(self, path: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "guerdon.signals.worker", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.into, self.out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.into, False)
        os.set_blocking(self.out, False)

    @property
    def alive(self) -> bool:
        """Whether it runs; a process that ended is left to `kill`, which also ends what it started."""
        left = self.process.returncode is not None
        return not left and os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def greet(self) -> None:
        """Wait until its function is imported."""
        self.ask("", START)

    def ask(self, line: str, timeout: float | None) -> dict[str, Any]:
        """Write one line and read one, both before the timeout."""
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        rest, said = memoryview(line.encode("utf-8", "surrogatepass") + b"\n"), bytearray()
        with selectors.DefaultSelector() as selector:
            selector.register(self.into, selectors.EVENT_WRITE)
            selector.register(self.out, selectors.EVENT_READ)
            while not said.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"timed out after {timeout:g} s; its process was killed")
                for key, _ in selector.select(min(left, 60.0)):
                    if key.fd == self.out:
                        piece = os.read(self.out, 1 << 20)
                        if not piece:
                            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
                            self.kill()
                            raise WorkerDied(f"its process ended with code {self.process.returncode}")
                        said += piece
                    else:
                        with suppress(BrokenPipeError):
                            rest = rest[os.write(self.into, rest[: 1 << 16]) :]
                        if not rest:
                            selector.unregister(self.into)
        return json.loads(said)

    def kill(self) -> None:
        """Kill the process and all that it started in its session."""
        if self.process.returncode is None:  # once it has been waited for, its number may be somebody else's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value


def _result(said: Mapping[str, Any]) -> Any:
    values = tuple(said["values"]) if said["several"] else said["values"]
    if said["reasons"] is None and said["cost"] is None:
        return values
    return Scores(values, said["reasons"], said["cost"])
