"""Did the step help? Credit from the value of prefixes.

``prefix_values`` says at each step boundary how often continuations from there succeed. What continues them is the
*prover*: the policy itself, another one, or the policy forced to answer at once (``rollouts.prover`` and
``rollouts.prefix_suffix`` of a recipe). A step is worth what it adds, so repeating a good state pays nothing.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from guerdon.kernels import potentials
from guerdon.kernels.groups import group_max
from guerdon.method import method, paper

PAV, MRT = "arXiv:2410.08146", "arXiv:2503.07572"


@method(
    makes="step_rewards",
    paper=(PAV, MRT),
    shift_invariant="prefix_values",
    scale_equivariant="prefix_values",
)
def progress(
    prefix_values: Float[Tensor, "B P"],
    step_mask: Bool[Tensor, "B S"],
    *,
    low: float = -math.inf,
    high: float = math.inf,
    smallest: float = 0.0,
) -> Float[Tensor, "B S"]:
    """PAV, MRT: how much each step raises the prover's chance to succeed.

        r_s = Q[after s] - Q[before s],      Q = clip(prefix_values, low, high)

    ``prefix_values`` [B, S + 1], with the value before the first step in front. For PAV the prover is a policy other
    than the one being trained, such as its best of k (`best-of-k`); for MRT it is the policy forced to answer. The
    steps of a row add up to last minus first: with an undiscounted return at the level of the row this is a potential
    and only moves credit, and never use Q itself, which pays for staying where it is high.

    ``low`` and ``high`` (0 and 1 for probabilities) cut the estimates of a learned verifier. Progress smaller in size
    than ``smallest`` counts as 0: an estimate from n draws has a standard error of ``sqrt(Q (1 - Q) / n)``.

    NaN at a boundary makes the two steps that touch it NaN; steps that the row lacks are NaN.

    References: Setlur et al., Rewarding Progress, ICLR 2025, https://arxiv.org/abs/2410.08146; Qu et al., MRT, ICML
    2025, https://arxiv.org/abs/2503.07572.
    """
    gained = potentials.difference(prefix_values.clamp(low, high), step_mask)
    return torch.where(gained.abs() < smallest, 0.0, gained)


@method(makes="prefix_values", paper=PAV)
def best_of_k(prefix_values: Float[Tensor, "B P"], *, k: int = 4, draws: int | None = None) -> Float[Tensor, "B P"]:
    """PAV: the chance that the best of k continuations succeeds, from the chance of one.

        Q_k = 1 - (1 - Q)^k

    The value under the best-of-k policy of a prover with 0/1 outcomes: a stronger prover for free. It moves progress
    to where the prover is weak: from .1 to .5 is .59 with k = 4, from .9 to .95 next to nothing. Large k, like any
    prover that nearly always succeeds, sees no difference at all. Values outside [0, 1] are clipped first; NaN stays
    NaN.

    Of a Q that is itself the mean of few continuations this is too low on average: .72 in place of .75 for one in two, k = 2
    and eight draws. ``draws``, the number n of them (``rollouts.prefix_draws``), takes k of these n without replacement,
    which is right on average, and leaves exact zeros and ones as they are:

        Q_k = 1 - prod_{j < k} max(n - n Q - j, 0) / (n - j)

    Reference: Setlur et al., Rewarding Progress, ICLR 2025, https://arxiv.org/abs/2410.08146.

    Raises:
        ValueError: k below 1, or fewer draws than k.
    """
    if k < 1:
        raise ValueError(f"expected k of at least 1, got {k}; k = 1 changes nothing")
    values = prefix_values.clamp(0.0, 1.0)
    if draws is None:
        return 1 - (1 - values) ** k
    if draws < k:
        raise ValueError(f"expected at least k = {k} draws, got {draws}; draw more, or leave draws out")
    j = torch.arange(k, device=values.device)
    return 1 - ((draws * (1 - values[..., None]) - j).clamp(min=0.0) / (draws - j)).prod(-1)


@method(makes="step_rewards", paper=(PAV, MRT), scale_equivariant=("rewards", "step_rewards"))
def effective_reward(
    rewards: Float[Tensor, " B"],
    step_rewards: Float[Tensor, "B S"],
    step_mask: Bool[Tensor, "B S"],
    *,
    alpha: float = 3.0,
) -> Float[Tensor, "B S"]:
    """PAV, MRT: the outcome on the last step, and alpha times the progress on every step.

        r'_s = alpha * r_s + [s is the last step of the row] * outcome

    ``alpha``: 3 to 5 in PAV's reinforcement learning (0.2 to 0.6 in its search), about 0.5 in MRT, where it is tuned.
    Follow it with `returns-to-go`.

    A NaN outcome is NaN at the last step only, from where returns carry it to the earlier ones; a NaN step stays NaN.
    Steps that the row lacks are NaN; a row without a step has nowhere to put its outcome.

    References: Setlur et al., Rewarding Progress, ICLR 2025, https://arxiv.org/abs/2410.08146; Qu et al., MRT, ICML
    2025, https://arxiv.org/abs/2503.07572.
    """
    number = torch.where(step_mask, torch.arange(step_mask.shape[1], device=step_mask.device), -1)
    last = step_mask & (number == number.cummax(-1).values[:, -1:])
    return torch.where(step_mask, alpha * step_rewards + torch.where(last, rewards[:, None], 0.0), torch.nan)


@method(
    makes="advantages",
    paper=MRT,
    shift_invariant=("rewards", "prefix_values"),
    scale_equivariant=("rewards", "prefix_values"),
)
def termination_baseline(rewards: Float[Tensor, " B"], prefix_values: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
    """MRT: the reward against what stopping at once would have given.

        A = r - Q[before the first step]

    ``prefix_values`` comes from continuations that are forced to answer (``rollouts.prefix_suffix``, such as a text that
    says that time is up), so the baseline is the mean reward of answers without further thought: thinking earns only
    what it adds. It does not depend on what the row goes on to say. NaN in either is NaN.

    Reference: Qu et al., MRT, ICML 2025, https://arxiv.org/abs/2503.07572 (the released description of its online
    form, in place of the mean of the group).
    """
    return rewards - prefix_values[:, 0]


@method(makes="advantages", paper=MRT, shift_invariant="prefix_values")
def most_progress(
    prefix_values: Float[Tensor, "B P"],
    correct: Float[Tensor, " B"],
    group: Int64[Tensor, " B"],
    step_mask: Bool[Tensor, "B S"],
    *,
    least: float = 0.0,
) -> Float[Tensor, " B"]:
    """MRT's variant of STaR: learn from the right answers that make most progress on their way, as from demonstrations.

        peak_i = max over the boundaries b inside row i of Q_i[b], less Q_i[before the first step]
        A_i    = 1 where row i is correct, peak_i > least, and no correct row of its group has a higher peak
                 NaN (left out) elsewhere

    With `reinforce` as the loss this is supervised fine-tuning on the rows that are kept. Its first and last boundary do
    not count: there stand the prompt and the row's own outcome, which is the same for all that are correct. So a row of
    one step makes no progress. Of equals all are kept. The paper cuts a trace where progress peaks and takes the best of
    several continuations from there; here the continuation is the row's own.

    A row with NaN in ``correct`` or at a boundary inside it is left out, like one that is wrong.

    Reference: Qu et al., MRT, ICML 2025, https://arxiv.org/abs/2503.07572.
    """
    later = step_mask.flip(-1).cummax(-1).values.flip(-1)  # boundary b is inside where a step from b on exists
    inner = prefix_values[:, 1:-1].masked_fill(~later[:, 1:], -torch.inf)
    peak = torch.nn.functional.pad(inner, (0, 1), value=-torch.inf).amax(-1) - prefix_values[:, 0]
    peak = torch.where((correct == 1) & (peak > least), peak, torch.nan)
    return torch.where(peak == group_max(peak, group), 1.0, torch.nan)


@paper(MRT)
def normalised_regret(
    accuracy: Float[Tensor, "*N K"], tokens: Float[Tensor, "*N K"], budget: float
) -> Float[Tensor, "*N"]:
    """MRT's audit: how far an answer under construction stays behind one that is right from the start.

        regret = 1 - (area under accuracy over tokens, up to the budget) / budget

    ``accuracy[k]`` is the success of answers forced after ``tokens[k]`` tokens, which do not decrease. The curve starts
    at (0, 0), is linear between its points, and holds its last value where a trace ends before the budget. 0 is best;
    average over traces, then over problems. NaN points are left out; without any the regret is NaN.

    Reference: Qu et al., MRT, ICML 2025, https://arxiv.org/abs/2503.07572.

    Raises:
        ValueError: a budget that is not positive.
    """
    if budget <= 0:
        raise ValueError(f"expected a budget above 0 tokens, got {budget}")
    scored = ~(torch.isnan(accuracy) | torch.isnan(tokens))
    start = torch.zeros_like(accuracy[..., :1])
    x = torch.cat([start, tokens.masked_fill(~scored, 0.0)], -1)
    y = torch.cat([start, accuracy.masked_fill(~scored, 0.0)], -1)
    number = torch.arange(x.shape[-1], device=x.device) * torch.cat([torch.ones_like(scored[..., :1]), scored], -1)
    at = number.cummax(-1).values  # a point left out stands where the one before it does
    x, y = x.gather(-1, at), y.gather(-1, at)
    width = x.diff(dim=-1)
    inside = (budget - x[..., :-1]).clamp(min=0.0).minimum(width)
    rise = y.diff(dim=-1) * inside / torch.where(width > 0, width, 1.0)
    area = (inside * (y[..., :-1] + 0.5 * rise)).sum(-1) + (budget - x[..., -1]).clamp(min=0.0) * y[..., -1]
    return torch.where(scored.any(-1), 1 - area / budget, torch.nan)


@paper(MRT)
def voting_regret(votes: Float[Tensor, "*N K 4"], budget: int | None = None) -> Float[Tensor, "*N"]:
    """MRT's second audit: what is lost by thinking on where stopping and voting would have been better.

        go[x]   = m_1 + (x - 1) / 5 (m'_1 - m_1)                          at x = 1, 2, 4, 6
        stop[x] = m_1, m_2, m_4, (m_4 + m_8) / 2                          at the same x
        regret  = sum over pairs of area(max(go, stop) - go) / sum over pairs of area(max(go, stop))

    ``votes[k]`` holds m_1, m_2, m_4 and m_8: how often one answer forced after episode k is right, and the majority of
    2, 4 and 8 of them; m' belongs to the next episode. The areas are those under lines through the four points. 0:
    thinking on never fell behind voting. ``budget`` keeps only so many pairs of episodes, the first ones; average over
    traces.

    A pair with a NaN is left out. NaN where no pair is left, or where nothing was ever right, as in the released code.

    Reference: Qu et al., MRT, ICML 2025, https://arxiv.org/abs/2503.07572 (its appendix on regret; the points and
    weights are those of the released analysis).

    Raises:
        ValueError: a budget below 1.
    """
    if budget is not None and budget < 1:
        raise ValueError(f"expected a budget of at least 1 pair of episodes, got {budget}; leave it out to keep all")
    now, later = votes[..., :-1, :], votes[..., 1:, :1]
    x = votes.new_tensor([1.0, 2.0, 4.0, 6.0])
    go = now[..., :1] + (x - 1) / 5 * (later - now[..., :1])
    stop = torch.cat([now[..., :3], now[..., 2:].mean(-1, keepdim=True)], -1)
    best = go.maximum(stop)[..., :budget, :]
    lost, whole = (torch.trapezoid(y, x).nansum(-1) for y in (best - go[..., :budget, :], best))
    return torch.where(whole > 0, lost / whole, torch.nan)
