"""A SandboxFusion server as the sandbox: programs go over HTTP and run there.

``POST {url}/run_code`` with code, language, stdin, run_timeout and memory_limit_MB; the answer has a status and a run_result with stdout,
stderr, return_code and execution_time. Expressions are evaluated by a few lines put after the program, which print what
each gave as JSON; verdicts are made here, as for every sandbox. Tests that cannot be taken apart would have to run beside
the program in one process there, where the program could pay itself: they are refused as not known.

API: https://github.com/bytedance/SandboxFusion
"""

import json
import secrets
import time
import urllib.error
import urllib.request
from importlib import resources
from typing import Any

from guerdon.sandbox.judge import Judging
from guerdon.sandbox.protocol import Observed, Request

_REPLY, _SLACK = 16 << 20, 30.0


class RemoteSandbox(Judging):
    """Runs programs on a SandboxFusion server.

    Args:
        url: of the server, such as ``http://127.0.0.1:8080``.
        workers: requests at the same time.
        retries: further tries where the server does not answer, or answers that it failed; a wait before each doubles
            from ``back_off`` seconds.

    Where the server cannot be reached, or says that it failed itself, nothing is known of a program.
    """

    def __init__(self, url: str, *, workers: int = 16, retries: int = 3, back_off: float = 0.5):
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"expected the address of a server such as http://127.0.0.1:8080, got {url!r}; correct it")
        if workers < 1 or retries < 0:
            raise ValueError(f"expected workers >= 1 and retries >= 0, got {workers} and {retries}; correct them")
        self.url, self.workers, self.retries, self.back_off = url.rstrip("/"), workers, retries, back_off

    def observe(self, request: Request) -> Observed:
        """Run a program there and say what was seen."""
        if request.mode == "tests":
            return Observed(
                "unavailable",
                detail="these tests cannot be taken apart into calls, and a remote sandbox would run them beside the "
                "program; use LocalSandbox, or tests of the form assert f(1) == 2",
            )
        mark = secrets.token_hex(8)
        code, given = request.program, request.items[0] if request.mode == "stdin" else ""
        if request.mode == "calls":
            code = _driver(request, mark)
        limits = {"run_timeout": request.limits.wall, "memory_limit_MB": request.limits.memory >> 20}
        reply = self._post({"code": code, "language": "python", "stdin": given, **limits})
        if isinstance(reply, str):
            return Observed("unavailable", detail=reply)
        result = reply["run_result"]
        stdout, stderr = str(result.get("stdout") or ""), str(result.get("stderr") or "")
        ending = _ending(result)
        if request.mode == "stdin":
            if len(stdout.encode("utf-8", "replace")) > request.limits.output:
                ending = "output"
            return Observed(ending, stdout=stdout[: request.limits.output], detail=stderr[-400:])
        lines = [line.removeprefix(mark) for line in stdout.split("\n") if line.startswith(mark)]
        return Observed(ending, tuple(lines), detail=stderr[-400:])

    def _post(self, body: dict[str, Any]) -> dict[str, Any] | str:
        """The server's answer, or why there is none."""
        asked = urllib.request.Request(
            f"{self.url}/run_code", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        trouble = ""
        for i in range(self.retries + 1):
            if i:
                time.sleep(self.back_off * 2 ** (i - 1))
            try:
                with urllib.request.urlopen(asked, timeout=body["run_timeout"] + _SLACK) as answer:
                    reply = json.loads(answer.read(_REPLY))
            except (OSError, ValueError, urllib.error.URLError) as error:
                trouble = f"{self.url} does not answer ({error})"
                continue
            if isinstance(reply, dict) and reply.get("status") in ("Success", "Failed") and reply.get("run_result"):
                return reply
            trouble = f"{self.url} failed: {str(reply)[:200]}"
        return trouble


def _ending(result: dict[str, Any]) -> Any:
    status, code = result.get("status"), result.get("return_code")
    if status == "TimeLimitExceeded":
        return "timeout"
    if status != "Finished" or not isinstance(code, int):
        return "crashed"
    return "ok" if code == 0 else "crashed" if code < 0 or code > 128 else "raised"


def _driver(request: Request, mark: str) -> str:
    """A program that runs the program and prints what each expression gives.

    Whatever runs in it may print what it likes; that is as good as returning it, and no more.
    """
    encoder = (resources.files("guerdon.sandbox.inside") / "values.py").read_text("utf-8")
    return f"""import json, os, sys, types
_values = types.ModuleType("_values")
exec({encoder!r}, _values.__dict__)
_out, _mark, _program = os.dup(1), {mark!r}, {request.program!r}
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
def _tell(line):
    text = (_mark + json.dumps(line) + "\\n").encode()
    while text:
        text = text[os.write(_out, text):]
def _said(error):
    return [type(error).__name__, str(error)[:300]]
_module = types.ModuleType("solution")
sys.modules["solution"] = _module
try:
    exec(compile(_program, "program.py", "exec"), _module.__dict__)
except BaseException as error:
    _tell({{"load": _said(error)}})
    os._exit(0)
for _expression in {list(request.items)!r}:
    try:
        _line = {{"v": _values.encode(eval(_expression, _module.__dict__))}}
    except BaseException as error:
        _line = {{"e": _said(error)}}
    _tell(_line)
os._exit(0)
"""
