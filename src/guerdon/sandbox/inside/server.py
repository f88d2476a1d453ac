"""The process that a worker of the sandbox is: it imports once, and forks a child for every check.

The parent never runs a line of what it checks, and says only what it saw itself: the bytes that a child wrote, and how
the child ended. Its children inherit its memory, so that nothing of a check may pass through it: programs, inputs and
tests are read from the trainer's pipe by the child that needs them, and what a child wrote goes from a buffer to the
trainer, and is wiped. Run as ``python -m inside.server OPTIONS``, where OPTIONS is JSON.

    trainer to server    a header, then what the children read, each a JSON text after ten digits of its length
    server to trainer    a line of JSON, then as many bytes as its ``sizes`` say
"""

import ctypes
import gc
import importlib
import json
import os
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from . import duel, seccomp, work

WARM = (
    "math", "cmath", "json", "re", "collections", "itertools", "functools", "operator", "heapq", "bisect", "string",
    "datetime", "decimal", "fractions", "typing", "copy", "dataclasses", "enum", "io", "textwrap",
)  # fmt: skip
"""What programs import most. Not random and threading, which do work of their own after every fork."""
LINE, REPLY = 8 << 20, 2 << 20
"""Bytes of a request, and of what a child may say in answer."""
_REMOUNT = 32
_KEEP, _PIECE = 64 << 10, 64 << 10


def main(options: dict[str, Any]) -> None:
    """Serve until the input ends."""
    for name in (*WARM, *options["packages"]):
        importlib.import_module(name)
    _settle(options)
    _say({"ready": True, "pid": os.getpid(), "inodes": options["inodes"]})
    while (line := read_line(0)) is not None:
        request = json.loads(line)
        folder = os.path.join(options["folder"], "check")
        os.mkdir(folder, 0o700)
        (ending, used), pipes = _MODES[request["mode"]](request, folder, options)
        sound = clean(folder)
        sizes = [pipe.size for pipe in pipes]
        _say({"id": request["id"], "sound": sound, "end": ending, "used": used, "sizes": sizes})
        for pipe in pipes:
            pipe.send()
        if not sound:
            break  # the trainer starts another


def _settle(options: dict[str, Any]) -> None:
    """Give up what the start needed: privileges, then the system calls that nothing here needs."""
    if options["inodes"]:
        libc = ctypes.CDLL(None, use_errno=True)
        data = f"size={options['disk']},nr_inodes={options['inodes']}".encode()
        if libc.mount(None, options["folder"].encode(), None, _REMOUNT, data) != 0:
            options["inodes"] = 0
    if options["user"]:
        os.chown(options["folder"], options["user"], options["user"])
        os.setgroups([])
        os.setresgid(*[options["user"]] * 3)
        os.setresuid(*[options["user"]] * 3)
    if options["jailed"]:
        work.drop_capabilities()
    signal.signal(signal.SIGINT, signal.SIG_DFL if os.getpid() == 1 else signal.SIG_IGN)
    seccomp.prctl(seccomp.SET_DUMPABLE, 0)
    seccomp.prctl(seccomp.SET_NO_NEW_PRIVS, 1)
    if options["filter"]:
        seccomp.install(seccomp.program(os.uname().machine))
    os.set_blocking(0, True)
    gc.disable()
    gc.collect()
    gc.freeze()


def read_line(fd: int) -> bytes | None:
    """One line without its end, and not a byte beyond it; None where the input ended."""
    held = bytearray()
    while not held.endswith(b"\n"):
        size = _length(held)
        piece = os.read(fd, size - len(held))
        if not piece or len(held) > LINE:
            return None
        held += piece
    return bytes(held[10:-1])


def _length(held: bytearray) -> int:
    """Bytes of the whole message: ten digits first say how many follow."""
    return 10 if len(held) < 10 else 10 + int(held[:10])


def payload(fd: int) -> dict[str, Any]:
    """What a child is told by the trainer, read from its pipe, which is closed then."""
    line = read_line(fd)
    os.close(fd)
    return json.loads(line or b"{}")


def _say(reply: dict[str, Any]) -> None:
    _write(memoryview(json.dumps(reply).encode() + b"\n"))


def _write(text: memoryview) -> None:
    while text:
        text = text[os.write(1, text) :]


class Pipe:
    """What a child says, at most ``most`` bytes, in one of the server's own buffers.

    No copy of it is made in the server's memory, where the next child could find the answers of the last.
    """

    buffers = (bytearray(REPLY + 1), bytearray(REPLY + 1))

    def __init__(self, most: int, place: int = 0):
        self.read, self.write = os.pipe()
        self.most, self.buffer, self.size = min(most, REPLY), memoryview(self.buffers[place]), 0

    def take(self) -> bool:
        """Read a piece; whether more may come."""
        got = os.readv(self.read, [self.buffer[self.size : min(self.size + _PIECE, self.most + 1)]])
        self.size += got
        return got > 0

    def send(self) -> None:
        """Hand what was said to the trainer, and wipe it."""
        _write(self.buffer[: self.size])
        self.buffer[: self.size] = bytes(self.size)


