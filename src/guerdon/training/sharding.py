"""A policy whose weights, gradients and optimiser state are shared out among the ranks (FSDP2).

Updates gather one layer at a time. Whatever runs without gradient (sampling, old and reference log-probabilities,
evaluation) happens while the weights are whole on every rank, so that no rank waits for another's token.

torch's own modules for it are slow to import, and are imported only where a policy is sharded.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Policy, Prompt, Sampling
from guerdon.recipe import RecipeError
from guerdon.training.ranks import Ranks


class _Root(nn.Module):
    """Gathers what no layer owns (embeddings, the head) around a call, whatever the policy calls in it."""

    def __init__(self, inner: nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, call: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        return call()


class Sharded:
    """A policy over sharded weights; everything else is the policy's own. (A `guerdon.policies.protocol.Policy`.)

    Every rank must call ``evaluate`` with gradient, ``state``, ``load_state``, ``export`` and ``whole`` alike.

    Raises:
        RecipeError: a torch that is too old for it.
    """

    def __init__(self, policy: Policy, ranks: Ranks):
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

        if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
            raise RecipeError(
                f"training.fsdp: expected a torch whose FSDP2 can sum gradients, got {torch.__version__}; "
                "upgrade torch, or set fsdp = false"
            )
        self.inner, self.ranks = policy, ranks
        self.module = policy.module
        mesh = init_device_mesh(next(policy.module.parameters()).device.type, (ranks.size,))
        for layer in _layers(policy.module):
            fully_shard(layer, mesh=mesh)
            if hasattr(layer, "flat"):  # the tiny policy's other way through a layer (guerdon.policies.layout)
                register_fsdp_forward_method(layer, "flat")
        self._root = _Root(policy.module)
        fully_shard(self._root, mesh=mesh)
        self._shards = [m for m in self._root.modules() if isinstance(m, FSDPModule)]
        for shard in self._shards:  # a sum: the denominators are those of all ranks
            shard.set_gradient_divide_factor(1.0)
            shard.set_force_sum_reduction_for_comms(True)
        self._is_whole = False
        with torch.no_grad():
            self._root(dict)  # the root must be the first that is called, or each layer would take itself for one
        self._shards[0].reshard()

    @contextmanager
    def whole(self) -> Iterator[None]:
        """The weights whole on every rank, for passes without gradient and without waiting."""
        if self._is_whole:
            yield
            return
        for shard in self._shards:
            shard.set_reshard_after_forward(False, recurse=False)
            shard.unshard()
        self._is_whole = True
        try:
            yield
        finally:
            self._is_whole = False
            for shard in self._shards:
                shard.reshard()
                shard.set_reshard_after_forward(shard is not self._root, recurse=False)

    @torch.no_grad()
    def sample(
        self, prompts: Sequence[Prompt], sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Of the policy, within ``whole``."""
        return self.inner.sample(prompts, sampling, copies=copies, generator=generator)

    def extend(
        self, context: Tensor, context_mask: Tensor, sampling: Sampling, *, copies: int = 1, generator: torch.Generator
    ) -> Rollouts:
        """Of the policy, within ``whole``."""
        return self.inner.extend(context, context_mask, sampling, copies=copies, generator=generator)

    def encode_prompts(self, prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor]:
        """Of the policy."""
        return self.inner.encode_prompts(prompts)

    def encode(self, text: str) -> list[int]:
        """Of the policy."""
        return self.inner.encode(text)

    def encode_observation(self, text: str, role: str = "tool") -> list[int]:
        """Of the policy."""
        return self.inner.encode_observation(text, role)

    def read(self, tokens: Tensor, present: Tensor) -> tuple[list[str], Tensor]:
        """Of the policy."""
        return self.inner.read(tokens, present)

    def evaluate(self, batch: Rollouts, make: frozenset[str], *, temperature: float = 1.0) -> dict[str, Tensor]:
        """Forward pass; outside of ``whole`` all ranks make it together, each on rows of its own."""
        return self._root(lambda: self.inner.evaluate(batch, make, temperature=temperature))

    def add_value_head(self) -> None:
        """A head cannot be added to weights that are shared out: a ``RuntimeError``."""
        raise RuntimeError("expected a value head before the weights are sharded; call add_value_head() first")

    def reference(self) -> Policy:
        """A frozen copy must be made of the whole policy: a ``RuntimeError``."""
        raise RuntimeError("expected the reference before the weights are sharded; call reference() first")

    def state(self) -> Mapping[str, Tensor]:
        """The whole weights, as one process would hold them."""
        return {name: full(value).contiguous() for name, value in self.inner.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state``, or one process, gave."""
        own = self.inner.state()
        self.inner.load_state({name: like(value, own[name]) if name in own else value for name, value in state.items()})

    def export(self, folder: Path) -> None:
        """Of the policy; rank 0 writes."""
        with self.whole():
            self.ranks.lead(lambda: self.inner.export(folder))


def lockstep(policy: Policy) -> bool:
    """Whether all ranks must make as many passes with gradient."""
    return isinstance(policy, Sharded)


@contextmanager
def whole(*policies: Policy | None) -> Iterator[None]:
    """The weights of these whole on every rank; nothing happens to a policy that is not sharded."""
    first, rest = (policies[0], policies[1:]) if policies else (None, ())
    if not policies:
        yield
    elif isinstance(first, Sharded):
        with first.whole(), whole(*rest):
            yield
    else:
        with whole(*rest):
            yield


def full(value: Tensor) -> Tensor:
    """A tensor that is shared out, whole; all ranks must ask."""
    whole_tensor = getattr(value, "full_tensor", None)
    return value if whole_tensor is None else whole_tensor()


def like(value: Tensor, shared: Any) -> Tensor:
    """A whole tensor shared out as another is, if that one is and they have the same shape."""
    if not hasattr(shared, "full_tensor") or value.shape != shared.shape:
        return value
    from torch.distributed.tensor import distribute_tensor

    value = value.to(shared.device, shared.dtype)
    return distribute_tensor(value, shared.device_mesh, shared.placements, src_data_rank=None)


def _layers(module: nn.Module) -> list[nn.Module]:
    """What is gathered one at a time: the modules of every outermost list (a transformer's layers), and a value head,
    whose numbers are of another kind."""
    found: list[nn.Module] = []
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList):
            found += list(child)
        elif name == "value_head":
            found.append(child)
        else:
            found += _layers(child)
    return [m for m in found if any(True for _ in m.parameters())]


__all__ = ["Sharded", "full", "like", "lockstep", "whole"]
