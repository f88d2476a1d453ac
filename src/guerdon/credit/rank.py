"""Bent by the geometry of hidden states: how many directions an answer has used, and how fast new ones came."""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import placement, spectra
from guerdon.method import method, paper

VERL = "arXiv:2509.23808"
Form = Literal["paper", "released"]
_TINY = 1e-8
_HELD = 1 << 21  # numbers in double precision that are held at a time, about


@paper(VERL)
def effective_rank(hidden: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """How many directions the states of a row span, each counted by its share of the singular values.

        ER = exp(-sum_i q_i log(q_i + 1e-8)),   q_i = s_i / (sum s + 1e-8),   s: singular values of the centred states

    Singular values, not their squares. They are read from the smaller of the two Gram matrices, in double precision.
    States under a False mask are never read; fewer than two states give 0, equal ones 1. A state that is not finite
    makes its row NaN.
    """
    count = mask.sum(-1)
    states = torch.where(mask[..., None], hidden, 0.0).double()
    lost = ~torch.isfinite(states).flatten(1).all(-1)
    states = torch.where(lost[:, None, None], 0.0, states)
    mean = states.sum(1, keepdim=True) / count.clamp(min=1)[:, None, None]
    centred = torch.where(mask[..., None], states - mean, 0.0)
    wide = centred.shape[1] <= centred.shape[2]
    rank = _rank(spectra.eigenvalues(centred @ centred.mT if wide else centred.mT @ centred))
    rank = torch.where(count < 2, 0.0, rank)
    return torch.where(lost, torch.nan, rank).to(hidden.dtype)


def _rank(energy: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
    """Effective rank of states whose Gram matrix has these eigenvalues; 1 where all are 0, NaN where one is."""
    if not energy.shape[-1]:
        return energy.new_ones(len(energy))
    noise = energy.amax(-1, keepdim=True) * energy.shape[-1] * torch.finfo(energy.dtype).eps
    values = torch.where(energy <= noise, 0.0, energy).sqrt()
    q = values / (values.sum(-1, keepdim=True) + _TINY)
    return torch.exp(-(q * torch.log(q + _TINY)).sum(-1))


@paper(VERL)
def rank_dynamics(
    hidden: Float[Tensor, "B T D"],
    mask: Bool[Tensor, "B T"],
    *,
    stride: int = 40,
    window: int = 512,
    form: Form = "paper",
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Effective rank of an answer, and the mean velocity and acceleration with which it grew.

        m_j = ER of the first j * stride states, while j * stride < n
        d_j = m_j - mean(m_1 .. m_j-1), j >= 2     velocity = mean_j d_j     acceleration = mean_j (d_j - d_j-1), j >= 3

    over the last ``window`` chosen positions. Velocity and acceleration are 0 where there are too few points. The rank
    of a longer prefix is larger by itself, so long answers have another velocity than short ones.

    ``form = "released"`` is what the official code measures: m_j of the first j * stride + 1 states, and the rank of the
    whole answer, of which the window is no part. It does without the compiled walk, and costs several times as much.
    """
    if stride < 1 or window < 1:
        raise ValueError(f"expected stride and window of at least 1, got stride={stride} and window={window}")
    released = form == "released"
    energies = None if released else spectra.prefix_energies(hidden, mask, stride=stride, window=window)
    if energies is None:
        ranks = _prefix_ranks(hidden, mask, stride, window, extra=int(released))
        if released and bool((mask.sum(-1) > window).any()):
            ranks[:, -1] = effective_rank(hidden, mask)
    else:
        ranks = _rank(energies.flatten(0, 1)).view(energies.shape[:2]).to(hidden.dtype)
        ranks[:, -1].masked_fill_(mask.sum(-1) < 2, 0.0)
    lost = ranks[:, -1].isnan()
    velocity, acceleration = (torch.where(lost, torch.nan, x) for x in rank_dynamics_of(ranks[:, :-1]))
    return ranks[:, -1], velocity, acceleration


@paper(VERL)
def rank_dynamics_of(points: Float[Tensor, "B J"]) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Velocity and acceleration of ranks m_1 .. m_J, NaN behind the last that a row has."""
    if points.shape[1] < 2:
        return points.new_zeros(points.shape[0]), points.new_zeros(points.shape[0])
    number = torch.arange(1, points.shape[1], device=points.device)
    d = points[:, 1:] - points.cumsum(-1)[:, :-1] / number
    return _mean_or_0(d), _mean_or_0(d[:, 1:] - d[:, :-1])


@paper(VERL)
def bounded_bonus(
    advantages: Float[Tensor, "*shape"], bonus: Float[Tensor, "*shape"], *, kappa: float = 2.0
) -> Float[Tensor, "*shape"]:
    """``A + min(relu(bonus), |A| / kappa)``: never negative, flips no sign for kappa above 1, and nothing where A is 0."""
    return advantages + torch.minimum(bonus.clamp(min=0.0), advantages.abs() / kappa)


@method(makes="token_advantages", paper=VERL)
class EffectiveRankBonus:
    """VERL: a bounded bonus for answers whose hidden states open up more directions than usual.

        D_X = clip((X - mu_X) / (|mu_X| + 1e-8), -5, 5)         X: acceleration, velocity, rank (`rank_dynamics`)
        b   = sigmoid(gain * D_acceleration)
        Phi = strength * (b * tanh(D_rank) + (1 - b) * tanh(D_velocity))
        A'  = A + min(relu(Phi), |A| / kappa)                   `bounded_bonus`

    mu moves by ``mu <- (1 - rate) * mu + rate * mean over the batch`` in ``update``, after the batch was used. It
    starts at 0, so that the first deviations saturate at 5; ``start="batch"`` starts it at the first batch's mean.

    ``where="last"`` changes the last chosen position of the row only, which is where the released code puts it;
    ``"all"`` changes every chosen position. ``old_hidden`` is the state before each position. Unchosen positions are 0
    and never read. NaN advantages stay NaN, and their rows move no mean. The bonus is never negative, so the mean over
    a group is no longer 0.

    The released means lag one batch more than here (there the first batch gets no bonus at all), and ``form =
    "released"`` measures as its code does. The command shipped with the paper leaves the bonus switched off
    (``add_reward`` is False, and it is computed under that switch). Its scripts also use stride 40, gain 1.5 and rate
    0.7; a factor from a running score, an option of theirs, is left out.

    Reference: VERL, 2025, https://arxiv.org/abs/2509.23808.
    """

    def __init__(
        self,
        *,
        stride: int = 40,
        window: int = 512,
        gain: float = 2.0,
        rate: float = 0.3,
        strength: float = 1.0,
        kappa: float = 2.0,
        where: Literal["last", "all"] = "last",
        start: Literal["zero", "batch"] = "zero",
        form: Form = "paper",
    ):
        self.stride, self.window = stride, window
        self.gain, self.rate, self.strength, self.kappa = gain, rate, strength, kappa
        self.where, self.start = where, start
        self.form: Form = form
        self.means = torch.full((3,), 0.0 if start == "zero" else torch.nan)

    def __call__(
        self, advantages: Float[Tensor, " B"], old_hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T"]:
        measured = self._measured(old_hidden, mask)
        scored = ~torch.isnan(advantages)
        means = self.means.to(measured)
        means = torch.where(torch.isnan(means), _batch_mean(measured, scored), means)
        phi = self.strength * auxiliary(measured, means, gain=self.gain)
        raised = bounded_bonus(advantages, phi, kappa=self.kappa)
        if self.where == "all":
            return placement.broadcast_rows(raised, mask)
        made = placement.broadcast_rows(advantages, mask)
        last = placement.last_chosen(mask)
        row = (last >= 0).nonzero().squeeze(-1)
        made[row, last[row]] = raised[row]
        return made

    def update(
        self, advantages: Float[Tensor, " B"], old_hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"]
    ) -> None:
        """Move the running means by one batch; nothing moves without a scored row."""
        measured = self._measured(old_hidden, mask)
        mean = _batch_mean(measured, ~torch.isnan(advantages))
        old = self.means.to(mean)
        moved = torch.where(torch.isnan(old), mean, (1 - self.rate) * old + self.rate * mean)
        self.means = torch.where(torch.isnan(mean), old, moved)

    def state_dict(self) -> dict[str, Tensor]:
        """``{"means": [acceleration, velocity, rank]}``."""
        return {"means": self.means.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what ``state_dict`` gave."""
        self.means = state["means"].clone()

    def _measured(self, hidden: Tensor, mask: Tensor) -> Tensor:
        rank, velocity, acceleration = rank_dynamics(
            hidden, mask, stride=self.stride, window=self.window, form=self.form
        )
        return torch.stack([acceleration, velocity, rank], dim=-1)


@paper(VERL)
def auxiliary(measured: Float[Tensor, "B 3"], means: Float[Tensor, " 3"], *, gain: float = 2.0) -> Float[Tensor, " B"]:
    """Phi from (acceleration, velocity, rank) and their running means; between -1 and 1."""
    deviation = ((measured - means) / (means.abs() + _TINY)).clamp(-5.0, 5.0)
    explore = torch.sigmoid(gain * deviation[:, 0])
    pulled = torch.tanh(deviation)
    return explore * pulled[:, 2] + (1 - explore) * pulled[:, 1]


def _window(mask: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Where the last ``window`` chosen positions of each row are, [B, W], 0 behind the last, and how many."""
    seen = mask.cumsum(-1, dtype=torch.int32)
    total = mask.sum(-1, keepdim=True)
    count = total.squeeze(-1).clamp(max=window)
    row, place = (mask & (seen > total - window)).nonzero(as_tuple=True)
    at = mask.new_zeros(len(mask), int(count.max()) if len(mask) else 0, dtype=torch.long)
    at[row, seen[row, place] - 1 - (total - window).clamp(min=0)[row, 0]] = place
    return at, count


def _prefix_ranks(hidden: Tensor, mask: Tensor, stride: int, window: int, extra: int = 0) -> Tensor:
    """[B, J]: effective rank of the first stride, 2 stride, ... states of the window, NaN unless there are more, and
    last that of all; of ``extra`` states more each."""
    at, count = _window(mask, window)
    width = at.shape[1]
    ends = [*range(stride, width, stride), width]
    rows = max(1, _HELD // max(1, width * hidden.shape[2]))
    pieces = []
    for h, i, n in zip(hidden.split(rows), at.split(rows), count.split(rows), strict=True):
        states = h.gather(1, i[..., None].expand(-1, -1, h.shape[-1]))
        front = torch.arange(width, device=mask.device) < n[:, None]
        read = [*(end + extra for end in ends[:-1]), width]
        pieces.append(torch.stack([effective_rank(states[:, :end], front[:, :end]) for end in read], -1))
    due = count[:, None] > torch.tensor(ends, device=mask.device)
    due[:, -1] = True
    return torch.where(due, torch.cat(pieces), torch.nan)


def _mean_or_0(x: Tensor) -> Tensor:
    return torch.where(torch.isnan(x).all(-1), 0.0, x.nanmean(-1)) if x.shape[-1] else x.new_zeros(x.shape[0])


def _batch_mean(measured: Tensor, scored: Tensor) -> Tensor:
    return torch.where(scored[:, None], measured, torch.nan).nanmean(0)
