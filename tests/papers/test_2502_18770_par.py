"""PAR (arXiv:2502.18770): preference over references as the reward, and its rivals."""

import math

import pytest
import torch

from guerdon.shaping import clip_rewards, log_sigmoid, piecewise_length, preference_as_reward


def test_worked_example():
    """References 0, 1, 2: a score of 1 is worth exactly one half; from 4 to 9 PAR pays .061 where the score pays 5."""
    made = preference_as_reward(torch.tensor([1.0, 4.0, 9.0]), [[0.0, 1.0, 2.0]] * 3)
    assert made[0] == 0.5
    assert made.tolist() == pytest.approx([0.5, 0.9385, 0.9995], abs=1e-4)
    assert float(made[2] - made[1]) == pytest.approx(0.061, abs=1e-3)


def test_official_order_of_ceiling_length_penalty_and_curve():
    """min(r, c), then 0.01 for each token past 300, then the curve: by loops."""
    scores, lengths, references = [9.0, 2.0], [310, 100], [[0.0, 1.0], [2.0, 4.0]]
    expected = []
    for r, n, refs in zip(scores, lengths, references, strict=True):
        r = min(r, 5.0) - 0.01 * max(0, n - 300)
        expected.append(sum(1 / (1 + math.exp(-(r - x))) for x in refs) / len(refs))
    capped = clip_rewards(torch.tensor(scores), low=-math.inf, high=5.0)
    shorter = piecewise_length(capped, torch.tensor(lengths), points=((300.0, 0.0), (10300.0, -100.0)))
    assert preference_as_reward(shorter, references).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_log_sigmoid_arm():
    """The 85 percent quantile of a normal distribution with the references' mean and sample deviation."""
    references = [0.0, 1.0, 2.0]
    q = 1.0 + 1.0364334 * 1.0
    assert float(log_sigmoid(torch.tensor([1.5]), [references])) == pytest.approx(
        -math.log1p(math.exp(-(1.5 - q))), abs=1e-5
    )


def test_the_released_log_sigmoid_widens_the_deviation():
    """Numbers of the released shaper; a single reference has no deviation but the 1e-5 that it adds."""
    made = log_sigmoid(torch.tensor([1.5, -2.0]), [[0.0, 1.0, 2.0], [0.5]], eps=1e-5)
    q = [1.0 + 1.0364334 * 1.00001, 0.5 + 1.0364334e-5]
    expected = [-math.log1p(math.exp(q[0] - 1.5)), -math.log1p(math.exp(q[1] + 2.0))]
    assert made.tolist() == pytest.approx(expected, abs=1e-6)
