"""MRT (arXiv:2503.07572): progress of a forced answer, its baseline, and regret over a budget of tokens."""

import torch

from guerdon.credit import effective_reward, normalised_regret, progress, termination_baseline
from tests.running import bits, run

STEPS = torch.ones(1, 3, dtype=torch.bool)
J = torch.tensor([[0.1, 0.4, 0.4, 0.9]])


def close(x, y, tolerance=1e-6):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    made = progress(J, STEPS)
    close(made, [[0.3, 0.0, 0.5]])
    close(made.sum(), 0.8)
    close(effective_reward(torch.ones(1), made, STEPS, alpha=0.5), [[0.15, 0.0, 1.25]])


def test_regret():
    accuracy, tokens = torch.tensor([0.5, 1.0]), torch.tensor([100.0, 200.0])
    close(normalised_regret(accuracy, tokens, 200), 0.5)
    close(normalised_regret(accuracy, tokens, 400), 0.25)  # the last value is held


def test_against_stopping_at_once_by_recipe():
    _, made = run(
        ["weighted-sum", "termination-baseline"],
        [1, 0],
        bits("111", "110"),
        prefix_values=torch.tensor([[0.1, 0.4, 0.9], [0.3, 0.0, 0.0]]),
        step_ids=torch.tensor([[0, 0, 1], [0, 0, -1]]),
    )
    close(made["advantages"], [0.9, -0.3])
    close(termination_baseline(torch.ones(1), J), [0.9])
