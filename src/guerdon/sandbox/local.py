"""Workers on this machine, each a jailed process that forks a child for every check.

A worker that dies, hangs or leaves something behind is ended and replaced. A check that takes two fresh workers down is
the program's doing and fails; where no worker can be started at all, nothing is known.
"""

import json
import os
import secrets
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from guerdon.sandbox.jail import ADVICE, SHARED, SandboxUnavailable, Start, jailed, unjailed
from guerdon.sandbox.judge import Judging
from guerdon.sandbox.pool import Pool
from guerdon.sandbox.protocol import Limits, Observed, Request
from guerdon.sandbox.shared import Shared

_START, _SLACK, _REPLY, _TRIES, _DETAIL = 60.0, 10.0, 8 << 20, 2, 400


class LocalSandbox(Judging):
    """Runs programs in jails on this machine.

    Args:
        workers: processes, each with one program at a time; None: as many as there are processors.
        packages: importable packages that programs may use beside the standard library, such as ``numpy``.
        unsafe_local: without a jail. What is lost: programs see every file that you may read, may change those that
            you may write, and see your processes. What stays: their own process, limits, and on Linux the filter that
            refuses network, further processes and signals to others. Only for programs that you would run by hand.
        shared: with a folder of files that programs may read, see `share`.

    Workers start when first needed, and all end with ``close`` or with this process.

    Raises:
        SandboxUnavailable: there is no jail to be had here and ``unsafe_local`` is False; the message names the ways.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        packages: Sequence[str] = (),
        unsafe_local: bool = False,
        shared: bool = False,
    ):
        if workers is not None and workers < 1:
            raise ValueError(f"expected at least 1 worker, got {workers}; leave it out for one per processor")
        self.workers = workers or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else workers or 1
        self.packages, self.unsafe_local = tuple(packages), unsafe_local
        # A jail ends with the thread that started it (PR_SET_PDEATHSIG), so that this one thread starts them all.
        starter = self._starter = ThreadPoolExecutor(1, "guerdon-sandbox-start")
        names, folder = self.packages, Shared() if shared else None
        self._shared = folder
        place = None if folder is None else folder.folder
        self._pool = Pool(self.workers, lambda: starter.submit(_started, names, unsafe_local, place).result())
        if not unsafe_local:
            jailed(self.packages)

    def observe(self, request: Request) -> Observed:
        """Run a program and say what was seen; waits for a free worker."""
        trouble = ""
        for _ in range(_TRIES):
            try:
                with self._pool.worker() as worker:
                    seen, sound = worker.ask(request)
                    if not sound:
                        self._pool.drop(worker)
            except SandboxUnavailable as error:
                return Observed("unavailable", detail=str(error))
            except _WorkerLost as error:
                trouble = str(error)
            else:
                return seen
        return Observed("crashed", detail=trouble)

    def share(self, path: str | Path) -> str:
        """Let programs read a file: a copy, made once for as long as the file does not change; its path for them.

        Raises:
            ValueError: a sandbox that was made without ``shared``.
            OSError: a file that cannot be read.
        """
        if self._shared is None:
            raise ValueError("expected a sandbox with shared=True to share a file, got one without; make it so")
        name = self._shared.copy(path)
        return str(Path(self._shared.folder, name)) if self.unsafe_local else f"{SHARED}/{name}"

    def close(self) -> None:
        """End every process."""
        self._pool.close()
        if self._shared is not None:
            self._shared.close()
        self._starter.shutdown(wait=False)

    def __del__(self):
        if hasattr(self, "_pool"):
            self.close()


def _started(packages: tuple[str, ...], unsafe_local: bool, shared: str | None) -> "_Worker":
    folder = tempfile.mkdtemp(prefix="guerdon-sandbox-") if unsafe_local else None
    return _Worker(unjailed(folder, packages) if folder else jailed(packages, shared), folder)


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
            SandboxUnavailable: it cannot; what it said says why.
        """
        try:
            self._line(time.monotonic() + _START)
            seen, _ = self.ask(Request("calls", "", ("1 + 1",), Limits(wall=_START, cpu=_START)))
            if seen.lines != ('{"v": 2}',):
                raise _WorkerLost(f"its first check failed ({seen.ending}); {self._said()}")
        except _WorkerLost as error:
            raise SandboxUnavailable(f"expected the sandbox to start, got: {error}; {ADVICE}") from error

    def ask(self, request: Request) -> tuple[Observed, bool]:
        """Send a request and wait for the reply; the second is False where the worker must be replaced.

        Raises:
            _WorkerLost: it does not come.
        """
        self.number += 1
        limits, nonce = request.limits, secrets.token_hex(16)
        deadline = time.monotonic() + limits.wall + _SLACK
        if request.mode == "calls":
            payloads = [{"program": request.program, "items": request.items}]
        elif request.mode == "stdin":
            payloads = [{"program": request.program, "stdin": request.items[0]}]
        else:
            tests = {"nonce": nonce, "tests": request.tests, "entry": request.entry}
            payloads = [tests, {"program": request.program}]
        self._send([{"id": self.number, "mode": request.mode, "limits": vars(limits)}, *payloads], deadline)
        reply = self._line(deadline)
        if reply.get("id") != self.number:
            raise _WorkerLost("an answer to another question")
        said = [self._bytes(size, deadline).decode("utf-8", "replace") for size in reply["sizes"]]
        used = {"seconds": reply["used"][0], "memory": 1024.0 * reply["used"][1]}
        if request.mode == "stdin":
            seen = Observed(reply["end"], stdout=said[0], detail=said[1][-_DETAIL:], **used)
        else:
            lines = tuple(said[0].split("\n")[:-1])  # the last piece was cut off, or is empty
            seen = Observed(reply["end"], lines, nonce=nonce if request.mode == "tests" else "", **used)
        return seen, reply["sound"]

    def _send(self, messages: list[dict[str, Any]], deadline: float) -> None:
        texts = [json.dumps(message).encode() + b"\n" for message in messages]
        rest = memoryview(b"".join(b"%010d" % len(text) + text for text in texts))
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
            self._more(deadline)
        return json.loads(self._bytes(self.held.index(b"\n") + 1, deadline))

    def _bytes(self, size: int, deadline: float) -> bytes:
        while len(self.held) < size:
            self._more(deadline)
        taken = bytes(self.held[:size])
        del self.held[:size]
        return taken

    def _more(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or len(self.held) > _REPLY:
            raise _WorkerLost(f"no answer within its time; {self._said()}")
        if self.selector.select(left):
            piece = os.read(self.out, 1 << 20)
            if not piece:
                raise _WorkerLost(self._ended())
            self.held += piece

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
