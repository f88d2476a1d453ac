"""A remote sandbox over real HTTP, against a small server that answers as SandboxFusion does."""

import json
import math
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from guerdon.sandbox import Check, Limits, RemoteSandbox, Sandbox


class Fusion(BaseHTTPRequestHandler):
    """Runs code in a plain interpreter; ``trouble`` answers come first."""

    trouble: list[tuple[int, bytes]] = []  # noqa: RUF012  one server a test

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.path == "/run_code"
        if self.trouble:
            return self.answer(*self.trouble.pop(0))
        assert asked["language"] == "python"
        run = {"status": "Finished", "execution_time": 0.1}
        command = [sys.executable, "-I", "-S", "-c", asked["code"]]
        try:
            done = subprocess.run(
                command, input=asked["stdin"], capture_output=True, text=True, timeout=asked["run_timeout"], check=False
            )
            run |= {"return_code": done.returncode, "stdout": done.stdout, "stderr": done.stderr}
        except subprocess.TimeoutExpired:
            run = {"status": "TimeLimitExceeded", "return_code": None, "stdout": "", "stderr": ""}
        ok = run["status"] == "Finished" and run["return_code"] == 0
        reply = {"status": "Success" if ok else "Failed", "message": "", "compile_result": None, "run_result": run}
        return self.answer(200, json.dumps({**reply, "executor_pod_name": None, "files": {}}).encode())

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    made = ThreadingHTTPServer(("127.0.0.1", 0), Fusion)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def sandbox(server):
    return RemoteSandbox(f"http://127.0.0.1:{server.server_port}/", workers=2, retries=2, back_off=0.01)


def test_it_is_a_sandbox(sandbox):
    assert isinstance(sandbox, Sandbox)


@pytest.mark.parametrize(
    ("check", "passed", "reason"),
    [
        (Check("def f(x): return {x: (1.5, None)}", "assert f(1) == {1: (1.5, None)}\nassert f(2) == 3"), (1, 0), "wrong"),
        (Check("print(int(input()) + 1)\n", pairs=(("1", "2"), ("2", "2"))), (1, 0), "wrong: printed '3"),
        (Check("def f(x): raise KeyError(x)", "assert f(1) == 2"), (0,), "raised: KeyError: 1"),
        (Check("def f(x: return", "assert f(1) == 2"), (0,), "raised: SyntaxError"),
        (Check("raise ValueError('no')", pairs=(("", ""),)), (0,), "raised: ValueError: no"),
        (Check("import os\ndef f(x): os.kill(os.getpid(), 9)", "assert f(1) == 2"), (0,), "crashed"),
        (Check("while True: pass", pairs=(("", ""),), limits=Limits(wall=0.5)), (0,), "timeout"),
        (Check("print('x' * 100)", pairs=(("", "x"),), limits=Limits(output=50)), (0,), "output"),
        (Check("import os\nos.write(1, b'{\"v\": 2}\\n')\nprint(2)", "assert f(1) == 2"), (0,), "raised: NameError"),
        (Check("class E(int):\n    def __eq__(self, o): return True\ndef f(x): return E(1)", "assert f(1) == 2"), (0,), "wrong"),
    ],
)  # fmt: skip
def test_verdicts(sandbox, check, passed, reason):
    verdict = sandbox.run(check)
    assert verdict.passed == tuple(map(bool, passed))
    assert verdict.reason.startswith(reason)
    assert verdict.known


def test_it_asks_again(sandbox):
    Fusion.trouble = [(503, b"busy"), (200, b'{"status": "SandboxError", "message": "no room"}')]
    assert sandbox.run(Check("def f(x): return 2", "assert f(1) == 2")).score == 1
    assert Fusion.trouble == []


def test_a_failing_server_is_no_failing_program(sandbox):
    Fusion.trouble = [(200, b'{"status": "SandboxError", "message": "no room"}')] * 3
    verdict = sandbox.run(Check("def f(x): return 2", "assert f(1) == 2"))
    assert math.isnan(verdict.score)
    assert "no room" in verdict.reason


def test_no_server(sandbox):
    nowhere = RemoteSandbox("http://127.0.0.1:9", retries=0)
    assert math.isnan(nowhere.run(Check("def f(x): return 2", "assert f(1) == 2")).score)


def test_tests_that_would_run_beside_the_program_are_refused(sandbox):
    verdict = sandbox.run(Check("def f(x): return x", "for i in range(3):\n    assert f(i) == i"))
    assert not verdict.known
    assert "use LocalSandbox" in verdict.reason


@pytest.mark.parametrize("wrong", [{"url": "127.0.0.1:80"}, {"url": "http://x", "workers": 0}])
def test_options(wrong):
    with pytest.raises(ValueError, match="expected"):
        RemoteSandbox(**wrong)
