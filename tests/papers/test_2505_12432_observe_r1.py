"""Observe-R1 (arXiv:2505.12432): bonus for the shortest right answer, then the group's norm, then the difficulty weight."""

import torch

from guerdon.credit import difficulty_weight, group_normalise
from guerdon.shaping import shortest_correct_bonus
from guerdon.tasks.arithmetic import Arithmetic

NAN = float("nan")
GROUP = torch.zeros(4, dtype=torch.int64)
REWARDS, CORRECT = torch.tensor([1.5, 0.5, 0.5, 1.5]), torch.tensor([1.0, 0.0, 0.0, 1.0])
LENGTHS = torch.tensor([200, 80, 90, 300])


def close(x, y, atol=1e-3):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=0, atol=atol)


def test_worked_example():
    rewards = shortest_correct_bonus(REWARDS, CORRECT, LENGTHS, GROUP)
    close(rewards, [1.7, 0.5, 0.5, 1.5])
    advantages = difficulty_weight(group_normalise(rewards, GROUP, eps=1e-9), CORRECT, GROUP)
    close(advantages, [1.827, -1.546, -1.546, 1.265])


def test_the_bonus_is_not_for_answers_that_are_too_short_or_wrong():
    short = torch.tensor([100, 80, 90, 300])
    close(shortest_correct_bonus(REWARDS, CORRECT, short, GROUP), REWARDS)  # nor for the next shortest
    none_right = torch.zeros(4)
    close(shortest_correct_bonus(REWARDS, none_right, LENGTHS, GROUP), REWARDS)  # the released code pays the first
    tied = torch.tensor([200, 80, 90, 200])
    close(shortest_correct_bonus(REWARDS, CORRECT, tied, GROUP), [1.7, 0.5, 0.5, 1.7])
    close(shortest_correct_bonus(REWARDS, CORRECT, tied, GROUP, ties="first"), [1.7, 0.5, 0.5, 1.5])  # as released
    close(shortest_correct_bonus(REWARDS, CORRECT, LENGTHS, GROUP, ties="first"), [1.7, 0.5, 0.5, 1.5])
    unknown = torch.tensor([NAN, 0.0, 0.0, 1.0])
    close(shortest_correct_bonus(REWARDS, unknown, LENGTHS, GROUP), [1.5, 0.5, 0.5, 1.7])


def test_a_weight_before_the_norm_is_cancelled():
    """Order: the same weight on the rewards is divided out by the spread."""
    group = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    correct = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    before = group_normalise(difficulty_weight(correct, correct, group), group, eps=0.0)
    close(before, group_normalise(correct, group, eps=0.0), atol=1e-5)
    after = difficulty_weight(group_normalise(correct, group, eps=0.0), correct, group)
    close((after / before)[[0, 4]], [4 * 1.8 * 0.25 * 0.75, 1.8], atol=1e-5)


def test_groups_of_one_kind_count_nothing():
    """Brevity and form are ignored where all are right or all are wrong."""
    group = torch.tensor([0, 0, 1, 1])
    advantages = torch.tensor([1.0, -1.0, 0.5, -0.5])
    close(difficulty_weight(advantages, torch.tensor([1.0, 1.0, 0.0, 0.0]), group), [0.0, 0.0, 0.0, 0.0])
    unknown = torch.tensor([1.0, NAN, NAN, NAN])
    close(difficulty_weight(advantages, unknown, group), [0.0, 0.0, NAN, NAN])


def test_easy_problems_come_first():
    task = Arithmetic(operands=(2, 4), rising=30)
    assert task.problems("train", 0, 30)["operands"] == [2] * 10 + [3] * 10 + [4] * 10
    assert set(task.problems("train", 30, 60)["operands"]) == {2, 3, 4}
    assert set(task.problems("heldout", 0, 60)["operands"]) == {2, 3, 4}
    assert task.problems("train", 30, 9) == Arithmetic(operands=(2, 4)).problems("train", 30, 9)
