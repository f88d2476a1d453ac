"""RLP (arXiv:2510.01265): information gain of a thought, and its advantage, which is leave-one-out."""

import torch

from guerdon.credit import group_centre, leave_one_out, thought_information_gain
from tests.running import bits, run

NAN = float("nan")


def close(x, y):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=1e-6, equal_nan=True)


def test_worked_example():
    logp = torch.tensor([[-1.0, -0.6], [-1.0, -0.9]])
    made = thought_information_gain(logp, bits("1", "1"), torch.tensor([-1.0, -1.0]))
    close(made, [0.4, 0.1])
    close(made.mean(), 0.25)
    close(leave_one_out(made, torch.zeros(2, dtype=torch.int64)), [0.3, -0.3])


def test_the_advantage_of_the_paper_is_leave_one_out():
    generator = torch.Generator().manual_seed(0)
    rewards, group = torch.randn(7, generator=generator), torch.tensor([0, 1, 0, 1, 0, 0, 1])
    size = torch.tensor([4.0, 3, 4, 3, 4, 4, 3])
    close(leave_one_out(rewards, group), size / (size - 1) * group_centre(rewards, group))


def test_the_last_boundary_is_that_of_the_last_step_there_is():
    logp = torch.tensor([[-1.0, -0.5, NAN, -0.2], [-1.0, -0.5, -9.0, 5.0], [-1.0, -0.5, -0.4, -0.3], [-1.0] * 4])
    made = thought_information_gain(logp, bits("101", "100", "000", "001"), torch.tensor([-1.0, -1.0, -1.0, NAN]))
    close(made, [0.8, 0.5, NAN, NAN])
    close(thought_information_gain(logp[:, :1], bits("", "", "", ""), torch.zeros(4)), [NAN] * 4)


def test_the_recipe():
    _, made = run(
        ["thought-information-gain", "leave-one-out"],
        [1, 1],
        bits("111", "110"),
        watch=True,
        loss="clipped-surrogate",
        models={"ema": ["answer_logp"]},
        answer_logp=torch.tensor([[-1.0, -0.6], [-1.0, -0.9]]),
        model_answer_logp={"ema": torch.tensor([-1.0, -1.0])},
        step_ids=torch.tensor([[0, 0, 0], [0, 0, -1]]),
    )
    close(made["advantages"], [0.3, -0.3])
