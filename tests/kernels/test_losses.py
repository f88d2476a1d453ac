"""Log-probabilities, entropy and aggregation: values against loops, gradients against finite differences."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels.aggregate import aggregate, denominator
from guerdon.kernels.logprob import logp_and_entropy, logp_and_entropy_of_logits
from tests.kernels import cases, twins
from tests.kernels.cases import close, few

HOWS = ["token-mean", "sequence-mean", "sequence-sum"]


def _problem(n, d, v, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    hidden, weight = (torch.randn(shape, generator=g, dtype=dtype) for shape in ((n, d), (v, d)))
    return hidden, weight, torch.randn(v, generator=g, dtype=dtype), torch.randint(0, v, (n,), generator=g)


@few
@given(
    n=st.integers(0, 4),
    v=st.integers(1, 9),
    chunk=st.sampled_from([1, 2, 4, 100]),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    biased=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_logp_and_entropy_equal_the_loop(n, v, chunk, temperature, biased, seed):
    hidden, weight, bias, targets = _problem(n, 3, v, seed)
    bias = bias if biased else None
    logits = torch.nn.functional.linear(hidden, weight, bias)
    expected = twins.logp_and_entropy(logits, targets, temperature)
    of_logits = logp_and_entropy_of_logits(logits, targets, temperature=temperature)
    fused = logp_and_entropy(hidden, weight, targets, bias=bias, temperature=temperature, chunk=chunk)
    for logp, entropy in (of_logits, fused):
        assert entropy is not None
        close(logp, expected[0], 1e-9)
        close(entropy, expected[1], 1e-9)
    assert logp_and_entropy(hidden, weight, targets, chunk=chunk, entropy=False)[1] is None


@pytest.mark.parametrize("chunk", [3, 100])
@pytest.mark.parametrize("entropy", [False, True])
def test_gradients_of_logp_and_entropy(chunk, entropy):
    hidden, weight, bias, targets = _problem(3, 4, 7)
    inputs = tuple(x.requires_grad_() for x in (hidden, weight, bias))

    def fused(hidden, weight, bias):
        out = logp_and_entropy(hidden, weight, targets, bias=bias, temperature=0.7, entropy=entropy, chunk=chunk)
        return tuple(x for x in out if x is not None)

    assert torch.autograd.gradcheck(fused, inputs)
    logits = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    of_logits = logp_and_entropy_of_logits
    spots = torch.tensor([[0, 4, 2], [1, 1, 3]])
    assert torch.autograd.gradcheck(
        lambda z: tuple(x for x in of_logits(z, spots, entropy=entropy) if x is not None), (logits,)
    )


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
