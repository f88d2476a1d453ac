"""Parts held at thresholds: past its proxy point a score is no longer worth having, and its weight becomes negative.

A proxy point is the mean of a reward model beyond which what one really wants gets worse. Each part k gets a weight m_k,
a squashed Lagrange multiplier that moves against how far the mean of the part is above its threshold:

    xi-form  mean_k = threshold_k    m = tanh(raw)      in (-1, 1): above the threshold the part is pushed down
    mu-form  mean_k >= threshold_k   m = sigmoid(raw)   in (0, 1): above the threshold the part only counts less
    clamp    mean_k >= threshold_k   m = max(raw, 0)    without a bound
    none     mean_k  = threshold_k   m = raw            without a bound either way

Under the first two what is learned from is ``(n - sum_k m_k) x_objective + sum_k m_k x_k``, whose weights add up to n;
under the others, the plain Lagrangian, ``x_objective + sum_k m_k x_k``. The order matters:
weights of *standardised advantages* are comparable (`constrained-advantages`), weights of raw rewards carry the scale of
each part (`constrained-rewards`), and a normalisation below the mix undoes ``sum_k m_k``, which says how much the
objective counts. A constant part has standardised advantages of 0 at best and pure noise at worst.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from guerdon.method import EntryOf, PartName, method
from guerdon.shaping.search import NelderMead, Variant

PAPER = "arXiv:2310.04373"
Squash = Literal["tanh", "sigmoid", "clamp", "none"]
AdvantageName = Annotated[str, EntryOf(("part_advantages", "parts"))]
"""A part with an advantage of its own."""


def multipliers(raw: Float[Tensor, " K"], squash: Squash) -> Float[Tensor, " K"]:
    """Weights of the parts: ``tanh(raw)`` (xi-form), ``sigmoid(raw)`` (mu-form), ``max(raw, 0)`` or ``raw`` itself."""
    if squash == "tanh":
        return raw.tanh()
    if squash == "sigmoid":
        return raw.sigmoid()
    return raw.clamp(min=0.0) if squash == "clamp" else raw


def multiplier_step(
    raw: Float[Tensor, " K"],
    velocity: Float[Tensor, " K"],
    excess: Float[Tensor, " K"],
    *,
    squash: Squash,
    rate: float,
    momentum: float,
    clip: float,
) -> tuple[Float[Tensor, " K"], Float[Tensor, " K"]]:
    """One step of gradient descent on ``sum_k m_k * excess_k``, excess = mean - threshold; the new raw and velocity.

    The gradient's norm is cut to ``clip`` first, then ``velocity = momentum * velocity + gradient``. A part above its
    threshold loses weight, one below gains. A NaN excess (nothing scored) leaves its entry where it is.
    """
    known = ~excess.isnan()
    m = multipliers(raw, squash)
    slope = {"tanh": 1 - m * m, "sigmoid": m * (1 - m)}.get(squash, torch.ones_like(m))
    gradient = torch.where(known, excess * slope, 0.0)
    gradient = gradient * (clip / (gradient.norm() + 1e-6)).clamp(max=1.0)
    moving = torch.where(known, momentum * velocity + gradient, velocity)
    moved = torch.where(known, raw - rate * moving, raw)
    return (moved.clamp(min=0.0) if squash == "clamp" else moved), moving


def mix(
    parts: Float[Tensor, "K *shape"],
    m: Float[Tensor, " K"],
    objective: Float[Tensor, "*shape"] | None = None,
    *,
    bounded: bool = True,
) -> Float[Tensor, "*shape"]:
    """``(n - sum_k m_k) * objective + sum_k m_k * part_k``; without an objective the first term is left out.

    Multipliers that no squash bounds (``bounded=False``) leave the objective its weight of 1.
    """
    total = torch.tensordot(m, parts, 1)
    return total if objective is None else total + ((len(m) - m.sum()) if bounded else 1.0) * objective


class Constrained:
    """Multipliers, how they move, and what a checkpoint holds of them."""

    def __init__(
        self, thresholds: Mapping[str, float], objective: str | None, squash: Squash, start: float, rate: float, momentum: float, clip: float
    ):  # fmt: skip
        self.thresholds, self.objective = dict(thresholds), objective
        self.squash: Squash = squash
        self.rate, self.momentum, self.clip = rate, momentum, clip
        self.raw = torch.full((len(self.thresholds),), float(start))
        self.velocity = torch.zeros(len(self.thresholds))
        self.means = torch.full((len(self.thresholds),), math.nan)

    def mixed(self, parts: Mapping[str, Tensor]) -> Tensor:
        """What is learned from, with the multipliers as they are."""
        x = torch.stack(self.named(parts))
        base = None if self.objective is None else self._part(parts, self.objective)
        bounded = self.squash in ("tanh", "sigmoid")
        return mix(x, multipliers(self.raw, self.squash).to(x), base, bounded=bounded)

    def move(self, parts: Mapping[str, Tensor]) -> None:
        """One step of the multipliers."""
        self.means = torch.stack([part.nanmean() for part in self.named(parts)]).to(self.raw)
        excess = self.means - torch.tensor(list(self.thresholds.values()))
        self.raw, self.velocity = multiplier_step(
            self.raw, self.velocity, excess, squash=self.squash, rate=self.rate, momentum=self.momentum, clip=self.clip
        )

    def named(self, parts: Mapping[str, Tensor]) -> list[Tensor]:
        """The parts that have a threshold, in its order."""
        if not self.thresholds:
            raise ValueError("expected a threshold for at least one part, got none; set thresholds = {NAME = 0.5}")
        return [self._part(parts, name) for name in self.thresholds]

    def _part(self, parts: Mapping[str, Tensor], name: str) -> Tensor:
        if name not in parts:
            raise ValueError(f"expected a part named {name!r}, got {sorted(parts)}; correct thresholds or objective")
        return parts[name]

    @property
    def metrics(self) -> dict[str, float]:
        """Multiplier, threshold and last mean of each part."""
        told = {}
        for name, m, mean in zip(
            self.thresholds, multipliers(self.raw, self.squash).tolist(), self.means.tolist(), strict=True
        ):
            told |= {f"multiplier/{name}": m, f"threshold/{name}": self.thresholds[name], f"mean/{name}": mean}
        return told

    def state_dict(self) -> dict[str, Any]:
        """``raw`` and ``velocity`` [K], in the order of the thresholds."""
        return {"raw": self.raw.clone(), "velocity": self.velocity.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        self.raw, self.velocity = state["raw"].clone(), state["velocity"].clone()


@method(makes="rewards", paper=PAPER)
class ConstrainedRewards(Constrained):
    """Constrained RLHF on rewards: each part weighted by the multiplier that keeps its mean at its threshold.

        r = (n - sum_k m_k) * objective + sum_k m_k * part_k,   m = tanh(raw) | sigmoid(raw)
        r = objective + sum_k m_k * part_k,                     m = max(raw, 0) | raw    (``squash = "clamp" | "none"``)

    The second is the plain Lagrangian; the released code has it with the first multiplier left out, a slip of its index.
    ``thresholds`` names the parts that are held, ``objective`` a part that is not (in the paper the negative KL; with
    None there is no such term, and the KL stands as a loss of fixed weight; `constrained-token-rewards` has it per token). Other parts are not read. The paper mixes
    standardised advantages, as `constrained-advantages` does; here the parts keep their scale.

    Calling only reads; ``update`` moves the multipliers once per iteration by the means of the rows, where the paper
    moves them with every mini-batch and by means over tokens, which weigh long answers more. Cold start: every raw
    multiplier is ``start``, so that under tanh only the objective counts at first (the released code draws one number
    from N(0, 0.01^2) for all of them, and has 0.5 without a squash). ``rate`` is that of its configurations.

    Shapes: [B] in and out. NaN in a part that is read gives NaN; NaN rows are in no mean.

    Raises:
        ValueError: no threshold, or no part of that name.

    Reference: Moskovitz et al., Confronting Reward Model Overoptimization with Constrained RLHF, ICLR 2024,
    https://arxiv.org/abs/2310.04373 (xi-PPO, mu-PPO; rate, momentum and clip of its code).
    """

    def __init__(
        self,
        *,
        thresholds: dict[PartName, float],
        objective: PartName | None = None,
        squash: Squash = "tanh",
        start: float = 0.0,
        rate: float = 0.1,
        momentum: float = 0.1,
        clip: float = 0.5,
    ):
        super().__init__(thresholds, objective, squash, start, rate, momentum, clip)

    def __call__(self, parts: Mapping[str, Float[Tensor, " B"]]) -> Float[Tensor, " B"]:
        return self.mixed(parts)

    def update(self, parts: Mapping[str, Float[Tensor, " B"]]) -> None:
        """Move the multipliers by one batch."""
        self.move(parts)


@method(makes="advantages", paper=PAPER)
class ConstrainedAdvantages(Constrained):
    """Constrained RLHF: standardised advantages of the parts, weighted by multipliers that keep means at thresholds.

        A = (n - sum_k m_k) * A_objective + sum_k m_k * A_k      (``squash = "clamp" | "none"``: A_objective + sum ...)

    Before it, `group-normalise` or `whiten-rows` on each part makes ``part_advantages`` (the paper z-scores each over
    the mini-batch); nothing that normalises may stand after it. The multipliers move by the means of the *raw* parts,
    in whose unit the thresholds are. All else as in `constrained-rewards`.

    Shapes: [B] in and out. NaN in an advantage that is read gives NaN.

    Raises:
        ValueError: no threshold, or no part of that name.

    Reference: Moskovitz et al., ICLR 2024, https://arxiv.org/abs/2310.04373.
    """

    def __init__(
        self,
        *,
        thresholds: dict[AdvantageName, float],
        objective: Annotated[str, EntryOf(("part_advantages",))] | None = None,
        squash: Squash = "tanh",
        start: float = 0.0,
        rate: float = 0.1,
        momentum: float = 0.1,
        clip: float = 0.5,
    ):
        super().__init__(thresholds, objective, squash, start, rate, momentum, clip)

    def __call__(self, part_advantages: Mapping[str, Float[Tensor, " B"]]) -> Float[Tensor, " B"]:
        return self.mixed(part_advantages)

    def update(self, parts: Mapping[str, Float[Tensor, " B"]]) -> None:
        """Move the multipliers by one batch."""
        self.move(parts)


@method(makes="advantages", paper=PAPER)
class SearchedConstraints(ConstrainedAdvantages):
    """NM-PPO: `constrained-advantages` that looks for its thresholds within one run, by Nelder-Mead.

    One evaluation goes on training with a set of thresholds for ``period`` iterations, or until every mean is within
    ``near`` of its threshold, and its value is the mean of the part ``evaluation`` in the last of them: a score that one
    trusts but can afford only now and then, watched with ``weight = 0``. ``thresholds`` is the first corner of the
    simplex, and ``steps`` says how far off the other corners are, one part each. It ends on the best thresholds when
    the values differ by less than ``tolerance`` (`guerdon.shaping.search.NelderMead`, which also says what the steps of the
    released code are, ``variant``).

    Policy and multipliers go on from one evaluation to the next, so a value also tells how far training had come.

    Reference: Moskovitz et al., ICLR 2024, https://arxiv.org/abs/2310.04373 (NM-PPO: a tenth of the run per evaluation,
    near 0.05, tolerance 0.01).
    """

    def __init__(
        self,
        *,
        thresholds: dict[AdvantageName, float],
        steps: dict[AdvantageName, float],
        evaluation: PartName,
        period: int = 10,
        near: float = 0.05,
        tolerance: float = 0.01,
        variant: Variant = "textbook",
        objective: Annotated[str, EntryOf(("part_advantages",))] | None = None,
        squash: Squash = "tanh",
        start: float = 0.0,
        rate: float = 0.1,
        momentum: float = 0.1,
        clip: float = 0.5,
    ):
        super().__init__(
            thresholds=thresholds, objective=objective, squash=squash, start=start, rate=rate, momentum=momentum, clip=clip
        )  # fmt: skip
        odd = sorted(set(steps) - set(thresholds))
        if odd:
            raise ValueError(f"expected steps for thresholds among {sorted(thresholds)}, got {odd[0]!r}; correct it")
        corner = list(thresholds.values())
        others = [[x + steps.get(n, 0.0) * (n == m) for n, x in thresholds.items()] for m in thresholds]
        self.search = NelderMead([corner, *others], tolerance=tolerance, variant=variant)
        self.evaluation, self.period, self.near, self.age = evaluation, period, near, 0

    def update(self, parts: Mapping[str, Float[Tensor, " B"]]) -> None:
        """Move the multipliers by one batch; at the end of an evaluation, move on to the next thresholds."""
        self.move(parts)
        self.age += 1
        wanted = torch.tensor(list(self.thresholds.values()))
        arrived = bool(((self.means - wanted).abs() <= self.near * wanted.abs()).all())
        if not self.search.done and (self.age >= self.period or arrived):
            self.search.tell(-float(self._part(parts, self.evaluation).nanmean()))
            self.age = 0
            self._take()

    def state_dict(self) -> dict[str, Any]:
        """The multipliers, iterations of this evaluation, and every value so far."""
        return {**super().state_dict(), "age": self.age, "values": list(self.search.told)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` gave."""
        super().load_state_dict(state)
        self.age = int(state["age"])
        self.search.replay(state["values"])
        self._take()

    def _take(self) -> None:
        self.thresholds = dict(zip(self.thresholds, self.search.ask(), strict=True))
