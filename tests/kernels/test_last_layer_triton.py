"""The Triton kernels against their PyTorch twins: on NVIDIA as they are, elsewhere in Triton's interpreter."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("triton", reason="comes with torch for CUDA; pip install triton runs these in its interpreter")

from guerdon.kernels import last_layer
from guerdon.kernels.last_layer import TorchTiles, Transform, logp_and_entropy
from guerdon.kernels.last_layer_triton import TritonTiles
from tests.kernels.cases import few

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


CASES = {
    "n": st.integers(1, 5),
    "widths": st.lists(st.sampled_from([1, 3, 100, 5000]), min_size=1, max_size=3),
    "transform": st.sampled_from([Transform(), Transform(0.7, 2.0), Transform(0.7, 0.5, 3.0)]),
    "entropy": st.booleans(),
    "impossible": st.booleans(),
    "narrow": st.booleans(),
    "seed": st.integers(0, 1000),
}


@few
@given(**CASES)
def test_the_kernels_equal_their_twins(n, widths, transform, entropy, impossible, narrow, seed):
    g = torch.Generator().manual_seed(seed)
    logits = [4 * torch.randn(n, width, generator=g) for width in widths]
    if impossible:
        logits = [x.masked_fill(torch.rand(x.shape, generator=g) < 0.3, -torch.inf) for x in logits]
    targets = torch.randint(0, sum(widths), (n,), generator=g).to(DEVICE)
    ours, theirs = ([torch.full((n,), x).to(DEVICE) for x in (-1e30, 0.0, 0.0, float("nan"))] for _ in range(2))
    start = 0
    for raw in logits:
        TritonTiles.absorb(raw.to(DEVICE), targets, start, ours, transform, entropy)
        TorchTiles.absorb(raw.to(DEVICE).clone(), targets, start, theirs, transform, entropy)
        start += raw.shape[1]
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)
    lse, dtype = theirs[1].log() + theirs[0], torch.bfloat16 if narrow else torch.float32
    up, pull, spread = (torch.randn(n, generator=g).to(DEVICE) for _ in range(3))
    start = 0
    for raw in logits:
        rows = (lse, spread, up, pull if entropy else None)
        mine = TritonTiles.gradient(raw.to(DEVICE).clone(), targets, start, rows, transform, dtype)
        other = TorchTiles.gradient(raw.to(DEVICE).clone(), targets, start, rows, transform, dtype)
        assert mine.dtype == dtype
        torch.testing.assert_close(mine, other, rtol=2e-2 if narrow else 1e-4, atol=1e-5)
        start += raw.shape[1]


@pytest.mark.parametrize("softcap", [None, 3.0])
def test_the_whole_function_on_the_kernels(monkeypatch, softcap):
    monkeypatch.setattr(last_layer, "_tiles", lambda hidden: TritonTiles)
    g = torch.Generator().manual_seed(0)
    hidden, weight, bias = (
        torch.randn(shape, generator=g).to(DEVICE).requires_grad_() for shape in ((5, 4), (30, 4), 30)
    )
    targets = torch.randint(0, 30, (5,), generator=g).to(DEVICE)
    grads = []
    for chunk in (7, 100):  # by the kernels; in one pass of PyTorch
        logp, entropy = logp_and_entropy(hidden, weight, targets, bias=bias, softcap=softcap, chunk=chunk, tile=20)
        grads.append(torch.autograd.grad((logp * logp).sum() + entropy.square().sum(), (hidden, weight, bias)))
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-5)
