"""From positions to one number, with an explicit denominator.

| name            | loss of the mini-batch                     | used by                                            |
|-----------------|--------------------------------------------|----------------------------------------------------|
| `token_mean`    | sum of all positions / number of positions | DAPO (arXiv:2503.14476), ReMax's and Tulu 3's code |
| `sequence_mean` | mean over rows of each row's mean          | GRPO (arXiv:2402.03300), GSPO (arXiv:2507.18071)   |
| `sequence_sum`  | sum of all positions / (rows x a constant) | Dr. GRPO (arXiv:2503.20783)                        |

`token_mean` gives every token the same weight, `sequence_mean` every answer (so a token of a long answer counts less,
which makes long wrong answers cheap), `sequence_sum` every token again but without a denominator that depends on the
lengths drawn, so that it stays unbiased.

``in_loss`` [B, T] are the positions that count: chosen, and with an advantage. ``denominator`` is that of the *whole*
mini-batch over all ranks; pass it when ``token_loss`` is one micro-batch of it, and the micro-batches add up to the
same gradient. Without it, these rows are the whole. Rows without a position are in neither sum nor denominator.
``token_weights`` multiply the loss and never enter the denominator. An empty mini-batch gives 0.
"""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import aggregate as kernel

How = Literal["token-mean", "sequence-mean", "sequence-sum"]


def token_mean(
    token_loss: Float[Tensor, "B T"],
    in_loss: Bool[Tensor, "B T"],
    *,
    denominator: Float[Tensor, ""] | None = None,
    token_weights: Float[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """Every token has the same weight: sum over positions / number of positions."""
    return _aggregate(token_loss, in_loss, "token-mean", denominator, token_weights, None)


def sequence_mean(
    token_loss: Float[Tensor, "B T"],
    in_loss: Bool[Tensor, "B T"],
    *,
    denominator: Float[Tensor, ""] | None = None,
    token_weights: Float[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """Every row has the same weight: mean over rows of the row's mean over its own positions."""
    return _aggregate(token_loss, in_loss, "sequence-mean", denominator, token_weights, None)


def sequence_sum(
    token_loss: Float[Tensor, "B T"],
    in_loss: Bool[Tensor, "B T"],
    *,
    constant: float,
    denominator: Float[Tensor, ""] | None = None,
    token_weights: Float[Tensor, "B T"] | None = None,
) -> Float[Tensor, ""]:
    """Sum over positions / (rows x constant); the constant is usually the length limit."""
    return _aggregate(token_loss, in_loss, "sequence-sum", denominator, token_weights, constant)


def _aggregate(token_loss, in_loss, how: How, denominator, token_weights, constant) -> Tensor:
    if denominator is None:
        denominator = kernel.denominator(in_loss, how, constant)
    return kernel.aggregate(token_loss, in_loss, how, denominator, token_weights)
