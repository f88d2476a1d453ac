"""Every stage of the room compiled as one graph beside the plain one, as JSON: run in a process without checkers around the functions.

    python -m tests.objectives.compiled

``apart`` is the largest relative distance of results and gradients.
"""

import json

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


def compared(method: Method, given: dict[str, Tensor]) -> dict[str, float | str]:
    torch.compiler.reset()
    tensors = {take.name: given[take.name] for take in method.takes if not take.optional}
    gradient = "token_weights" not in method.makes
    plain = outcome(stage(method, given), tensors, gradient=gradient)
    graph = torch.compile(stage(method, given), fullgraph=True, backend="aot_eager", dynamic=False)
    try:
        compiled = outcome(graph, tensors, gradient=gradient)
    except torch._dynamo.exc.Unsupported as error:
        return {"refused": str(error).splitlines()[0]}
    return {
        "apart": max(
            float(((a - b).norm() / b.norm().clamp(min=1e-9)).item()) for a, b in zip(compiled, plain, strict=True)
        )
    }


if __name__ == "__main__":
    given = inputs(6, 160)
    print(json.dumps({name: compared(method, given) for name, method in stages().items()}))
