"""Probabilities combined by logic: good in every respect, good in at least one.

Each part is a log-probability, as `log-sigmoid` makes it, that the answer is good in one respect; respects count as
independent given prompt and answer. Every entry given counts, one of weight 0 too. A row that one part left unscored is
unscored.

The order matters: the AND of log-sigmoids pays the worst respect first, the log-sigmoid of a sum does not care which
respect is bad. With margins (3, -3) and (0, 0) the sums are equal, and the AND prefers the second.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from guerdon.method import method
from guerdon.shaping.transforms import LSC

Meaning = Literal["log-probability", "probability", "margin"]
Parts = Mapping[str, Float[Tensor, "B *rest"]]


@method(makes="rewards", paper=LSC)
def logical_and(parts: Parts, *, given: Meaning = "log-probability") -> Float[Tensor, "B *rest"]:
    """LSC: the log-probability that the answer is good in every respect: ``u = sum_k log p_k``.

    ``given`` says what the parts are: log-probabilities; probabilities (0 gives minus infinity: give it a floor with
    `clip-rewards`); or margins over a reference, with ``log p = log sigmoid(margin)``. Slope of a part: ``sigmoid`` of
    minus its margin, so what is bad counts and what is good enough stops counting.

    Shapes: [B] or [B, *rest] in and out. NaN in any part gives NaN.

    Raises:
        ValueError: no part, or parts that are not what ``given`` says.

    Reference: Wang et al., Transforming and Combining Rewards for Aligning Large Language Models, ICML 2024,
    https://arxiv.org/abs/2402.00742.
    """
    return _logs(parts, given)[0].sum(0)


@method(makes="rewards", paper=LSC)
def logical_or(parts: Parts, *, given: Meaning = "log-probability") -> Float[Tensor, "B *rest"]:
    """The log-probability that the answer is good in at least one respect: ``u = log(1 - prod_k (1 - p_k))``.

    ``given`` as in `logical-and`. Taken in logarithms throughout, so that neither small nor large chances are lost.

    Shapes: [B] or [B, *rest] in and out. NaN in any part gives NaN.

    Raises:
        ValueError: no part, or parts that are not what ``given`` says.

    Reference: the same probabilities as in https://arxiv.org/abs/2402.00742.
    """
    log, log_not = _logs(parts, given)
    none = log_not.sum(0)  # log of the chance that it is good in no respect
    # Where that chance is near 1, 1 - exp(none) is lost to rounding unless expm1 takes it; sums of small p stay exact.
    some = _log_minus_exp(none)
    return torch.where(none == 0, log.logsumexp(0), some)


def _logs(parts: Mapping[str, Tensor], given: str) -> tuple[Tensor, Tensor]:
    """log p and log (1 - p), stacked [K, B, ...]."""
    if not parts:
        raise ValueError("expected at least one part, got none; add a reward to the recipe")
    stacked = torch.stack(list(parts.values()))
    if given == "margin":
        return logsigmoid(stacked), logsigmoid(-stacked)
    if given == "probability":
        _check(parts, "probabilities between 0 and 1", lambda x: (x < 0) | (x > 1))
        return stacked.log(), torch.log1p(-stacked)
    if given == "log-probability":
        _check(parts, "log-probabilities of at most 0", lambda x: x > 0)
        return stacked, _log_minus_exp(stacked)
    raise ValueError(f"expected given to be log-probability, probability or margin, got {given!r}; choose one")


def _check(parts: Mapping[str, Tensor], wanted: str, wrong) -> None:
    for name, part in parts.items():
        if bool(wrong(part).any()):
            bad = float(part[wrong(part)][0])
            raise ValueError(f"expected {wanted}, got {bad:g} in {name!r}; transform the part first, or set given")


def _log_minus_exp(x: Tensor) -> Tensor:
    """``log(1 - exp(x))`` for x <= 0, by whichever of two forms loses nothing."""
    return torch.where(x > -0.6931472, torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))
