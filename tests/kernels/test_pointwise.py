"""Arithmetic of positions: the plain operations against numbers by hand, the compiled walks against the plain operations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels import _compiled, _compiled_pointwise, placement, pointwise, scan
from tests.kernels import twins
from tests.kernels.cases import NAN, close, few, masked, stepped


@few
@given(problem=masked(torch.float32), low=st.sampled_from([0.0, 0.5]), high=st.sampled_from([1.5, math.inf]))
def test_ratio(problem, low, high):
    x, other, mask = problem
    for outside in (None, 0.0, NAN):
        plain = pointwise._ratio(x, other, mask, low, high, outside)
        below, above = (low, high) if outside is None else (outside, outside)
        close(_compiled_pointwise.ratio(x, other, mask, low, high, below, above), plain)
        for i, t in mask.nonzero().tolist():
            r = float(torch.exp(x[i, t] - other[i, t]))
            if low <= r <= high:
                assert plain[i, t] == pytest.approx(r)
            elif not math.isnan(r):
                expected = (low if r < low else high) if outside is None else outside
                assert plain[i, t] == pytest.approx(expected, nan_ok=True)
        assert not plain[~mask].any()


def test_the_exponential_is_exact_to_rounding_over_its_whole_range():
    x = torch.cat([torch.linspace(-87, 88.72, 40001), torch.tensor([-torch.inf, -1000.0, 0.0, 89.0, torch.inf, NAN])])
    x, mask = x[None], torch.ones(1, len(x), dtype=torch.bool)
    made = _compiled_pointwise.ratio(x, torch.zeros_like(x), mask, 0.0, math.inf, 0.0, math.inf)
    torch.testing.assert_close(made, x.exp(), rtol=4e-7, atol=2e-38, equal_nan=True)


@few
@given(problem=masked(torch.float32), low=st.sampled_from([-1.0, 0.0, 0.5]))
def test_rise(problem, low):
    x, _, mask = problem
    sign = torch.where(torch.arange(len(x)) % 2 == 0, 1.0, -1.0)
    bottom = torch.full((len(x),), low)
    plain = pointwise._rise(x, mask, sign, bottom)
    close(_compiled_pointwise.rise(x, mask, sign, bottom), plain)
    wanted = ((torch.sigmoid(sign[:, None] * x) - low) / (1 - low)).clamp(0, 1)
    close(plain, torch.where(mask, wanted, 0.0))
    assert _compiled_pointwise.rise(x, mask, sign * NAN, bottom)[mask].isnan().all()


@few
@given(problem=masked(torch.float32))
def test_numbers_of_rows_on_their_positions_and_their_sums(problem):
    x, other, mask = problem
    scale, offset = torch.arange(len(x)) - 1.0, torch.arange(len(x)) * 0.5
    for functions in (pointwise, _compiled_pointwise):
        scaled, penalised, row_sums = (
            getattr(functions, name if functions is _compiled_pointwise else f"_{name}")
            for name in ("scaled", "penalised", "row_sums")
        )
        close(scaled(x, mask, scale, offset), torch.where(mask, x * scale[:, None] + offset[:, None], 0.0))
        close(penalised(x, x, other, mask, 0.5), torch.where(mask, x - 0.5 * (x - other), 0.0))
        sums, counts = row_sums(x, mask)
        wanted = [math.fsum(row[chosen].tolist()) for row, chosen in zip(x, mask, strict=True)]
        close(sums, torch.tensor(wanted, dtype=torch.float64))
        assert torch.equal(counts, mask.sum(-1))


@few
@given(problem=masked(torch.float32))
def test_sums_of_two_what_is_finite_and_numbers_of_rows(problem):
    x, other, mask = problem
    nan_rows = torch.where(torch.arange(len(x)) % 2 == 0, 1.5, NAN)
    for added, finite, spread in (
        (pointwise._added, pointwise._finite, placement._broadcast_rows),
        (_compiled_pointwise.added, _compiled_pointwise.finite, _compiled_pointwise.broadcast_rows),
    ):
        close(added(x, other, mask), torch.where(mask, x + other, 0.0))
        values, keep = finite(x / x.round(), mask)
        assert torch.equal(keep, mask & (x / x.round()).isfinite())
        close(values, torch.where(keep, x / x.round(), 0.0))
        for kind in (mask, mask.long()):
            close(spread(nan_rows, kind), torch.where(mask, nan_rows[:, None], 0.0))


@few
@given(problem=masked(torch.float32))
def test_what_is_kept_or_settled_and_the_number_of_a_row_on_its_last_position(problem):
    x, _, mask = problem
    numbers = torch.where(torch.arange(len(x)) % 2 == 0, 1.5, NAN)
    wanted = torch.zeros_like(x)
    for i, last in enumerate(twins.last_chosen(mask).tolist()):
        if last >= 0:
            wanted[i, last] = numbers[i]
    for kept, placed, settled in (
        (pointwise._kept, placement._place_on_last, pointwise._settled),
        (_compiled_pointwise.kept, _compiled_pointwise.place_on_last, _compiled_pointwise.settled),
    ):
        for y in (x, x.nan_to_num(), torch.where(mask, x, 0.0), torch.where(mask, 1 / x, 0.0)):
            assert settled(y, mask) == bool(torch.equal(pointwise._finite(y, mask)[0], y) and y[mask].isfinite().all())
        close(kept(x, mask), torch.where(mask, x, 0.0))
        close(placed(numbers, mask), wanted)


@few
@given(problem=masked(), gamma=st.sampled_from([0.0, 0.9, 1.0]))
def test_decay_and_the_largest_sum_are_those_of_discounted_sums(problem, gamma):
    x, _, mask = problem
    end = torch.arange(len(x)).to(x.dtype)
    nothing = twins.discounted_sum(torch.zeros_like(x), mask, gamma, end)
    sums = twins.discounted_sum(x, mask, gamma)
    wanted = [max([abs(y) for y in row.tolist() if not math.isnan(y)], default=0.0) for row in sums]
    for decay, largest in ((scan._decay, scan._largest_sum), (_compiled.decay, _compiled.largest_sum)):
        close(decay(end, mask, gamma), nothing)
        close(largest(x, mask, gamma), torch.tensor(wanted, dtype=x.dtype))


@few
@given(problem=stepped())
def test_runs_last_positions_and_counts_of_steps(problem):
    _, on_steps, step_ids, mask = problem
    steps = on_steps.shape[1]
    for functions in (placement, _compiled_pointwise):
        runs, last_chosen, step_counts = (
            getattr(functions, name if functions is _compiled_pointwise else f"_{name}")
            for name in ("runs", "last_chosen", "step_counts")
        )
        numbers, last = runs(mask), last_chosen(mask)
        counts, outside = step_counts(step_ids, mask, steps)
        assert not outside
        for i, chosen in enumerate(mask.tolist()):
            run, expected = -1, []
            for t, here in enumerate(chosen):
                run += here and not (t and chosen[t - 1])
                expected.append(run if here else -1)
            assert numbers[i].tolist() == expected
            assert int(last[i]) == max((t for t, here in enumerate(chosen) if here), default=-1)
            for s in range(steps):
                assert counts[i, s] == sum(a == s and b for a, b in zip(step_ids[i].tolist(), chosen, strict=True))
        assert step_counts(torch.full_like(step_ids, steps), mask, steps)[1] == bool(mask.any())


def test_large_problems_take_the_walks_and_agree(monkeypatch):
    g = torch.Generator().manual_seed(0)
    x, other, start = torch.randn(3, 40, 2000, generator=g)
    mask = torch.rand(40, 2000, generator=g) < 0.7
    step_ids = torch.randint(-1, 5, (40, 2000), generator=g)
    one, low = torch.ones(40), torch.full((40,), 0.3)
    problems = [
        lambda: pointwise.ratio(x, other, mask, 0.5, 2.0),
        lambda: pointwise.ratio(x, other, mask, 0.5, 2.0, outside=0.0),
        lambda: pointwise.rise(x, mask, one, low),
        lambda: pointwise.scaled(x, mask, low, one),
        lambda: pointwise.penalised(start, x, other, mask, 0.1),
        lambda: pointwise.row_sum(x, mask),
        lambda: pointwise.added(x, other, mask),
        lambda: pointwise.finite(x / (other > -1).float(), mask)[0],
        lambda: pointwise.finite(x / (other > -1).float(), mask)[1],
        lambda: pointwise.kept(x, mask),
        lambda: torch.tensor([pointwise.settled(y, mask) for y in (x, torch.where(mask, x, 0.0))]),
        lambda: placement.place_on_last(low, mask),
        lambda: placement.broadcast_rows(low, mask),
        lambda: placement.broadcast_rows(low, mask.long()),
        lambda: pointwise.row_mean(x, mask),
        lambda: scan.decay(one, mask, 0.99),
        lambda: scan.largest_sum(x, mask),
        lambda: placement.runs(mask),
        lambda: placement.last_chosen(mask),
        lambda: placement.step_counts(step_ids, mask, 5),
    ]
    fast = [problem() for problem in problems]
    monkeypatch.setattr(scan, "COMPILED_FROM", 1 << 60)
    for made, problem in zip(fast, problems, strict=True):
        torch.testing.assert_close(made, problem())
    monkeypatch.undo()
    with pytest.raises(ValueError, match="expected step_ids below 5"):
        placement.step_counts(step_ids + 5, mask, 5)
