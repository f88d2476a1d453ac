"""Means of windows and their gradient: plain and compiled walk against the loop, by hand, and as operators of a graph."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels import _compiled_windows, _operators, window_mean, windows
from tests.kernels import cases, twins
from tests.kernels.cases import close, few

NAN = float("nan")
SIZES = st.sampled_from([1, 2, 3, 4, 7, 40, 1000])
SKIPS = st.sampled_from([0, 1, 3, 90])


@few
@given(problem=cases.masked(), width=SIZES, skip=SKIPS, whole=st.booleans(), empty=st.sampled_from([0.0, NAN]))
def test_means_equal_the_loop(problem, width, skip, whole, empty):
    x, _, mask = problem
    wanted = twins.window_mean(x, mask, width, skip=skip, whole=whole, empty=empty)
    close(window_mean(x, mask, width, skip=skip, whole=whole, empty=empty), wanted)
    close(_compiled_windows.mean(x, mask, width, skip, whole, empty), wanted)
    apart = torch.stack([x, x], dim=2)[:, :, 0]  # not in C order
    close(window_mean(apart, mask, width, skip=skip, whole=whole, empty=empty), wanted)
    close(_compiled_windows.mean(apart, mask, width, skip, whole, empty), wanted)


@few
@given(problem=cases.masked(), width=SIZES, skip=SKIPS, whole=st.booleans())
def test_the_gradient_is_that_of_the_loop(problem, width, skip, whole):
    x, g, mask = problem
    x, g = torch.where(mask, x, 0.0).nan_to_num(), g.nan_to_num(posinf=7.0)
    slopes = twins.window_mean_slopes(mask, width, skip=skip, whole=whole)  # [B, T of the mean, T of the entry]
    wanted = torch.einsum("bt,bts->bs", torch.where(mask, g, 0.0).double(), slopes).to(g.dtype)
    close(windows._mean_back(g, mask, width, skip, whole), wanted)
    close(_compiled_windows.mean_back(g, mask, width, skip, whole), wanted)
    x.requires_grad_()
    (made,) = torch.autograd.grad(window_mean(x, mask, width, skip=skip, whole=whole, empty=0.0), x, g)
    close(made, wanted)
    own = g.clone()
    assert _compiled_windows.mean_back(own, mask, width, skip, whole, own) is own
    close(own, wanted)


def test_by_hand():
    x = torch.tensor([[1.0, 9.0, 2.0, 6.0, 4.0]], requires_grad=True)
    mask = torch.tensor([[True, False, True, True, True]])
    close(window_mean(x, mask, 2), torch.tensor([[1.5, NAN, 4.0, 5.0, 4.0]]))
    close(window_mean(x, mask, 2, whole=True), torch.tensor([[1.5, NAN, 4.0, 5.0, NAN]]))
    close(window_mean(x, mask, 2, skip=1), torch.tensor([[4.0, NAN, 5.0, 4.0, NAN]]))
    close(window_mean(x, mask, 3, skip=1, whole=True), torch.tensor([[4.0, NAN, NAN, NAN, NAN]]))
    window_mean(x, mask, 2)[mask].sum().backward()
    close(x.grad, torch.tensor([[0.5, 0.0, 1.0, 1.0, 1.5]]))
    close(window_mean(x[:, :0], mask[:, :0], 2), torch.zeros(1, 0))
    with pytest.raises(ValueError, match="width of at least 1"):
        window_mean(x, mask, 0)
    with pytest.raises(ValueError, match="skip of at least 0"):
        window_mean(x, mask, 2, skip=-1)


def test_a_nan_stays_in_its_windows():
    x, mask = torch.tensor([[1.0, 2.0, NAN, torch.inf, 5.0, 6.0]]), torch.ones(1, 6, dtype=torch.bool)
    for made in (window_mean(x, mask, 2), _compiled_windows.mean(x, mask, 2, 0, False, NAN)):
        close(made, torch.tensor([[1.5, NAN, NAN, torch.inf, 5.5, 6.0]]))


def test_half_precision_is_summed_in_more():
    x, mask = torch.full((1, 600), 1.01, dtype=torch.bfloat16), torch.ones(1, 600, dtype=torch.bool)
    assert (window_mean(x, mask, 300) == x).all()


@pytest.mark.parametrize("compiled_from", [0, 1 << 60])
def test_gradients_of_gradients(compiled_from, monkeypatch):
    monkeypatch.setattr("guerdon.kernels.scan.COMPILED_FROM", compiled_from)
    g = torch.Generator().manual_seed(0)
    x, mask = torch.randn(3, 9, generator=g, dtype=torch.float64), torch.rand(3, 9, generator=g) < 0.7
    call = lambda x: window_mean(x, mask, 3, skip=1, empty=0.0)  # noqa: E731
    assert torch.autograd.gradcheck(call, x.requires_grad_())
    assert torch.autograd.gradgradcheck(call, x)


@pytest.mark.parametrize("compiled_from", [0, 1 << 60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operators_keep_their_promises(compiled_from, dtype, monkeypatch):
    monkeypatch.setattr("guerdon.kernels.scan.COMPILED_FROM", compiled_from)
    x, mask = torch.randn(4, 9, dtype=dtype), torch.rand(4, 9) < 0.7
    for given_x in (x, x[:, ::2], x[:0], x[:, :0]):
        m = mask[: len(given_x), : given_x.shape[1]]
        torch.library.opcheck(_operators.window_mean, (given_x, m, 3, 1, False, 0.0))  # it compares, and NaN is not NaN
        torch.library.opcheck(_operators.window_mean_back_, (given_x.clone(), m, 3, 1, True))


def test_without_numba_it_is_the_same(monkeypatch):
    x, mask = torch.randn(40, 2000), torch.rand(40, 2000) < 0.9

    def told():
        given_x = x.clone().requires_grad_()
        made = window_mean(given_x, mask, 5, empty=0.0)
        return made.detach(), *torch.autograd.grad(made.square().sum(), given_x)

    fast = told()
    monkeypatch.setattr("guerdon.kernels.scan._compiled", lambda: None)
    torch.testing.assert_close(fast, told())
