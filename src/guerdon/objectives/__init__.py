"""Objectives: from advantages to the loss that is minimised.

Each method gives the loss of every position, ``token_loss`` [B, T]: raw, without coefficient, without averaging. The
pipeline multiplies by the recipe's ``weight``, adds up what several objectives say and aggregates once, so that a
batch and its micro-batches give the same gradient.

- `ratio`: how much likelier the updated policy finds what was said, and how far that is trusted;
- `policy`: make good tokens likelier (REINFORCE; surrogates of the ratio, clipped or not; demonstrations);
- `kl`: stay near the reference, as a loss;
- `entropy`: stay undecided, evenly or where credit and confidence meet; which demonstrated tokens to learn;
- `entropy_weights`: which tokens spend the entropy, and what they count for;
- `entropy_targets`: keep the entropy near its history or its first value;
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
    windowed_entropy,
)
from guerdon.objectives.entropy_targets import (
    EntropyAnchor,
    EntropyBand,
    anchor_weights,
    band_penalty,
    peak_entropy,
    peak_mask,
    phase_weight,
    turn_entropies,
)
from guerdon.objectives.entropy_weights import (
    change_weights,
    clip_cov,
    entropy_change,
    entropy_change_weights,
    exact_entropy_change,
    exact_entropy_change_weights,
    kl_cov,
)
from guerdon.objectives.kl import kl_estimate, kl_loss
from guerdon.objectives.policy import (
    clipped_surrogate,
    likelihood_loss,
    oreal,
    reinforce,
    surrogate,
    weighted_likelihood,
)
from guerdon.objectives.ranking import rrhf_loss
from guerdon.objectives.ratio import (
    effective_positive_share,
    geometric_ratio,
    keep_ratio,
    sequence_ratio,
    soft_gate,
    taper_ratio,
    tapered,
    token_ratio,
    truncate_ratio,
)
from guerdon.objectives.value import value_loss

__all__ = [
    "EntropyAnchor",
    "EntropyBand",
    "anchor_weights",
    "band_penalty",
    "change_weights",
    "clip_cov",
    "clipped_surrogate",
    "covariance",
    "effective_positive_share",
    "entropy_bonus",
    "entropy_change",
    "entropy_change_weights",
    "entropy_sft_loss",
    "exact_entropy_change",
    "exact_entropy_change_weights",
    "geometric_ratio",
    "keep_ratio",
    "kl_cov",
    "kl_estimate",
    "kl_loss",
    "likelihood_loss",
    "oreal",
    "peak_entropy",
    "peak_mask",
    "phase_weight",
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
    "turn_entropies",
    "value_loss",
    "weighted_likelihood",
    "windowed_entropy",
]