def spawn(run: Callable[[], None], keep: dict[int, int], folder: str, request: dict[str, Any], options: Any) -> int:
    """Fork a child that runs under the limits of a check with only the descriptors of ``keep`` {at: from}; its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        shown = os.dup(2)
        try:
            work.confine({**keep, 63: shown}, folder, request["limits"], options)
        except BaseException:  # noqa: BLE001  told on the server's own stderr
            os.write(63, traceback.format_exc().encode())
            os._exit(1)
        os.close(63)
        run()
    finally:
        os._exit(1)  # a child never returns into the server


Ended = tuple[str, tuple[float, int]]
"""How a check ended, and what its program used, as the kernel counts it: processor seconds, most KiB of memory."""


def wait(pids: list[int], pipes: list[Pipe], seconds: float) -> Ended:
    """Read ``pipes`` until the first process ends, or the time is over; how it ended, and what the last one used.

    Every process is killed then, and so is all that they started.
    """
    deadline = time.monotonic() + seconds
    gone, why, poll = os.pidfd_open(pids[0]), "", select.poll()
    poll.register(gone, select.POLLIN)
    for pipe in pipes:
        os.close(pipe.write)
        poll.register(pipe.read, select.POLLIN)
    over = False
    while not over and not why:
        left = deadline - time.monotonic()
        ready = [fd for fd, _ in poll.poll(1000 * left)] if left > 0 else []
        over, why = gone in ready, "" if ready else "timeout"
        why = _read(poll, ready, pipes) or why
    status, used = end_all(pids)
    while not why and (ready := [fd for fd, _ in poll.poll(0) if fd != gone]):
        why = _read(poll, ready, pipes)
    os.close(gone)
    for pipe in pipes:
        os.close(pipe.read)
        pipe.size = min(pipe.size, pipe.most)
    return _ending(status, why), used


def _read(poll: select.poll, ready: list[int], pipes: list[Pipe]) -> str:
    """One piece from each pipe that has one; ``output`` where it is too much."""
    for pipe in pipes:
        if pipe.read in ready and not pipe.take():
            poll.unregister(pipe.read)
        elif pipe.size > pipe.most:
            return "output"
    return ""


def end_all(pids: list[int]) -> tuple[int, tuple[float, int]]:
    """Kill the processes of a check and, within a jail, every other one but this.

    The status of the first of them, and processor seconds and memory of the last.
    """
    alone = os.getpid() == 1
    for pid in pids:
        _kill(os.kill, pid)
        _kill(os.killpg, pid)
    if alone:
        _kill(os.kill, -1)
    ended = [os.wait4(pid, 0) for pid in pids]
    while alone:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    used = ended[-1][2]
    return ended[0][1], (used.ru_utime + used.ru_stime, used.ru_maxrss)


def _kill(kill: Callable[[int, int], None], pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it ended by itself
        kill(pid, signal.SIGKILL)


def clean(folder: str) -> bool:
    """Remove the folder of a check and whatever stands beside it; whether all of it is gone."""
    try:
        for entry in os.scandir(os.path.dirname(folder)):
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path)
            else:
                os.unlink(entry.path)
    except (OSError, RecursionError):
        return False
    return True


def _ending(status: int, why: str) -> str:
    """How a check ended, from what the parent saw: ``ok``, ``timeout``, ``output``, ``raised``, ``crashed``."""
    if why:
        return why
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) == signal.SIGXCPU else "crashed"
    return "ok" if os.WEXITSTATUS(status) == 0 else "memory" if os.WEXITSTATUS(status) == work.MEMORY else "raised"


def _calls(request: dict[str, Any], folder: str, options: dict[str, Any]) -> tuple[Ended, list[Pipe]]:
    out = Pipe(REPLY)
    null = os.open(os.devnull, os.O_RDWR)
    keep = {0: null, 1: null, 2: null, 3: out.write, 4: 0}
    pid = spawn(lambda: work.calls(3, **payload(4)), keep, folder, request, options)
    os.close(null)
    return wait([pid], [out], request["limits"]["wall"]), [out]


def _stdin(request: dict[str, Any], folder: str, options: dict[str, Any]) -> tuple[Ended, list[Pipe]]:
    most = request["limits"]["output"]
    out, errors = Pipe(most), Pipe(max(most, _KEEP), 1)
    null = os.open(os.devnull, os.O_RDWR)
    keep = {0: null, 1: out.write, 2: errors.write, 4: 0}
    pid = spawn(lambda: work.script(**payload(4)), keep, folder, request, options)
    os.close(null)
    return wait([pid], [out, errors], request["limits"]["wall"]), [out, errors]


def _tests(request: dict[str, Any], folder: str, options: dict[str, Any]) -> tuple[Ended, list[Pipe]]:
    """The tests in one process, then the program in another: each reads its own from the trainer's pipe."""
    out, ask, answer, told = Pipe(REPLY), os.pipe(), os.pipe(), os.pipe()
    null = os.open(os.devnull, os.O_RDWR)

    def judge() -> None:
        tests = payload(4)
        os.close(8)
        duel.judge(tests, duel.Line(read=6, write=5), 3)

    keep = {0: null, 1: null, 2: null, 3: out.write, 4: 0, 5: ask[1], 6: answer[0], 8: told[1]}
    pids = [spawn(judge, keep, folder, request, options)]
    os.close(told[1])
    os.read(told[0], 1)  # ends when the tests have been read
    keep = {0: null, 1: null, 2: null, 4: 0, 5: ask[0], 6: answer[1]}
    pids.append(
        spawn(lambda: duel.serve(payload(4)["program"], duel.Line(read=5, write=6)), keep, folder, request, options)
    )
    for fd in (*ask, *answer, told[0], null):
        os.close(fd)
    return wait(pids, [out], request["limits"]["wall"]), [out]


_MODES = {"calls": _calls, "stdin": _stdin, "tests": _tests}

if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
