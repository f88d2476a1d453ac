"""RLPrompt (arXiv:2205.12548): gaps, z-scores by input, affine shaping."""

import pytest
import torch

from guerdon.shaping import amplify_by_sign, block_maxima, scale_rewards, z_score_by_pool, z_score_of_blocks


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


def test_blocks_of_style_transfer():
    """Numbers of the released reward: maxima by block, and a deviation of single maxima under the means of rows."""
    scores = torch.tensor([[10.0, 50.0, 30.0, 20.0], [40.0, 0.0, 60.0, 70.0]])
    maxima = block_maxima(scores, 2)
    assert maxima.tolist() == [[50.0, 30.0], [40.0, 70.0]]
    assert maxima.mean(-1)[0] == 40.0
    assert z_score_of_blocks(maxima, ["x", "x"]).tolist() == pytest.approx([-0.507089, 0.507089], abs=1e-5)
    assert z_score_by_pool(maxima.mean(-1), ["x", "x"]).tolist() == pytest.approx([-1.0, 1.0], abs=1e-4)
    with pytest.raises(ValueError, match="expected a number of blocks that divides 4"):
        block_maxima(scores, 3)
