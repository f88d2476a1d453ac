"""What the environment paid, as rewards of rows and of turns."""

import pytest
import torch

from guerdon.signals import environment_score, environment_steps

NAN = float("nan")


def test_by_hand():
    scores = torch.tensor([[0.0, 1.0, NAN], [2.0, -1.0, 0.0], [NAN, NAN, NAN], [0.5, NAN, NAN]])
    part, correct = environment_score(scores)
    torch.testing.assert_close(part, torch.tensor([1.0, 1.0, NAN, 0.5]), equal_nan=True)
    torch.testing.assert_close(correct, torch.tensor([1.0, 0.0, NAN, 1.0]), equal_nan=True)
    assert environment_score(scores, threshold=0.5)[1].tolist()[3] == 0.0
    steps = environment_steps(scores)
    torch.testing.assert_close(steps, scores, equal_nan=True)
    assert steps.data_ptr() != scores.data_ptr()


@pytest.mark.parametrize("score", [0.0, -3.0, 0.1])
def test_one_turn(score):
    part, correct = environment_score(torch.tensor([[score]]))
    assert part.tolist() == pytest.approx([score])
    assert correct.tolist() == [float(score > 0)]
