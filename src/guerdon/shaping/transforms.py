"""A score on another scale: against the scores of reference answers, or in units of its own past.

A reward model's score is only known up to a shift per prompt, and above the answers that it was trained on it is mostly
guesswork. Held against the scores of reference answers to the same prompt it becomes a chance to win: steep near the
references, flat far above them.

``reference_rewards`` is a column of the data set: for each row a number, a list of numbers of any length, or None. They
must come from the *same* scorer at the same precision; score them anew when the scorer changes. A row without a scored
reference is unscored (NaN). The order matters: references are subtracted inside the curve, penalties that a paper puts
before the curve must stand above it in the recipe, and a normalisation below it hides its level but not its bend.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from guerdon.method import method

PAR = "arXiv:2502.18770"
LSC = "arXiv:2402.00742"
RLPROMPT = "arXiv:2205.12548"
Curve = Literal["sigmoid", "tanh", "polynomial", "linear"]


def reference_table(
    reference_rewards: Tensor | Sequence[Any], *, most: int | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "B M"]:
    """Reference scores of every row as a table: rows filled up with NaN, None as NaN, the first ``most`` of each kept.

    Raises:
        ValueError: a row that is neither a number, a list of numbers nor None.
    """
    if isinstance(reference_rewards, Tensor):
        table = reference_rewards.to(dtype)
        table = table[:, None] if table.ndim == 1 else table
        return table if most is None else table[:, :most]
    rows = [_numbers(row)[:most] for row in reference_rewards]
    width = max(map(len, rows), default=0)
    return torch.tensor([row + [math.nan] * (width - len(row)) for row in rows], dtype=dtype).reshape(len(rows), width)


@method(makes="rewards", paper=PAR)
def preference_as_reward(
    rewards: Float[Tensor, "B *rest"],
    reference_rewards: Tensor | Sequence[Any],
    *,
    k: float = 1.0,
    curve: Curve = "sigmoid",
    shift: float = 0.0,
    most: int | None = None,
) -> Float[Tensor, "B *rest"]:
    """PAR: the mean chance to be preferred to the reference answers, instead of the score.

        r' = 1/M sum_m sigmoid(k (r - shift - r_ref,m))

    Under a Bradley-Terry reward model with ``k=1`` each term is the probability that the answer beats that reference.
    The curve acts on each difference *before* the mean; a curve of the mean difference is another function.

    ``curve`` gives the rivals of the paper in the same place: ``"tanh"``; ``"polynomial"``, of degree 5, fitted to the
    sigmoid on [-5, 5], 0 below and 1 above; ``"linear"``, which only centres (``k (r - mean_m r_ref,m)``). ``shift=3``
    is its slowly rising control (SGFC); ``k`` of its code is of the sigmoid only. A ceiling is `clip-rewards` above this
    stage, and between the two stands what the code takes off for length by default, 0.01 for each token past 300
    (`piecewise-length`, ``points = [[300, 0], [10300, -100]]``); the scale of the past is `running-scale`. ``most`` keeps the first so many references; one is nearly as good as ten.

    Shapes: [B] or [B, *rest] in and out. NaN in the score, or a row without a scored reference, gives NaN; so a missing
    reference never counts as 0.

    Raises:
        ValueError: ``k`` is not positive, ``most`` is below 1, or an unknown curve.

    Reference: Fu et al., Reward Shaping to Mitigate Reward Hacking in RLHF, 2025, https://arxiv.org/abs/2502.18770.
    """
    if not k > 0 or (most is not None and most < 1):
        raise ValueError(f"expected a positive k and most of at least 1, got k={k} and most={most}; correct them")
    table = reference_table(reference_rewards, most=most).to(rewards)
    margin = k * (rewards[..., None] - shift - _beside(table, rewards))
    if curve == "sigmoid":
        bent = torch.sigmoid(margin)
    elif curve == "tanh":
        bent = torch.tanh(margin)
    elif curve == "linear":
        bent = margin
    elif curve == "polynomial":
        bent = torch.zeros_like(margin)
        for coefficient in _polynomial():
            bent = bent * margin + coefficient
        bent = torch.where(margin <= -5, 0.0, torch.where(margin >= 5, 1.0, bent)).masked_fill(margin.isnan(), math.nan)
    else:
        raise ValueError(f"expected curve to be sigmoid, tanh, polynomial or linear, got {curve!r}; choose one")
    return bent.nanmean(-1)


@method(makes="rewards", paper=PAR)
def sigmoid_rewards(
    rewards: Float[Tensor, "B *rest"], *, k: float = 1.0, shift: float = 0.0
) -> Float[Tensor, "B *rest"]:
    """A score without references, bent by a sigmoid: ``r' = sigmoid(k (r - shift))``.

    The same for every prompt: where prompts differ in level, those far above ``shift`` no longer teach anything, which
    is what `preference-as-reward` avoids. NaN stays NaN.

    Raises:
        ValueError: ``k`` is not positive.

    Reference: Fu et al., 2025, https://arxiv.org/abs/2502.18770 (the uncentred arm).
    """
    if not k > 0:
        raise ValueError(f"expected a positive k, got {k}")
    return torch.sigmoid(k * (rewards - shift))


def reference_quantile(
    references: Float[Tensor, "B M"],
    quantile: float,
    fit: Literal["normal", "empirical"] = "normal",
    eps: float = 0.0,
) -> Float[Tensor, " B"]:
    """A quantile of each row's scored references.

    ``"normal"``: of the normal distribution with their mean and sample standard deviation, ``mean + z_q (sd + eps)``; a
    single reference has no spread and stands for itself. ``"empirical"``: linear between the sorted references.

    Raises:
        ValueError: a quantile outside (0, 1) or an unknown fit.
    """
    if not 0 < quantile < 1:
        raise ValueError(f"expected a quantile between 0 and 1, got {quantile}")
    if fit == "empirical":
        return references.nanquantile(quantile, -1) if references.shape[-1] else references.sum(-1) * math.nan
    if fit != "normal":
        raise ValueError(f"expected fit to be normal or empirical, got {fit!r}; choose one")
    scored = ~references.isnan()
    n, mean = scored.sum(-1), references.nanmean(-1)
    squares = torch.where(scored, references - mean[:, None], 0.0).square().sum(-1)
    return mean + NormalDist().inv_cdf(quantile) * ((squares / (n - 1).clamp(min=1)).sqrt() + eps)


@method(makes="rewards", paper=[LSC, PAR])
def log_sigmoid(
    rewards: Float[Tensor, "B *rest"],
    reference_rewards: Tensor | Sequence[Any],
    *,
    quantile: float = 0.85,
    fit: Literal["normal", "empirical"] = "normal",
    eps: float = 0.0,
) -> Float[Tensor, "B *rest"]:
    """LSC: the log-probability that the answer is good, where good means to beat a high reference.

        u = log sigmoid(r - q),   q = a quantile of the prompt's reference scores (`reference_quantile`)

    Slope ``sigmoid(q - r)``: 1 far below the reference, 0 far above it, so that the worst answers and the worst prompts
    are paid for first. A single reference is taken as it is: the score of a canned answer, such as a refusal. Sums of
    such rewards say "good in every respect" (`logical-and`). Only for scores on the scale of a Bradley-Terry model;
    `scale-rewards` above this stage changes its temperature, and with it the meaning. Always negative: where it is paid
    at every step, it pays for ending early.

    Shapes: [B] or [B, *rest] in and out. NaN in the score, or a row without a scored reference, gives NaN.

    Reference: Wang et al., Transforming and Combining Rewards for Aligning Large Language Models, ICML 2024,
    https://arxiv.org/abs/2402.00742; code of a rival, https://arxiv.org/abs/2502.18770, which adds 1e-5 to the deviation
    (``eps``).
    """
    reference = reference_quantile(reference_table(reference_rewards).to(rewards), quantile, fit, eps)
    return logsigmoid(rewards - _beside(reference[:, None], rewards)[..., 0])


@method(makes="rewards", paper=RLPROMPT)
def amplify_by_sign(
    rewards: Float[Tensor, "B *rest"], *, above: float = 200.0, below: float = 180.0
) -> Float[Tensor, "B *rest"]:
    """RLPrompt: a gap is paid more where it is on the right side: ``r' = above * r`` if r > 0, else ``below * r``.

    r is the gap between the probability of the right class and that of the best wrong one. NaN stays NaN.

    Reference: Deng et al., RLPrompt, EMNLP 2022, https://arxiv.org/abs/2205.12548 (classification, 200 and 180).
    """
    return rewards * torch.where(rewards > 0, above, below)


def _numbers(row: Any) -> list[float]:
    if row is None:
        return []
    try:
        many = [row] if np.ndim(row) == 0 else list(row)
        return [math.nan if x is None else float(x) for x in many]
    except (TypeError, ValueError):
        raise ValueError(
            f"expected reference rewards as a number, a list of numbers or None, got {row!r}; mend the column"
        ) from None


def _beside(table: Tensor, rewards: Tensor) -> Tensor:
    """[B, M] with an axis of 1 for every further axis of ``rewards``."""
    return table.reshape(table.shape[0], *[1] * (rewards.ndim - 1), table.shape[1])


@lru_cache
def _polynomial() -> tuple[float, ...]:
    x = np.linspace(-5.0, 5.0, 100)
    return tuple(np.polyfit(x, 1 / (1 + np.exp(-x)), 5).tolist())
