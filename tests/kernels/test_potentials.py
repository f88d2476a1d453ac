"""Differences of potentials against their loop."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels import potentials
from tests.kernels import twins
from tests.kernels.cases import NAN, close, few


@few
@given(
    seed=st.integers(0, 1000),
    rows=st.integers(0, 4),
    steps=st.integers(0, 5),
    gamma=st.sampled_from([1.0, 0.9]),
    terminal=st.sampled_from([None, 0.0]),
)
def test_difference(seed, rows, steps, gamma, terminal):
    g = torch.Generator().manual_seed(seed)
    q = torch.randn(rows, steps + 1, generator=g).masked_fill(torch.rand(rows, steps + 1, generator=g) < 0.1, NAN)
    mask = torch.rand(rows, steps, generator=g) < 0.7
    given_ = {"gamma": gamma, "terminal": terminal}
    close(potentials.difference(q, mask, **given_), twins.difference(q, mask, **given_))


def test_the_differences_of_a_row_add_up_and_its_lacking_steps_are_nan():
    q = torch.tensor([[0.2, 0.2, 9.0, 0.5, 1.0]])
    out = potentials.difference(q, torch.tensor([[True, False, True, True]]))
    torch.testing.assert_close(out, torch.tensor([[0.0, NAN, 0.3, 0.5]]), equal_nan=True)
    with pytest.raises(ValueError, match="one boundary more"):
        potentials.difference(q, torch.ones(1, 3, dtype=torch.bool))
