"""A price of leaving the reference that is not fixed: moved toward a target, or shared with parts that are held at thresholds."""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels.divergence import Estimator, kl_estimate
from guerdon.kernels.placement import last_chosen, place_on_tokens
from guerdon.method import PartName, method
from guerdon.shaping.constraints import Constrained, mix, multiplier_step, multipliers
from guerdon.shaping.kl import kl_in_reward

CONSTRAINED = "arXiv:2310.04373"


def proportional_step(
    coefficient: float, divergence: float, target: float, *, rate: float = 0.1, clip: float = 0.2
) -> float:
    """A KL coefficient moved in proportion to how far the divergence is from its target.

        beta <- beta * (1 + rate * clip((KL - target) / target, -clip, clip))

    NaN (nothing measured) leaves it where it is.

    Reference: Ziegler et al., 2019, https://arxiv.org/abs/1909.08593; in this form Moskovitz et al., ICLR 2024,
    https://arxiv.org/abs/2310.04373 (rate 0.1, clip 0.2).
    """
    error = (divergence - target) / target
    return coefficient if error != error else coefficient * (1 + rate * max(-clip, min(clip, error)))


def mean_divergence(
    token_rewards: Float[Tensor, "B T"],
    old_logp: Float[Tensor, "B T"],
    ref_logp: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    per: Literal["token", "row"] = "token",
    estimator: Estimator = "k1",
) -> Float[Tensor, ""]:
    """Estimated KL to the reference, a mean over chosen positions, or, per row, of the sums over them, in nats.

    Rows with a NaN reward or log-probability at a chosen position are left out; NaN where none is left.
    """
    inside = torch.where(mask, token_rewards + old_logp + ref_logp, 0.0)
    mask = mask & ~inside.isnan().any(-1, keepdim=True)
    kl = torch.where(
        mask, kl_estimate(torch.where(mask, old_logp, 0.0), torch.where(mask, ref_logp, 0.0), estimator), 0.0
    )
    return kl.sum() / (mask.sum() if per == "token" else mask.any(-1).sum())


