"""Log-probability and entropy from logits and from hidden states: values against loops, gradients against float64."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from guerdon.kernels.last_layer import TorchTiles, Transform, logp_and_entropy
from guerdon.kernels.logprob import logp_and_entropy_of_logits
from tests.kernels import twins
from tests.kernels.cases import close, few

TRANSFORMS = [{}, {"temperature": 0.7}, {"scale": 0.25}, {"softcap": 2.0, "scale": 1.5, "temperature": 1.3}]


def _problem(n, d, v, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    hidden, weight = (torch.randn(shape, generator=g, dtype=dtype) for shape in ((n, d), (v, d)))
    return hidden, weight, torch.randn(v, generator=g, dtype=dtype), torch.randint(0, v, (n,), generator=g)


def _plain(hidden, weight, bias, targets, temperature=1.0, scale=1.0, softcap=None):
    """The model's own chain of operations, all logits held."""
    logits = F.linear(hidden, weight, bias) * scale
    logits = logits if softcap is None else softcap * (logits / softcap).tanh()
    log_p = (logits / temperature).log_softmax(-1)
    return log_p.gather(-1, targets[:, None]).squeeze(-1), -(log_p.exp() * log_p).sum(-1)


def _grads(function, *inputs):
    """Gradients of a loss that differs from row to row and is not linear in either result."""
    inputs = [x.detach().requires_grad_() for x in inputs]
    logp, entropy = function(*inputs)
    n = torch.arange(len(logp))
    (logp.exp() * n.cos() + 0.1 * logp * n.sin() + 0.3 * entropy.square() * (n + 1).cos()).sum().backward()
    return [x.grad for x in inputs]


def _error(ours, exact):
    return float((ours.double() - exact).norm() / exact.norm())


