"""What arithmetic needs so that ``torch.compile`` makes one fast kernel of it; eagerly none of this does anything."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

P = ParamSpec("P")


def recomputed(function: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Compiled, the backward pass makes what it needs of the function anew from the function's inputs.

    A compiler keeps for the backward pass what is smallest, which are conditions of a byte each (is it clipped? is it
    chosen?). On a CPU packing and unpacking these takes several times as long as comparing again, and the inputs are
    kept alive by their owner in any case. For functions whose arithmetic is cheap; not around an exponential.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        if torch.compiler.is_compiling() and torch.is_grad_enabled():
            made = checkpoint(function, *args, use_reentrant=False, preserve_rng_state=False, **kwargs)
            assert isinstance(made, Tensor)
            return made
        return function(*args, **kwargs)

    return call
