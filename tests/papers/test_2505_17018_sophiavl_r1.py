"""SophiaVL-R1 (arXiv:2505.17018): a judge of thinking, believed as far as outcomes bear it out, and annealed."""

import math

import pytest
import torch

from guerdon.schedules import Schedule
from guerdon.shaping import trust_thinking, trust_weight

NAN = float("nan")
GROUP = torch.zeros(4, dtype=torch.int64)


def test_worked_example():
    outcome, thinking = torch.tensor([1.0, 1.0, 0.0, 0.0]), torch.tensor([0.8, 0.0, 0.9, 0.5])  # means 0.4 and 0.7
    trust = trust_weight(outcome, thinking, GROUP)
    torch.testing.assert_close(trust, torch.full((4,), 0.7408), atol=1e-4, rtol=0)
    annealed = Schedule(schedule="exponential", start=0.3, end=0.3 * math.exp(-1)).at(3000 / 12000)
    rewards = trust_thinking(outcome, {"thinking": thinking}, GROUP, alpha=annealed)
    assert rewards[0].item() == pytest.approx(1.1385, abs=1e-4)
    believed = trust_thinking(outcome, {"thinking": 1 - thinking}, GROUP, alpha=annealed)
    assert believed[1].item() == pytest.approx(1 + 0.2336, abs=1e-4)


def test_trust_is_whole_where_there_is_nothing_to_compare_and_never_below_a_third():
    thinking = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert trust_weight(torch.ones(4), thinking, GROUP).tolist() == [1.0] * 4
    assert trust_weight(torch.zeros(4), thinking, GROUP).tolist() == [1.0] * 4
    assert trust_weight(torch.tensor([1.0, 1.0, 0.0, 0.0]), thinking, GROUP)[0].item() == pytest.approx(math.exp(-1))


def test_what_was_not_judged_is_in_no_mean():
    """Trap: a failed judge that counts as 0 looks like bad thinking of that side."""
    outcome = torch.tensor([1.0, 1.0, 0.0, 0.0])
    thinking = torch.tensor([0.6, NAN, 0.5, NAN])
    assert trust_weight(outcome, thinking, GROUP).tolist() == [1.0] * 4
    as_zero = trust_weight(outcome, thinking.nan_to_num(nan=0.0), GROUP)
    assert as_zero.tolist() == [1.0] * 4  # 0.3 against 0.25
    lost = torch.tensor([0.6, NAN, 0.5, 0.5])
    assert trust_weight(outcome, lost.nan_to_num(nan=0.0), GROUP)[0] < 1  # 0.3 against 0.5
    assert trust_weight(outcome, lost, GROUP)[0] == 1
    rewards = trust_thinking(outcome, {"h": lost}, GROUP, part="h")
    assert rewards.isnan().tolist() == [False, True, False, False]


def test_with_outcomes_of_0_and_1_the_released_zeros_make_trust_idle():
    """The released code takes 0 for the thinking of poor answers, so that right ones are never below them."""
    outcome, thinking = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([0.1, 0.9, 0.9, 0.9])
    assert trust_weight(outcome, thinking, GROUP)[0] < 1
    assert trust_weight(outcome, torch.where(outcome < 0.2, 0.0, thinking), GROUP)[0] == 1


def test_what_the_released_code_does_not_ask():
    """Numbers of the released reward manager at step 3000 of T = 12000; what it does not ask about may be unscored."""
    outcome = torch.tensor([0.6, 1.0, 0.3, 0.4, 0.1, 0.5])
    thinking = torch.tensor([0.2, 0.4, 0.9, 0.8, NAN, 0.1])
    group = torch.zeros(6, dtype=torch.int64)
    alpha = 0.3 * math.exp(-0.25)
    rewards = trust_thinking(outcome, {"thinking": thinking}, group, alpha=alpha, ask="released")
    expected = [0.6334821087, 1.0669642175, 0.4506694894, 0.5339284350, 0.1, 0.5167410544]
    assert rewards.tolist() == pytest.approx(expected, abs=1e-6)
    for saturated in ([0.9, 1.0, 0.95, 1.0], [0.1, 0.0, 0.0, 0.05]):
        outcome = torch.tensor(saturated)
        unasked = {"thinking": torch.full((4,), NAN)}
        assert trust_thinking(outcome, unasked, GROUP, ask="released").tolist() == outcome.tolist()


def test_a_part_that_is_not_there():
    with pytest.raises(ValueError, match="expected a part named 'thinking', got"):
        trust_thinking(torch.ones(4), {"x": torch.ones(4)}, GROUP)
