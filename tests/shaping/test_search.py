"""Nelder-Mead as an object that is asked and told."""

import numpy as np
import pytest

from guerdon.shaping import NelderMead


def run(function, search, most=500):
    while not search.done and len(search.told) < most:
        search.tell(function(np.array(search.ask())))
    return search


def rosenbrock(x):
    return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)


def test_each_move_by_hand():
    """One coordinate, f(x) = x^2."""
    search = NelderMead([[3.0], [2.0]], tolerance=1e-9, nearness=1e-9)
    asked = []
    for _ in range(8):
        asked.append(search.ask()[0])
        search.tell(asked[-1] ** 2)
    # Corners 3 and 2: reflection to 1 and expansion to 0, which is kept. 0 and 2: reflection to -2 is no better than 2,
    # so inside to 1, which is known. 0 and 1: reflection to -1 is no better than 1, so inside to 1/2; then -1/2.
    assert asked == [3.0, 2.0, 1.0, 0.0, -2.0, -1.0, 0.5, -0.5]


def test_finds_the_minimum():
    search = run(rosenbrock, NelderMead([[-1.2, 1.0], [-1.0, 1.0], [-1.2, 1.2]], tolerance=1e-9, nearness=1e-9))
    point, value = search.best
    assert value < 1e-6
    assert point == pytest.approx([1.0, 1.0], abs=1e-3)
    assert search.ask() == point


def test_a_point_that_is_known_is_not_asked_for_again():
    asked = []

    def f(x):
        asked.append(x)
        return float((x**2).sum())

    run(f, NelderMead([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], tolerance=1e-12))
    apart = [np.abs(a - b).max() for i, a in enumerate(asked) for b in asked[:i]]
    assert min(apart) >= 0.005


@pytest.mark.parametrize("value", [0.0, float("nan")])
def test_a_flat_or_broken_function_ends_it(value):
    search = run(lambda x: value, NelderMead([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    assert search.done
    assert len(search.told) < 100
    with pytest.raises(ValueError, match="the search has ended"):
        search.tell(1.0)


def test_it_is_a_function_of_what_it_was_told():
    corners = [[-1.2, 1.0], [-1.0, 1.0], [-1.2, 1.2]]
    first, second = NelderMead(corners), NelderMead(corners)
    run(rosenbrock, first, most=17)
    assert first.ask() == first.ask()
    second.replay(first.told)
    assert second.ask() == first.ask()
    assert second.best == first.best


def test_corners_are_checked():
    with pytest.raises(ValueError, match=r"n \+ 1 corners of n coordinates, got an array of shape \(2, 2\)"):
        NelderMead([[0.0, 0.0], [1.0, 1.0]])
