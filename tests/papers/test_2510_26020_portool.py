"""PORTool (arXiv:2510.26020): rewards of a tree, and siblings compared."""

import torch

from guerdon.credit import fork_relative, tree_step_reward

NODES = torch.tensor([[0, 1, 2], [0, 3, -1]])  # A -> B -> end, A -> C
MASK = NODES >= 0
GROUP = torch.zeros(2, dtype=torch.int64)


def test_a_root_with_two_children():
    made = tree_step_reward(torch.tensor([1.0, -1.0]), NODES, MASK, GROUP)
    expected = torch.tensor([[-0.02375, 0.95, 1.0], [-0.02375, -1.0, torch.nan]])
    torch.testing.assert_close(made, expected, equal_nan=True)
    fork = fork_relative(made, NODES, MASK, GROUP)
    expected = torch.tensor([[0, 0.70711, 0], [0, -0.70711, torch.nan]])
    torch.testing.assert_close(fork, expected, equal_nan=True, atol=1e-5, rtol=1e-5)


def test_equal_outcomes_are_still_told_apart_by_length():
    nodes = torch.tensor([[0, 1, -1], [2, 3, 4]])
    made = tree_step_reward(torch.tensor([1.0, 1.0]), nodes, nodes >= 0, GROUP)
    assert fork_relative(made, nodes, nodes >= 0, GROUP)[:, 0].sign().tolist() == [1, -1]


def test_a_wrong_answer_is_less_bad_the_later_it_comes_unless_it_is_worth_nothing():
    """Outcomes of -1 with the discount: one step further is preferred to a wrong answer now."""
    nodes = torch.tensor([[0, 1, -1, -1], [0, 2, 3, 4]])
    for wrong, preferred in ((-1.0, [-1, 1]), (0.0, [0, 0])):
        made = tree_step_reward(torch.full((2,), wrong), nodes, nodes >= 0, GROUP)
        assert fork_relative(made, nodes, nodes >= 0, GROUP)[:, 1].sign().tolist() == preferred
