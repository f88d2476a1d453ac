"""Lucy-SKG (arXiv:2305.15801): kinesthetic reward combination, in a recipe, and the distance reward."""

import math

import pytest
import torch

from guerdon.credit import potential_shaping
from guerdon.shaping import distance_reward
from tests.running import run_parts


def test_worked_example():
    parts = {"align": [0.5, -0.5, -0.5, 0.0], "speed": [0.8, 0.8, -0.8, 0.8], "near": [0.2] * 4}
    made = run_parts(parts, ["signed-geometric-mean", "group-centre"])
    expected = torch.tensor([0.4309, -0.4309, -0.4309, 0.0])
    torch.testing.assert_close(made["rewards"], expected, rtol=0, atol=1e-4)
    mean = run_parts(parts, ["weighted-sum", "group-centre"], weights=dict.fromkeys(parts, 1 / 3))
    torch.testing.assert_close(mean["rewards"], torch.tensor([0.5, 0.1667, -0.3667, 0.3333]), rtol=0, atol=1e-4)


def test_distance():
    """At the ball's surface 1; one and a half seconds of full speed away exp(-3/4)."""
    made = distance_reward(torch.tensor([0.0, 3450.0]), scale=2300.0)
    assert made.tolist() == pytest.approx([1.0, math.exp(-0.75)])
    dense = distance_reward(torch.tensor([3450.0]), scale=2300.0, density=1.1, dispersion=0.6)
    assert float(dense) == pytest.approx(math.exp(-0.5 * 3450 / (2300 * 0.6)) ** (1 / 1.1))


def test_signed_distance():
    """Numbers of the released signed reward, whose scale of 4570 has its 0 at the middle of a side wall."""
    for distance, options, expected in (
        (0.0, {}, 1.0),
        (3000.0, {"dispersion": 0.6, "density": 1.1}, 0.1861173473),
        (9000.0, {"density": 1.1}, -0.2865510889),
    ):
        made = distance_reward(torch.tensor([distance]), scale=4570.0, signed=True, **options)
        assert float(made) == pytest.approx(expected, abs=1e-6)


def test_shaping_with_a_slope_for_what_it_takes():
    """The released difference of potentials at a slope of one half; the step into the first state gets nothing there."""
    potentials = torch.tensor([[0.2, 0.5, 0.3, 0.6]])
    made = potential_shaping(
        torch.zeros(1, 3),
        potentials,
        torch.ones(1, 3, dtype=torch.bool),
        gamma=0.9954,
        terminal=None,
        negative_slope=0.5,
    )
    torch.testing.assert_close(made, torch.tensor([[0.2977, -0.10069, 0.29724]]), rtol=0, atol=1e-6)
