"""Group statistics against their loops."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from guerdon.kernels import groups
from tests.kernels import twins
from tests.kernels.cases import NAN, close, few, grouped

STATISTICS = [
    "group_count",
    "group_sum",
    "group_mean",
    "group_std",
    "group_max",
    "group_min",
    "leave_one_out_mean",
    "group_share",
    "group_rank",
    "degenerate",
    "standardise",
]


@pytest.mark.parametrize("name", STATISTICS)
@few
@given(problem=grouped())
def test_equals_the_loop(name, problem):
    x, group = problem
    before = x.clone()
    close(getattr(groups, name)(x, group), getattr(twins, name)(x, group))
    torch.testing.assert_close(x, before, equal_nan=True)


@few
@given(
    problem=grouped(),
    scale=st.booleans(),
    ddof=st.sampled_from([0, 1, 2]),
    eps_at=st.sampled_from(["outside", "inside", "floor"]),
    flat=st.sampled_from(["zero", "nan", "keep"]),
)
def test_standardise_in_every_form(problem, **form):
    close(groups.standardise(*problem, **form), twins.standardise(*problem, **form))
    close(groups.group_std(*problem, ddof=form["ddof"]), twins.group_std(*problem, ddof=form["ddof"]))


@few
@given(problem=grouped(), seed=st.integers(0, 1000))
def test_order_and_ids_do_not_matter_and_a_nan_row_equals_a_deleted_row(problem, seed):
    x, group = problem
    x, group = (x, group) if x.ndim == 1 else (x.flatten(1).sum(1), group)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    keep = ~x.isnan()
    for name in STATISTICS:
        kernel = getattr(groups, name)
        close(kernel(x[order], 5 - 10**9 * group[order]), kernel(x, group)[order])
        close(kernel(x, group)[keep], kernel(x[keep], group[keep]))


@pytest.mark.parametrize("value", [0.1, 1e4 + 0.1, -3e30, 0.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_members_leave_no_rounding_noise(value, dtype):
    x = torch.full((7,), value, dtype=dtype)
    group = torch.zeros(7, dtype=torch.long)
    assert groups.degenerate(x, group).all()
    assert (groups.group_mean(x, group) == x).all()
    assert (groups.leave_one_out_mean(x, group) == x).all()
    assert (groups.group_std(x, group) == 0).all()
    assert (groups.standardise(x, group, flat="keep") == 0).all()


def test_spread_survives_an_offset():
    x = torch.tensor([0.0, 1.0, 0.0, 1.0]) + 1e4
    group = torch.zeros(4, dtype=torch.long)
    close(groups.group_std(x, group), torch.full((4,), (1 / 3) ** 0.5), 1e-7)
    close(groups.standardise(x, group, eps=0.0), torch.tensor([-1.0, 1, -1, 1]) * 0.75**0.5, 1e-6)


def test_single_and_empty_groups():
    x, group = torch.tensor([2.0, NAN]), torch.tensor([4, 9])
    close(groups.group_std(x, group, ddof=0), torch.tensor([0.0, NAN]))
    close(groups.group_std(x, group), torch.tensor([NAN, NAN]))
    close(groups.standardise(x, group), torch.tensor([0.0, NAN]))
    close(groups.group_count(x, group), torch.tensor([1.0, 0.0]))
    assert groups.degenerate(x, group).tolist() == [True, False]


def test_unknown_place_of_eps_is_refused():
    with pytest.raises((ValueError, TypeError)):
        groups.standardise(torch.zeros(2), torch.zeros(2, dtype=torch.long), eps_at="under")  # pyright: ignore


def test_a_flat_that_is_none_of_the_three_is_refused():
    with pytest.raises(ValueError, match="expected flat to be zero, nan or keep, got 'drop'"):
        groups.standardise.__wrapped__(torch.ones(2), torch.zeros(2, dtype=torch.long), flat="drop")


@pytest.mark.parametrize("eps_at", ["outside", "inside", "floor"])
def test_the_gradient_is_finite_where_all_are_equal(eps_at):
    x = torch.tensor([1.0, 1.0, 1.0, 4.0, 6.0], requires_grad=True)
    groups.standardise(x, torch.tensor([0, 0, 0, 1, 1]), eps_at=eps_at).square().sum().backward()
    assert x.grad.isfinite().all()
    assert (x.grad[:3] == 0).all()


@few
@given(problem=grouped())
def test_a_row_that_is_unscored_reads_all_others(problem):
    form = {"unscored": "mean"}
    close(groups.leave_one_out_mean(*problem, **form), twins.leave_one_out_mean(*problem, **form))


@few
@given(seed=st.integers(0, 1000), shape=st.sampled_from([(0,), (7,), (5, 3)]), gap=st.sampled_from([1, -3, 10**15]))
def test_joint_ids_agree_exactly_where_all_ids_do(seed, shape, gap):
    g = torch.Generator().manual_seed(seed)
    a, b, c = (torch.randint(-2, 3, shape, generator=g) * gap for _ in range(3))
    made, slow = groups.joint_ids(a, b, c).reshape(-1), twins.joint_ids(a, b, c).reshape(-1)
    assert made.shape == slow.shape
    assert ((made[:, None] == made) == (slow[:, None] == slow)).all()
    with pytest.raises(ValueError, match="at least one"):
        groups.joint_ids()


@few
@given(grouped(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]))
def test_the_best_groups_are_as_many_as_asked_for_and_no_worse_than_the_rest(problem, share):
    x, group = problem
    assume(x.numel() or not len(group))
    x = x.reshape(len(group), x.numel() // max(1, len(group)))[:, :1].reshape(-1)
    chosen, means = groups.top_groups(x, group, share), groups.group_mean(x, group)
    scored = group[~means.isnan()]
    count = len(scored.unique())
    assert len(group[chosen].unique()) == math.ceil(share * count)
    assert not means[chosen].isnan().any()
    rest = ~chosen & ~means.isnan()
    for i in torch.nonzero(chosen).flatten().tolist():
        worse = (means[rest] < means[i]) | ((means[rest] == means[i]) & (group[rest] > group[i]))
        assert worse.all()


@pytest.mark.parametrize("seed", range(4))
def test_sums_of_bins_equal_a_loop(seed):
    g = torch.Generator().manual_seed(seed)
    x, bins = torch.randn(40, generator=g), torch.randint(-1, 7, (40,), generator=g)
    x[torch.rand(40, generator=g) < 0.2] = torch.nan
    close(groups.bin_sums(x, bins, 6), twins.bin_sums(x, bins, 6))
    assert groups.bin_sums(torch.ones(3, dtype=torch.int64), torch.tensor([2, 0, 2]), 4).tolist() == [1, 0, 2, 0]
    assert groups.bin_sums(x[:0], bins[:0], 2).tolist() == [0.0, 0.0]
    assert groups.bin_sums(x, bins, 0).tolist() == []


def test_numbers_of_groups_are_all_used():
    index, n = groups.numbered(torch.tensor([900, 3, 900, -1]))
    assert (index.tolist(), n) == ([2, 1, 2, 0], 3)
