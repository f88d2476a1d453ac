"""Token importance at the edges: thresholds, the largest values, unscored rows and tokens, one kind of row only."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guerdon.credit import balance_outcomes, running_mean_importance
from guerdon.kernels import scan
from tests.kernels import twins
from tests.kernels.cases import few

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=1e-5, atol=1e-5)


def test_holes_are_stepped_over_and_the_unscored_shown():
    scores = torch.tensor([[2.0, NAN, -1.0, 9.0], [2.0, NAN, 1.0, 9.0], [1.0, 1.0, 1.0, 1.0]])
    mask = torch.tensor([[True, False, True, False], [True, True, True, False], [True, True, False, False]])
    made = running_mean_importance(scores, torch.tensor([1.0, 1.0, NAN]), mask)
    p = torch.sigmoid(torch.tensor([2.0, 0.5])) * 2 - 1
    close(made, [[p[0], 0, p[1], 0], [p[0], NAN, NAN, 0], [NAN, NAN, 0, 0]])


def test_thresholds():
    scores, mask = torch.tensor([[0.0, 4.0], [0.0, -4.0]]), torch.ones(2, 2).bool()
    made = running_mean_importance(
        scores, torch.tensor([1.0, 0.0]), mask, threshold_positive=0.0, threshold_negative=0.75
    )
    p = torch.sigmoid(torch.tensor(2.0))
    close(made, [[0.5, p], [0.0, (p - 0.75) / 0.25]])
    for wrong in ({"threshold_positive": 1.0}, {"threshold_negative": -0.1}):
        with pytest.raises(ValueError, match="expected thresholds in"):
            running_mean_importance(scores, torch.ones(2), mask, **wrong)
    with pytest.raises(ValueError, match="expected top_k as a share"):
        running_mean_importance(scores, torch.ones(2), mask, top_k=0.0)


def test_the_largest_values_only():
    scores = torch.tensor([[3.0, -1.0, 1.0, 5.0, 0.0], [1.0, 1.0, 1.0, 9.0, 9.0], [NAN, 1.0, 1.0, 1.0, 1.0]])
    mask = torch.tensor([[True] * 5, [True, True, True, False, False], [True, False, False, False, False]])
    made = running_mean_importance(scores, torch.ones(3), mask, top_k=0.6)
    p = torch.sigmoid(torch.tensor([3.0, 1.0, 1.0, 2.0, 1.6]))  # the largest three: 3, 2, 1.6
    close(made[0], [1.0, 0.0, 0.0, (p[3] - p[4]) / (p[0] - p[4]), 0.0])
    close(made[1], [1.0, 1.0, 1.0, 0.0, 0.0])  # all equal
    close(made[2], [NAN, 0.0, 0.0, 0.0, 0.0])
    assert running_mean_importance(torch.zeros(1, 0), torch.ones(1), mask[:1, :0], top_k=0.5).shape == (1, 0)


@few
@given(seed=st.integers(0, 1000))
def test_equals_the_loop(seed):
    g = torch.Generator().manual_seed(seed)
    scores, mask = torch.randn(4, 6, generator=g), torch.rand(4, 6, generator=g) < 0.7
    correct = torch.randint(0, 2, (4,), generator=g).float()
    sure = 2 * torch.sigmoid(twins.running_mean(scores, mask)) - 1
    expected = torch.where(correct[:, None] > 0, sure, -sure).clamp(min=0).masked_fill(~mask, 0)
    close(running_mean_importance(scores, correct, mask), expected)


def test_balance():
    lengths = torch.tensor([3, 5, 2, 100])
    made = balance_outcomes(torch.tensor([1.0, 0.0, 1.0, NAN]), lengths)
    close(made, [10 / 5, 0.5 * 10 / 5, 10 / 5, NAN])
    close(balance_outcomes(torch.ones(4), lengths), [1.0] * 4)  # nothing wrong: only the first half
    close(balance_outcomes(torch.zeros(4), lengths), [0.5] * 4)
    close(balance_outcomes(torch.ones(2), torch.zeros(2).long()), [0.0, 0.0])
    left_out = balance_outcomes(torch.tensor([1.0, 0.0, 1.0]), lengths[:3], torch.tensor([1.0, -1.0, NAN]))
    close(left_out, [8 / 3, 0.5 * 8 / 5, NAN])  # n = 8: the third row is in no count


def test_large_batches_take_the_compiled_walk_and_agree(monkeypatch):
    g = torch.Generator().manual_seed(0)
    scores, mask = torch.randn(40, 2000, generator=g), torch.rand(40, 2000, generator=g) < 0.9
    correct = torch.randint(0, 2, (40,), generator=g).float().index_fill(0, torch.tensor([3]), NAN)
    fast = running_mean_importance(scores, correct, mask)
    monkeypatch.setattr(scan, "COMPILED_FROM", 1 << 60)
    close(fast, running_mean_importance(scores, correct, mask))
