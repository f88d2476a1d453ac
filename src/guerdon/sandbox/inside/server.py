"""The process that a worker of the sandbox is: it imports once, and forks a child for every check.

One line of JSON in, one out. The parent never runs a line of what it checks, and says only what it saw itself: the
bytes that a child wrote, and how the child ended. Tests never pass through its memory (`duel`), since its children
inherit that. Run as ``python -m inside.server OPTIONS``, where OPTIONS is JSON.
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
_KEEP = 64 << 10


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
        reply = _MODES[request["mode"]](request, folder, options)
        sound = clean(folder)
        _say({"id": request["id"], "sound": sound, **reply})
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


def _say(reply: dict[str, Any]) -> None:
    text = memoryview(json.dumps(reply).encode() + b"\n")
    while text:
        text = text[os.write(1, text) :]


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


def wait(pids: list[int], pipes: dict[int, int], seconds: float) -> tuple[dict[int, bytes], int, str]:
    """Read ``pipes`` {descriptor: most bytes} until the first process ends, or the time is over.

    Gives what each pipe said, the wait status of the first process, and "" or why it was ended: ``timeout``,
    ``output``. Every process is killed then, and so is all that they started.
    """
    deadline = time.monotonic() + seconds
    said: dict[int, bytearray] = {fd: bytearray() for fd in pipes}
    gone, why, poll = os.pidfd_open(pids[0]), "", select.poll()
    for fd in (gone, *pipes):
        poll.register(fd, select.POLLIN)
    over = False
    while not over and not why:
        left = deadline - time.monotonic()
        ready = [fd for fd, _ in poll.poll(1000 * left)] if left > 0 else []
        over, why = gone in ready, "" if ready else "timeout"
        why = _read(poll, ready, said, pipes) or why
    status = end_all(pids)
    while not why and (ready := [fd for fd, _ in poll.poll(0) if fd != gone]):
        why = _read(poll, ready, said, pipes)
    for fd in (gone, *pipes):
        os.close(fd)
    return {fd: bytes(text[: pipes[fd]]) for fd, text in said.items()}, status, why


def _read(poll: select.poll, ready: list[int], said: dict[int, bytearray], pipes: dict[int, int]) -> str:
    """One piece from each pipe that has one; ``output`` where it is too much."""
    for fd in ready:
        if fd in pipes:
            piece = os.read(fd, 65536)
            said[fd] += piece
            if not piece:
                poll.unregister(fd)
            elif len(said[fd]) > pipes[fd]:
                return "output"
    return ""


def end_all(pids: list[int]) -> int:
    """Kill the processes of a check and, within a jail, every other one but this; the status of the first."""
    alone = os.getpid() == 1
    for pid in pids:
        _kill(os.kill, pid)
        _kill(os.killpg, pid)
    if alone:
        _kill(os.kill, -1)
    statuses = [os.waitpid(pid, 0)[1] for pid in pids]
    while alone:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
    return statuses[0]


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


def ending(status: int, why: str) -> str:
    """How a check ended, from what the parent saw: ``ok``, ``timeout``, ``output``, ``raised``, ``crashed``."""
    if why:
        return why
    if os.WIFSIGNALED(status):
        return "timeout" if os.WTERMSIG(status) == signal.SIGXCPU else "crashed"
    return "ok" if os.WEXITSTATUS(status) == 0 else "memory" if os.WEXITSTATUS(status) == work.MEMORY else "raised"


def _calls(request: dict[str, Any], folder: str, options: dict[str, Any]) -> dict[str, Any]:
    out, into = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    keep = {0: null, 1: null, 2: null, 3: into}
    pid = spawn(lambda: work.calls(3, request["program"], request["items"]), keep, folder, request, options)
    os.close(into)
    os.close(null)
    said, status, why = wait([pid], {out: REPLY}, request["limits"]["wall"])
    return {"end": ending(status, why), "lines": said[out].decode("utf-8", "replace")}


def _stdin(request: dict[str, Any], folder: str, options: dict[str, Any]) -> dict[str, Any]:
    path = os.path.join(folder, "stdin")
    given = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(path)
    text = memoryview(request["items"][0].encode("utf-8", "surrogatepass"))
    while text:
        text = text[os.write(given, text) :]
    os.lseek(given, 0, os.SEEK_SET)
    out, into = os.pipe()
    errors, told = os.pipe()
    keep = {0: given, 1: into, 2: told}
    pid = spawn(lambda: work.script(request["program"]), keep, folder, request, options)
    for fd in (given, into, told):
        os.close(fd)
    most = request["limits"]["output"]
    said, status, why = wait([pid], {out: most, errors: max(most, _KEEP)}, request["limits"]["wall"])
    told_last = said[errors][-400:].decode("utf-8", "replace")
    return {"end": ending(status, why), "stdout": said[out].decode("utf-8", "replace"), "stderr": told_last}


def _tests(request: dict[str, Any], folder: str, options: dict[str, Any]) -> dict[str, Any]:
    """The program in one process, the tests in another, which reads them from the trainer's own pipe."""
    out, into = os.pipe()
    ask, asked = os.pipe()
    answer, answered = os.pipe()
    started, start = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)

    def judge() -> None:
        tests = json.loads(read_line(4) or b"{}")
        os.write(8, b"r")
        for fd in (4, 8):
            os.close(fd)
        duel.judge(tests, duel.Line(read=6, write=5), 3)

    given = os.dup(0)
    keep = {0: null, 1: null, 2: null, 3: into, 4: given, 5: asked, 6: answer, 8: start}
    first = spawn(judge, keep, folder, request, options)
    for fd in (into, given, asked, answer, start):
        os.close(fd)
    _say({"send": True})
    pids = [first]
    if os.read(started, 1) == b"r":
        keep = {0: null, 1: null, 2: null, 5: ask, 6: answered}
        program = request["program"]
        pids.append(spawn(lambda: duel.serve(program, duel.Line(read=5, write=6)), keep, folder, request, options))
    for fd in (ask, answered, started, null):
        os.close(fd)
    said, status, why = wait(pids, {out: REPLY}, request["limits"]["wall"])
    return {"end": ending(status, why), "lines": said[out].decode("utf-8", "replace")}


_MODES = {"calls": _calls, "stdin": _stdin, "tests": _tests}

if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
