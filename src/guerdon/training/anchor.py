"""The reference policy, where it follows the policy in place of staying what it was."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from guerdon.method import paper
from guerdon.recipe import RecipeError

_PLACE = "reference"


@paper("arXiv:2501.11651")
class Anchor:
    """A moving average of the policy's weights as the reference: a KL to it limits how fast the policy changes, not how far.

        phi <- decay * phi + (1 - decay) * theta        once per iteration, after its optimiser steps

    The average is kept in float32 whatever the type of the weights, and is part of the checkpoint. With a decay of None the
    reference stays as it is.

    ``policy`` and ``reference`` are the modules that hold the weights. Reference: Hou et al., T1, 2025, https://arxiv.org/abs/2501.11651.

    Raises:
        RecipeError: there is a decay, but no reference; the reference has no weights of its own (an adapter switched off);
            the policy's weights are shared out among processes.
    """

    def __init__(
        self,
        policy: nn.Module | None = None,
        reference: nn.Module | None = None,
        decay: float | None = None,
        *,
        sharded: bool = False,
    ):
        self.decay = decay
        self._own: dict[str, Tensor] = {}
        self._average: dict[str, Tensor] = {}
        if decay is None:
            return
        if policy is None or reference is None:
            raise RecipeError(
                "training.reference_decay: expected a recipe that takes ref_logp, got none that does; add a kl-loss or "
                "kl-in-reward, or leave it out"
            )
        if reference is policy or sharded:
            raise RecipeError(
                "training.reference_decay: expected a reference with all weights of its own, got "
                f"{'weights that processes share out' if sharded else 'the base under an adapter'}; leave it out"
            )
        self._own = dict(reference.named_parameters())
        self._average = {name: weight.detach().float() for name, weight in self._own.items()}

    @torch.no_grad()
    def follow(self, policy: nn.Module) -> None:
        """Move the reference towards the policy; called once after an iteration's updates."""
        if self.decay is None:
            return
        now = dict(policy.named_parameters())
        for name, average in self._average.items():
            average.lerp_(now[name].to(average), 1 - self.decay)
            self._own[name].copy_(average)

    def state(self) -> dict[str, Any]:
        """The average, for a checkpoint."""
        return {_PLACE: {k: v.clone() for k, v in self._average.items()}} if self._average else {}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state`` gave."""
        for name, average in self._average.items():
            average.copy_(state[_PLACE][name])
            self._own[name].copy_(average)
