"""R1-Reward (arXiv:2505.02835): the advantage filter, the pre-clip, and the reward for consistency."""

import pytest
import torch

from guerdon.credit import advantage_filter, whiten
from guerdon.objectives import clipped_surrogate, token_ratio, truncate_ratio
from guerdon.shaping import consistency_bonus

NAN = float("nan")


def close(x, y, tolerance=1e-4):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    """Eleven zeros and one 10: the outlier is 3.3166 deviations out, and is zeroed, not cut to 3."""
    advantages, mask = torch.tensor([[0.0] * 11 + [10.0]]), torch.ones(1, 12, dtype=torch.bool)
    z = whiten(advantages, mask, ddof=0)
    close(z[0, -1], 3.3166)
    kept = advantage_filter(z, mask)
    assert kept[0, -1] == 0
    close(kept[0, :-1], z[0, :-1])
    close(advantage_filter(z, mask, limit=3.4), z)
    close(advantage_filter(torch.tensor([[NAN, -4.0]]), torch.ones(1, 2, dtype=torch.bool)), [[NAN, 0.0]])


def test_rewards():
    form, right = torch.tensor([1.0, 1.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])
    parts = {"judge": torch.tensor([1.0, -1.0, 0.0, 1.0])}
    close(consistency_bonus(0.5 * form + right, right, parts, part="judge"), [2.0, 1.0, 1.0, 0.5])


def test_a_judge_that_failed_is_no_contradiction():
    ones, parts = torch.ones(2), {"judge": torch.tensor([NAN, NAN])}
    right = torch.tensor([1.0, 0.0])
    close(consistency_bonus(ones, right, parts, part="judge"), [NAN, 1.0])
    close(consistency_bonus(ones, right, parts, part="judge", failed="neutral"), [1.0, 1.0])
    close(consistency_bonus(ones, torch.tensor([NAN, 1.0]), {"judge": ones}, part="judge"), [NAN, 1.5])


def test_a_ratio_past_the_bounds_passes_no_gradient_and_costs_no_more_than_the_bound():
    mask = torch.ones(1, 3, dtype=torch.bool)
    logp = torch.tensor([[11.5, -11.5, 0.1]], requires_grad=True)
    bounded = truncate_ratio(token_ratio(logp, torch.zeros(1, 3), mask), mask)
    loss = clipped_surrogate(bounded, torch.full((1, 3), -1.0), mask)
    close(loss[0, :2], [1000.0, 0.8], 1e-2)
    loss.sum().backward()
    assert logp.grad[0, :2].tolist() == [0.0, 0.0]
    assert logp.grad[0, 2] > 0


@pytest.mark.parametrize(
    ("returns", "kept"),
    [
        ([0.0] * 11 + [10.0], [-0.301511] * 11 + [3.316625]),  # the bound is 0.8333 + 3
        ([4.0] * 11 + [-2.0], [0.0] * 12),  # all lie below 3.5 - 3
        ([2.0, 2.5, 2.2, 2.1, -1.0, 2.0], [0.308183, 0.728431, 0.476282, 0.392232, 0.0, 0.308183]),
        ([1.0] * 120 + [101.0], [-0.091287] * 120 + [0.0]),  # 10.95 deviations out
    ],
)
def test_the_window_as_released(returns, kept):
    returns, mask = torch.tensor([returns]), torch.ones(1, len(returns), dtype=torch.bool)
    z = whiten(returns, mask, ddof=0)
    close(advantage_filter(z, mask, returns, window="shifted"), [kept], 2e-6)
    with pytest.raises(ValueError, match="expected token_returns"):
        advantage_filter(z, mask, window="shifted")
