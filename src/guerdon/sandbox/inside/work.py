"""What the child of a check does: confine itself, run the program, and say what its calls gave."""

import builtins
import ctypes
import gc
import io
import json
import os
import resource
import signal
import struct
import sys
import traceback
import types
from typing import Any

from . import seccomp, values

MEMORY = 87
"""Exit code of a program that ran out of memory."""
_TEXT = 300
_CAPABILITIES_V3 = 0x20080522
_exit, _write = os._exit, os.write


def drop_capabilities() -> None:
    """Nothing that this process or its children run may ever be privileged."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITIES_V3, 0))
    nothing = ctypes.create_string_buffer(struct.pack("=6I", *[0] * 6))
    if libc.capset(header, nothing) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def confine(keep: dict[int, int], folder: str, limits: dict[str, Any], options: dict[str, Any]) -> None:
    """Session, descriptors, limits, folder and filter of a check."""
    os.setsid()
    most = max(*keep, *keep.values()) + 1
    held = {at: os.dup2(fd, most + i, inheritable=True) for i, (at, fd) in enumerate(keep.items())}
    for at, fd in held.items():
        os.dup2(fd, at, inheritable=True)
    wanted = sorted(keep)
    for low, high in zip([-1, *wanted], [*wanted, 4096], strict=True):
        if low + 1 < high:  # an empty range would close everything (CPython 3.11)
            os.closerange(low + 1, high)
    cpu = max(1, int(-(-limits["cpu"] // 1)))
    for what, soft, hard in (
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_AS, limits["memory"], limits["memory"]),
        (resource.RLIMIT_FSIZE, options["disk"], options["disk"]),
        (resource.RLIMIT_NOFILE, 64, 64),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_MEMLOCK, 0, 0),
        (resource.RLIMIT_MSGQUEUE, 0, 0),
        (resource.RLIMIT_SIGPENDING, 64, 64),
    ):
        resource.setrlimit(what, (soft, hard))
    if options["threads"]:
        resource.setrlimit(resource.RLIMIT_NPROC, (options["threads"] + limits["processes"],) * 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.chdir(folder)
    os.umask(0o077)
    if options["filter"]:
        own = os.getpid()
        seccomp.install(seccomp.program(os.uname().machine, own, processes=limits["processes"] > 0))
    sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8", errors="surrogateescape")
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(1, "w", closefd=False)), encoding="utf-8", errors="backslashreplace"
    )
    sys.stderr = io.TextIOWrapper(
        io.FileIO(2, "w", closefd=False), encoding="utf-8", errors="backslashreplace", write_through=True
    )
    sys.argv = ["program.py"]
    gc.enable()
    sys.path[:] = [p for p in sys.path if p != options["inside"]]


def namespace(name: str) -> dict[str, Any]:
    """The globals of a fresh module that imports find under its name."""
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    sys.modules[name] = module
    return module.__dict__


def script(program: str, stdin: str) -> None:
    """Run a program as a script; its exit code is that of an interpreter."""
    given = os.open("stdin", os.O_RDWR | os.O_CREAT, 0o600)
    os.unlink("stdin")
    text = memoryview(stdin.encode("utf-8", "surrogatepass"))
    while text:
        text = text[os.write(given, text) :]
    os.lseek(given, 0, os.SEEK_SET)
    os.dup2(given, 0)
    os.close(given)
    code = 0
    try:
        exec(compile(program, "program.py", "exec"), namespace("__main__"))
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except MemoryError:
        code = MEMORY
    except BaseException:  # noqa: BLE001  as an interpreter does
        traceback.print_exc()
        code = 1
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        code = code or 1
    _exit(code & 255)


def calls(out: int, program: str, items: list[str]) -> None:
    """Run a program as a module and evaluate expressions among its names; one line each."""
    names = namespace("solution")
    try:
        exec(compile(program, "program.py", "exec"), names)
    except BaseException as error:  # noqa: BLE001  told to the trainer
        _tell(out, {"load": said(error)})
        _exit(0)
    for expression in items:
        try:
            line = {"v": values.encode(eval(compile(expression, "call", "eval"), names))}
        except BaseException as error:  # noqa: BLE001  told to the trainer
            line = {"e": said(error)}
        _tell(out, line)
    _exit(0)


def said(error: BaseException) -> list[str]:
    """Type and message of an exception, as far as it can say them."""
    try:
        text = str(error)[:_TEXT]
    except BaseException:  # noqa: BLE001  a message may be code too
        text = ""
    return [type(error).__name__[:60], text]


def _tell(out: int, line: Any) -> None:
    text = memoryview(json.dumps(line).encode() + b"\n")
    while text:
        text = text[_write(out, text) :]
