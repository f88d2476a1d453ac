"""Statistics over the chosen, scored entries of a tensor.

``mask`` says which entries exist; NaN among them means unscored. Both kinds are left out: what stands under a False
mask never matters, and a NaN entry equals a deleted one. Neither a large offset
nor many equal entries leave rounding noise behind.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from guerdon.kernels import scan

_PIECE = 1024


def scored(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Bool[Tensor, "*shape"]:
    """The chosen entries that are not NaN."""
    return mask & (x == x)  # not isnan, of which a compiler for CPUs makes a call per entry


def masked_sum(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Sum of the chosen, scored entries; 0 where there are none."""
    return torch.where(scored(x, mask), x, 0.0).sum(dtype=torch.float64).to(x.dtype)


def masked_mean(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean of the chosen, scored entries: ``sum / n``; NaN where there are none."""
    return joint_means(mask, x)[0]


def joint_means(mask: Bool[Tensor, "*shape"], *tensors: Float[Tensor, "*shape"]) -> tuple[Float[Tensor, ""], ...]:
    """Means over the chosen entries that are scored in every one of the tensors; NaN where there are none.

    Of two large ones on a CPU that need no gradient by a compiled walk where numba is installed; both agree to rounding.
    """
    if len(tensors) == 2 and not (torch.is_grad_enabled() and any(x.requires_grad for x in tensors)):
        if torch.compiler.is_compiling() and mask.device.type == "cpu":
            from guerdon.kernels import _operators

            return _operators.joint_means(mask, *tensors)
        if scan.compiled_for(mask, *tensors):
            from guerdon.kernels import _compiled_pointwise

            return _compiled_pointwise.joint_means(mask, *tensors)
    for x in tensors:
        mask = scored(x, mask)
    n = mask.sum()
    return tuple((torch.where(mask, x, 0.0).sum(dtype=torch.float64) / n).to(x.dtype) for x in tensors)


def masked_var(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"], ddof: int = 1) -> Float[Tensor, ""]:
    """Variance of the chosen, scored entries: ``sum (x - mean)^2 / (n - ddof)``.

    NaN where there are not more than ``ddof`` of them. Exactly 0 where all are equal.
    """
    return _moments(x, mask, ddof)[1].to(x.dtype)


def whiten(
    x: Float[Tensor, "*shape"],
    mask: Bool[Tensor, "*shape"],
    *,
    centre: bool = True,
    eps: float = 1e-8,
    ddof: int = 1,
    neutral: bool = False,
) -> Float[Tensor, "*shape"]:
    """Entries in units of their common spread, around their common mean.

        z = (x - mean) / sqrt(var + eps)        centre=True
        z = x / sqrt(var + eps)                 centre=False

    0 under a False mask, NaN where the entry is unscored. Where all entries are equal the first form gives exactly 0
    and the second divides by ``sqrt(eps)``; with not more than ``ddof`` scored entries there is no spread and all are
    NaN. With ``neutral`` nothing is scaled in either case: scored entries become 0, or stay as they are without
    ``centre``. Large float32 tensors on a CPU take a compiled walk where numba is installed; both agree to rounding.
    """
    fast = scan.compiled_for(mask, x) if x.dtype == torch.float32 else None
    return (fast.whiten if fast else _whiten)(x, mask, centre, eps, ddof, neutral)


def _whiten(x: Tensor, mask: Tensor, centre: bool, eps: float, ddof: int, neutral: bool) -> Tensor:
    centred, variance = _moments(x, mask, ddof)
    if neutral and not bool(variance > 0):
        same = torch.zeros_like(x) if centre else x
        return torch.where(scored(x, mask), same, torch.where(mask, x, 0.0))
    if torch.isnan(variance):
        return torch.where(mask, torch.nan, torch.zeros_like(x))
    return (centred if centre else torch.where(mask, x, 0.0)) * (variance + eps).rsqrt()


def _moments(x: Tensor, mask: Tensor, ddof: int) -> tuple[Tensor, Tensor]:
    """Chosen entries minus their mean (NaN where unscored, 0 under a False mask), and their variance.

    Distances are taken to one of the entries first, so that neither a large offset nor many equal entries leave
    rounding noise behind. In place on memory of our own: for megabytes, asking for more costs more than arithmetic.
    """
    known, offset, unscored = mask, _offset(x, mask), None
    if torch.isnan(offset.sum()):  # looked for only here, because it costs passes over memory that are rarely needed
        unscored = mask & torch.isnan(x)
        known = mask & ~unscored
        offset = _offset(x, known)
    n = torch.count_nonzero(known)
    centred = offset.sub_(offset.sum() / n.clamp(min=1)).mul_(known)
    variance = torch.where(n > ddof, _squares(centred) / (n - ddof), torch.nan)
    if unscored is not None:
        centred = centred.masked_fill_(unscored, torch.nan)
    return centred, variance


def _squares(x: Tensor) -> Tensor:
    """Sum of squares. In pieces: one float32 norm of millions of entries adds them one by one and is off by 1e-3."""
    flat = x.reshape(-1)
    whole = flat.numel() // _PIECE * _PIECE
    pieces = torch.linalg.vector_norm(flat[:whole].view(-1, _PIECE), dim=-1)
    return pieces.square().sum() + torch.linalg.vector_norm(flat[whole:]).square()


def _offset(x: Tensor, mask: Tensor) -> Tensor:
    """Distance of the chosen entries to the first chosen one, 0 elsewhere; a new tensor."""
    if x.numel() == 0:
        return x.clone()
    first = mask.reshape(-1).view(torch.uint8).argmax()
    anchor = torch.where(mask.reshape(-1)[first], x.reshape(-1)[first], 0.0)
    return torch.where(mask, x, anchor).sub_(anchor)
