"""Qin et al., SPEAR (2025): schedules of bonus and replay, and credit recalibrated by a median."""

import pytest
import torch

from guerdon.recipe import load
from guerdon.schedules import Schedule
from guerdon.signals import turn_bonus
from guerdon.training.replay import recalibrated


def test_worked_example():
    bonus = Schedule(schedule="cosine", start=1.0, end=0.0)
    assert bonus.at(100 / 200) == pytest.approx(0.5)
    ramp = Schedule(schedule="cosine", start=0.0, end=1.0)
    assert [round(ramp.at(s / 200), 4) for s in (50, 200)] == [0.1464, 1.0]
    said = recalibrated(torch.tensor([1.0, 0.2, -1.0]), torch.tensor([0.3]))
    torch.testing.assert_close(said, torch.tensor([0.7, -0.1, -1.3]))
    assert (said > 0).tolist() == [True, False, False]


def test_the_bonus_is_capped():
    turns = torch.arange(12) < torch.tensor([[0], [3], [12]])
    torch.testing.assert_close(turn_bonus(turns), torch.tensor([0.0, 0.3, 1.0]))


def test_the_preset_ramps_its_replay_up():
    recipe = load({"preset": "spear", "task": {"use": "arithmetic"}, "reward": [{"use": "final-answer"}]})
    assert recipe.replay.size == 2048
    assert recipe.replay.weight.at(0.25) == pytest.approx(0.5)
