"""Keep the entropy where it was: a band around its own history (EPO), and an anchor at its first value (SIREN).

A bonus (`entropy_bonus`) only pushes up. These push both ways, and remember what they push towards.
"""

import math
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from guerdon.kernels import broadcast_to_tokens, reduce_to_steps, upper_tail
from guerdon.kernels.compiling import recomputed
from guerdon.kernels.masked import scored
from guerdon.kernels.select import Tail
from guerdon.method import method, paper

EPO = "arXiv:2509.22576"
SIREN = "arXiv:2509.25133"
Outside = Literal["hinge", "indicator"]
Over = Literal["token", "turn"]


@paper(EPO)
def turn_entropies(
    entropy: Float[Tensor, "B T"], turn_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
) -> Float[Tensor, " S"]:
    """Mean entropy of the chosen positions of each turn, over all rows; NaN of a turn that none has.

    S is the number of turns of the longest row. Positions of no turn (-1) and NaN entropies are left out.
    """
    used = scored(entropy, mask & (turn_ids >= 0))
    turns = torch.where(used, turn_ids, 0).reshape(-1).long()
    width = int(turns.max()) + 1 if bool(used.any()) else 0
    weight = used.reshape(-1).to(entropy.dtype)
    count = entropy.new_zeros(max(width, 1)).scatter_add(0, turns, weight)
    total = torch.zeros_like(count).scatter_add(0, turns, torch.where(used, entropy, 0.0).reshape(-1))
    return (total / count)[:width]


@paper(EPO)
def band_penalty(
    entropy: Float[Tensor, "B T"],
    usual: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    low: float,
    high: float,
    outside: Outside = "hinge",
    alpha: float = 0.1,
) -> Float[Tensor, "B T"]:
    """What each chosen position pays for an entropy far from the ``usual`` one: see `EntropyBand`."""
    if not 0 <= low <= high:
        raise ValueError(f"expected 0 <= low <= high, got {low} and {high}")
    used = scored(usual, mask)
    entropy, usual = torch.where(used, entropy, 0.0), torch.where(used, usual, 0.0)
    if outside == "hinge":
        penalty = (low * usual - entropy).relu() + (entropy - high * usual).relu()
    else:
        inside = (low * usual < entropy) & (entropy < high * usual)
        penalty = alpha * (~inside).to(entropy.dtype) + 0.0 * entropy
    return torch.where(used, penalty, 0.0)


@paper(EPO)
def phase_weight(epoch: float, total: int) -> float:
    """EPO's weight of the smoothing term in an epoch: it falls to 0.83 by the middle of training, then decays.

        w = 1 - 0.2 (1 - exp(-2 e / half))    up to half = floor(total / 2);    0.8 exp(-3 (e - half) / (total - half)) after it

    Epochs outside of [0, total] count as the nearer end; without epochs (total of 0 or less) the weight is 1.

    Reference: Xu et al., EPO, 2025, https://arxiv.org/abs/2509.22576, as released (150 epochs, 125 in ScienceWorld).
    """
    total = max(total, 0)
    epoch, half = min(max(epoch, 0), total), total // 2
    if epoch <= half:
        return 1 - 0.2 * (1 - math.exp(-2 * epoch / half)) if half > 0 else 1.0
    return 0.8 * math.exp(-3 * (epoch - half) / (total - half))


