"""Several scorers of the same thing: their mean and their disagreement (their worst is `minimum`).

Reward models that differ only in their seed agree where their data was, and disagree where a policy that is paid by one
of them likes to go. A conservative combination takes the difference out of the reward. Each part is one member; in
a recipe, name the members in a combination, as *every* entry given counts, one of weight 0 too. Members that share a
pre-trained trunk share its blind spots: that they agree does not make them right.

Nothing is normalised here, as nothing is in the paper. The variance has the square of the scale of the scores, so bring
the members to a common one first (`running-scale` or `scale-rewards`, each) or state that you did not. A row that one
member left unscored is unscored: the mean of the others would be another reward.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from guerdon.method import method

PAPER = "arXiv:2310.02743"
Members = Mapping[str, Float[Tensor, "B *rest"]]


@method(makes="rewards", paper=PAPER, shift_equivariant="parts", scale_equivariant="parts")
def ensemble_mean(parts: Members) -> Float[Tensor, "B *rest"]:
    """The mean of the members: ``r = 1/K sum_k R_k``.

    NaN in any member gives NaN. Averages noise, but not what all members get wrong alike.

    Raises:
        ValueError: no member.

    Reference: Coste et al., Reward Model Ensembles Help Mitigate Overoptimization, ICLR 2024,
    https://arxiv.org/abs/2310.02743.
    """
    return _stack(parts).mean(0)


@method(makes="rewards", paper=PAPER, shift_equivariant="parts")
def uncertainty_weighted(parts: Members, *, penalty: float = 0.1, ddof: int = 0) -> Float[Tensor, "B *rest"]:
    """UWO: the mean of the members minus a price on their disagreement.

        r = mean_k R_k - penalty * 1/(K - ddof) sum_k (R_k - mean)^2

    The *variance*, not the deviation: doubling all scores doubles the mean and quadruples the price. The paper and its
    best-of-n code divide by K; its PPO code divides by K - 1 (``ddof=1``), for 5 members a penalty 1.25 times as
    large. Defaults: 0.1 for policy gradient; the paper uses 0.5 for best-of-n.

    NaN in any member gives NaN; a single member with ``ddof=1`` has no variance, and is NaN too.

    Raises:
        ValueError: no member, or a negative penalty.

    Reference: Coste et al., ICLR 2024, https://arxiv.org/abs/2310.02743 (uncertainty-weighted optimisation).
    """
    if penalty < 0:
        raise ValueError(f"expected a penalty of at least 0, got {penalty}")
    scores = _stack(parts)
    mean = scores.mean(0)
    price = penalty * (scores - mean).square().sum(0)
    return mean - (price / (len(scores) - ddof) if len(scores) > ddof else torch.full_like(price, torch.nan))


def _stack(parts: Mapping[str, Tensor]) -> Tensor:
    if not parts:
        raise ValueError("expected at least one member among the parts, got none; add a reward to the recipe")
    return torch.stack(list(parts.values()))
