"""Log-probabilities, entropy and aggregation: values against loops, gradients against finite differences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels.aggregate import aggregate, denominator
from tests.kernels import cases, twins
from tests.kernels.cases import close, few

HOWS = ["token-mean", "sequence-mean", "sequence-sum"]


@few
@given(problem=cases.masked(torch.float32), how=st.sampled_from(HOWS), weighted=st.booleans())
def test_aggregate_equals_the_loop_and_micro_batches_add_up(problem, how, weighted):
    _, loss, in_loss = problem  # infinite where it is not in the loss
    weights = torch.where(in_loss, loss.cos(), torch.nan) if weighted else None
    whole = denominator(in_loss, how, 16.0)
    assert float(whole) == twins.denominator(in_loss, how, 16.0)
    total = aggregate(loss, in_loss, how, whole, weights)
    expected = torch.tensor(twins.aggregate(loss, in_loss, how, whole, weights), dtype=torch.float32)
    close(total, expected)
    parts = [slice(0, 2), slice(2, 3), slice(3, None)]
    pieces = [aggregate(loss[p], in_loss[p], how, whole, None if weights is None else weights[p]) for p in parts]
    close(sum(pieces, torch.tensor(0.0)), total)


@pytest.mark.parametrize("how", HOWS)
def test_gradient_of_aggregate(how):
    g = torch.Generator().manual_seed(0)
    loss, weights = torch.randn(2, 3, 5, generator=g, dtype=torch.float64).requires_grad_().unbind()
    in_loss = torch.rand(3, 5, generator=g) < 0.6
    share = denominator(in_loss, how, 5.0)
    assert torch.autograd.gradcheck(lambda x, w: aggregate(x, in_loss, how, share.double(), w), (loss, weights))


@pytest.mark.parametrize("constant", [0.0, -1.0, float("nan")])
def test_sequence_sum_refuses_a_constant_that_is_not_above_0(constant):
    with pytest.raises(ValueError, match="above 0"):
        denominator(torch.ones(2, 2, dtype=torch.bool), "sequence-sum", constant)


def test_sequence_sum_needs_its_constant():
    with pytest.raises(ValueError, match="set the constant"):
        denominator(torch.ones(1, 1, dtype=torch.bool), "sequence-sum")
