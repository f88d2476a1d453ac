"""Memory of large results: used again only when nobody holds it, bounded, and sound across threads."""

import gc
import threading

import numpy as np
import pytest
import torch

from guerdon.kernels import _memory

ROWS, WIDTH = 512, 1024  # 2 MiB of float32


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> dict:
    free: dict = {}
    monkeypatch.setattr(_memory, "_free", free)
    return free


def test_memory_is_used_again_after_the_last_view_of_it_is_gone(nothing_kept: dict):
    first = torch.from_numpy(_memory.empty((ROWS, WIDTH), np.float32))
    place, last_row = first.data_ptr(), first[-1]
    del first
    assert not nothing_kept
    other = torch.from_numpy(_memory.empty((ROWS, WIDTH), np.float32))
    assert other.data_ptr() != place
    last_row.fill_(3.0)
    assert not (other[-1] == 3.0).all()
    del last_row
    again = torch.from_numpy(_memory.empty((ROWS, WIDTH), np.float32))
    assert again.data_ptr() == place
    assert not nothing_kept


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.bool_])
def test_an_array_is_as_numpy_would_give_it(dtype: type):
    shape = (ROWS, 4 * WIDTH)
    for _ in range(2):
        made, numpys = _memory.empty(shape, dtype), np.empty(shape, dtype)
        assert (made.shape, made.strides, made.dtype) == (numpys.shape, numpys.strides, numpys.dtype)
        assert made.flags.c_contiguous
        assert made.flags.writeable
        assert made.flags.aligned
        made.fill(1)
        assert torch.from_numpy(made).sum() == made.size


def test_small_arrays_are_numpys_own(nothing_kept: dict):
    assert _memory.empty((3, 4), np.float32).base is None
    assert _memory.empty((0, 4), np.float32).shape == (0, 4)
    assert not nothing_kept


def test_what_is_kept_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch, nothing_kept: dict):
    monkeypatch.setattr(_memory, "_MOST", 5 << 20)
    made = [_memory.empty((ROWS, WIDTH), np.float32) for _ in range(4)]
    places = [array.ctypes.data for array in made]
    while made:
        del made[0]
    assert [block.ctypes.data for block in nothing_kept.values()] == places[-2:]


def test_a_block_far_too_large_is_left_for_others(nothing_kept: dict):
    del_me = _memory.empty((4 * ROWS, WIDTH), np.float32)
    del del_me
    small = _memory.empty((ROWS, WIDTH), np.float32)
    assert len(nothing_kept) == 1
    assert small.nbytes == 2 << 20


def test_threads_never_hold_the_same_memory():
    wrong = []

    def work(number: int):
        for _ in range(200):
            mine = torch.from_numpy(_memory.empty((ROWS, WIDTH), np.float32))
            mine.fill_(number)
            if not (mine == number).all():
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_results_that_hold_each_other_give_their_memory_back(nothing_kept: dict):
    ring: list = [_memory.empty((ROWS, WIDTH), np.float32)]
    ring.append(ring)
    del ring
    gc.collect()
    assert len(nothing_kept) == 1
