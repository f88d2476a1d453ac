"""Memory for large results, used again once nobody holds the result that was in it.

Memory fresh from the system costs more than a walk that writes to it: every page has to be found and cleared, and where
huge pages are wanted the system may first move others away, which has been seen to take a hundred milliseconds. A
trainer makes results of the same few sizes in every step, so their memory is kept here, as torch keeps that of a GPU.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

_SMALLEST = 1 << 20
"""Bytes from which on memory is kept; below, the C library keeps it itself."""
_MOST = 256 << 20
"""Bytes kept at most, besides what is in use."""
_free: dict[int, NDArray[np.uint8]] = {}


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array in C order with any content, as ``numpy.empty``."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _SMALLEST:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(_block(size), shape, dtype))


def empty_like(x: NDArray[Any]) -> NDArray[Any]:
    return empty(x.shape, x.dtype)


class _Loan:
    """What an array and all its views and tensors hold while they live; after the last of them the block is free again."""

    def __init__(self, block: NDArray[np.uint8], shape: tuple[int, ...], dtype: np.dtype[Any]):
        self.block = block
        self.__array_interface__ = {
            "data": (block.ctypes.data, False),
            "shape": shape,
            "typestr": dtype.str,
            "version": 3,
        }

    def __del__(self):
        if _free is None:  # the interpreter is closing down
            return
        _free[id(self.block)] = self.block
        while sum(block.nbytes for block in list(_free.values())) > _MOST:
            _free.pop(next(iter(list(_free)), 0), None)  # the one that waits longest


def _block(size: int) -> NDArray[np.uint8]:
    """The smallest free block of ``size`` bytes to twice as many, or a new one."""
    # Single operations of a dictionary, no lock: a loan may end within any of these lines, also after a fork.
    now_free = list(_free.items())
    for key, block in sorted(now_free, key=lambda item: item[1].nbytes):
        if size <= block.nbytes <= 2 * size and _free.pop(key, None) is not None:
            return block
    return np.empty(size, np.uint8)
