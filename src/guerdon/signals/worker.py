"""The process of a signal (`guerdon.signals.process`): a line of JSON in, a line of JSON out, until the input ends."""

import asyncio
import inspect
import json
import os
import sys
from typing import Any

import torch
from torch import Tensor

from guerdon.method import Method, load_object
from guerdon.signals.scores import Scores


def main(path: str) -> None:
    """Serve the function at ``path`` on standard input and output; what it prints itself goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    torch.set_num_threads(1)
    found = load_object(path)
    function = found.call if isinstance(found, Method) else found
    for line in sys.stdin:
        if line == "\n":  # are you there?
            out.write("{}\n")
            out.flush()
            continue
        asked = json.loads(line)
        try:
            with torch.no_grad():
                result = function(**asked)
                if inspect.isawaitable(result):
                    result = asyncio.run(_wait(result))
            said = _said(result)
        except Exception as error:  # noqa: BLE001  whatever the signal raises is told to the trainer
            said = {"error": f"{type(error).__name__}: {error}"[:500]}
        out.write(json.dumps(said) + "\n")
        out.flush()


def _said(result: Any) -> dict[str, Any]:
    scores = result if isinstance(result, Scores) else Scores(result)
    several = isinstance(scores.values, tuple) and any(isinstance(v, list | tuple | Tensor) for v in scores.values)
    values = [_plain(v) for v in scores.values] if several else _plain(scores.values)
    return {"values": values, "several": several, "reasons": scores.reasons, "cost": _plain(scores.cost)}


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        return value.tolist()
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


async def _wait(awaitable: Any) -> Any:
    return await awaitable


if __name__ == "__main__":
    main(sys.argv[1])
