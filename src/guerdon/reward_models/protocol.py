"""What the trainer asks of a model that scores in the loop.

The trainer (`guerdon.training.models`) owns the optimiser, micro-batches, warm-up and checkpoints. A model says what it
makes of a micro-batch, with gradient, and what its loss on the outputs of the *whole* batch is. Since the loss sees
outputs only, it may compare rows of different micro-batches (pairs, group means): the trainer takes its gradient with
respect to the outputs first, and carries that through the model one micro-batch at a time.
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from guerdon.batch import Rollouts
from guerdon.policies.protocol import Policy


@runtime_checkable
class InLoopModel(Protocol):
    """A model under [[model]]."""

    makes: tuple[str, ...]
    """What it gives, of `guerdon.quantities.MODEL_MAKES`: ``logp``, ``token_scores``, ``step_scores``, ``scores``,
    ``member_scores``, ``answer_logp``."""
    reads: tuple[str, ...]
    """Quantities and columns that scoring needs beside the tokens."""
    learns_from: tuple[str, ...]
    """What learning needs in addition, such as ``correct``; empty for a model that is never trained by a loss."""
    separable: bool
    """Whether the loss is a mean over rows that ``counted`` names, so that it may be taken a micro-batch at a time."""
    follows: bool
    """Whether ``follow`` changes it."""
    noisy: bool
    """Whether learning draws random numbers (from torch's global generator, which the trainer seeds)."""
    backbone: bool
    """Whether it is built on a language model, which the trainer makes as the recipe's [policy] says and attaches."""
    module: nn.Module
    """Every trainable parameter."""

    def attach(self, policy: Policy) -> None:
        """Take a fresh policy with the initial weights of the recipe's as the backbone; not called without ``backbone``."""
        ...

    def outputs(self, batch: Rollouts, temperature: float, *, learning: bool) -> dict[str, Tensor]:
        """``makes`` for a micro-batch, with gradient unless the caller turned it off; where it is ``noisy``, what its
        loss needs instead while ``learning``. What else its loss needs goes by ``NAME.WORD``, of the shape of ``NAME``, and
        nobody else sees it."""
        ...

    def loss(self, outputs: Mapping[str, Tensor], batch: Rollouts) -> Tensor:
        """The scalar that is minimised, from the outputs of a whole batch."""
        ...

    def counted(self, batch: Rollouts) -> Tensor:
        """Rows [B] that the loss is a mean over; asked of ``separable`` models only."""
        ...

    def follow(self, policy: Policy) -> None:
        """Look at the policy after its own update of this iteration (a moving average of it does)."""
        ...
