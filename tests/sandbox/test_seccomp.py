"""The filter's byte code, run by a small interpreter of it: for both machines, whichever this one is."""

import struct

import pytest

from guerdon.sandbox.inside import seccomp
from guerdon.sandbox.inside.seccomp import ALLOW, ERRNO, KILL, program

MACHINES = {"x86_64": (0xC000003E, seccomp._X86), "aarch64": (0xC00000B7, seccomp._ARM)}
EPERM = ERRNO | 1


def decided(code: bytes, number: int, *arguments: int, arch: int) -> int:
    """What the kernel would do with a call."""
    data = struct.pack("=IIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    at, accumulator = 0, 0
    lines = list(struct.iter_unpack("=HBBI", code))
    while True:
        operation, yes, no, value = lines[at]
        at += 1
        if operation == seccomp.LD_WORD:
            (accumulator,) = struct.unpack_from("=I", data, value)
        elif operation == seccomp.RETURN:
            return value
        else:
            tests = {
                seccomp.JUMP_EQUAL: accumulator == value,
                seccomp.JUMP_AT_LEAST: accumulator >= value,
                seccomp.JUMP_ANY_BIT: bool(accumulator & value),
            }
            at += yes if tests[operation] else no


@pytest.fixture(params=MACHINES)
def machine(request):
    arch, table = MACHINES[request.param]
    known = seccomp._OTHERS[request.param]
    server, child, parent = (
        program(request.param, *a, **k) for a, k in (((), {}), ((7,), {}), ((7,), {"processes": True}))
    )

    def ask(code: str, name: str, *arguments: int) -> int:
        number = known[name] if name in known else table[name]
        return decided({"server": server, "child": child, "parent": parent}[code], number, *arguments, arch=arch)

    ask.arch, ask.known, ask.table, ask.codes, ask.name = arch, known, table, (server, child, parent), request.param
    return ask


def test_every_listed_call_is_refused_to_all(machine):
    for code in ("server", "child", "parent"):
        assert {machine(code, name) for name in machine.table} == {EPERM}
        assert machine(code, "clone3") == ERRNO | 38


def test_new_processes(machine):
    fork, thread, namespace = 17, 0x003D0F00, 0x10000011
    assert [machine(c, "clone", fork) for c in ("server", "child", "parent")] == [ALLOW, EPERM, ALLOW]
    assert [machine(c, "clone", thread) for c in ("server", "child", "parent")] == [ALLOW] * 3
    assert [machine(c, "clone", namespace) for c in ("server", "child", "parent")] == [EPERM] * 3
    assert [machine(c, "clone", namespace | 0x10000) for c in ("server", "child", "parent")] == [EPERM] * 3
    for number in machine.known["new"]:
        answers = [decided(code, number, arch=machine.arch) for code in machine.codes]
        assert answers == [ALLOW, EPERM, ALLOW]


def test_signals_go_to_oneself_only(machine):
    for name in ("kill", "tgkill"):
        assert machine("child", name, 7, 9) == ALLOW
        assert {machine("child", name, pid, 9) for pid in (1, 8, 0, (1 << 32) - 1)} == {EPERM}
        assert machine("server", name, (1 << 32) - 1, 9) == ALLOW


def test_sockets_are_of_this_machine_only(machine):
    for name in ("socket", "socketpair"):
        assert machine("child", name, 1) == ALLOW
        assert {machine("child", name, family) for family in (2, 10, 16, 17, 38, 40)} == {EPERM}


def test_limits_of_oneself_only(machine):
    assert machine("child", "prlimit64", 0) == ALLOW
    assert machine("child", "prlimit64", 1) == EPERM


def test_another_instruction_set_ends_the_process(machine):
    other = 0xC00000B7 if machine.name == "x86_64" else 0xC000003E
    assert {decided(code, 0, arch=other) for code in machine.codes} == {KILL}
    if machine.name == "x86_64":
        assert {decided(code, 0x40000000 + 39, arch=machine.arch) for code in machine.codes} == {KILL}


def test_plain_calls_pass(machine):
    for number in (0, 1, 3, 63, 64, 98) if machine.name == "aarch64" else (0, 1, 3, 9, 12, 202):
        assert {decided(code, number, arch=machine.arch) for code in machine.codes} == {ALLOW}
