"""Workers on this machine, each a jailed process that forks a child for every check.

A worker that dies, hangs or leaves something behind is ended and replaced. A check that takes two fresh workers down is
the program's doing and fails; where no worker can be started at all, nothing is known.
"""

import json
import os
import queue
import secrets
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from guerdon.sandbox.jail import ADVICE, SandboxUnavailable, Start, jailed, unjailed
from guerdon.sandbox.judge import Judging
from guerdon.sandbox.protocol import Limits, Observed, Request

_START, _SLACK, _REPLY, _TRIES = 60.0, 10.0, 8 << 20, 2


class LocalSandbox(Judging):
    """Runs programs in jails on this machine.

    Args:
        workers: processes, each with one program at a time; None: as many as there are processors.
        packages: importable packages that programs may use beside the standard library, such as ``numpy``.
        unsafe_local: without a jail. What is lost: programs see every file that you may read, may change those that
            you may write, and see your processes. What stays: their own process, limits, and on Linux the filter that
            refuses network, further processes and signals to others. Only for programs that you would run by hand.

    Workers start when first needed, and all end with ``close`` or with this process.

    Raises:
        SandboxUnavailable: there is no jail to be had here and ``unsafe_local`` is False; the message names the ways.
    """

    def __init__(self, *, workers: int | None = None, packages: Sequence[str] = (), unsafe_local: bool = False):
        if workers is not None and workers < 1:
            raise ValueError(f"expected at least 1 worker, got {workers}; leave it out for one per processor")
        self.workers = workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or 1
        self.packages, self.unsafe_local = tuple(packages), unsafe_local
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(self.workers):
            self._free.put(None)
        self._all: set[_Worker] = set()
        self._lock = threading.Lock()
        self._starter = ThreadPoolExecutor(1, "guerdon-sandbox-start")
        # A jail ends with the thread that started it (PR_SET_PDEATHSIG), so that this one thread starts them all.
        if not unsafe_local:
            jailed(self.packages)

    def observe(self, request: Request) -> Observed:
        """Run a program and say what was seen; waits for a free worker."""
        trouble = ""
        for _ in range(_TRIES):
            worker = self._free.get()
            kept = None
            try:
                if worker is None or not worker.alive:
                    if worker is not None:
                        self._drop(worker)
                    worker = self._starter.submit(self._start).result()
                reply = worker.ask(request)
                kept = worker if reply["sound"] else None
            except SandboxUnavailable as error:
                return Observed("unavailable", detail=str(error))
            except _WorkerLost as error:
                trouble = str(error)
                continue
            finally:
                if kept is None and worker is not None:
                    self._drop(worker)
                self._free.put(kept)
            return _observed(reply)
        return Observed("crashed", detail=trouble)

    def _start(self) -> "_Worker":
        folder = tempfile.mkdtemp(prefix="guerdon-sandbox-") if self.unsafe_local else None
        worker = _Worker(unjailed(folder, self.packages) if folder else jailed(self.packages), folder)
        with self._lock:
            self._all.add(worker)
        try:
            worker.greet()
        except _WorkerLost as error:
            self._drop(worker)
            raise SandboxUnavailable(f"expected the sandbox to start, got: {error}; {ADVICE}") from error
        return worker

    def _drop(self, worker: "_Worker") -> None:
        worker.kill()
        with self._lock:
            self._all.discard(worker)

    def close(self) -> None:
        """End every process."""
        with self._lock:
            workers, self._all = self._all, set()
        for worker in workers:
            worker.kill()
        self._starter.shutdown(wait=False)

    def __del__(self):
        if hasattr(self, "_starter"):
            self.close()


class _WorkerLost(RuntimeError):
    """The process of a worker ended or hangs."""


class _Worker:
    def __init__(self, start: Start, folder: str | None):
        self.folder, self.number = folder, 0
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by kill
        self.process = subprocess.Popen(
            start.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=start.environment,
            start_new_session=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.into, self.out = self.process.stdin.fileno(), self.process.stdout.fileno()
        os.set_blocking(self.into, False)
        os.set_blocking(self.out, False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.out, selectors.EVENT_READ)
        self.held = bytearray()

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def greet(self) -> None:
        """Wait until it is ready, and see that it can run a child.

        Raises:
            _WorkerLost: it cannot; what it said says why.
        """
        self._line(time.monotonic() + _START)
        reply = self.ask(Request("calls", "", ("1 + 1",), Limits()))
        if reply["lines"].strip() != '{"v": 2}':
            raise _WorkerLost(f"{reply['end']}: {self._said()}")

    def ask(self, request: Request) -> dict[str, Any]:
        """Send a request and wait for the reply.

        Raises:
            _WorkerLost: it does not come.
        """
        self.number, nonce = self.number + 1, ""
        limits = request.limits
        deadline = time.monotonic() + limits.wall + _SLACK
        self._send(
            {
                "id": self.number,
                "mode": request.mode,
                "program": request.program,
                "items": request.items,
                "limits": vars(limits),
            },
            deadline,
        )
        if request.mode == "tests":
            nonce = secrets.token_hex(16)
            self._line(deadline)
            self._send({"nonce": nonce, "tests": request.tests, "entry": request.entry}, deadline)
        reply = {**self._line(deadline), "nonce": nonce}
        if reply.get("id") != self.number:
            raise _WorkerLost("an answer to another question")
        return reply

    def _send(self, message: dict[str, Any], deadline: float) -> None:
        text = json.dumps(message).encode() + b"\n"
        rest = memoryview(b"%010d" % len(text) + text)
        while rest:
            try:
                rest = rest[os.write(self.into, rest) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise _WorkerLost("it does not read") from None
                time.sleep(0.001)
            except BrokenPipeError:
                raise _WorkerLost(self._ended()) from None

    def _line(self, deadline: float) -> dict[str, Any]:
        while b"\n" not in self.held:
            left = deadline - time.monotonic()
            if left <= 0 or len(self.held) > _REPLY:
                raise _WorkerLost(f"no answer within its time; {self._said()}")
            if self.selector.select(left):
                piece = os.read(self.out, 1 << 20)
                if not piece:
                    raise _WorkerLost(self._ended())
                self.held += piece
        at = self.held.index(b"\n")
        line = bytes(self.held[:at])
        del self.held[: at + 1]
        return json.loads(line)

    def _ended(self) -> str:
        self.process.wait(5.0)
        return f"its process ended with code {self.process.returncode}; {self._said()}"

    def _said(self) -> str:
        self.errors.seek(0)
        return self.errors.read()[-500:].decode("utf-8", "replace").strip() or "it said nothing"

    def kill(self) -> None:
        """End the process, and with the first process of its namespace all others there."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.selector.close()
        for file in (self.process.stdin, self.process.stdout, self.errors):
            if file is not None:
                with suppress(OSError):
                    file.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def _observed(reply: dict[str, Any]) -> Observed:
    lines = tuple(reply.get("lines", "").split("\n")[:-1])
    return Observed(
        reply["end"],
        lines,
        stdout=reply.get("stdout", ""),
        detail=reply.get("stderr", ""),
        nonce=reply.get("nonce", ""),
    )
