"""Attacks on the sandbox: none has an effect outside, none earns a reward, and the next honest check passes.

On a machine that forbids user namespaces to this user every test here fails, and says so: there the sandbox cannot hold
anything, and a run that skipped these tests would look safe.
"""

import json
import os
import platform
import socket
import subprocess
import sys
import textwrap
from contextlib import suppress

import psutil
import pytest

from guerdon.sandbox import Check, Limits, LocalSandbox, SandboxUnavailable
from tests.security.attacks import BOMBS, FORGERIES, REACHES, SOURCES

LIMITS = Limits(wall=2.0, cpu=1.0, memory=256 << 20)
SHORT = Limits(wall=0.7, cpu=1.0, memory=256 << 20)
LONG = Limits(wall=30.0, cpu=5.0, memory=256 << 20)
HONEST = Check("def f(x): return x * x", "assert f(3) == 9", limits=LONG)


class Outside:
    """What must stay as it is: files, a listener, the environment."""

    def __init__(self, folder):
        self.folder = folder
        self.secret = folder / "canary.txt"
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.setblocking(False)
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.bind(("127.0.0.1", self.listener.getsockname()[1]))
        self.datagrams.setblocking(False)
        self.name = f"guerdon-canary-{os.getpid()}"
        self.abstract = socket.socket(socket.AF_UNIX)
        self.abstract.bind("\0" + self.name)
        self.abstract.listen()
        self.abstract.setblocking(False)
        self.reset()

    def reset(self):
        for file in self.folder.iterdir():
            file.rmdir() if file.is_dir() else file.unlink()
        self.secret.write_text("canary")
        (self.folder / "doomed.txt").write_text("still here")

    def fill(self, code: str) -> str:
        """The attack with the names of this machine."""
        places = {"SECRET": self.secret, "FOLDER": self.folder, "DOOMED": self.folder / "doomed.txt"}
        places |= {"OUT": self.folder / "out.txt", "PORT": self.listener.getsockname()[1], "NAME": self.name}
        for name, value in places.items():
            code = code.replace(f"@{name}@", str(value))
        return code

    def untouched(self) -> None:
        """Nothing was written, removed or reached."""
        assert {f.name: f.read_text() for f in self.folder.iterdir()} == {
            "canary.txt": "canary",
            "doomed.txt": "still here",
        }
        for reached in (self.listener.accept, self.abstract.accept, lambda: self.datagrams.recv(9)):
            with pytest.raises(BlockingIOError):
                reached()

    def close(self):
        for opened in (self.listener, self.datagrams, self.abstract):
            opened.close()


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    os.environ["GUERDON_CANARY"] = "canary"
    made = Outside(tmp_path_factory.mktemp("outside"))
    yield made
    made.close()
    del os.environ["GUERDON_CANARY"]


@pytest.fixture(scope="module")
def sandbox(outside):
    try:
        made = LocalSandbox(workers=1)
        started = made.run(HONEST)
    except SandboxUnavailable as error:
        pytest.fail(f"NOTHING HOLDS UNTRUSTED CODE ON THIS MACHINE: {error}", pytrace=False)
    if not started.known:
        pytest.fail(f"NOTHING HOLDS UNTRUSTED CODE ON THIS MACHINE: {started.reason}", pytrace=False)
    yield made
    made.close()


def attacked(sandbox, outside, check, *, survives=True):
    """The verdict on an attack, once everything that must hold after it was seen to hold."""
    worker = next(iter(sandbox._pool.workers))
    verdict = sandbox.run(check)
    assert verdict.known, verdict.reason
    assert verdict.score == 0
    outside.untouched()
    if survives:
        assert worker.alive
        server, *others = psutil.Process(worker.process.pid).children(recursive=True)
        assert server.is_running()
        assert not others
    assert sandbox.run(HONEST).score == 1
    assert not survives or next(iter(sandbox._pool.workers)) is worker
    assert len(sandbox._pool.workers) == 1
    return verdict


def function(body: str) -> str:
    return "def attack(*_):\n" + textwrap.indent(body, "    ")


