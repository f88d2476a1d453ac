"""DR-IRL (arXiv:2503.18991): group advantages times a data and a model coefficient, in a recipe."""

import math

import pytest
import torch

from guerdon.reward_models.losses import demonstration_loss
from guerdon.signals import demonstration_similarity
from tests.running import run_parts

REWARDS, SIMILARITY = [1.0, 2.0, 3.0, 2.0], [0.9, 0.5, 0.7, 0.3]
NORMALISED = {"use": "group-normalise", "ddof": 0, "eps": 0.0}
BOTH = [{"use": "scale-by-similarity", "part": "like"}, {"use": "scale-by-gap", "tau": 2.0}]


def advantages(stages, demonstrated=(1.5, 2.4, 3.6, 5.0)):
    """Gaps of .5, .4, .6 and 3 to the demonstration."""
    made = run_parts(
        {"shadow": REWARDS, "like": SIMILARITY},
        stages,
        weights={"like": 0.0},
        columns={"demonstration_reward": list(demonstrated)},
    )
    return made["advantages"]


def test_worked_example():
    made = advantages(["weighted-sum", NORMALISED, *BOTH])
    torch.testing.assert_close(made, torch.tensor([-1.0225, 0.0, 1.1189, 0.0]), rtol=0, atol=1e-4)


def test_without_a_demonstration_nothing_is_scaled_by_its_gap():
    plain = advantages(["weighted-sum", NORMALISED, BOTH[0]])
    none = advantages(["weighted-sum", NORMALISED, *BOTH], demonstrated=[None] * 4)
    torch.testing.assert_close(none, plain)


def test_similarity_is_by_sentence():
    """Of two sentences one is the demonstration's; the demonstration has one more, which costs nothing."""
    said, shown = ["Two and two. Seven.", "Seven.", "", "x"], ["Seven. It is prime.", "Seven.", "Seven.", None]
    made = demonstration_similarity(said, shown, encoder="words")
    assert made.tolist() == pytest.approx([0.5, 1.0, 0.0, math.nan], nan_ok=True)


def test_the_reward_is_learned_from_demonstrations():
    shown, said = torch.tensor([2.0, 1.0, math.nan]), torch.tensor([1.0, 1.0, 0.0])
    assert float(demonstration_loss(shown, said, form="linear", beta=0.5)) == -1.0
    logistic = (math.log1p(math.exp(-1)) + math.log(2)) / 2
    assert float(demonstration_loss(shown, said)) == pytest.approx(logistic)
    said.requires_grad_()
    demonstration_loss(shown, said).backward()
    assert said.grad is not None
    assert said.grad[0] > 0  # descending lowers what the policy says now
    assert said.grad[2] == 0
