"""LSC (arXiv:2402.00742): log-sigmoids over a reference, and their sum as a logical AND."""

import pytest
import torch

from guerdon.shaping import log_sigmoid, logical_and, logical_or, weighted_sum


def test_worked_example():
    scores = torch.tensor([-2.0, 1.0, 4.0, 8.0])
    assert log_sigmoid(scores, [1.0] * 4).tolist() == pytest.approx([-3.0486, -0.6931, -0.0486, -0.0009], abs=1e-4)


def test_the_balanced_answer_wins_although_plain_sums_are_equal():
    margins = {"helpful": torch.tensor([3.0, 0.0]), "harmless": torch.tensor([-3.0, 0.0])}
    assert weighted_sum(margins, {"helpful": 1.0, "harmless": 1.0}).tolist() == [0.0, 0.0]
    u = {name: log_sigmoid(m, [0.0, 0.0]) for name, m in margins.items()}
    assert logical_and(u).tolist() == pytest.approx([-3.0972, -1.3863], abs=1e-4)
    p = torch.stack([torch.sigmoid(m) for m in margins.values()])
    torch.testing.assert_close(logical_and(u).exp(), p.prod(0))
    torch.testing.assert_close(logical_or(u).exp(), 1 - (1 - p).prod(0))


def test_the_two_limits_of_the_reference():
    """Far below the scores nothing is left to learn; far above them it is the plain score, up to a constant."""
    scores = torch.tensor([0.0, 1.0, 2.0])
    assert log_sigmoid(scores, [-50.0] * 3).abs().max() < 1e-6
    torch.testing.assert_close(log_sigmoid(scores, [50.0] * 3) + 50.0, scores, rtol=0, atol=1e-5)


def test_the_optimum_is_the_base_policy_given_that_the_answer_is_good():
    """softmax of log-base + u / gamma with gamma = 1 is proportional to base times P(good)."""
    base, margins = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([-1.0, 0.5, 2.0])
    policy = (base.log() + log_sigmoid(margins, [0.0] * 3)).softmax(-1)
    given_good = base * torch.sigmoid(margins)
    torch.testing.assert_close(policy, given_good / given_good.sum())