@few
@given(
    n=st.integers(0, 4),
    v=st.integers(1, 9),
    chunk=st.sampled_from([1, 2, 4, 100]),
    tile=st.sampled_from([1, 5, 1000]),
    temperature=st.sampled_from([0.3, 1.0, 2.0]),
    biased=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_logp_and_entropy_equal_the_loop(n, v, chunk, tile, temperature, biased, seed):
    hidden, weight, bias, targets = _problem(n, 3, v, seed)
    bias = bias if biased else None
    logits = F.linear(hidden, weight, bias)
    expected = twins.logp_and_entropy(logits, targets, temperature)
    of_logits = logp_and_entropy_of_logits(logits, targets, temperature=temperature)
    fused = logp_and_entropy(hidden, weight, targets, bias=bias, temperature=temperature, chunk=chunk, tile=tile)
    for logp, entropy in (of_logits, fused):
        assert entropy is not None
        close(logp, expected[0], 1e-9)
        close(entropy, expected[1], 1e-9)
    assert logp_and_entropy(hidden, weight, targets, chunk=chunk, entropy=False)[1] is None


@pytest.mark.parametrize("chunk", [3, 100])
@pytest.mark.parametrize("entropy", [False, True])
@pytest.mark.parametrize("how", TRANSFORMS)
def test_gradients_by_finite_differences(chunk, entropy, how):
    hidden, weight, bias, targets = _problem(3, 4, 7)
    inputs = tuple(x.requires_grad_() for x in (hidden, weight, bias))

    def fused(hidden, weight, bias):
        out = logp_and_entropy(hidden, weight, targets, bias=bias, entropy=entropy, chunk=chunk, tile=6, **how)
        return tuple(x for x in out if x is not None)

    assert torch.autograd.gradcheck(fused, inputs)


@pytest.mark.parametrize("entropy", [False, True])
def test_gradients_of_logits_by_finite_differences(entropy):
    logits = torch.randn(2, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    spots = torch.tensor([[0, 4, 2], [1, 1, 3]])

    def of_logits(z):
        return tuple(x for x in logp_and_entropy_of_logits(z, spots, entropy=entropy) if x is not None)

    assert torch.autograd.gradcheck(of_logits, (logits,))


@few
@given(
    n=st.integers(1, 40),
    v=st.integers(2, 300),
    d=st.integers(1, 24),
    chunk=st.integers(1, 320),
    tile=st.integers(1, 4000),
    how=st.sampled_from(TRANSFORMS),
    narrow=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_gradients_against_float64_in_any_tiles(n, v, d, chunk, tile, how, narrow, seed):
    dtype = torch.bfloat16 if narrow else torch.float32
    hidden, weight, bias, targets = _problem(n, d, v, seed)
    inputs = [x.to(dtype) for x in (hidden, weight / d**0.5, bias)]
    exact = _grads(lambda h, w, b: _plain(h, w, b, targets, **how), *(x.double() for x in inputs))
    ours = _grads(lambda h, w, b: logp_and_entropy(h, w, targets, bias=b, chunk=chunk, tile=tile, **how), *inputs)
    for mine, theirs in zip(ours, exact, strict=True):
        assert mine.dtype == dtype
        assert _error(mine, theirs) < (1e-2 if narrow else 1e-5)


@few
@given(shape=st.tuples(st.integers(0, 3), st.integers(0, 5)), seed=st.integers(0, 1000))
def test_positions_outside_the_mask_cost_nothing(shape, seed):
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(shape, generator=g) < 0.4
    hidden = torch.randn(*shape, 3, generator=g).masked_fill(~mask[..., None], torch.nan).requires_grad_()
    weight = torch.randn(11, 3, generator=g).requires_grad_()
    targets = torch.randint(0, 11, shape, generator=g).masked_fill(~mask, -100)
    seen, absorb = [], TorchTiles.absorb
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TorchTiles, "absorb", staticmethod(lambda raw, *rest: (seen.append(raw.numel()), absorb(raw, *rest)))
        )
        logp, entropy = logp_and_entropy(hidden, weight, targets, mask=mask, chunk=4)
    assert sum(seen) == 11 * int(mask.sum())
    assert entropy is not None
    assert not logp[~mask].any()
    assert not entropy[~mask].any()
    alone = logp_and_entropy(hidden[mask], weight, targets[mask], chunk=4)
    close(logp[mask], alone[0])
    close(entropy[mask], alone[1])
    (logp + entropy).sum().backward()
    assert weight.grad is not None
    assert hidden.grad is not None
    assert weight.grad.isfinite().all()
    assert not hidden.grad[~mask].any()


def test_memory_is_a_few_tiles(monkeypatch):
    """No tensor that is made on the way holds more numbers than the largest of a tile, the weight and the states."""
    largest = []

    class Sizes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            largest.extend(
                x.numel() for x in (out if isinstance(out, tuple) else (out,)) if isinstance(x, torch.Tensor)
            )
            return out

    hidden, weight, _, targets = _problem(300, 2, 500, dtype=torch.float32)
    hidden.requires_grad_()
    weight.requires_grad_()
    with Sizes():
        logp, entropy = logp_and_entropy(hidden, weight, targets, chunk=50, tile=1000)
        (logp.sum() + entropy.sum()).backward()
    assert max(largest) == 1000


def test_a_frozen_or_tied_weight():
    embedding, _, _, targets = _problem(7, 3, 7)
    tokens, targets = targets, targets.flip(0)
    tied = embedding.clone().requires_grad_()
    _grads_of = []
    for function in (lambda h, w: _plain(h, w, None, targets), lambda h, w: logp_and_entropy(h, w, targets, chunk=2)):
        logp, entropy = function(tied[tokens].tanh(), tied)
        _grads_of.append(torch.autograd.grad(logp.sum() + entropy.square().sum(), tied)[0])
    close(*_grads_of, 1e-9)
    hidden = embedding.clone().requires_grad_()
    logp_and_entropy(hidden, embedding, targets, chunk=2)[0].sum().backward()
    assert hidden.grad is not None
    assert embedding.grad is None


def test_tokens_that_cannot_be_said():
    hidden, weight, bias, _ = _problem(2, 3, 6)
    bias[[1, 4]] = -torch.inf
    targets = torch.tensor([0, 4])
    inputs = [x.requires_grad_() for x in (hidden, weight)]
    logp, entropy = logp_and_entropy(*inputs, targets, bias=bias, chunk=2)
    left = [0, 2, 3, 5]
    expected = _plain(hidden, weight[left], bias[left], torch.tensor([0, 0]))
    close(logp[:1], expected[0][:1], 1e-9)
    assert logp[1] == -torch.inf
    close(entropy, expected[1], 1e-9)
    (logp[0] + entropy.sum()).backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()
    assert not weight.grad[[1, 4]].any()


def test_autocast_takes_its_dtype_and_gives_gradients_in_the_parameters_own():
    hidden, weight, _, targets = _problem(9, 8, 40, dtype=torch.float32)
    exact = _grads(lambda h, w: _plain(h, w, None, targets), hidden.double(), weight.double())

    def cast(h, w):
        with torch.autocast("cpu", torch.bfloat16):
            return logp_and_entropy(h, w, targets, chunk=16)

    for mine, theirs in zip(_grads(cast, hidden, weight), exact, strict=True):
        assert mine.dtype == torch.float32
        assert 1e-5 < _error(mine, theirs) < 2e-2


def test_what_it_refuses():
    hidden, weight, _, targets = _problem(4, 3, 5)
    for options, said in (
        ({"chunk": 0}, "chunk and tile"),
        ({"temperature": 0.0}, "positive temperature"),
        ({"softcap": 0.0}, "softcap above 0"),
        ({"scale": 0.0}, "scale other than 0"),
        ({"mask": torch.ones(4)}, "booleans"),
        ({"mask": torch.ones(3, dtype=torch.bool)}, r"mask of shape \[4\]"),
    ):
        with pytest.raises(ValueError, match=said):
            logp_and_entropy(hidden, weight, targets, **options)
    with pytest.raises(ValueError, match="got a share of it; gather"):
        logp_and_entropy(hidden, weight.new_zeros(0), targets)
    with pytest.raises(ValueError, match=r"targets of shape \[4\]"):
        logp_and_entropy(hidden, weight, targets[:3])


def test_transform_in_place_and_not():
    raw = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    for how in TRANSFORMS:
        transform = Transform(**how)
        expected = transform(raw)
        (slope,) = torch.autograd.grad(expected.sum(), raw)
        made, varying = transform.overwrite(raw.detach().clone())
        close(made, expected.detach(), 1e-12)
        close(
            torch.full_like(raw, transform.scale / transform.temperature) if varying is None else varying, slope, 1e-12
        )
