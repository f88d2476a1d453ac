"""Objectives: from advantages to the loss that is minimised.

Each method gives the loss of every position, ``token_loss`` [B, T]: raw, without coefficient, without averaging. The
pipeline multiplies by the recipe's ``weight``, adds up what several objectives say and aggregates once, so that a
batch and its micro-batches give the same gradient.

- `ratio`: how much likelier the updated policy finds what was said, and how far that is trusted;
- `policy`: make good tokens likelier (REINFORCE; surrogates of the ratio, clipped or not);
- `kl`: stay near the reference, as a loss;
- `entropy`: stay undecided, evenly or where credit and confidence meet; which demonstrated tokens to learn;
- `value`: teach the value function what to expect;
- `ranking`: what is better shall be likelier (RRHF; a function, not a stage, since it is no sum over positions);
- `aggregation`: from positions to one number, with an explicit denominator.

Positions outside ``mask`` have loss 0 and gradient 0, whatever stands there (infinities and NaN included). A NaN
advantage or return at a chosen position shows as a NaN loss there but passes no gradient; the pipeline takes such
positions out of mask and denominator before it comes to that.
"""

from guerdon.objectives.aggregation import sequence_mean, sequence_sum, token_mean
from guerdon.objectives.entropy import (
    covariance,
    entropy_bonus,
    entropy_sft_loss,
    select_surprising,
    surprise_selection,
    tea_coefficients,
)
from guerdon.objectives.kl import kl_estimate, kl_loss
from guerdon.objectives.policy import clipped_surrogate, oreal, reinforce, surrogate, weighted_likelihood
from guerdon.objectives.ranking import rrhf_loss
from guerdon.objectives.ratio import (
    effective_positive_share,
    geometric_ratio,
    sequence_ratio,
    soft_gate,
    taper_ratio,
    tapered,
    token_ratio,
    truncate_ratio,
)
from guerdon.objectives.value import value_loss

__all__ = [
    "clipped_surrogate",
    "covariance",
    "effective_positive_share",
    "entropy_bonus",
    "entropy_sft_loss",
    "geometric_ratio",
    "kl_estimate",
    "kl_loss",
    "oreal",
    "reinforce",
    "rrhf_loss",
    "select_surprising",
    "sequence_mean",
    "sequence_ratio",
    "sequence_sum",
    "soft_gate",
    "surprise_selection",
    "surrogate",
    "taper_ratio",
    "tapered",
    "tea_coefficients",
    "token_mean",
    "token_ratio",
    "truncate_ratio",
    "value_loss",
    "weighted_likelihood",
]
