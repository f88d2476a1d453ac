"""How much to imitate and how much to explore: one weight between two losses, moved by what a look ahead says.

After AMFT (He et al., 2025, https://arxiv.org/abs/2508.06944). That paper's published numbers are not to be relied on: the
code that was released with it draws its rewards and advantages at random. The mathematics stands by itself.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from guerdon.method import paper

AMFT = "arXiv:2508.06944"


@paper(AMFT)
def meta_gradient(
    imitation: Sequence[Tensor],
    exploration: Sequence[Tensor],
    utility: Sequence[Tensor],
    *,
    learning_rate: float = 1.0,
    normalise: bool = False,
) -> float:
    """How a utility after one step of descent on ``(1 - mu) L_explore + mu L_imitate`` moves with mu.

        dU/dmu = -learning_rate <grad U, grad L_imitate - grad L_explore>

    Each argument is a list of gradients, tensor by tensor, of the same parameters (without value heads). ``utility`` is
    the gradient of what is to become **large**, such as the reward on held-out prompts; for a loss give its negative (the
    released code climbs a validation loss). ``normalise`` divides by the norms of both vectors, which makes it a cosine
    times the learning rate: the raw product is tiny beside an entropy term.
    """
    apart = [i.double() - e.double() for i, e in zip(imitation, exploration, strict=True)]
    product = sum((float((u.double() * d).sum()) for u, d in zip(utility, apart, strict=True)), 0.0)
    if normalise and apart:
        size = _norm(apart) * _norm(utility)
        product = product / size if size > 0 else 0.0
    return -learning_rate * product


@paper(AMFT)
class MetaWeight:
    """The weight of imitation, moved by the meta-gradient and towards a target entropy.

        mu <- clip(mu + meta_rate * dU/dmu + entropy_rate * (target - H), low, high)

    An entropy below the target moves it towards imitation. ``target`` is, in the paper, the policy's entropy on
    demonstrations after a warm-up of imitation alone. [imitation] of a recipe runs it (`guerdon.training.balance`); in a loop of one's
    own, use it as ``loss = weight.mix(imitation_loss, exploration_loss)`` and call `update` every so many steps (the paper: 20). Without
    gradients (empty lists) only the entropy moves it, as between two looks ahead.

    Args:
        start: the first mu (the released class and this: 0.5; its configuration: 0.8).
        target: entropy in nats per token.
        meta_rate: of the meta-gradient.
        entropy_rate: of the distance to the target.
        low, high: bounds of mu.
        normalise: see `meta_gradient`.

    Raises:
        ValueError: not 0 <= low <= start <= high <= 1.
    """

    def __init__(
        self,
        *,
        start: float = 0.5,
        target: float,
        meta_rate: float = 1e-4,
        entropy_rate: float = 5e-4,
        low: float = 0.05,
        high: float = 0.95,
        normalise: bool = False,
    ):
        if not 0 <= low <= start <= high <= 1:
            raise ValueError(f"expected 0 <= low <= start <= high <= 1, got {low}, {start} and {high}")
        self.mu, self.target = start, target
        self.meta_rate, self.entropy_rate = meta_rate, entropy_rate
        self.low, self.high, self.normalise = low, high, normalise

    def mix(self, imitation: Tensor, exploration: Tensor) -> Tensor:
        """``(1 - mu) * exploration + mu * imitation``."""
        return (1 - self.mu) * exploration + self.mu * imitation

    def update(
        self,
        imitation: Sequence[Tensor],
        exploration: Sequence[Tensor],
        utility: Sequence[Tensor],
        *,
        learning_rate: float,
        entropy: float,
    ) -> float:
        """Move mu by the gradients of both losses and of the utility, and by the policy's entropy; the new mu."""
        meta = meta_gradient(imitation, exploration, utility, learning_rate=learning_rate, normalise=self.normalise)
        moved = self.mu + self.meta_rate * meta + self.entropy_rate * (self.target - entropy)
        self.mu = min(max(moved, self.low), self.high)
        return self.mu

    def state_dict(self) -> dict[str, Any]:
        """``mu`` and ``target``."""
        return {"mu": self.mu, "target": self.target}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.mu, self.target = float(state["mu"]), float(state["target"])


def _norm(pieces: Sequence[Tensor]) -> float:
    return float(torch.stack([p.double().square().sum() for p in pieces]).sum().sqrt())
