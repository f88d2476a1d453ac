"""PPR (arXiv:2509.25598): ReNorm of process and outcome."""

import torch

from guerdon.credit import returns_to_go
from guerdon.shaping import renorm

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), equal_nan=True, rtol=0, atol=1e-4)


def test_worked_example():
    process = torch.tensor([[4 / 6, 1.0, NAN, NAN], [4 / 6, 1.0, NAN, NAN], [0.0, 0.5, 0.25, NAN]])
    there = torch.tensor([[True, True, True, False], [True, True, True, False], [True] * 4])
    made = renorm(process, torch.tensor([1.0, 0.0, 0.0]), there)
    close(made, [[0.6667, 1.0, 1.0, NAN], [-0.3333, 0.0, 0.0, NAN], [-1.0, -0.5, -0.75, 0.0]])


def test_a_row_of_one_step_has_the_outcome_and_missing_judgements_stay_missing():
    there = torch.tensor([[True, False, False], [True, True, True], [True, True, False]])
    process = torch.tensor([[0.9, NAN, NAN], [NAN, 0.5, 0.2], [0.5, 0.5, NAN]])
    made = renorm(process, torch.tensor([0.0, 0.0, NAN]), there)
    close(made, [[0.0, NAN, NAN], [NAN, -0.5, 0.0], [NAN, NAN, NAN]])


def test_more_steps_of_a_failure_do_not_pay_unless_mu_is_small():
    """Trap: the raw sum, and a small mu, pay a failed row for every further step."""
    there = torch.tensor([[True] * 2 + [False] * 3, [True] * 5])
    process = torch.where(there, 0.7, NAN)
    failed = torch.zeros(2)

    def totals(rewards):
        return returns_to_go(rewards, there)[:, 0]

    short, long = totals(renorm(process, failed, there))
    assert long < short < 0
    short, long = totals(renorm(process, failed, there, mu=0.2))
    assert long > short > 0


def test_the_shift_is_gone_where_the_same_step_of_a_group_is_compared():
    """Trap: group means per step take a constant shift away; ReNorm must stand where credit sees places."""
    from guerdon.credit import group_centre

    there = torch.ones(3, 3, dtype=torch.bool)
    process, outcome = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)), torch.zeros(3)
    group = torch.zeros(3, dtype=torch.int64)
    close(
        group_centre(renorm(process, outcome, there), group)[:, :2],
        group_centre(renorm(process, outcome, there, mu=0.0), group)[:, :2],
    )
