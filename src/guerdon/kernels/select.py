"""The largest entries of each row, without sorting the row."""

import torch
from jaxtyping import Float
from torch import Tensor

_CHUNK = 64


def kth_largest(x: Float[Tensor, "B T"], k: int) -> Float[Tensor, "B 1"]:
    """The k-th largest entry of each row, the smallest where the row has fewer than k; ties count one by one.

    Entries may be infinite but not NaN. The k largest entries lie in the k chunks of the row with the largest maxima, so
    only those are sorted.

    Raises:
        ValueError: k below 1, or rows without entries.
    """
    rows, width = x.shape
    if k < 1 or width < 1:
        raise ValueError(f"expected k of at least 1 and rows with entries, got k={k} and {width} entries")
    chunks = width // _CHUNK
    if chunks < 2 * k:
        return x.topk(min(k, width), dim=-1).values[:, -1:]
    whole, rest = x[:, : chunks * _CHUNK].view(rows, chunks, _CHUNK), x[:, chunks * _CHUNK :]
    best = whole.amax(-1).topk(k, dim=-1, sorted=False).indices
    kept = whole.gather(1, best[..., None].expand(-1, -1, _CHUNK)).reshape(rows, k * _CHUNK)
    return torch.cat([kept, rest], dim=1).topk(k, dim=-1).values[:, -1:]
