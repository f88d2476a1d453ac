"""Order statistics of large tensors, found by compiled walks: what sorting says."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels import _compiled_select, _operators  # the test run has the extra `fast`
from guerdon.kernels.select import (
    _upper_quantile,
    drop_some_,
    extremes,
    first_largest,
    largest_share,
    part_of,
    seed_of,
    upper_quantile,
)
from tests.kernels.cases import close, few

KINDS = ["plain", "ties", "infinite", "sorted", "alike", "tiny"]


def numbers(kind: str, seed: int, *shape: int) -> torch.Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    if kind == "ties":
        return x.round()  # 0 and -0 among them
    if kind == "infinite":
        return torch.where(x.abs() > 1, x.sign() * torch.inf, x)
    if kind == "sorted":
        return x.reshape(-1).sort().values.reshape(shape)
    if kind == "alike":
        return torch.full(shape, -0.5)
    return x * 1e-40 if kind == "tiny" else x  # below the smallest normal number


@few
@given(
    kind=st.sampled_from(KINDS), seed=st.integers(0, 99), share=st.sampled_from([1e-4, 0.01, 0.3, 0.8, 1.0]),
    missing=st.sampled_from([0.0, 0.3, 0.999]), size=st.sampled_from([1, 7, 30_000]),
)  # fmt: skip
def test_the_least_of_the_largest_is_what_sorting_says(kind, seed, share, missing, size):
    x = numbers(kind, seed, size)
    x[torch.rand(size, generator=torch.Generator().manual_seed(seed)) < missing] = torch.nan
    least, n, kept = _compiled_select.largest_share(x, share, part_of)
    known = x[~x.isnan()]
    assert n == len(known)
    if n:
        assert least == known.sort(descending=True).values[part_of(n, share) - 1]
    assert kept == (known >= least).sum()
    assert [float(number) for number in largest_share(x, share)] == [least, n, kept]  # below the size of large ones


def test_a_sample_that_is_wrong_costs_no_result(monkeypatch):
    x = numbers("plain", 0, 20_000)
    monkeypatch.setattr(_compiled_select, "_between", lambda *given: (5.0, 6.0))
    assert _compiled_select.largest_share(x, 0.25, part_of)[0] == x.sort(descending=True).values[4999]


@few
@given(
    kind=st.sampled_from(KINDS), seed=st.integers(0, 99), quantile=st.sampled_from([0.0, 0.5, 0.8, 0.99, 1.0]),
    missing=st.sampled_from([0.0, 0.3, 1.0]), width=st.sampled_from([1, 2, 65, 700]),
)  # fmt: skip
def test_a_quantile_of_rows_is_the_sorted_one(kind, seed, quantile, missing, width):
    x = numbers(kind, seed, 5, width)
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(5, width, generator=g) < 0.7
    x[torch.rand(5, width, generator=g) < missing] = torch.nan
    bar, number, total, of = _compiled_select.upper_tail(x, mask, quantile)
    wanted = _upper_quantile(x, mask, quantile)
    torch.testing.assert_close(bar, wanted, equal_nan=True, rtol=0, atol=0 if kind == "tiny" else 1e-7)
    above = mask & (x > bar)
    assert torch.equal(number, above.sum(-1, keepdim=True))
    assert torch.equal(of, mask.sum(-1, keepdim=True))
    torch.testing.assert_close(total, torch.where(above, x, 0.0).sum(-1, keepdim=True))


def test_large_tensors_take_the_walks(monkeypatch):
    def told():
        x, g = numbers("plain", 1, 40, 2000), torch.Generator().manual_seed(0)
        tied = x.round()
        return [
            *largest_share(x, 0.1),
            upper_quantile(x, x < 1, 0.8),
            first_largest(tied, 0.1).float(),
            drop_some_(tied, 1.0, 0.1, seed_of(g)),
        ]

    fast = told()
    monkeypatch.setattr("guerdon.kernels.scan.COMPILED_FROM", 1 << 60)
    torch.testing.assert_close(fast, told())
    assert part_of(10, 0.7) == 7
    with pytest.raises(ValueError, match="share"):
        largest_share(torch.ones(3), 0.0)


def test_some_are_dropped():
    x = torch.tensor([[2.0, 1.0, 2.0], [torch.nan, 2.0, 1.0]])
    for seed in range(5):
        given = x.clone()
        assert drop_some_(given, 2.0, 0.4, torch.tensor(seed)) is given
        assert (given == 0).sum() == 2  # 0.4 of the five that are above 0
        assert (given == 1).sum() == 3
        assert (given[x == 1] == 1).all()
        assert given[1, 0].isnan()
    assert (drop_some_(x.clone(), 1.0, 1.0, torch.tensor(3)) == 0).sum() == 2
    assert torch.equal(drop_some_(x[1:].clone(), 7.0, 1.0, torch.tensor(3)).nan_to_num(9), x[1:].nan_to_num(9))
    assert drop_some_(x[:0].clone(), 2.0, 0.5, torch.tensor(3)).shape == (0, 3)
    apart = x.clone().T
    drop_some_(apart, 2.0, 1.0, torch.tensor(3))
    assert (apart == 0).sum() == 3


@pytest.mark.parametrize("compiled_from", [0, 1 << 60])
def test_every_draw_is_as_likely(compiled_from, monkeypatch):
    """2 of 5: each of the 10 pairs in a tenth of the draws."""
    monkeypatch.setattr("guerdon.kernels.scan.COMPILED_FROM", compiled_from)
    x, draws, seen = torch.tensor([2.0, 1.0, 2.0, 2.0, 1.0, 2.0, 2.0]), 600, {}
    for seed in range(draws):
        pair = tuple((drop_some_(x.clone(), 2.0, 0.3, torch.tensor(seed)) == 0).nonzero().flatten().tolist())
        seen[pair] = seen.get(pair, 0) + 1
    assert len(seen) == 10
    assert sum((n - draws / 10) ** 2 / (draws / 10) for n in seen.values()) < 27.9  # chi square, 9 degrees, 0.1%


def test_a_seed_stays_and_a_generator_gives_one():
    assert seed_of(torch.tensor(7)) == 7
    g = torch.Generator().manual_seed(1)
    first, second = seed_of(g), seed_of(g)
    assert first != second
    assert first == seed_of(torch.Generator().manual_seed(1))
    assert first >= 0


@few
@given(
    kind=st.sampled_from(KINDS), seed=st.integers(0, 99), share=st.sampled_from([1e-4, 0.01, 0.3, 0.8, 1.0]),
    missing=st.sampled_from([0.0, 0.3, 1.0]), shape=st.sampled_from([(0, 3), (1, 1), (3, 7), (40, 300)]),
    dtype=st.sampled_from([torch.float32, torch.float64]), compiled_from=st.sampled_from([0, 1 << 60]),
)  # fmt: skip
def test_the_first_of_the_largest_are_what_sorting_says(kind, seed, share, missing, shape, dtype, compiled_from):
    x = numbers(kind, seed, *shape).to(dtype)
    x[torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < missing] = torch.nan
    x = x.T  # not in C order
    flat = x.reshape(-1)
    known = (~flat.isnan()).nonzero().flatten()
    order = known[flat[known].sort(descending=True, stable=True).indices]
    wanted = torch.zeros_like(flat, dtype=torch.bool)
    wanted[order[: part_of(len(known), share) if len(known) else 0]] = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guerdon.kernels.scan.COMPILED_FROM", compiled_from)
        assert torch.equal(first_largest(x, share), wanted.view(x.shape))


@few
@given(
    kind=st.sampled_from(KINDS), seed=st.integers(0, 99), missing=st.sampled_from([0.0, 0.3, 1.0]),
    shape=st.sampled_from([(0, 3), (1, 1), (3, 7), (40, 300)]), dtype=st.sampled_from([torch.float32, torch.float64]),
    compiled_from=st.sampled_from([0, 1 << 60]),
)  # fmt: skip
def test_extremes_are_what_a_list_says(kind, seed, missing, shape, dtype, compiled_from):
    x = numbers(kind, seed, *shape).to(dtype)
    x[torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < missing] = torch.nan
    known = [number for number in x.flatten().tolist() if number == number] or [torch.nan]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("guerdon.kernels.scan.COMPILED_FROM", compiled_from)
        made = extremes(x.T)
    close(torch.stack(made), torch.tensor([min(known), max(known)], dtype=dtype), 0.0)


@few
@given(seed=st.integers(0, 99), size=st.sampled_from([1, 255, 256, 257, 1500]), often=st.sampled_from([0.0, 0.01, 1.0]))
def test_places_of_a_value(seed, size, often):
    g = torch.Generator().manual_seed(seed)
    x = torch.where(torch.rand(size, generator=g) < often, 2.0, torch.randn(size, generator=g))
    at, told = (x == 2).nonzero().flatten(), []
    ranks = np.arange(len(at))[:: 1 + seed % 7]

    def pick(equal, positive):
        told.extend([equal, positive])
        return ranks

    assert torch.equal(_compiled_select.places(x, 2.0, pick), at[torch.from_numpy(ranks)])
    assert told == [len(at), (x > 0).sum()]


@pytest.mark.parametrize("compiled_from", [0, 1 << 60])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_operators_keep_their_promises(compiled_from, dtype, monkeypatch):
    monkeypatch.setattr("guerdon.kernels.scan.COMPILED_FROM", compiled_from)
    x = numbers("ties", 0, 6, 40).to(dtype)
    for given_x in (x, x[:, ::2], x.T):
        torch.library.opcheck(_operators.first_share, (given_x, 0.3))
        torch.library.opcheck(_operators.largest_share, (given_x, 0.3))
        torch.library.opcheck(_operators.extremes, (given_x,))
        torch.library.opcheck(_operators.upper_tail, (given_x, given_x < 1, 0.8))
        torch.library.opcheck(_operators.joint_means, (given_x < 1, given_x, given_x + 1))
        torch.library.opcheck(_operators.drop_some_, (given_x.clone(), 1.0, 0.1, torch.tensor(5)))
