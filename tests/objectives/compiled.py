"""Every stage of the room compiled as one graph beside the plain one, as JSON: run in a process without checkers around the functions.

    python -m tests.objectives.compiled

``apart`` is the largest relative distance of results and gradients. A stage that draws is one graph with a seed; with a
generator, at which a graph ends, it is ``apart_of_generators``.
"""

import json
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.objective_stages import inputs, stage, stages
from guerdon.method import Method


def outcome(run, tensors: dict[str, Tensor], *, gradient: bool) -> list[Tensor]:
    """What a stage makes, and the gradients of its inputs."""
    if not gradient:
        with torch.no_grad():
            return [run(**tensors)]
    made = run(**tensors)
    needed = [x for x in tensors.values() if x.requires_grad]
    return [made.detach(), *torch.autograd.grad(made.sum(), needed, allow_unused=True, materialize_grads=True)]


def apart(
    method: Method, given: dict[str, Tensor], draw: Callable[[], torch.Generator | Tensor], *, whole: bool
) -> float:
    """``whole``: as one graph, or not at all."""
    torch.compiler.reset()
    tensors = {take.name: given[take.name] for take in method.takes if not take.optional}
    gradient = "token_weights" not in method.makes
    plain = outcome(stage(method, given, draw()), tensors, gradient=gradient)
    graph = torch.compile(stage(method, given, draw()), fullgraph=whole, backend="aot_eager", dynamic=False)
    compiled = outcome(graph, tensors, gradient=gradient)
    return max(float(((a - b).norm() / b.norm().clamp(min=1e-9)).item()) for a, b in zip(compiled, plain, strict=True))


def compared(method: Method, given: dict[str, Tensor]) -> dict[str, float | str]:
    try:
        told: dict[str, float | str] = {"apart": apart(method, given, lambda: torch.tensor(3), whole=True)}
    except torch._dynamo.exc.Unsupported as error:
        return {"refused": str(error).splitlines()[0]}
    if method.injected:
        told["apart_of_generators"] = apart(method, given, torch.Generator, whole=False)
    return told


if __name__ == "__main__":
    given = inputs(6, 160)
    print(json.dumps({name: compared(method, given) for name, method in stages().items()}))
