"""Scans against their loops, both as the tree in torch and as the compiled walk."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels import scan
from tests.kernels import twins
from tests.kernels.cases import NAN, close, few, masked

factors = st.sampled_from([0.0, 0.5, 0.95, 1.0, 1.01])
PATHS = ["torch", "numba"]


@pytest.fixture(scope="module", params=PATHS)
def path(request):
    """The functions of one path, past the choice by size."""
    if request.param == "torch":
        return scan._discounted_sum, scan._gae
    from guerdon.kernels import _compiled  # the test run has the extra `fast`

    return _compiled.discounted_sum, _compiled.gae


@few
@given(problem=masked(), gamma=factors, lam=factors, end=st.sampled_from([None, 0.0, 2.0, NAN]))
def test_equals_the_loop(path, problem, gamma, lam, end):
    rewards, values, mask = problem
    bootstrap = None if end is None else torch.full((len(rewards),), end, dtype=rewards.dtype)
    discounted_sum, gae = path
    close(discounted_sum(rewards, mask, gamma, bootstrap), twins.discounted_sum(rewards, mask, gamma, bootstrap))
    close(
        gae(rewards, values, mask, gamma, lam, bootstrap),
        twins.gae(rewards, values, mask, gamma=gamma, lam=lam, bootstrap=bootstrap),
    )


@few
@given(problem=masked())
def test_suffix_min_equals_the_loop(problem):
    x, _, mask = problem
    close(scan.suffix_min(x, mask), twins.suffix_min(x, mask))


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_problems_take_the_fast_path_and_agree(holes, dtype, monkeypatch):
    rows, width = 130, 2100
    g = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, width, rows, generator=g, dtype=dtype).mT  # not in C order
    bootstrap = torch.randn(rows, generator=g, dtype=dtype)
    mask = torch.arange(width) < torch.randint(0, width, (rows, 1), generator=g)
    if holes:
        mask = mask & (torch.arange(width) // 50 % 3 != 1)
    fast = scan.gae(rewards, values, mask, gamma=0.99, bootstrap=bootstrap)
    fast_sum = scan.discounted_sum(rewards, mask, 0.9)
    monkeypatch.setattr(scan, "COMPILED_FROM", 1 << 60)
    close(fast, scan.gae(rewards, values, mask, gamma=0.99, bootstrap=bootstrap))
    close(fast_sum, scan.discounted_sum(rewards, mask, 0.9))
    some = slice(0, 130, 43)
    slow = twins.gae(rewards[some], values[some], mask[some], gamma=0.99, bootstrap=bootstrap[some])
    close(fast[some], slow)


def test_work_is_shared_among_threads(monkeypatch):
    from guerdon.kernels import _compiled as compiled

    x, mask = torch.randn(7, 50), torch.rand(7, 50) < 0.7
    expected = twins.discounted_sum(x, mask, 0.9)
    monkeypatch.setattr(compiled, "_ENTRIES_PER_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    close(compiled.discounted_sum(x, mask, 0.9, None), expected)


def test_without_numba_everything_still_works(monkeypatch):
    monkeypatch.setattr(scan, "_compiled", lambda: None)
    x = torch.ones(1, scan.COMPILED_FROM)
    assert scan.discounted_sum(x, x.bool())[0, 0] == scan.COMPILED_FROM


def test_gradients_flow_and_are_those_of_the_recurrence():
    g = torch.Generator().manual_seed(0)
    rewards, values = torch.randn(2, 2, 20, generator=g, dtype=torch.float64).requires_grad_().unbind()
    end = torch.randn(2, generator=g, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(2, 20, generator=g) < 0.6
    assert torch.autograd.gradcheck(lambda r, v, e: scan.gae(r, v, mask, bootstrap=e), (rewards, values, end))
    assert torch.autograd.gradcheck(lambda r, e: scan.discounted_sum(r, mask, 0.9, e), (rewards, end))


def test_infinity_and_nan_reach_earlier_positions_of_their_row_only():
    x = torch.ones(2, 100)
    x[0, 50], mask = torch.inf, torch.ones(2, 100, dtype=torch.bool)
    y = scan.discounted_sum(x, mask, 0.9)
    assert y[0, :51].isinf().all()
    assert y[0, 51:].isfinite().all()
    assert y[1].isfinite().all()


@few
@given(problem=masked())
def test_running_mean_equals_the_loop(problem):
    from guerdon.kernels import _compiled

    x, _, mask = problem
    expected = twins.running_mean(x, mask)
    close(scan.running_mean(x, mask), expected)
    close(_compiled.running_mean(x, mask), expected)
