"""The k-th largest entry against sorting."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels.select import kth_largest
from tests.kernels.cases import few


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


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="at least 1"):
        kth_largest(torch.ones(1, 3), 0)
    with pytest.raises(ValueError, match="rows with entries"):
        kth_largest(torch.ones(1, 0), 1)
