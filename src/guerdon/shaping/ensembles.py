"""Several scorers of the same thing: their mean, their worst and their disagreement.

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
    large. Defaults: 0.1 for policy gradient; the paper uses 0.5 for best-of-n, and the
    functions of its code have 1 where no penalty, or one of 0, is given.

    NaN in any member gives NaN; a single member with ``ddof=1`` has no variance, and is NaN too.

    Raises:
        ValueError: no member, or a negative penalty.

    Reference: Coste et al., ICLR 2024, https://arxiv.org/abs/2310.02743 (uncertainty-weighted optimisation).
    """
    return mean_minus_variance(_stack(parts), penalty=penalty, ddof=ddof)


@method(makes="rewards", paper=PAPER, shift_equivariant="model_member_scores", scale_equivariant="model_member_scores")
def member_mean(model_member_scores: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """The mean of a model's members: `ensemble-mean` of them.

    Shapes: [B, K] -> [B]. NaN in any member gives NaN.

    Reference: Coste et al., ICLR 2024, https://arxiv.org/abs/2310.02743.
    """
    return model_member_scores.mean(-1)


@method(makes="rewards", paper=PAPER, shift_equivariant="model_member_scores", scale_equivariant="model_member_scores")
def member_worst_case(model_member_scores: Float[Tensor, "B K"]) -> Float[Tensor, " B"]:
    """WCO: only the member of a model that says least is heard; `minimum` of them.

        r = min_k R_k

    Shapes: [B, K] -> [B]. NaN in any member gives NaN.

    Reference: Coste et al., ICLR 2024, https://arxiv.org/abs/2310.02743 (worst-case optimisation).
    """
    return model_member_scores.amin(-1)


@method(makes="rewards", paper=PAPER, shift_equivariant="model_member_scores")
def member_uncertainty_weighted(
    model_member_scores: Float[Tensor, "B K"], *, penalty: float = 0.1, ddof: int = 0
) -> Float[Tensor, " B"]:
    """UWO: the mean of a model's members minus a price on their variance; `uncertainty-weighted` of them.

        r = mean_k R_k - penalty * 1/(K - ddof) sum_k (R_k - mean)^2

    Shapes: [B, K] -> [B]. NaN in any member gives NaN; so does a single member with ``ddof=1``.

    Raises:
        ValueError: a negative penalty.

    Reference: Coste et al., ICLR 2024, https://arxiv.org/abs/2310.02743 (uncertainty-weighted optimisation).
    """
    return mean_minus_variance(model_member_scores.movedim(-1, 0), penalty=penalty, ddof=ddof)


@method(makes="rewards", paper=PAPER, shift_invariant="model_member_scores")
def member_disagreement(model_member_scores: Float[Tensor, "B K"], *, ddof: int = 0) -> Float[Tensor, " B"]:
    """How far the members of a model disagree about a row: the variance of their scores.

        1/(K - ddof) sum_k (R_k - mean)^2

    A price inside a sum (``weight = -0.1``), or something to watch. Shapes: [B, K] -> [B]. NaN in any member gives NaN; so
    does a single member with ``ddof=1``.

    Reference: Coste et al., ICLR 2024, https://arxiv.org/abs/2310.02743 (intra-ensemble variance).
    """
    return variance(model_member_scores.movedim(-1, 0), ddof)


def mean_minus_variance(scores: Float[Tensor, "K *rest"], *, penalty: float, ddof: int = 0) -> Float[Tensor, "*rest"]:
    """``mean - penalty * variance`` over the first axis.

    Raises:
        ValueError: a negative penalty.
    """
    if penalty < 0:
        raise ValueError(
            f"expected a penalty of at least 0, got {penalty}; give the price of disagreement as a positive number"
        )
    return scores.mean(0) - penalty * variance(scores, ddof)


def variance(scores: Float[Tensor, "K *rest"], ddof: int = 0) -> Float[Tensor, "*rest"]:
    """Variance over the first axis; NaN where there are no more than ``ddof`` of them."""
    total = (scores - scores.mean(0)).square().sum(0)
    return total / (len(scores) - ddof) if len(scores) > ddof else torch.full_like(total, torch.nan)


def _stack(parts: Mapping[str, Tensor]) -> Tensor:
    if not parts:
        raise ValueError("expected at least one member among the parts, got none; add a reward to the recipe")
    return torch.stack(list(parts.values()))
