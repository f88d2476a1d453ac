"""Eigenvalues of small matrices against the library's."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels import _compiled_spectra, scan, spectra
from tests.kernels.cases import few


@few
@given(
    seed=st.integers(0, 1000), count=st.sampled_from([1, 8, 9, 33]), size=st.sampled_from([1, 2, 3, 8, 17, 33, 48]),
    kind=st.sampled_from(["full", "low rank", "graded", "whole numbers", "diagonal", "zero"]),
)  # fmt: skip
def test_compiled_eigenvalues_equal_the_librarys(seed, count, size, kind):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size // 3 + 1 if kind == "low rank" else size + 2, size, generator=g, dtype=torch.float64)
    if kind == "graded":
        x = x * torch.logspace(0, -12, size, dtype=torch.float64)
    x = x.round() if kind == "whole numbers" else x
    grams = x.mT @ x
    if kind in ("diagonal", "zero"):
        grams = grams * (torch.eye(size) if kind == "diagonal" else 0.0)
    before, wanted = grams.clone(), torch.linalg.eigvalsh(grams)
    made = _compiled_spectra.eigenvalues(grams).sort(-1).values
    assert torch.equal(grams, before)
    largest = wanted.abs().amax(-1, keepdim=True).clamp(min=1e-300)
    torch.testing.assert_close(made / largest, wanted / largest, rtol=0, atol=1e-13)


def test_negative_eigenvalues_and_matrices_that_are_not_finite():
    a = torch.tensor([[[0.0, 1.0], [1.0, 0.0]], [[torch.nan, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, -3.0]]]).double()
    made = _compiled_spectra.eigenvalues(a)
    assert made[0].tolist() == pytest.approx([1.0, -1.0]) or made[0].tolist() == pytest.approx([-1.0, 1.0])
    assert made[1].isnan().any()
    assert sorted(made[2].tolist()) == [-3.0, 2.0]


def test_many_take_the_compiled_walk_and_agree(monkeypatch):
    x = torch.randn(100, 40, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    fast = spectra.eigenvalues(x.mT @ x)
    monkeypatch.setattr(scan, "COMPILED_FROM", 1 << 60)
    torch.testing.assert_close(fast.sort(-1).values, spectra.eigenvalues(x.mT @ x))
    assert spectra.eigenvalues(x[:, :0, :0]).shape == (100, 0)
