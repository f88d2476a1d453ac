"""PURE (arXiv:2504.15275): the worked transform, the limit that it approximates, and why a sum is gamed."""

import pytest
import torch

from guerdon.credit import min_form, min_return, returns_to_go
from tests.running import bits, run

STEPS = torch.ones(1, 3, dtype=torch.bool)
SCORES = torch.tensor([[0.8, -0.2, 0.5]])


def close(x, y, tolerance=1e-5):
    torch.testing.assert_close(x, torch.as_tensor(y, dtype=x.dtype), rtol=0, atol=tolerance, equal_nan=True)


def test_worked_example():
    made = min_form(SCORES, STEPS)
    close(made, [[0.00004, -0.19981, 0.00046]])
    close(made.sum(), -0.19932)
    close(returns_to_go(made, STEPS), [[-0.19932, -0.19935, 0.00046]])
    warm = min_form(SCORES, STEPS, temperature=1.0)
    close(warm, [[0.15785, -0.10727, 0.13317]])
    close(warm.sum(), 0.18375)


def test_the_sum_tends_to_the_strict_minimum():
    close(min_form(SCORES, STEPS, temperature=1e-3).sum(), min_return(SCORES, STEPS)[0, 0])
    close(min_return(SCORES, STEPS), [[-0.2, -0.2, 0.5]])


def test_filler_pays_under_a_sum_and_not_under_a_minimum():
    """Six more steps of 0.9 after two useful ones of 0.6."""
    short = torch.tensor([[0.6, 0.6]])
    padded = torch.tensor([[0.6, 0.6] + [0.9] * 6])
    here, there = torch.ones_like(short).bool(), torch.ones_like(padded).bool()
    assert returns_to_go(padded, there)[0, 0] > 5 * returns_to_go(short, here)[0, 0]
    assert min_return(padded, there)[0, 0] == min_return(short, here)[0, 0]
    assert min_form(padded, there).sum() == pytest.approx(min_form(short, here).sum().item(), abs=0.08)


def test_the_recipe_with_a_verifier():
    """Process scores through the minimum and the baseline per token, plus the leave-one-out outcome: by hand."""
    ids = torch.tensor([[0, 0, 1, 1, 1], [0, 1, 1, -1, -1]])
    mask = bits("11111", "11100")
    scores = torch.tensor([[0.8, -0.2], [0.5, 0.5]])
    _, made = run(
        [
            "weighted-sum",
            "leave-one-out",
            {"use": "min-form", "take": {"step_rewards": "prm.step_scores"}},
            "step-token-baseline",
            {"use": "returns-to-go", "make": "step_advantages"},
            "add-levels",
        ],
        [1, 0],
        mask,
        models={"prm": ["step_scores"]},
        model_step_scores={"prm": scores},
        step_ids=ids,
    )
    shaped = min_form(scores, torch.ones(2, 2).bool())
    close(shaped[1], [0.25, 0.25])
    first, second = shaped.sum(-1)
    less = shaped - torch.stack([second / 3, first / 5])[:, None] * torch.tensor([[2.0, 3.0], [1.0, 2.0]])
    to_go = torch.stack([less.sum(-1), less[:, 1]], -1)
    close(made["token_advantages"][0], [1 + to_go[0, 0]] * 2 + [1 + to_go[0, 1]] * 3)
    close(made["token_advantages"][1], [-1 + to_go[1, 0]] + [-1 + to_go[1, 1]] * 2 + [0, 0])
