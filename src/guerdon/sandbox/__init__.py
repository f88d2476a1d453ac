"""Runs untrusted Python for signals, and says what it does.

    with LocalSandbox() as sandbox:
        verdict = sandbox.run(Check(program="def f(x): return x + 1", tests="assert f(1) == 2"))
    verdict.score, verdict.reason

- `protocol`: `Check`, `Limits`, `Verdict`, and what a sandbox must do;
- `local`: jailed workers on this machine (`jail`), or plain processes with ``unsafe_local=True``;
- `remote`: a SandboxFusion server;
- `judge`, `split`, `outside`: the verdict, which is made outside, from observed values;
- `inside`: what runs within.

What it promises: a program has no network, sees no file but Python's own, cannot start processes, signal others or
outlive its check, is held to its limits, and does not learn the values that assertions expect. A printed verdict, an
exit code or an object with an ``__eq__`` of its own earns nothing. What it does not promise: protection from a hole in
the kernel; for that use a machine of its own.
"""

from guerdon.sandbox.jail import SandboxUnavailable
from guerdon.sandbox.local import LocalSandbox
from guerdon.sandbox.protocol import Check, Limits, Observed, Request, Sandbox, Verdict
from guerdon.sandbox.remote import RemoteSandbox

__all__ = [
    "Check",
    "Limits",
    "LocalSandbox",
    "Observed",
    "RemoteSandbox",
    "Request",
    "Sandbox",
    "SandboxUnavailable",
    "Verdict",
]
