"""Eigenvalues of many small symmetric matrices, and of those that states have step by step."""

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from guerdon.kernels import scan

LARGEST = 96
"""Rows up to which the compiled walk is faster than a library call per matrix."""


def eigenvalues(grams: Float64[Tensor, "N D D"]) -> Float64[Tensor, "N D"]:
    """Eigenvalues of symmetric matrices, in any order, exact to rounding of the largest of each.

    Matrices of finite numbers. Many small ones on a CPU take a compiled walk where numba is installed.
    """
    size = grams.shape[-1]
    if not 1 < size <= LARGEST or scan.compiled_for(grams, grams) is None:
        return torch.linalg.eigvalsh(grams) if size else grams.new_zeros(grams.shape[:2])
    from guerdon.kernels import _compiled_spectra

    return _compiled_spectra.eigenvalues(grams)


def prefix_energies(
    hidden: Float[Tensor, "B T D"], mask: Bool[Tensor, "B T"], *, stride: int, window: int
) -> Float64[Tensor, "B J D"] | None:
    """Eigenvalues of the Gram matrix of the centred first stride, 2 stride, ... of a row's last ``window`` chosen states,
    NaN unless the row has more than that, and, as the last J, of all of them; NaN where there is none.

    Gram matrices grow by each centred block, and by how far its mean is off, which cancels nothing:

        G <- G + block'block + n m / (n + m) delta delta'

    (Chan, Golub and LeVeque, 1979). None where there is no compiled walk for it: without numba, on another device, for
    few or wide states.
    """
    if not 1 < hidden.shape[2] <= LARGEST or scan.compiled_for(hidden[..., 0], hidden) is None:
        return None
    from guerdon.kernels import _compiled_spectra

    return _compiled_spectra.prefix_energies(hidden, mask, stride, window)
