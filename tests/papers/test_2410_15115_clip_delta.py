"""Clip and Delta (arXiv:2410.15115): bounded process rewards from a process reward model, in a recipe."""

import pytest
import torch

from tests.running import run

SCORES = torch.tensor([[0.9, 0.5, 0.7, 0.95]])
TAKE = {"step_rewards": "prm.step_scores"}
EDGE = {"use": "clip-steps", "eta": 0.8}


@pytest.mark.parametrize(
    ("stages", "rewards", "returns"),
    [
        ([{**EDGE, "take": TAKE}], [0.0, -0.3, -0.1, 0.0], [-0.4, -0.4, -0.1, 0.0]),
        ([{"use": "delta-steps", "take": TAKE}], [0.4, -0.2, 0.7, 0.0], [0.9, 0.5, 0.7, 0.0]),
        ([{**EDGE, "take": TAKE}, "delta-steps"], [0.3, -0.2, -0.1, 0.0], [0.0, -0.3, -0.1, 0.0]),
    ],
)
def test_worked_example(stages, rewards, returns):
    """The return from a step on is its own score under Delta: no later step is paid for."""
    mask = torch.ones(1, 4, dtype=torch.bool)
    levels = {"use": "step-credit", "take": {"step_advantages": "step_returns"}}
    _, made = run(
        [*stages, "returns-to-go", levels],
        [1],
        mask,
        watch=True,
        models={"prm": ["step_scores"]},
        model_step_scores={"prm": SCORES},
        step_ids=torch.arange(4)[None],
    )
    torch.testing.assert_close(made["step_rewards"], torch.tensor([rewards]), rtol=0, atol=1e-6)
    torch.testing.assert_close(made["step_returns"], torch.tensor([returns]), rtol=0, atol=1e-6)
