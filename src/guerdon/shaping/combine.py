"""Several parts, one reward: weighted sums, products, minima, gates, an order of importance; clipping, scaling.

A sum is only known when its terms are: a row in which any part of nonzero weight is NaN has a NaN sum. A part of
weight 0 is only watched, so its NaN does no harm. Every part needs a weight; weights without a part are ignored (the
same table serves parts and step parts).
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.method import PartName, method

Weight = Float[Tensor, ""] | float


@method(makes="rewards", scale_equivariant="parts")
def weighted_sum(parts: Mapping[str, Float[Tensor, " B"]], part_weights: Mapping[str, Weight]) -> Float[Tensor, " B"]:
    """One reward from all parts: ``r = sum_k w_k * part_k``.

    NaN in a part of nonzero weight gives NaN.

    Raises:
        ValueError: no part, or a part without a weight.
    """
    return _sum(parts, part_weights, "parts")


@method(makes="step_rewards", scale_equivariant="step_parts")
def weighted_step_sum(
    step_parts: Mapping[str, Float[Tensor, "B S"]], part_weights: Mapping[str, Weight]
) -> Float[Tensor, "B S"]:
    """One reward per step from all step parts: ``r_s = sum_k w_k * part_{k,s}``.

    Steps that the row lacks are NaN in every part and stay NaN; so does a step that a part of nonzero weight left
    unscored.

    Raises:
        ValueError: no part, or a part without a weight.
    """
    return _sum(step_parts, part_weights, "step_parts")


@method(makes="token_rewards", scale_equivariant="token_parts")
def weighted_token_sum(
    token_parts: Mapping[str, Float[Tensor, "B T"]],
    part_weights: Mapping[str, Weight],
    mask: Bool[Tensor, "B T"],
) -> Float[Tensor, "B T"]:
    """One reward per position from all token parts: ``r_t = sum_k w_k * part_{k,t}``.

    0 at unchosen positions, whose parts are never read. NaN where a part of nonzero weight left the position unscored.
    The price of leaving the reference comes after it (`kl-in-reward`).

    Raises:
        ValueError: no part, or a part without a weight.
    """
    return torch.where(mask, _sum(token_parts, part_weights, "token_parts"), 0.0)


@method(makes="rewards")
def product(parts: Mapping[str, Float[Tensor, " B"]]) -> Float[Tensor, " B"]:
    """One reward from all parts: ``r = prod_k part_k``, so that each can veto by 0.

    For parts in [0, 1]; two negative parts would praise each other. Weights do not enter. NaN in any part gives NaN.

    Raises:
        ValueError: no part.
    """
    return _stack(parts).prod(0)


@method(makes="rewards", paper="arXiv:2310.02743", shift_equivariant="parts", scale_equivariant="parts")
def minimum(parts: Mapping[str, Float[Tensor, "B *rest"]]) -> Float[Tensor, "B *rest"]:
    """The worst of all parts: ``r = min_k part_k``; what cannot be made up for by doing well elsewhere.

    Parts must stand on one scale. Weights do not enter. NaN in any part gives NaN.

    With the members of an ensemble as parts this is worst-case optimisation (WCO): only the member that says least is heard,
    so it becomes noisier and lower the more members there are. The largest minimum is not the minimum of the largest:
    combine rows before choosing among them.

    Reference for WCO: Coste et al., Reward Model Ensembles Help Mitigate Overoptimization, ICLR 2024,
    https://arxiv.org/abs/2310.02743.

    Raises:
        ValueError: no part.
    """
    return _stack(parts).amin(0)


@method(makes="rewards")
def only_if(
    parts: Mapping[str, Float[Tensor, " B"]], *, threshold: float = 0.0, otherwise: float = 0.0
) -> Float[Tensor, " B"]:
    """The last part, but only where all parts before it are above ``threshold``; elsewhere ``otherwise``.

        r = part_K if min(part_1, ..., part_{K-1}) > threshold, else otherwise

    Say which with ``of = ["format", "final-answer"]``. Where a gate is closed the last part is not looked at, so it may
    be unscored there (a judge that is asked only ``when`` the format is right). NaN in a gate, or in the last part behind
    an open one, gives NaN.

    Raises:
        ValueError: fewer than two parts.
    """
    if len(parts) < 2:
        raise ValueError(f"expected a gate and what it lets through, got {list(parts)}; name both: of = [GATE, PART]")
    *gates, last = parts.values()
    gate = torch.stack(gates).amin(0)
    return torch.where(gate > threshold, last, otherwise).masked_fill(gate.isnan(), torch.nan)


@method(makes="rewards")
def lexicographic(
    parts: Mapping[str, Float[Tensor, " B"]], *, thresholds: Sequence[float] | None = None
) -> Float[Tensor, " B"]:
    """Parts in order of importance: a later one counts only once every earlier one is good enough.

        r = sum_k min(part_k, c_k) * prod_{j < k} 1[part_j >= c_j],   no cap on the last

    ``thresholds`` are the c_k of all parts but the last, by default 1: full marks. For parts of at least 0 (a negative one would make passing the
    threshold before it a loss). What is not reached is not looked at, so it may be unscored there; NaN in a part that is
    reached gives NaN. A gradient of reward within each level remains, unlike with a gate.

    Reference: after the thresholded lexicographic order of Gabor, Kalmar and Szepesvari, Multi-criteria reinforcement
    learning, ICML 1998.

    Raises:
        ValueError: no part, or not one threshold for each part but the last.
    """
    stacked = _stack(parts)
    thresholds = [1.0] * (len(stacked) - 1) if thresholds is None else thresholds
    if len(thresholds) != len(stacked) - 1:
        raise ValueError(
            f"expected {len(stacked) - 1} thresholds, one for each of {list(parts)} but the last, got {list(thresholds)}; "
            "correct thresholds, or say with of = [...] which parts count"
        )
    caps = stacked.new_tensor([*thresholds, torch.inf])[:, None]
    passed = torch.cat([torch.ones_like(stacked[:1]), (stacked >= caps)[:-1].to(stacked).cumprod(0)])
    return torch.where(passed > 0, torch.minimum(stacked, caps), 0.0).sum(0)


@method(makes="advantages", paper="arXiv:2601.05242", scale_equivariant="part_advantages")
def sum_part_advantages(
    part_advantages: Mapping[str, Float[Tensor, " B"]], part_weights: Mapping[str, Weight]
) -> Float[Tensor, " B"]:
    """GDPO, second of three stages: add what each part's own advantage says.

        A = sum_k w_k * A_k,   A_k = group-normalise(part_k)

    Before it, `group-normalise` runs on each part (``each = [...]``); after it, `whiten-rows` standardises over the
    batch. Normalising before adding keeps apart the combinations of parts that a sum of rewards would merge: two parts
    worth 1 each give four combinations but only three sums. Weights therefore weigh normalised advantages, not raw
    rewards, and the scale of a part no longer matters.

    NaN in an advantage of nonzero weight gives NaN; the released code of the authors counts an unscored reward as 0
    instead.

    Reference: Liu et al., GDPO, 2026, https://arxiv.org/abs/2601.05242.

    Raises:
        ValueError: no part, or a part without a weight.
    """
    return _sum(part_advantages, part_weights, "part_advantages")


@method(makes="rewards")
def clip_rewards(
    rewards: Float[Tensor, "B *rest"], *, low: float = -10.0, high: float = 10.0
) -> Float[Tensor, "B *rest"]:
    """Rewards cut to ``[low, high]``; NaN stays NaN.

    Raises:
        ValueError: low above high.
    """
    if low > high:
        raise ValueError(f"expected low at most high, got low={low} and high={high}; swap them")
    return rewards.clamp(low, high)


@method(makes="rewards")
def scale_rewards(
    rewards: Float[Tensor, "B *rest"], *, scale: float = 1.0, shift: float = 0.0
) -> Float[Tensor, "B *rest"]:
    """Rewards on another scale: ``scale * r + shift``; NaN stays NaN.

    Interacts with everything that has a scale of its own: a KL coefficient, a value loss, a penalty that replaces.
    """
    return scale * rewards + shift


@method(makes="rewards")
def gate_rewards(
    rewards: Float[Tensor, " B"], parts: Mapping[str, Float[Tensor, " B"]], *, part: PartName, value: float = 0.0
) -> Float[Tensor, " B"]:
    """A reward that only counts where the part named ``part`` is above 0; elsewhere it is ``value``.

        r' = r if part > 0, else value

    The usual gate is a format: without it nothing else is paid. NaN in the reward or in the gate gives NaN.

    Raises:
        ValueError: there is no part of that name.
    """
    if part not in parts:
        raise ValueError(f"expected a part named {part!r}, got {sorted(parts)}; set part to one of them")
    gate = parts[part]
    return torch.where(gate > 0, rewards, value).masked_fill(rewards.isnan() | gate.isnan(), torch.nan)


def _sum(parts: Mapping[str, Tensor], weights: Mapping[str, Tensor | float], what: str) -> Tensor:
    stacked = _stack(parts, what)
    missing = sorted(set(parts) - set(weights))
    if missing:
        raise ValueError(
            f"expected a weight for each entry of {what}, got none for {missing}; known: {sorted(weights)}"
        )
    weight = torch.stack([torch.as_tensor(weights[name]).to(stacked) for name in parts])
    weight = weight.reshape(-1, *[1] * (stacked.ndim - 1))
    return torch.where(weight == 0, 0.0, weight * stacked).sum(0)


def _stack(parts: Mapping[str, Tensor], what: str = "parts") -> Tensor:
    if not parts:
        raise ValueError(f"expected at least one entry in {what}, got none; add a reward to the recipe")
    return torch.stack(list(parts.values()))
