"""RLPrompt (arXiv:2205.12548): gaps, z-scores by input, affine shaping."""

import pytest
import torch

from guerdon.shaping import amplify_by_sign, scale_rewards, z_score_by_pool


def test_worked_example():
    z = z_score_by_pool(torch.tensor([1.0, 2.0, 3.0, 6.0]), ["x"] * 4)
    assert z.tolist() == pytest.approx([-1.068988, -0.534494, 0.0, 1.603482], abs=2e-4)  # eps 1e-4
    gaps = amplify_by_sign(torch.tensor([0.3, -0.2]))
    assert gaps.tolist() == pytest.approx([60.0, -36.0])
    assert float(gaps.mean()) == pytest.approx(12.0)
    assert scale_rewards(torch.tensor([0.0, 1.0]), scale=100.0, shift=-20.0).tolist() == [-20.0, 80.0]


def test_an_input_on_which_all_prompts_are_equal_gets_the_lower_end_after_shaping():
    flat = z_score_by_pool(torch.tensor([7.0, 7.0]), ["x", "x"])
    assert scale_rewards(flat, scale=100.0, shift=-20.0).tolist() == [-20.0, -20.0]
