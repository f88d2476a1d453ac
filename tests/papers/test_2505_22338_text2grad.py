"""Text2Grad (arXiv:2505.22338): marks on phrases, and what GAE makes of them."""

import pytest
import torch

from guerdon.credit import gae
from guerdon.shaping import soft_length_weight, weighted_token_sum
from guerdon.signals import critique_spans, parse_critique

MASK = torch.ones(1, 6, dtype=torch.bool)


@pytest.mark.parametrize(
    ("lam", "expected"), [(1.0, [1, 1, 0, -1, -1, 0]), (0.95, [1.03799, 1.09263, 0.0975, -0.95, -1, 0])]
)
def test_marks_to_advantages(lam, expected):
    text = "a good b bad"
    spans = torch.tensor([[[0, 2], [2, 4], [4, 6], [6, 9], [9, 12], [12, 12]]])
    said = parse_critique('{"good": ["good"], "poor": ["bad"]}', text)
    marks = critique_spans([text], spans, MASK, [said])
    assert marks.tolist() == [[0, 1, 1, 0, -1, 0]]
    rewards = weighted_token_sum({"critic": marks}, {"critic": 1.0}, MASK)
    ended = torch.ones(1, dtype=torch.bool)
    made, _ = gae(rewards, torch.zeros(1, 6), MASK, ended, ~ended, torch.zeros(1), lam=lam)
    torch.testing.assert_close(made, torch.tensor([expected]).float(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("length", "weight"), [(48, 0.9975), (54, 0.5), (60, 0.0025)])
def test_soft_length(length, weight):
    made = soft_length_weight(torch.ones(1, length), torch.ones(1, length, dtype=torch.bool))
    assert made[0, 0].item() == pytest.approx(weight, abs=1e-4)
