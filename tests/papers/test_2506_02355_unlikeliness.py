"""Rewarding the Unlikely (arXiv:2506.02355): the reward, its filter and GRPO behind it, in a recipe."""

import pytest
import torch

from guerdon.credit import group_normalise
from guerdon.recipe import load
from guerdon.shaping import unlikeliness
from tests.running import run_parts

NAN = float("nan")
OLD = torch.tensor([-0.5, -2.0, -1.0, -3.0])[:, None]
STAGES = ["weighted-sum", "drop-flat-groups", "unlikeliness", {"use": "group-normalise", "eps": 1e-6}]


def test_worked_example():
    made = run_parts({"right": [1.0, 0.0, 1.0, 1.0]}, STAGES, old_logp=OLD)
    torch.testing.assert_close(made["rewards"], torch.tensor([0.8125, 0.0, 0.875, 1.0]))
    expected = torch.tensor([0.3093, -1.4778, 0.4468, 0.7217])
    torch.testing.assert_close(made["advantages"], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("order", "taught"), [(STAGES, False), ([STAGES[0], *STAGES[2:]], True)])
def test_a_group_that_is_all_right_is_filtered_first(order, taught):
    made = run_parts({"right": [1.0] * 4}, order, old_logp=OLD)
    assert bool(made["advantages"].nan_to_num(nan=0.0).any()) is taught


def test_the_preset_is_this():
    recipe = load({"preset": "unlikeliness", "task": {"use": "arithmetic"}, "reward": [{"use": "final-answer"}]})
    assert [s.use for s in recipe.pipeline] == [s if isinstance(s, str) else s["use"] for s in STAGES]
    assert recipe.training.epochs == 2


def test_ties_and_negative_rewards_as_released():
    """The code ranks by a sort, in which equal answers stand one behind the other, and scales whatever the reward is."""
    group, mask = torch.zeros(4, dtype=torch.int64), torch.ones(4, 1, dtype=torch.bool)
    tied = torch.tensor([-1.0, -1.0, -2.0, -0.5])[:, None]
    rewards = torch.tensor([1.0, 1.0, -1.0, -1.0])
    shared = unlikeliness(rewards, tied, mask, group)
    torch.testing.assert_close(shared, torch.tensor([1 - 1.5 / 16, 1 - 1.5 / 16, -1.0, -1.0]))
    released = unlikeliness(rewards, tied, mask, group, ties="first", negative="scale")
    torch.testing.assert_close(released, torch.tensor([1 - 1 / 16, 1 - 2 / 16, -1.0, -(1 - 3 / 16)]))


def test_a_lone_answer_as_released():
    """Its mean is taken as 0 and its deviation as 1, so that it keeps its reward; elsewhere nothing changes."""
    rewards, group = torch.tensor([0.875, 0.0, 1.0, 1.0]), torch.tensor([0, 0, 1, 2])
    released = group_normalise(rewards, group, eps=1e-6, alone="reward")
    expected = torch.tensor([0.7071056, -0.7071056, 0.999999, 0.999999])
    torch.testing.assert_close(released, expected, rtol=0, atol=1e-6)
    assert group_normalise(rewards, group, eps=1e-6)[2:].tolist() == [0.0, 0.0]
