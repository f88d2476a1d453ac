"""SPARK (arXiv:2512.03244): verdicts on steps as rewards."""

import pytest
import torch

from guerdon.credit import group_normalise, selective_advantage, step_augmented

Y = torch.tensor([1.0, 0, 1, 1])
F = torch.tensor([1.0, 1, 1, 0])
STEPS = torch.tensor([[1.0, 1, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
MASK = torch.ones(4, 4, dtype=torch.bool)


def test_rewards_and_selected_advantages():
    process = step_augmented(Y, STEPS, MASK, F, step_weight=0.0, outcome_weight=1.0)
    assert process.tolist() == [1, 0, 1, 0]
    torch.testing.assert_close(step_augmented(Y, STEPS, MASK, F), torch.tensor([0.9, 0.2, 1.0, 0]))
    advantages = group_normalise(process, torch.zeros(4, dtype=torch.int64), ddof=0, eps=0.0)
    torch.testing.assert_close(advantages, torch.tensor([1.0, -1, 1, -1]))
    made = selective_advantage(advantages, STEPS, torch.arange(4).expand(4, 4), MASK)
    torch.testing.assert_close(made[:2], torch.tensor([[1.0, 1, 0, 1], [0, -1, -1, 0]]))


def test_f1_of_two_accuracies():
    from guerdon.credit import processbench_f1

    gold = torch.tensor([2] * 10 + [-1] * 10)
    predicted = torch.tensor([2] * 5 + [1] * 5 + [-1] * 9 + [0])
    assert processbench_f1(predicted, gold) == pytest.approx((0.5, 0.9, 0.6429), abs=1e-4)
