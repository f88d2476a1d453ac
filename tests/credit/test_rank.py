"""Effective rank, its growth, and the bonus."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import EffectiveRankBonus, effective_rank, rank, rank_dynamics
from guerdon.credit.rank import auxiliary
from guerdon.kernels import _compiled_spectra, scan
from tests.kernels.cases import few


def slow_rank(z):
    if len(z) < 2:
        return 0.0
    values = np.linalg.svd(z - z.mean(0), compute_uv=False)
    q = values / (values.sum() + 1e-8)
    return float(np.exp(-(q * np.log(q + 1e-8)).sum()))


def slow_dynamics(z, stride, window):
    z = z[-window:]
    m = [slow_rank(z[:t]) for t in range(stride, len(z), stride)]
    d = [m[j] - np.mean(m[:j]) for j in range(1, len(m))]
    a = [d[j] - d[j - 1] for j in range(1, len(d))]
    return slow_rank(z), np.mean(d) if d else 0.0, np.mean(a) if a else 0.0


@few
@given(seed=st.integers(0, 1000), width=st.sampled_from([1, 9, 30]), size=st.sampled_from([1, 4, 40]))
def test_ranks_equal_those_of_a_plain_decomposition(seed, width, size):
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(18, width, size, generator=g)
    mask = torch.rand(18, width, generator=g) < torch.rand(18, 1, generator=g)
    made = rank_dynamics(hidden, mask, stride=3, window=12)
    for i in range(18):
        expected = slow_dynamics(hidden[i][mask[i]].double().numpy(), 3, 12)
        assert [x[i].item() for x in made] == pytest.approx(expected, abs=1e-3)


@few
@given(seed=st.integers(0, 1000), width=st.sampled_from([1, 9, 30]))
def test_the_released_form_equals_what_the_official_code_measures(seed, width):
    """A point after t = stride, 2 stride, ... of the last ``window`` states takes t + 1 of them; the rank takes all states."""
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(12, width, 4, generator=g)
    mask = torch.rand(12, width, generator=g) < torch.rand(12, 1, generator=g)
    made = rank_dynamics(hidden, mask, stride=3, window=12, form="released")
    for i in range(12):
        states = hidden[i][mask[i]].double().numpy()
        last = states[-12:]
        m = [slow_rank(last[: t + 1]) for t in range(3, len(last), 3)]
        d = [m[j] - np.mean(m[:j]) for j in range(1, len(m))]
        a = [d[j] - d[j - 1] for j in range(1, len(d))]
        expected = slow_rank(states), np.mean(d) if d else 0.0, np.mean(a) if a else 0.0
        assert [x[i].item() for x in made] == pytest.approx(expected, abs=1e-3)


def test_known_ranks():
    z = torch.stack([torch.eye(4), torch.ones(4, 4), torch.arange(16.0).reshape(4, 4), torch.full((4, 4), torch.nan)])
    made = effective_rank(z, torch.ones(4, 4, dtype=torch.bool))
    torch.testing.assert_close(made, torch.tensor([3.0, 1.0, 1.0, torch.nan]), equal_nan=True, atol=1e-4, rtol=0)
    assert effective_rank(z, torch.zeros(4, 4, dtype=torch.bool)).tolist()[:3] == [0, 0, 0]


def test_new_directions_raise_the_rank_and_repeated_states_do_not():
    walk = torch.randn(1, 200, 64, generator=torch.Generator().manual_seed(0)).cumsum(1)
    mask = torch.ones(1, 200, dtype=torch.bool)
    rank, velocity, _ = rank_dynamics(walk, mask)
    assert rank > 3
    assert velocity > 0
    rank, velocity, acceleration = rank_dynamics(torch.ones(1, 200, 64), mask)
    assert [rank.item(), velocity.item(), acceleration.item()] == pytest.approx([1, 0, 0], abs=1e-4)


@pytest.mark.parametrize("where", ["last", "all"])
def test_the_bonus_keeps_signs_and_leaves_zero_alone(where):
    g = torch.Generator().manual_seed(1)
    advantages = torch.tensor([1.0, -1.0, 0.0, torch.nan])
    hidden, mask = torch.randn(4, 50, 8, generator=g), torch.rand(4, 50, generator=g) < 0.8
    bonus = EffectiveRankBonus(stride=5, where=where)
    made = bonus(advantages, hidden, mask)
    plain = torch.where(mask, advantages[:, None], 0.0)
    assert (made[:3] >= plain[:3]).all()
    assert (made[:3].sign() == plain[:3].sign()).all()
    changed = (made[:3] != plain[:3]).sum(-1).tolist()
    assert changed == ([1, 1, 0] if where == "last" else [*mask[:2].sum(-1).tolist(), 0])
    assert made[3][mask[3]].isnan().all()


def test_running_means():
    g = torch.Generator().manual_seed(2)
    hidden, mask = torch.randn(2, 30, 8, generator=g), torch.ones(2, 30, dtype=torch.bool)
    measured = torch.stack(rank_dynamics(hidden, mask, stride=5)[::-1], -1)
    bonus = EffectiveRankBonus(stride=5)
    bonus.update(torch.tensor([1.0, torch.nan]), hidden, mask)
    torch.testing.assert_close(bonus.state_dict()["means"], 0.3 * measured[0])
    warm = EffectiveRankBonus(stride=5, start="batch")
    warm.update(torch.tensor([torch.nan, torch.nan]), hidden, mask)
    assert warm.state_dict()["means"].isnan().all()
    warm.update(torch.zeros(2), hidden, mask)
    torch.testing.assert_close(warm.state_dict()["means"], measured.mean(0))
    assert auxiliary(measured, torch.zeros(3)).abs().max() <= 1
    with pytest.raises(ValueError, match="stride and window"):
        rank_dynamics(hidden, mask, stride=0)


@few
@given(seed=st.integers(0, 1000), size=st.sampled_from([2, 7, 40]), kind=st.sampled_from(["plain", "offset", "equal"]))
def test_compiled_dynamics_equal_the_plain_ones(seed, size, kind):
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(9, 50, size, generator=g)
    if kind == "offset":  # blocks far apart, themselves narrow
        hidden = hidden + 1000.0 * torch.randn(9, 1, size, generator=g)
        hidden[:, 25:] -= 3000.0
    if kind == "equal":  # nothing but one state for long, then many
        hidden[:, :30] = hidden[:, :1]
    hidden[1, 40] = torch.nan
    hidden[2, 20, 0] = torch.inf
    mask = torch.rand(9, 50, generator=g) < torch.rand(9, 1, generator=g)
    mask[:3], mask[3] = True, False
    hidden = hidden.masked_fill(~mask[..., None] & (torch.rand(9, 50, 1, generator=g) < 0.5), torch.nan)
    energies = _compiled_spectra.prefix_energies(hidden, mask, 4, 33)
    fast = rank._rank(energies.flatten(0, 1)).view(energies.shape[:2]).float()
    fast[mask.sum(-1) < 2, -1] = 0.0
    slow = rank._prefix_ranks(hidden, mask, 4, 33)
    points = slow.shape[1] - 1
    torch.testing.assert_close(fast[:, :points], slow[:, :-1], equal_nan=True, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(fast[:, -1], slow[:, -1], equal_nan=True, rtol=1e-3, atol=1e-3)
    assert fast[:, points:-1].isnan().all()


def test_large_batches_take_the_compiled_walk_and_agree(monkeypatch):
    g = torch.Generator().manual_seed(0)
    hidden, mask = torch.randn(80, 1000, 6, generator=g), torch.rand(80, 1000, generator=g) < 0.9
    fast = rank_dynamics(hidden, mask)
    monkeypatch.setattr(scan, "COMPILED_FROM", 1 << 60)
    for a, b in zip(fast, rank_dynamics(hidden, mask), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_a_state_that_is_not_finite_costs_its_row_only():
    hidden, mask = torch.randn(3, 60, 5, generator=torch.Generator().manual_seed(0)), torch.ones(3, 60).bool()
    hidden[1, 50, 2] = torch.inf
    made = EffectiveRankBonus(stride=10)(torch.ones(3), hidden, mask)
    assert made[1, -1].isnan()
    assert made[[0, 2]].isfinite().all()
