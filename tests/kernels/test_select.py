"""The k-th largest entry against sorting, and what stands out of a row compiled against plain."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels import scan
from guerdon.kernels.select import kth_largest, outliers, upper_quantile
from tests.kernels.cases import few, masked


@few
@given(
    seed=st.integers(0, 1000), rows=st.integers(0, 4), width=st.sampled_from([1, 63, 64, 700]), k=st.integers(1, 6),
    round_to=st.sampled_from([0, 3]),
)  # fmt: skip
def test_it_is_what_sorting_says(seed, rows, width, k, round_to):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=g).round(decimals=round_to)
    x[torch.rand(rows, width, generator=g) < 0.1] = -torch.inf
    wanted = x.sort(-1, descending=True).values[:, min(k, width) - 1, None]
    assert torch.equal(kth_largest(x, k), wanted)


@few
@given(
    seed=st.integers(0, 1000), rows=st.integers(1, 4), width=st.sampled_from([1, 2, 5, 64]),
    quantile=st.sampled_from([0.0, 0.3, 0.5, 0.8, 0.99, 1.0]), round_to=st.sampled_from([0, 3]),
)  # fmt: skip
def test_an_upper_quantile_is_the_quantile(seed, rows, width, quantile, round_to):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=g).round(decimals=round_to)
    mask = torch.rand(rows, width, generator=g) < 0.7
    x[torch.rand(rows, width, generator=g) < 0.1] = torch.nan
    wanted = torch.where(mask, x, torch.nan).nanquantile(quantile, dim=-1, keepdim=True)
    torch.testing.assert_close(upper_quantile(x, mask, quantile), wanted, equal_nan=True)
    assert upper_quantile(x[:0], mask[:0], quantile).shape == (0, 1)


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        kth_largest(torch.ones(1, 3), 0)
    with pytest.raises(ValueError, match="rows with entries"):
        kth_largest(torch.ones(1, 0), 1)


@few
@given(
    problem=masked(), topk=st.integers(1, 9), threshold=st.sampled_from([0.0, 0.6, 1.0]), bilateral=st.booleans(),
    copies=st.sampled_from([1, 5]), ties=st.booleans(),
)  # fmt: skip
def test_compiled_outliers_equal_the_plain_ones(problem, topk, threshold, bilateral, copies, ties):
    from guerdon.kernels import _compiled  # the test run has the extra `fast`
    from guerdon.kernels.select import _TIE, _outliers

    x, mask = problem[0].repeat(1, copies), problem[-1].repeat(1, copies)
    x = (2 * x).round() if ties else x
    fast = _compiled.outliers(x, mask, threshold, topk, bilateral, _TIE, 1.0)
    torch.testing.assert_close(fast, _outliers(x, mask, threshold, topk, 1.0, bilateral), equal_nan=True)


def test_large_rows_take_the_compiled_walk_and_agree(monkeypatch):
    g = torch.Generator().manual_seed(0)
    x, mask = torch.randn(40, 2000, generator=g), torch.rand(40, 2000, generator=g) < 0.9
    fast = outliers(x, mask, threshold=0.6, topk=15)
    assert (fast != 0).sum(-1).tolist() == [15] * 40
    monkeypatch.setattr(scan, "COMPILED_FROM", 1 << 60)
    torch.testing.assert_close(fast, outliers(x, mask, threshold=0.6, topk=15))
