"""Several parts, one reward that asks for all of them: geometric means, penalties that multiply, infractions that last.

A sum lets a good part buy off a bad one. A product does not: where one factor is 0, nothing is left. As in
`guerdon.shaping.combine`, a part of weight 0 is only watched, every other part needs a weight, and NaN in a part that
counts is NaN.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import max_pool1d

from guerdon.method import PartName, method, paper

KRC = "arXiv:2305.15801"
CARL = "arXiv:2504.17838"
Weight = Float[Tensor, ""] | float


@method(makes="rewards", paper=KRC)
def signed_geometric_mean(
    parts: Mapping[str, Float[Tensor, "B *rest"]], part_weights: Mapping[str, Weight]
) -> Float[Tensor, "B *rest"]:
    """KRC: high only where every part is, negative as soon as one of them is.

        r = s * (prod_k |part_k|^w_k)^(1 / sum_k w_k),   s = -1 if any part_k < 0, else +1

    The paper has equal weights. A logical *and*, with the sign of one and not of a product: two negative parts stay
    negative, where the sign of their product (as in some ports) would pay for them. Any 0 gives 0. Parts should have
    comparable ranges, such as [-1, 1]. Its slope at 0 is infinite: a reward, not a loss.

    Shapes: [B] in and out, or [B, S] with ``take = {parts = "step_parts"}``. NaN in a part of nonzero weight gives NaN.

    Reference: Moschopoulos et al., Lucy-SKG, 2023, https://arxiv.org/abs/2305.15801 (kinesthetic reward combination).

    Raises:
        ValueError: no part of nonzero weight, a part without a weight, or a negative weight.
    """
    weights = _weights(parts, part_weights)
    if not weights:
        raise ValueError("expected a part of nonzero weight, got none; give one of them a weight")
    total = sum(weights.values())
    size = sum(w * parts[name].abs().log() for name, w in weights.items()) / total
    negative = torch.stack([parts[name] < 0 for name in weights]).any(0)
    return torch.where(negative, -1.0, 1.0) * torch.as_tensor(size).exp()


@paper(KRC)
def distance_reward(
    distance: Float[Tensor, "*shape"],
    *,
    scale: float = 1.0,
    dispersion: float = 1.0,
    density: float = 1.0,
    signed: bool = False,
) -> Float[Tensor, "*shape"]:
    """A part in (0, 1] from a distance: ``exp(-distance / (2 * scale * dispersion))^(1 / density)``.

    A larger dispersion widens the slope, a larger density lifts it where it is low. ``signed`` makes it one in (-1, 1],
    with 0 at ``2 ln 2 * scale * dispersion``: of ``x = 2 exp(...) - 1`` the root of its size, with its sign.

    The released scales: 2300 from player to ball, less the ball's radius of 92.75; 6000 from ball to goal, less 972.75;
    4570 for the signed one.

    Raises:
        ValueError: a scale, dispersion or density that is not positive.
    """
    if not (scale > 0 and dispersion > 0 and density > 0):
        raise ValueError(f"expected positive numbers, got scale={scale}, dispersion={dispersion}, density={density}")
    if signed:
        centred = 2 * torch.exp(-0.5 * distance / (scale * dispersion)) - 1
        return centred.sign() * centred.abs() ** (1 / density)
    return torch.exp(-0.5 * distance / (scale * dispersion * density))


@method(makes="rewards", paper=CARL)
def penalised_progress(
    parts: Mapping[str, Float[Tensor, "B *rest"]],
    part_weights: Mapping[str, Weight],
    *,
    progress: PartName,
    infractions: Sequence[PartName] = (),
    soften: bool = True,
) -> Float[Tensor, "B *rest"]:
    """CaRL: one part that is progress, times what went wrong softly, minus a hint for what ends the episode.

        r = w_0 * progress * prod_i p_i^w_i  -  max_j w_j * infraction_j

    ``progress`` names the first; ``infractions`` name parts that are 1 where a hard infraction happened; every other
    part is a soft penalty, 1 where satisfied. Penalties and infractions are cut to [0, 1]; the paper has weights of 1.
    Standing still earns nothing, however well it is done, which a sum of progress and good conduct pays for.

    A penalty below 1 also shrinks *negative* progress; ``soften=False`` leaves that whole. A penalty of 0 hides the
    way out: keep it for what is easily left.

    Shapes: [B] in and out, or [B, S] with ``take = {parts = "step_parts"}``. NaN in a part of nonzero weight gives NaN.

    Reference: Jaeger et al., CaRL, 2025, https://arxiv.org/abs/2504.17838.

    Raises:
        ValueError: no part of those names, a part without a weight, or a negative weight.
    """
    unknown = sorted({progress, *infractions} - set(parts))
    if unknown:
        raise ValueError(
            f"expected parts among {sorted(parts)}, got {unknown[0]!r}; set progress and infractions to them"
        )
    weights = _weights(parts, part_weights)
    made = weights.get(progress, 0.0) * parts[progress]
    kept, hint = torch.ones_like(made), torch.zeros_like(made)
    for name, weight in weights.items():
        if name in infractions:
            hint = torch.maximum(hint, weight * parts[name].clamp(0.0, 1.0))
        elif name != progress:
            kept = kept * parts[name].clamp(0.0, 1.0) ** weight
    shrunk = made * kept
    return (shrunk if soften else torch.where(made < 0, made + 0.0 * kept, shrunk)) - hint


@method(makes="step_rewards", paper=CARL)
def latch_penalty(
    step_rewards: Float[Tensor, "B S"], step_mask: Bool[Tensor, "B S"], *, ticks: int = 500
) -> Float[Tensor, "B S"]:
    """CaRL: a penalty stays for ``ticks`` steps, the last step that earned it included.

        p'_s = min(p_{s - ticks + 1}, ..., p_s)

    as the released code counts its 500; at 0 or 1 no penalty stays beyond its step.

    ``step_rewards`` are the factors of one soft penalty, 1 where satisfied; of several at once:
    ``take = {step_rewards = "step_parts"}``, ``make = "step_parts"`` and ``each``. The reward then depends on steps that
    a state may not show: let the policy or the value function see how long it lasts (`LatchedPenalty.remaining`).

    Steps that the row lacks are NaN and delay nothing; a step left unscored makes those NaN that it might reach.

    Reference: Jaeger et al., CaRL, 2025, https://arxiv.org/abs/2504.17838 (500 ticks).

    Raises:
        ValueError: negative ticks.
    """
    if ticks < 0:
        raise ValueError(f"expected ticks of at least 0, got {ticks}")
    if 0 in step_rewards.shape:
        return step_rewards.clone()
    reach = min(max(ticks - 1, 0), step_rewards.shape[1] - 1)
    known = torch.where(step_mask, step_rewards, torch.inf)
    padded = torch.nn.functional.pad(known, (reach, 0), value=torch.inf)
    latched = -max_pool1d(-padded[:, None], reach + 1, stride=1)[:, 0]
    return torch.where(step_mask, latched, torch.nan)


@paper(CARL)
class LatchedPenalty:
    """The same as `latch_penalty`, one step at a time, for ``n`` environments that run beside each other."""

    def __init__(self, n: int, *, factor: float = 0.5, ticks: int = 500):
        self.factor, self.ticks = factor, ticks
        self._left = torch.zeros(n, dtype=torch.int64)

    @property
    def remaining(self) -> Float[Tensor, " n"]:
        """Share of the ticks that are left, this step's included: what a value function has to see."""
        return self._left / max(self.ticks, 1)

    def __call__(self, violated: Bool[Tensor, " n"]) -> Float[Tensor, " n"]:
        """This step's factor: ``factor`` where the penalty is violated or lasts, else 1."""
        self._left = torch.where(violated, self.ticks, (self._left - 1).clamp(min=0))
        return torch.where(violated | (self._left > 0), self.factor, 1.0)

    def reset(self, ended: Bool[Tensor, " n"]) -> None:
        """Lift the penalty where an episode ended."""
        self._left = self._left.masked_fill(ended, 0)


@paper(CARL)
def linear_excess(value: Float[Tensor, "*shape"], limit: float, width: float) -> Float[Tensor, "*shape"]:
    """A soft penalty for more than ``limit``: ``1 - (value - limit) / width``, cut to [0, 1].

    Raises:
        ValueError: a width that is not positive.
    """
    if not width > 0:
        raise ValueError(f"expected a positive width, got {width}")
    return (1 - (value - limit) / width).clamp(0.0, 1.0)


def _weights(parts: Mapping[str, Tensor], weights: Mapping[str, Weight]) -> dict[str, Weight]:
    """Weights of the parts that count."""
    missing = sorted(set(parts) - set(weights))
    if missing:
        raise ValueError(f"expected a weight for each part, got none for {missing}; known: {sorted(weights)}")
    negative = [name for name in parts if float(weights[name]) < 0]
    if negative:
        raise ValueError(f"expected weights of at least 0, got {negative[0]!r} below; turn the part around instead")
    return {name: weights[name] for name in parts if float(weights[name]) != 0}
