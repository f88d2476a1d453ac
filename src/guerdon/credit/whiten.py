"""Put on one scale over the whole batch, whatever the prompts."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import masked
from guerdon.method import method

_FARTHEST = 10.0
"""The released bound of StableReinforce on either side, wherever its window stands."""


@method(
    makes="token_advantages",
    paper="arXiv:2501.03262",
    shift_invariant="token_advantages",
    scale_invariant="token_advantages",
)
def whiten(
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    *,
    centre: bool = True,
    ddof: int = 1,
    eps: float = 1e-8,
) -> Float[Tensor, "B T"]:
    """REINFORCE++: advantages standardised over every chosen position of the batch.

        A'_t = (A_t - mean(A)) / sqrt(var(A) + eps)

    Long answers weigh more in mean and variance than short ones, as they have more positions; `whiten_rows` counts
    every row once. ``centre=False`` divides only (and so keeps the sign of every advantage). NaN positions are in
    neither statistic and stay NaN; unchosen positions are 0. Where all advantages are equal, the result is 0 (or,
    with ``centre=False``, the advantages themselves), not a division by eps.

    Run it once on the whole batch of an iteration, before it is cut into mini-batches.

    Reference: Hu et al., REINFORCE++, 2025, https://arxiv.org/abs/2501.03262.
    """
    return _standard(token_advantages, mask, centre, ddof, eps)


@method(
    makes="advantages",
    paper=("arXiv:2501.03262", "arXiv:2601.05242"),
    shift_invariant="advantages",
    scale_invariant="advantages",
)
def whiten_rows(
    advantages: Float[Tensor, "B *rest"], *, centre: bool = True, ddof: int = 1, eps: float = 1e-8
) -> Float[Tensor, "B *rest"]:
    """Advantages standardised over the scored rows of the batch: `whiten` with one vote per row.

        A'_i = (A_i - mean(A)) / sqrt(var(A) + eps)

    The last stage of GDPO (after `sum-part-advantages`), where it keeps the size of the advantages the same for any
    number of rewards. Taken over step advantages, every step has one vote. NaN entries are in neither statistic and
    stay NaN; where all are equal the result is 0 (or, with ``centre=False``, the advantages themselves). The released
    code of GDPO divides by ``std + 1e-4`` in one trainer and standardises over tokens, as `whiten`, in another.

    Reference: Liu et al., GDPO, 2026, https://arxiv.org/abs/2601.05242.
    """
    return _standard(advantages, torch.ones_like(advantages, dtype=torch.bool), centre, ddof, eps)


@method(makes="token_advantages", paper="arXiv:2505.02835")
def advantage_filter(
    token_advantages: Float[Tensor, "B T"],
    mask: Bool[Tensor, "B T"],
    token_returns: Float[Tensor, "B T"] | None = None,
    *,
    limit: float = 3.0,
    window: Literal["standard", "shifted"] = "standard",
) -> Float[Tensor, "B T"]:
    """StableReinforce: advantages further than ``limit`` standard deviations from the mean count as 0.

        A_t     where |A_t| <= limit
        0       elsewhere

    Stands after `whiten`, in whose units ``limit`` is. Nothing is cut *to* the limit: what is that far out is taken for an
    error of the reward. The position stays in the denominator. In a small batch one outlier cannot be further out than
    (n - 1) / sqrt(n).

    ``window = "shifted"`` is that of the released code, which lets outliers through on one side, though none above 10:

        A_t     where m - limit <= A_t <= m + limit and |A_t| <= 10,    m = mean of token_returns over chosen positions
        0       elsewhere

    There ``token_returns`` are what `whiten` standardised: ``take = {token_returns = "token_returns"}`` beside the option, in a
    recipe as that of the preset ``stable-reinforce``.

    0 at unchosen positions; NaN stays NaN.

    Reference: Zhang et al., R1-Reward, 2025, https://arxiv.org/abs/2505.02835, equation 6.

    Raises:
        ValueError: a limit that is not positive, or a shifted window without token_returns.
    """
    if limit <= 0:
        raise ValueError(f"expected a positive limit, got {limit}")
    if window == "standard":
        out = token_advantages.abs() > limit  # NaN is not above it
    elif token_returns is None:
        raise ValueError("expected token_returns for the shifted window, got none; take what was standardised")
    else:
        middle = masked.masked_mean(token_returns, masked.scored(token_returns, mask))
        out = ((token_advantages - middle).abs() > limit) | (token_advantages.abs() > _FARTHEST)
    kept = torch.where(out, 0.0, token_advantages)
    return torch.where(mask, kept, 0.0)


def _standard(x: Tensor, mask: Tensor, centre: bool, ddof: int, eps: float) -> Tensor:
    return masked.whiten(x, mask, centre=centre, ddof=ddof, eps=eps, neutral=True)