@method(makes="token_loss", paper=EPO)
class EntropyBand:
    """EPO's smoothing: the entropy of a turn is to stay near what it has been for that turn so far.

        P_t = relu(low * Hbar_n - H_t) + relu(H_t - high * Hbar_n)    outside = "hinge"
            = 0 where low * Hbar_n < H_t < high * Hbar_n, else alpha  outside = "indicator"

    n is the turn of position t, Hbar_n the mean over the iterations so far of the mean entropy of turn n. The
    indicator is the released code's: it is constant on either side of the band, so it has **no gradient**, and training
    with it is training with the bonus alone. The hinge is what the paper intends. Where a turn has no history (the
    first iteration) the penalty is 0. Together with an `entropy-bonus` it is EPO:

        [[loss]]
        use = "entropy-bonus"
        weight = 0.001
        [[loss]]
        use = "entropy-band"
        weight = 0.001

    The released weight moves over training (`phase_weight`). ``take = {turn_ids = "step_ids"}`` keeps a history per
    step, which in a task that is played in turns is the same. Turns are counted from the front; the released code pads histories of
    episodes that end early on the wrong side.

    ``over = "turn"`` compares the mean entropy of the turn in its row, and lets each of its positions pay for that (the
    released mode "seq", whose mean counts padding too). As released the history counts the iteration at hand as well, and
    a micro-batch without a turn of the second half of an episode pays nothing; here the history is that of the iterations
    before.

    ``decay`` of 1 averages over all iterations, as the paper does; below 1 older ones fade by that factor each.

    Shapes: entropy in nats [B, T], turn ids [B, T] (-1: none); 0 at unchosen positions and those of no turn.

    Reference: Xu et al., EPO, 2025, https://arxiv.org/abs/2509.22576 (released run scripts: 0 and 2, alpha 0.1
    in ALFWorld and 0.05 in ScienceWorld; the released configuration file: 0.8 and 1.2).

    Raises:
        ValueError: not 0 <= low <= high, or a decay outside of (0, 1].
    """

    def __init__(
        self,
        *,
        low: float = 0.0,
        high: float = 2.0,
        decay: float = 1.0,
        outside: Outside = "hinge",
        alpha: float = 0.1,
        over: Over = "token",
    ):
        if not 0 < decay <= 1:
            raise ValueError(f"expected a decay above 0 and up to 1, got {decay}")
        self.low, self.high, self.decay, self.alpha = low, high, decay, alpha
        self.outside: Outside = outside
        self.over: Over = over
        self.total, self.count = torch.zeros(0), torch.zeros(0)

    @recomputed
    def __call__(
        self, entropy: Float[Tensor, "B T"], turn_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T"]:
        known = torch.cat([self.total / self.count, torch.tensor([math.nan])]).to(entropy)  # the last: not seen yet
        last = len(known) - 1
        place = torch.where(turn_ids < 0, last, turn_ids.clamp(max=last)).long()
        usual = known[place]
        if self.over == "turn":
            means = reduce_to_steps(entropy, place, scored(entropy, mask), len(known), "mean")
            entropy = broadcast_to_tokens(means, place, mask)
        return band_penalty(entropy, usual, mask, low=self.low, high=self.high, outside=self.outside, alpha=self.alpha)

    def update(
        self, old_entropy: Float[Tensor, "B T"], turn_ids: Int[Tensor, "B T"], mask: Bool[Tensor, "B T"]
    ) -> None:
        """Add an iteration to the history."""
        mean = turn_entropies(old_entropy, turn_ids, mask).float().cpu()
        longer = len(mean) - len(self.total)
        if longer > 0:
            self.total, self.count = (torch.cat([x, x.new_zeros(longer)]) for x in (self.total, self.count))
        seen = torch.cat([~torch.isnan(mean), torch.zeros(max(0, -longer), dtype=torch.bool)])
        mean = torch.cat([mean, mean.new_zeros(max(0, -longer))])
        self.total = torch.where(seen, self.decay * self.total + mean, self.total)
        self.count = torch.where(seen, self.decay * self.count + 1, self.count)

    def state_dict(self) -> dict[str, Tensor]:
        """``total`` and ``count`` [S] of the history of each turn."""
        return {"total": self.total.clone(), "count": self.count.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self.total, self.count = state["total"].clone(), state["count"].clone()


@paper(SIREN)
def peak_mask(
    entropy: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, quantile: float = 0.8
) -> Bool[Tensor, "B T"]:
    """The chosen positions whose entropy is above the ``quantile`` of their row's (linear between two, strictly above).

    None in a row whose entropies are all equal, or that has one position.
    """
    return mask & (entropy.detach() > _tail(entropy, mask, quantile).bar)


def _tail(entropy: Tensor, mask: Tensor, quantile: float) -> Tail:
    if not 0 <= quantile < 1:
        raise ValueError(f"expected a quantile from 0 and below 1, got {quantile}")
    return upper_tail(entropy, mask, quantile)


@paper(SIREN)
def peak_entropy(
    entropy: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"], *, quantile: float = 0.8
) -> Float[Tensor, ""]:
    """Mean over rows of the mean entropy of each row's peaks (`peak_mask`); differentiable in the entropies.

    A row without peaks counts as 0, as in SIREN's code; a row without chosen positions does not count. 0 of no rows.
    """
    peaks = peak_mask(entropy, mask, quantile=quantile)
    return _mean_of_means(torch.where(peaks, entropy, 0.0).sum(-1), peaks.sum(-1), mask.any(-1))


def _mean_of_means(total: Tensor, number: Tensor, chosen: Tensor) -> Tensor:
    return (total / number.clamp(min=1)).sum() / (chosen > 0).sum().clamp(min=1)


@method(makes="token_weights", paper=SIREN, across=True, for_penalty=True, signed=True)
class EntropyAnchor:
    """SIREN: the entropy of the tokens that matter, where the policy is least sure, is pulled to its first value.

        loss = beta * (Hbar - Ha)^2,    Hbar = `peak_entropy` of the nucleus entropies of the mini-batch

    As weights of an `entropy-bonus` that is averaged over positions, then over rows, which give this loss's exact
    gradient, one batch or many micro-batches:

        w_t = 2 (Ha - Hbar) * n_i / m_i at the m_i peaks of a row of n_i positions, 0 elsewhere

        [[pipeline]]
        use = "entropy-anchor"
        [[loss]]
        use = "clipped-surrogate"
        weighted = false
        [[loss]]
        use = "entropy-bonus"
        take = {entropy = "nucleus_entropy"}
        weight = 0.005                         # beta
        aggregate = "sequence-mean"

    The loss that is logged is that bonus, not the square. Ha is Hbar of the first iteration's rollouts under the policy
    that drew them, unless ``anchor`` gives it (a base model whose entropy is degenerate is a bad anchor); in the first
    iteration it is that of the mini-batch at hand. Which tokens are in the nucleus is the policy's option ``nucleus``.
    ``take = {nucleus_entropy = "entropy", old_nucleus_entropy = "old_entropy"}`` anchors the plain entropy. The pull
    weakens near the anchor.

    Shapes: entropies in nats [B, T]; 0 at unchosen positions.

    Reference: Jiang et al., SIREN, 2025, https://arxiv.org/abs/2509.25133 (quantile 0.8, beta 0.005).

    Raises:
        ValueError: a quantile outside of [0, 1).
    """

    def __init__(self, *, quantile: float = 0.8, anchor: float | None = None):
        self.quantile = quantile
        self.anchor = math.nan if anchor is None else anchor

    def __call__(
        self,
        nucleus_entropy: Float[Tensor, "B T"],
        old_nucleus_entropy: Float[Tensor, "B T"],
        mask: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B T"]:
        anchor = self.anchor
        if math.isnan(anchor):
            anchor = peak_entropy(old_nucleus_entropy, mask, quantile=self.quantile)
        return anchor_weights(nucleus_entropy, mask, anchor, quantile=self.quantile)

    def update(self, old_nucleus_entropy: Float[Tensor, "B T"], mask: Bool[Tensor, "B T"]) -> None:
        """Set the anchor, the first time."""
        if math.isnan(self.anchor):
            known = scored(old_nucleus_entropy, mask)
            self.anchor = float(peak_entropy(old_nucleus_entropy, known, quantile=self.quantile))

    def state_dict(self) -> dict[str, Tensor]:
        """``{"anchor": scalar}``; NaN before the first update."""
        return {"anchor": torch.tensor(self.anchor)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self.anchor = float(state["anchor"])


@paper(SIREN)
def anchor_weights(
    entropy: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    anchor: Float[Tensor, ""] | float,
    *,
    quantile: float = 0.8,
) -> Float[Tensor, "B T"]:
    """Weights of an entropy bonus that pull `peak_entropy` to ``anchor``: see `EntropyAnchor`."""
    bar, number, total, chosen = _tail(entropy, mask, quantile)
    weights = 2 * (anchor - _mean_of_means(total, number, chosen)) * (chosen / number.clamp(min=1))
    return torch.where(mask & (entropy.detach() > bar), weights, 0.0)
