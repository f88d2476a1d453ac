"""From the losses of positions to one number, with the denominator in the open.

    loss of the mini-batch = sum over micro-batches of aggregate(...) / denominator of the whole mini-batch

The denominator is counted once, over everything that one optimiser step sees, and handed to every micro-batch. One
batch and any cut of it into micro-batches then have the same loss and the same gradient.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

How = Literal["token-mean", "sequence-mean", "sequence-sum"]


def denominator(in_loss: Bool[Tensor, "B T"], how: How, constant: float | None = None) -> Float[Tensor, ""]:
    """What the sum over these rows is divided by.

        token-mean      number of positions in the loss
        sequence-mean   number of rows with at least one
        sequence-sum    number of such rows x constant

    Not less than one position or row, so that an empty mini-batch has loss 0 and not 0 / 0. Counts of parts add up
    to the count of the whole (as long as no part is empty), so ranks may add theirs. ``constant`` is read by
    ``sequence-sum`` only, which cannot do without one above 0: a ``ValueError``.
    """
    if how == "token-mean":
        return in_loss.sum().float().clamp(min=1.0)
    rows = in_loss.any(-1).sum().float().clamp(min=1.0)
    if how == "sequence-mean":
        return rows
    if how != "sequence-sum":
        raise ValueError(f"expected how to be token-mean, sequence-mean or sequence-sum, got {how!r}")
    if constant is None or not constant > 0:
        raise ValueError(
            f"expected a constant above 0 for sequence-sum, got {constant}; set the constant, usually to the length limit"
        )
    return rows * constant


def aggregate(
    token_loss: Float[Tensor, "B T"],
    in_loss: Bool[Tensor, "B T"],
    how: How,
    denominator: Float[Tensor, ""],
    token_weights: Float[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """The part of the mini-batch's loss that these rows make up.

        sum_t w_t l_t / denominator               token-mean, sequence-sum
        sum_i (sum_t w_t l_t / n_i) / denominator  sequence-mean, n_i the positions of row i in the loss

    Losses and weights outside of ``in_loss`` are never read, NaN included, and get no gradient; those inside are taken
    as they are. Weights multiply losses and enter no count: a position of weight 0 still counts. Rows without a
    position add 0.
    """
    loss = torch.where(in_loss, token_loss, 0.0)
    if token_weights is not None:
        loss = loss * torch.where(in_loss, token_weights, 0.0)
    if how == "sequence-mean":
        loss = loss / in_loss.sum(-1, keepdim=True).clamp(min=1)
    return loss.sum() / denominator