@pytest.mark.parametrize("name", REACHES)
def test_nothing_outside_is_reached(sandbox, outside, name):
    code = outside.fill(function(REACHES[name][0]))
    attacked(sandbox, outside, Check(code, "assert attack()", limits=LIMITS))


CONTROL = """
import json, os, sys
for name, code in json.loads(sys.stdin.read()).items():
    child = os.fork()
    if child == 0:
        ok = False
        try:
            exec(code)
            ok = bool(attack())
        finally:
            os._exit(0 if ok else 1)
    if os.waitpid(child, 0)[1] != 0:
        print("held:", name)
"""


def test_these_attacks_work_where_nothing_holds_them(outside, tmp_path):
    """The tests above could not fail otherwise."""
    x86 = platform.machine() == "x86_64"
    open_ = {n: c for n, (c, works) in REACHES.items() if works and (x86 or "syscall" not in c)}
    codes = json.dumps({name: outside.fill(function(code)) for name, code in open_.items()})
    command = [sys.executable, "-c", CONTROL]
    done = subprocess.run(command, input=codes, cwd=tmp_path, capture_output=True, text=True, check=False)
    outside.reset()
    for reached in (outside.listener.accept, outside.abstract.accept):
        with suppress(BlockingIOError):
            reached()[0].close()
    with suppress(BlockingIOError):
        outside.datagrams.recv(9)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.split("\n") if line.startswith("held: ")] == [], done.stderr


@pytest.mark.parametrize("name", BOMBS)
def test_nothing_is_taken_down(sandbox, outside, name):
    body, reason = BOMBS[name]
    code = outside.fill(function(body))
    limits = {"timeout": SHORT, "": LIMITS}.get(reason, LONG)
    check = Check(code, "assert attack() == 1", limits=limits)
    verdict = attacked(sandbox, outside, check, survives=name not in ("deep folders", "closed folders"))
    assert verdict.reason.startswith(reason)


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("whole", [False, True], ids=["apart", "whole"])
def test_no_text_is_too_strange(sandbox, outside, name, whole):
    tests = "assert f(3) == 9" if not whole else "for x in [3]:\n    assert f(x) == 9"
    attacked(sandbox, outside, Check(SOURCES[name], tests, limits=LIMITS))


TESTS = {
    "apart": "assert f(3) == 12345, 'MARK'",
    "close": "import math\nassert math.isclose(f(3), 12345, rel_tol=1e-9)\nassert abs(f(3) - 12345) < 1e-6",
    "set": "assert set([f(3)]) == {12345}\nassert isinstance(f(3), int) and f(3) > 12344",
    "whole": "MARK = [(3, 12345)]\nfor x, y in MARK:\n    assert f(x) == y",
    "map": "assert all(map(lambda p: f(p[0]) == p[1], [(3, 12345)])), 'MARK'\nassert list(map(f, [3])) == [12345]",
    "unittest": "import unittest\nclass T(unittest.TestCase):\n    def test(self):\n        self.assertEqual(f(3), 12345, 'MARK')",
    "check": "def check(candidate):\n    for x in range(3, 4):\n        assert candidate(x) == 12345, 'MARK'",
}


@pytest.mark.parametrize("form", TESTS)
@pytest.mark.parametrize("name", FORGERIES)
def test_no_verdict_is_forged(sandbox, outside, name, form):
    limits = Limits(wall=0.5, cpu=1.0) if name in ("no end", "alarm", "patch exit") else LIMITS
    attacked(sandbox, outside, Check(FORGERIES[name], TESTS[form], entry="f", limits=limits))


@pytest.mark.parametrize("form", TESTS)
def test_the_honest_program_is_paid(sandbox, form):
    assert sandbox.run(Check("def f(x): return 12345", TESTS[form], entry="f", limits=LIMITS)).score == 1


