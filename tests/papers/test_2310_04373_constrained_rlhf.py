"""Constrained RLHF (arXiv:2310.04373): multipliers, the mix, and the search for thresholds."""

import pytest
import torch

from guerdon.shaping import ConstrainedAdvantages, NelderMead, SearchedConstraints


def test_worked_example():
    """Raw multipliers (.5, -.2): weights .4621 and -.1974; a mix of 1.0814; the violated one falls, the other rises."""
    stage = ConstrainedAdvantages(thresholds={"meteor": 0.238, "intent": 0.44}, objective="kl")
    stage.raw = torch.tensor([0.5, -0.2])
    advantages = {"meteor": torch.tensor([1.0]), "intent": torch.tensor([-0.5]), "kl": torch.tensor([0.3])}
    assert float(stage(advantages)) == pytest.approx(1.0814, abs=1e-4)
    stage.update({"meteor": torch.tensor([0.338]), "intent": torch.tensor([0.39]), "kl": torch.zeros(1)})
    m = stage.metrics
    assert m["multiplier/meteor"] < 0.4621 - 1e-3
    assert m["multiplier/intent"] > -0.1974 + 1e-3


def test_weights_add_up_to_the_number_of_parts():
    stage = ConstrainedAdvantages(thresholds={"a": 0.0, "b": 0.0}, objective="kl", squash="sigmoid")
    ones = {name: torch.ones(1) for name in ("a", "b", "kl")}
    assert float(stage(ones)) == 2.0


def test_one_evaluation_is_a_tenth_of_the_run_and_its_value_is_minus_the_score():
    stage = SearchedConstraints(thresholds={"a": 1.0}, steps={"a": 0.5}, evaluation="score", period=3)
    tried = []
    for update in range(12):
        tried.append(stage.thresholds["a"])
        stage.update({"a": torch.tensor([-9.0]), "score": torch.tensor([float(update)])})
    assert stage.search.told == [-2.0, -5.0, -8.0, -11.0]
    assert tried == [1.0] * 3 + [1.5] * 3 + [2.0] * 3 + [2.5] * 3  # better upwards: reflected, then expanded


def test_the_search_ends_when_values_are_alike():
    search = NelderMead([[0.44, 0.238], [0.5, 0.238], [0.44, 0.3]], tolerance=0.01)
    for value in (0.5, 0.505, 0.51):
        search.tell(value)
    assert search.done
    assert search.best == ([0.44, 0.238], 0.5)


def test_the_released_walk():
    """Points that the released loop asks for, and where the textbook's steps leave it."""
    walked = {}
    for variant in ("textbook", "released"):
        search = NelderMead([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], variant=variant)
        walked[variant] = []
        for _ in range(12):
            x, y = search.ask()
            walked[variant].append((x, y))
            search.tell((x - 3) ** 2 + 2 * (y + 1) ** 2 + x * y)
    assert walked["released"] == [
        *((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, -1.0), (1.5, -2.0), (2.5, -2.0)),
        *((3.75, -3.0), (4.25, -5.0), (1.8125, -1.25), (4.0625, -2.25), (5.34375, -2.375), (7.28125, -4.125)),
    ]
    assert walked["textbook"][:6] == walked["released"][:6]
    assert walked["textbook"] != walked["released"]
