"""Compiled scans for tensors on the CPU; imported by `scan` on the first large one, if numba is installed.

One backward walk per row with nothing moved: a hole leaves the carried numbers as they are. Rows are shared among
``torch.get_num_threads()`` threads that live for one call. numba's own parallel loops are not used, because their
pool of threads takes the process down when it is entered from two threads or after a fork.
"""

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np
import torch
from torch import Tensor

_ENTRIES_PER_THREAD = 1 << 17  # less is done before a second thread has started


def _compile(walk: Callable[..., None]) -> Callable[..., None]:
    walk = inspect.unwrap(walk)  # a checker of annotations may stand around every function of the package
    try:
        return numba.njit(nogil=True, cache=True, fastmath={"contract"})(walk)
    except RuntimeError:  # no folder to keep compiled code in: compile in every process
        return numba.njit(nogil=True, fastmath={"contract"})(walk)


@_compile
def _discounted_rows(x, mask, end, gamma, out, start, stop):
    for i in range(start, stop):
        here, chosen, y_here = x[i], mask[i], out[i]
        y = end[i]
        for t in range(x.shape[1] - 1, -1, -1):
            if chosen[t]:
                y = here[t] + gamma * y
                y_here[t] = y
            else:
                y_here[t] = 0.0


@_compile
def _gae_rows(rewards, values, mask, end, gamma, decay, out, start, stop):
    for i in range(start, stop):
        reward, value, chosen, advantage = rewards[i], values[i], mask[i], out[i]
        after = end[i]
        a = decay * 0  # in the dtype of the arrays
        for t in range(rewards.shape[1] - 1, -1, -1):
            if chosen[t]:
                v = value[t]
                a = reward[t] + gamma * after - v + decay * a
                after = v
                advantage[t] = a
            else:
                advantage[t] = 0.0


def discounted_sum(x: Tensor, mask: Tensor, gamma: float, bootstrap: Tensor | None) -> Tensor:
    end = x.new_zeros(x.shape[0]) if bootstrap is None else bootstrap
    return _run(_discounted_rows, (x, mask, end), (gamma,))


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float, bootstrap: Tensor | None) -> Tensor:
    end = values.new_zeros(values.shape[0]) if bootstrap is None else bootstrap
    return _run(_gae_rows, (rewards, values, mask, end), (gamma, gamma * lam))


def _run(walk: Callable[..., None], tensors: tuple[Tensor, ...], factors: tuple[float, ...]) -> Tensor:
    """``walk`` over all rows; its result. Tensors are copied only where they are not in C order already."""
    arrays = [x.detach().contiguous().numpy() for x in tensors]
    out = np.empty_like(arrays[0])
    rows = out.shape[0]
    factors = tuple(out.dtype.type(factor) for factor in factors)
    threads = max(1, min(torch.get_num_threads(), out.size // _ENTRIES_PER_THREAD, rows))
    cuts = [rows * k // threads for k in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:  # starts no thread that is given nothing
        others = [pool.submit(walk, *arrays, *factors, out, *cut) for cut in pairwise(cuts[1:])]
        walk(*arrays, *factors, out, 0, cuts[1])
        for other in others:
            other.result()
    return torch.from_numpy(out)