@pytest.mark.parametrize(
    "program",
    [
        "print('6')\nimport os\nos._exit(3)",
        "print('6')\nraise SystemExit(1)",
        "print('6' * 10**6)",
        "import sys\nsys.stdout = None\nprint('6')",
        "print('OK')\nprint('PASSED 1/1')",
        "import os\nfor fd in range(3, 64):\n    try: os.write(fd, b'6\\n')\n    except OSError: pass",
        "import sys\nsys.exit(0)",
        "print(*range(10))",
        "print('6', end='\\x00')",
    ],
)
def test_scripts_are_paid_for_what_they_print(sandbox, outside, program):
    attacked(sandbox, outside, Check(program, pairs=(("1 2 3", "6"),), limits=LIMITS))


def test_what_one_check_leaves_the_next_does_not_find(sandbox):
    leave = "import sys, builtins, os\nbuiltins.planted = 1\nsys.modules['planted'] = sys\nos.environ['PLANTED'] = '1'\nopen('/tmp/planted', 'w').close()\nopen('planted', 'w').close()\ndef f(x): return 1"
    find = "import sys, builtins, os\ndef f(x): return [hasattr(builtins, 'planted'), 'planted' in sys.modules, 'PLANTED' in os.environ, os.listdir('/tmp'), os.listdir('.')]"
    assert sandbox.run(Check(leave, "assert f(0) == 1")).score == 1
    assert sandbox.run(Check(find, "assert f(0) == [False, False, False, ['check'], []]")).score == 1


SCAN = """
import __main__, ctypes, gc, re
gc.unfreeze()
needle = re.compile(b'SIBLING[_]ANSWER')
def f(x):
    for o in gc.get_objects():
        for held in (o.values() if isinstance(o, dict) else o if isinstance(o, (list, tuple)) else ()):
            if isinstance(held, (str, bytes, bytearray, memoryview)) and needle.search(bytes(str(held), 'utf-8', 'replace')):
                return True
            if isinstance(held, (bytearray, memoryview)) and needle.search(held):
                return True
    if any(needle.search(held) for held in __main__.Pipe.buffers):
        return True
    start = id(object()) & ~0xFFFFF
    return any(needle.search(ctypes.string_at(start + k * 4096, 4096)) for k in range(256))
"""


def test_nothing_of_one_check_is_in_the_memory_of_the_next(sandbox, outside):
    """A group shares its tests: the program of the last completion, or what it returned, would be worth stealing."""
    for _ in range(3):
        honest = Check("def f(x): return 'SIBLING' + '_ANSWER'", "assert f(0) == 'SIBLING_ANSWER'")
        assert sandbox.run(honest).score == 1
        attacked(sandbox, outside, Check(SCAN, "assert f(0) == True or f(0) == 'SIBLING_ANSWER'", limits=LONG))


def test_nothing_outlives_a_check_that_may_have_processes(sandbox, outside):
    """A daemon in a session of its own, which ignores signals, is gone with its check."""
    daemon = (
        "import os, signal, time\ndef f(x):\n    if os.fork() == 0:\n        os.setsid()\n        if os.fork() == 0:\n"
        "            signal.signal(signal.SIGTERM, signal.SIG_IGN)\n            time.sleep(60)\n        os._exit(0)\n"
        "    os.wait()\n    return 8"
    )
    check = Check(daemon, "assert f(3) == 9", limits=Limits(processes=4))
    assert attacked(sandbox, outside, check).reason == "wrong: an assertion fails"


def test_a_module_that_tests_use_is_the_real_one(sandbox, outside):
    """Tests that lean on the program's own ``import math`` do not get the program's idea of it."""
    fake = "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef f(x): return 1.0"
    tests = "for x in [1]:\n    assert math.isclose(f(x), 2.0)"
    attacked(sandbox, outside, Check(fake, tests, limits=LIMITS))
    assert sandbox.run(Check("import math\ndef f(x): return 2.0", tests, limits=LONG)).score == 1


def test_there_are_enough():
    tried = [code for attacks in (REACHES, BOMBS, FORGERIES, SOURCES) for code in attacks.values()]
    assert len(tried) >= 80
    assert len({str(code) for code in tried}) == len(tried)
