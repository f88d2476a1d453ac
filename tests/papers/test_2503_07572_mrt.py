"""MRT (arXiv:2503.07572): progress of a forced answer, its baseline, and regret over a budget of tokens."""

import torch

from guerdon.credit import (
    effective_reward,
    most_progress,
    normalised_regret,
    progress,
    termination_baseline,
    voting_regret,
)
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


def test_regret_against_a_vote():
    """Stopping gives .2, .4, .6, .7 at 1, 2, 4, 6, with the area 2.6; going on gives 1.0 where nothing is gained, 3.0 where
    all is."""
    first, flat, solved = [0.2, 0.4, 0.6, 0.8], [0.2, 0.2, 0.2, 0.2], [1.0, 1.0, 1.0, 1.0]
    close(voting_regret(torch.tensor([first, flat])), 1.6 / 2.6)
    close(voting_regret(torch.tensor([flat, solved])), 0.0)
    close(voting_regret(torch.tensor([first, flat, solved])), 1.6 / (2.6 + 3.0))
    close(voting_regret(torch.tensor([first, flat, solved]), budget=1), 1.6 / 2.6)


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


NAN = torch.nan
ROWS = torch.tensor(
    [[0.1, 0.4, 0.2, 1.0], [0.1, 0.6, 1.0, 1.0], [0.1, 0.9, 0.8, 0.0], [0.5, 0.4, 1.0, 1.0], [0.2, 1.0, 1.0, 1.0]]
)
LENGTHS = bits("111", "110", "111", "110", "100")


def test_star_keeps_the_right_answer_that_got_furthest_on_its_way():
    """Row 2 is wrong, row 3 loses ground, row 4 has no boundary inside; of the others row 1 gains .5 and row 0 .3."""
    correct, group = torch.tensor([1.0, 1, 0, 1, 1]), torch.tensor([0, 0, 0, 1, 1])
    close(most_progress(ROWS, correct, group, LENGTHS), [NAN, 1.0, NAN, NAN, NAN])
    close(most_progress(ROWS, correct, torch.arange(5), LENGTHS), [1.0, 1.0, NAN, NAN, NAN])
    close(most_progress(ROWS, correct, torch.arange(5), LENGTHS, least=0.4), [NAN, 1.0, NAN, NAN, NAN])
    close(most_progress(ROWS, torch.full((5,), NAN), group, LENGTHS), [NAN] * 5)


def test_star_by_recipe_trains_on_what_it_keeps_alone():
    pipeline, made = run(
        ["weighted-sum", "most-progress"],
        [1, 1],
        bits("111", "110"),
        prefix_values=torch.tensor([[0.1, 0.4, 1.0], [0.1, 0.2, 1.0]]),
        step_ids=torch.tensor([[0, 0, 1], [0, 1, -1]]),
    )
    kept = pipeline.objective.boundary(made)
    assert kept["mask"].tolist() == [[True, True, True], [False, False, False]]
    close(kept["token_advantages"], [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
