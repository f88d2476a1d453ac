"""Progress and regret at the edges."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import (
    best_of_k,
    effective_reward,
    normalised_regret,
    progress,
    termination_baseline,
    voting_regret,
)
from tests.kernels.cases import few

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-6)


def test_estimates_are_cut_and_small_differences_dropped():
    q, mask = torch.tensor([[-0.1, 0.2, 0.25, 1.3]]), torch.ones(1, 3).bool()
    close(progress(q, mask), [[0.3, 0.05, 1.05]])
    close(progress(q, mask, low=0.0, high=1.0, smallest=0.1), [[0.2, 0.0, 0.75]])
    close(progress(torch.tensor([[0.1, NAN, 0.3, 0.4]]), mask, smallest=0.01), [[NAN, NAN, 0.1]])


def test_best_of_one_changes_nothing_and_the_ends_stay():
    q = torch.tensor([[0.0, 0.3, 1.0, NAN]])
    close(best_of_k(q, k=1), q)
    close(best_of_k(q, k=100), [[0.0, 1.0, 1.0, NAN]])
    close(best_of_k(torch.tensor([[-2.0, 3.0]])), [[0.0, 1.0]])
    with pytest.raises(ValueError, match="expected k of at least 1"):
        best_of_k(q, k=0)
    with pytest.raises(ValueError, match="at least k = 4 draws, got 3"):
        best_of_k(q, k=4, draws=3)


@pytest.mark.parametrize("chance", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize(("k", "n"), [(1, 3), (2, 8), (4, 4), (4, 10)])
def test_the_best_of_some_draws_is_right_on_average(chance, k, n):
    won = torch.arange(n + 1)
    often = torch.tensor([math.comb(n, c) * chance**c * (1 - chance) ** (n - c) for c in won.tolist()])
    values = (won / n)[None]
    close((often * best_of_k(values, k=k, draws=n)).sum(), 1 - (1 - chance) ** k)
    if k > 1 and 0 < chance < 1:
        assert (often * best_of_k(values, k=k)).sum() < 1 - (1 - chance) ** k - 1e-3


def test_the_outcome_stands_on_the_last_step_that_the_row_has():
    mask = torch.tensor([[True, False, True, False], [True, True, False, False], [False] * 4])
    steps = torch.tensor([[1.0, NAN, 2.0, NAN], [NAN, 1.0, NAN, NAN], [NAN] * 4])
    made = effective_reward(torch.tensor([10.0, NAN, 10.0]), steps, mask, alpha=2.0)
    close(made, [[2.0, NAN, 14.0, NAN], [NAN, NAN, NAN, NAN], [NAN] * 4])
    close(effective_reward(torch.tensor([NAN]), steps[:1], mask[:1])[0, 0], 3.0)  # NaN only where it is placed


def test_a_row_without_its_forced_answer_is_unscored():
    values = torch.tensor([[NAN, 1.0], [0.5, NAN]])
    close(termination_baseline(torch.ones(2), values), [NAN, 0.5])


def area(accuracy, tokens, budget):
    """Plain integration of the curve on a fine grid."""
    points = [(0.0, 0.0)] + [(t, a) for a, t in zip(accuracy, tokens, strict=True) if a == a and t == t]
    total, n = 0.0, 20_000
    for i in range(n):
        x = (i + 0.5) * budget / n
        later = [k for k in range(1, len(points)) if points[k][0] >= x]
        if later:
            (x0, y0), (x1, y1) = points[later[0] - 1], points[later[0]]
            total += (y0 + (y1 - y0) * (x - x0) / (x1 - x0)) * budget / n
        else:
            total += points[-1][1] * budget / n
    return total


@few
@given(seed=st.integers(0, 10_000), points=st.integers(1, 5))
def test_regret_equals_a_plain_integral(seed, points):
    g = torch.Generator().manual_seed(seed)
    accuracy = torch.rand(points, generator=g)
    accuracy = accuracy.masked_fill(torch.rand(points, generator=g) < 0.2, NAN)
    tokens = torch.randint(1, 50, (points,), generator=g).cumsum(0).float()
    budget = float(torch.randint(1, 150, (1,), generator=g))
    made = normalised_regret(accuracy, tokens, budget)
    if accuracy.isnan().all():
        assert made.isnan()
    else:
        torch.testing.assert_close(
            made, torch.tensor(1 - area(accuracy.tolist(), tokens.tolist(), budget) / budget), rtol=0, atol=2e-3
        )


def test_regret_of_many_traces_at_once():
    accuracy = torch.tensor([[0.5, 1.0], [NAN, 1.0], [NAN, NAN]])
    tokens = torch.tensor([[100.0, 200.0], [7.0, 100.0], [1.0, 2.0]])
    close(normalised_regret(accuracy, tokens, 200.0), [0.5, 0.25, NAN])
    close(normalised_regret(torch.tensor([1.0]), torch.tensor([0.0]), 10.0), 0.0)  # right from the start
    with pytest.raises(ValueError, match="expected a budget above 0"):
        normalised_regret(accuracy, tokens, 0.0)


@few
@given(seed=st.integers(0, 10_000), episodes=st.integers(1, 5), budget=st.none() | st.integers(1, 3))
def test_regret_against_a_vote_equals_a_plain_loop(seed, episodes, budget):
    g = torch.Generator().manual_seed(seed)
    votes = torch.rand(episodes, 4, generator=g)
    votes[torch.rand(episodes, generator=g) < 0.2] = NAN
    points, lost, whole = [1, 2, 4, 6], 0.0, 0.0
    for now, later in list(pairwise(votes.tolist()))[:budget]:
        if now[0] != now[0] or later[0] != later[0]:
            continue
        stop = [now[0], now[1], now[2], (now[2] + now[3]) / 2]
        go = [now[0] + (x - 1) / 5 * (later[0] - now[0]) for x in points]
        best = [max(pair) for pair in zip(stop, go, strict=True)]
        for (x0, x1), (b0, b1), (g0, g1) in zip(pairwise(points), pairwise(best), pairwise(go), strict=True):
            lost += (x1 - x0) * (b0 + b1 - g0 - g1) / 2
            whole += (x1 - x0) * (b0 + b1) / 2
    made = voting_regret(votes, budget)
    close(made, lost / whole if whole else NAN)


def test_regret_against_a_vote_of_many_traces_at_once():
    first, flat = [0.2, 0.4, 0.6, 0.8], [0.2] * 4
    traces = torch.tensor([[first, flat, [NAN] * 4], [flat, flat, flat], [[0.0] * 4] * 3, [[NAN] * 4] * 3])
    close(voting_regret(traces), [1.6 / 2.6, 0.0, NAN, NAN])
    with pytest.raises(ValueError, match="expected a budget of at least 1"):
        voting_regret(traces, 0)
