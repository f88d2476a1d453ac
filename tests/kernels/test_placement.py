"""Placement and masked statistics against their loops."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.kernels import masked, placement
from tests.kernels import cases, twins
from tests.kernels.cases import NAN, close, few


@few
@given(problem=cases.stepped(), how=st.sampled_from(["sum", "mean", "max", "last"]))
def test_steps_up_and_down(problem, how):
    x, on_steps, step_ids, mask = problem
    steps = on_steps.shape[1]
    close(placement.broadcast_to_tokens(on_steps, step_ids), twins.broadcast_to_tokens(on_steps, step_ids))
    close(
        placement.reduce_to_steps(x, step_ids, mask, steps, how), twins.reduce_to_steps(x, step_ids, mask, steps, how)
    )


@few
@given(problem=cases.stepped(), threads=st.sampled_from([1, 3]))
def test_compiled_broadcast_equals_the_plain_one(problem, threads):
    from guerdon.kernels import _compiled

    _, on_steps, step_ids, mask = problem
    outside = torch.arange(len(mask)).to(on_steps.dtype)
    slow = twins.broadcast_to_tokens(on_steps, step_ids, mask, outside)
    close(placement.broadcast_to_tokens(on_steps, step_ids, mask, outside=outside), slow)
    before, cores = _compiled._ENTRIES_PER_THREAD, torch.get_num_threads()
    _compiled._ENTRIES_PER_THREAD = 1
    torch.set_num_threads(threads)
    try:
        fast, fault = _compiled.broadcast(on_steps, step_ids.long(), mask, outside)
        late = torch.where(mask, on_steps.shape[1], -1)
        assert _compiled.broadcast(on_steps, late, mask, outside)[1] == bool(mask.any())
    finally:
        _compiled._ENTRIES_PER_THREAD = before
        torch.set_num_threads(cores)
    close(fast, slow)
    assert not fault


def test_positions_of_a_step_that_there_is_not_are_refused():
    with pytest.raises(ValueError, match="expected step_ids below 2"):
        placement.broadcast_to_tokens(torch.ones(1, 2), torch.tensor([[0, 2]]))
    unread = placement.broadcast_to_tokens(torch.ones(1, 2), torch.tensor([[0, 2]]), torch.tensor([[True, False]]))
    assert unread.tolist() == [[1, 0]]


@few
@given(seed=st.integers(0, 1000), rows=st.integers(0, 4), steps=st.integers(0, 4), extra=st.integers(0, 5))
def test_place_on_tokens(seed, rows, steps, extra):
    g = torch.Generator().manual_seed(seed)
    width = steps + extra
    x = torch.randn(rows, steps, generator=g).masked_fill(torch.rand(rows, steps, generator=g) < 0.2, NAN)
    step_end = torch.rand(rows, width, generator=g).argsort(1)[:, :steps].sort(1).values
    step_mask = torch.rand(rows, steps, generator=g) < 0.6
    step_end = torch.where(step_mask, step_end, -1)
    close(
        placement.place_on_tokens(x, step_end, step_mask, width), twins.place_on_tokens(x, step_end, step_mask, width)
    )


@few
@given(problem=cases.stepped(), how=st.sampled_from(["sum", "mean"]))
def test_compiled_sums_of_steps_equal_the_loop(problem, how):
    from guerdon.kernels import _compiled

    x, on_steps, step_ids, mask = problem
    steps = on_steps.shape[1]
    total, count, outside = _compiled.step_sums(x, step_ids, mask, steps)
    assert not outside
    made = torch.where(count > 0, total / count if how == "mean" else total, torch.nan)
    close(made, twins.reduce_to_steps(x, step_ids, mask, steps, how))


@pytest.mark.parametrize("width", [3, 1 << 16])
def test_a_step_past_the_last_is_refused(width):
    step_ids = torch.zeros(1, width, dtype=torch.int64)
    step_ids[0, 1] = 5
    with pytest.raises(ValueError, match="expected step_ids below 2"):
        placement.reduce_to_steps(torch.ones(1, width), step_ids, torch.ones(1, width) > 0, 2)
    made = placement.reduce_to_steps(torch.ones(1, width), step_ids.clamp(max=1), torch.ones(1, width) > 0, 3)
    close(made, torch.tensor([[width - 1.0, 1.0, NAN]]))


@few
@given(problem=cases.masked(torch.float32))
def test_broadcast_rows(problem):
    _, _, mask = problem
    close(placement.last_chosen(mask), twins.last_chosen(mask))
    x = torch.arange(len(mask)).float().masked_fill(torch.arange(len(mask)) == 1, NAN)
    close(placement.broadcast_rows(x, mask), twins.broadcast_rows(x, mask))


@few
@given(problem=cases.masked(), offset=st.sampled_from([0.0, 1e4]), ddof=st.sampled_from([0, 1]), centre=st.booleans())
def test_masked_statistics(problem, offset, ddof, centre):
    x, _, mask = problem
    x = x + offset
    for name in ("masked_sum", "masked_mean"):
        close(getattr(masked, name)(x, mask), getattr(twins, name)(x, mask))
    close(masked.masked_var(x, mask, ddof), twins.masked_var(x, mask, ddof))
    if twins.masked_var(x, mask, ddof) > 0:
        form = {"ddof": ddof, "centre": centre}
        close(masked.whiten(x, mask, **form), twins.whiten(x, mask, **form))


@pytest.mark.parametrize("value", [0.1, -1e4 - 0.1])
def test_equal_entries_whiten_to_exactly_zero(value):
    x, mask = torch.full((3, 1001), value), torch.rand(3, 1001) < 0.9
    x[0, 5], mask[0, 5] = NAN, True
    assert masked.masked_var(x, mask) == 0
    z = masked.whiten(x, mask)
    assert z[0, 5].isnan()
    assert z.nansum() == 0
    assert (z.nan_to_num() == 0).all()


def test_the_spread_of_millions_of_entries_is_exact():
    x = torch.randn(1500, 1000, generator=torch.Generator().manual_seed(0)) * 3
    want = x.double().var().float()
    torch.testing.assert_close(masked.masked_var(x, torch.ones_like(x, dtype=torch.bool)), want, rtol=1e-6, atol=0)


def test_whiten_without_a_spread_or_without_entries():
    x, none = torch.tensor([[3.0, 1.0]]), torch.zeros(1, 2, dtype=torch.bool)
    close(masked.whiten(x, torch.tensor([[True, False]])), torch.tensor([[NAN, 0.0]]))
    close(masked.whiten(x, none), torch.zeros(1, 2))
    assert masked.masked_mean(x, none).isnan()
    assert masked.masked_sum(x, none) == 0


@pytest.mark.parametrize("centre", [True, False])
def test_neutral_whitening_leaves_entries_without_a_spread_unscaled(centre):
    from guerdon.kernels import _compiled

    for entries, chosen in (([3.0, 3.0, NAN], [1, 1, 1]), ([3.0, 1.0, 2.0], [1, 0, 0]), ([NAN, 1.0, 2.0], [1, 0, 0])):
        x, mask = torch.tensor([entries]), torch.tensor([chosen]).bool()
        want = torch.where(mask, torch.where(x.isnan(), NAN, 0.0 if centre else x), 0.0)
        close(masked.whiten(x, mask, centre=centre, neutral=True), want)
        close(_compiled.whiten(x, mask, centre, 1e-8, 1, True), want)


def test_unknown_reduction_is_refused():
    with pytest.raises((ValueError, TypeError)):
        placement.reduce_to_steps(torch.zeros(1, 1), torch.zeros(1, 1).long(), torch.ones(1, 1).bool(), 1, "median")  # pyright: ignore


def test_steps_that_end_outside_of_the_width_are_refused():
    x, here = torch.ones(1, 2), torch.ones(1, 2, dtype=torch.bool)
    with pytest.raises(ValueError, match="expected step_end in 0"):
        placement.place_on_tokens(x, torch.tensor([[1, 3]]), here, 3)
    with pytest.raises(ValueError, match="expected step_end in 0"):
        placement.place_on_tokens(x, torch.tensor([[-1, 2]]), here, 3)
    absent = torch.tensor([[True, False]])
    assert placement.place_on_tokens(x, torch.tensor([[1, 3]]), absent, 3).tolist() == [[0, 1, 0]]


def test_chosen_positions_of_too_late_a_step_are_refused():
    x, ids = torch.ones(1, 3), torch.tensor([[0, 1, 2]])
    with pytest.raises(ValueError, match="expected step_ids below 2"):
        placement.reduce_to_steps(x, ids, torch.ones(1, 3, dtype=torch.bool), 2)
    assert placement.reduce_to_steps(x, ids, torch.tensor([[True, True, False]]), 2).tolist() == [[1, 1]]


@few
@given(
    problem=cases.masked(),
    centre=st.booleans(),
    ddof=st.sampled_from([0, 1]),
    offset=st.sampled_from([0.0, 1e4]),
    threads=st.sampled_from([1, 3]),
    neutral=st.booleans(),
)
def test_compiled_whitening_equals_the_plain_one(problem, centre, ddof, offset, threads, neutral):
    from guerdon.kernels import _compiled

    x, mask = problem[0].float() + offset, problem[-1]
    before, cores = _compiled._ENTRIES_PER_THREAD, torch.get_num_threads()
    _compiled._ENTRIES_PER_THREAD = 1
    torch.set_num_threads(threads)
    try:
        fast = _compiled.whiten(x, mask, centre, 1e-8, ddof, neutral)
    finally:
        _compiled._ENTRIES_PER_THREAD = before
        torch.set_num_threads(cores)
    slow = masked._whiten(x.double(), mask, centre, 1e-8, ddof, neutral).float()
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_compiled_whitening_of_equal_entries_is_exactly_0():
    from guerdon.kernels import _compiled

    x, mask = torch.full((3, 70), 0.1), torch.ones(3, 70, dtype=torch.bool)
    assert (_compiled.whiten(x, mask, True, 1e-8, 1, False) == 0).all()


@few
@given(problem=cases.stepped())
def test_next_step_equals_the_loop(problem):
    _, on_steps, _, _ = problem
    mask = torch.arange(on_steps.numel()).reshape(on_steps.shape) % 3 > 0  # some steps are lacked, NaN among the rest
    close(placement.next_step(on_steps, mask), twins.next_step(on_steps, mask))


@few
@given(problem=cases.masked())
def test_joint_means_are_those_of_what_is_scored_in_both(problem):
    from guerdon.kernels import _compiled_pointwise

    x, y, mask = problem
    y = torch.where(y.abs() > 1, NAN, y)
    both = mask & ~x.isnan() & ~y.isnan()
    wanted = twins.masked_mean(x, both), twins.masked_mean(y, both)
    for made in (masked.joint_means(mask, x, y), _compiled_pointwise.joint_means(mask, x, y)):
        for mean, slow in zip(made, wanted, strict=True):
            close(mean, slow)