@method(makes="token_rewards", paper=("arXiv:1909.08593", CONSTRAINED))
class ControlledKlInReward:
    """`kl-in-reward` whose coefficient moves, once per iteration, until the mean divergence is at ``target``.

        r_t - beta * k(old_logp_t - ref_logp_t)
        proportional:  beta <- beta * (1 + rate * clip((KL - target) / target, -clip, clip))
        multiplier:    beta <- max(0, beta + rate * clip(KL - target, -clip, clip))

    The first is the adaptive controller of Ziegler et al., which can never reach 0 and turns slowly from a bad start; the
    second is the Lagrange multiplier of the constraint KL <= target, as `constrained-rewards` has for parts
    (``squash = "clamp"``, part -KL, threshold -target), and lets go of the price where the constraint is slack.

    KL is a mean over the chosen positions of the iteration (``per = "token"``) or over rows of their sums
    (``per = "row"``), by ``estimator``, in nats; rows with a NaN reward are not in it. Calling only reads. Cold start:
    beta is ``coefficient``. The divergence of a policy that has not moved yet is 0, so the first iterations lower beta.

    Shapes: [B, T] in and out. 0 at unchosen positions. NaN rewards stay NaN.

    Raises:
        ValueError: a target that is not above 0.

    Reference: Ziegler et al., 2019, https://arxiv.org/abs/1909.08593 (target 6 nats per row, rate 0.1, clip 0.2);
    Moskovitz et al., ICLR 2024, https://arxiv.org/abs/2310.04373 (coefficient 0.2).
    """

    def __init__(
        self,
        *,
        target: float,
        coefficient: float = 0.2,
        law: Literal["proportional", "multiplier"] = "proportional",
        per: Literal["token", "row"] = "token",
        estimator: Estimator = "k1",
        rate: float = 0.1,
        clip: float = 0.2,
    ):
        if not target > 0:
            raise ValueError(f"expected a target above 0, got {target}; give the divergence that is allowed, in nats")
        self.target, self.law, self.rate, self.clip = target, law, rate, clip
        self.per: Literal["token", "row"] = per
        self.estimator: Estimator = estimator
        self.beta, self.divergence = float(coefficient), float("nan")

    def __call__(
        self,
        token_rewards: Float[Tensor, "B T"],
        old_logp: Float[Tensor, "B T"],
        ref_logp: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B T"]:
        return kl_in_reward(token_rewards, old_logp, ref_logp, mask, coefficient=self.beta, estimator=self.estimator)

    def update(
        self,
        token_rewards: Float[Tensor, "B T"],
        old_logp: Float[Tensor, "B T"],
        ref_logp: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
    ) -> None:
        """Move the coefficient by one batch."""
        measured = mean_divergence(token_rewards, old_logp, ref_logp, mask, per=self.per, estimator=self.estimator)
        self.divergence = float(measured)
        if self.law == "proportional":
            self.beta = proportional_step(self.beta, self.divergence, self.target, rate=self.rate, clip=self.clip)
            return
        raw, excess = torch.tensor([self.beta]), torch.tensor([self.target - self.divergence])
        moved, _ = multiplier_step(
            raw, torch.zeros(1), excess, squash="clamp", rate=self.rate, momentum=0.0, clip=self.clip
        )
        self.beta = float(moved)

    @property
    def metrics(self) -> dict[str, float]:
        """Coefficient, target, and the divergence that was measured last."""
        return {"coefficient": self.beta, "target": self.target, "kl": self.divergence}

    def state_dict(self) -> dict[str, Any]:
        """The coefficient."""
        return {"beta": self.beta}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.beta = float(state["beta"])


@method(makes="token_rewards", paper=CONSTRAINED, unscored="placed")
class ConstrainedTokenRewards(Constrained):
    """Constrained RLHF with the KL to the reference as its objective, paid by every token: xi-PPO and mu-PPO on rewards.

        r_t = [t is the last] sum_k m_k part_k  -  (n - sum_k m_k) * beta * k(old_logp_t - ref_logp_t)

    As `constrained-rewards`, whose multipliers m these are, with the paper's objective r_0 in its place: what the
    multipliers do not claim is the weight of the divergence, so that parts above their thresholds also pull the policy
    back. With a ``target``, beta moves as in `controlled-kl-in-reward` (proportional, per token); without, it is
    ``coefficient``. The paper gives each r_k a value head of its own and mixes standardised advantages; here one value head
    sees the mix, whose level moves with the multipliers. ``max(raw, 0)`` is not offered, as its sum is not bounded by n:
    `constrained-rewards` has it, beside a `kl-in-reward` of fixed weight.

    Shapes: parts [B] in, [B, T] out, 0 at unchosen positions. The NaN of a part that is read is placed on the last
    position. Rows without a chosen position get 0.

    Raises:
        ValueError: no threshold, no part of that name, or a target that is not above 0.

    Reference: Moskovitz et al., Confronting Reward Model Overoptimization with Constrained RLHF, ICLR 2024,
    https://arxiv.org/abs/2310.04373 (coefficient 0.2, adapted with rate 0.1 and clip 0.2).
    """

    def __init__(
        self,
        *,
        thresholds: dict[PartName, float],
        coefficient: float = 0.2,
        target: float | None = None,
        estimator: Estimator = "k1",
        squash: Literal["tanh", "sigmoid"] = "tanh",
        start: float = 0.0,
        rate: float = 0.1,
        momentum: float = 0.1,
        clip: float = 0.5,
    ):
        super().__init__(thresholds, None, squash, start, rate, momentum, clip)
        self.price = ControlledKlInReward(
            target=1.0 if target is None else target, coefficient=coefficient, estimator=estimator
        )
        self.adaptive = target is not None

    def __call__(
        self,
        parts: Mapping[str, Float[Tensor, " B"]],
        old_logp: Float[Tensor, "B T"],
        ref_logp: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B T"]:
        x = torch.stack(self.named(parts))
        m = multipliers(self.raw, self.squash).to(x)
        end = last_chosen(mask)[:, None]
        placed = place_on_tokens(mix(x, m)[:, None], end.clamp(min=0), end >= 0, mask.shape[1])
        left = float(len(m) - m.sum())
        return kl_in_reward(
            placed, old_logp, ref_logp, mask, coefficient=left * self.price.beta, estimator=self.price.estimator
        )

    def update(
        self,
        parts: Mapping[str, Float[Tensor, " B"]],
        token_rewards: Float[Tensor, "B T"],
        old_logp: Float[Tensor, "B T"],
        ref_logp: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
    ) -> None:
        """Move the multipliers, and with a target the coefficient, by one batch."""
        self.move(parts)
        if self.adaptive:
            self.price.update(token_rewards, old_logp, ref_logp, mask)

    @property
    def metrics(self) -> dict[str, float]:
        """Multiplier, threshold and last mean of each part, and the coefficient."""
        price = self.price.metrics if self.adaptive else {"coefficient": self.price.beta}
        return {**super().metrics, **price}

    def state_dict(self) -> dict[str, Any]:
        """The multipliers and the coefficient."""
        return {**super().state_dict(), **self.price.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        super().load_state_dict(state)
        self.price.load_state_dict(state)
