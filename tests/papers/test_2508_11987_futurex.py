"""Zeng et al., FutureX (2025): scores of forecasts by kind, and the total of the four levels."""

import math

import pytest

from guerdon.signals import forecast, futurex_total
from guerdon.signals.forecasts import number_score, ranking_score, set_f1


def score(text, answer, kind, spread=None):
    return forecast([text], [answer], [kind], [spread]).item()


def box(text):
    return f"I think so. \\boxed{{{text}}}"


def test_worked_examples():
    assert set_f1({"a", "b", "c", "d"}, {"a", "b", "e"}) == pytest.approx(0.5714, abs=1e-4)
    assert score(box("103"), "100", "number", 5) == pytest.approx(0.64)
    assert futurex_total({1: 0.6, 2: 0.5, 3: 0.4, 4: 0.25}) == pytest.approx(0.38)


def test_a_published_row():
    assert futurex_total({1: 48.89, 2: 41.15, 3: 26.38, 4: 17.28}) == pytest.approx(27.945)
    assert futurex_total({2: 1.0, 3: 0.0, 4: 0.0}) == pytest.approx(0.2 / 0.9)
    with pytest.raises(ValueError, match="levels 1 to 4"):
        futurex_total({5: 1.0})


@pytest.mark.parametrize(
    ("text", "answer", "kind", "spread", "expected"),
    [
        (box("b"), "B", "choice", None, 1),
        (box("A, B"), "B", "choice", None, 0),
        (box("A,B,C,D"), ["A", "B", "E"], "choices", None, 4 / 7),
        (box("a, b"), "B, A", "choices", None, 1),
        (box("1,003"), 1000, "number", 3, 0),
        (box("100"), 100, "number", 0, 1),
        (box("100.1"), 100, "number", None, 0),
        (box("x"), 100, "number", 1, 0),
        (box("112.52 点"), 112.02, "number", 1, 0.75),
        (box("1,003 points."), "1000 Points", "number", 5, 0.64),
        (box("-3.5%"), "-3.5", "number", None, 1),
        (box("3 kg"), "3 km", "number", 5, 0),
        (box("3 + 4 kg"), 7, "number", 5, 0),
        (box("between 3 and 4"), 3, "number", 5, 0),
        (box("x, y, z"), ["X", "Y", "Z"], "ranking", None, 1),
        (box("y, x, z"), ["X", "Y", "Z"], "ranking", None, 0.8),
        (box("x"), ["X", "Y"], "ranking", None, 0.4),
        (box("x, x, x"), ["X", "Y"], "ranking", None, 0.4),
        (box(" New  York. "), "new york", "text", None, 1),
        ("New York", "new york", "text", None, 0),
        ("", "A", "choice", None, 0),
    ],
)
def test_kinds(text, answer, kind, spread, expected):
    assert score(text, answer, kind, spread) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("answer", "kind", "spread"),
    [
        ("A", "?", None),
        (None, "choice", None),
        ("many", "number", 1),
        (1, "number", -1),
        (1, "number", "wide"),
        ("", "text", None),
    ],
)
def test_what_cannot_be_read_is_unscored(answer, kind, spread):
    assert math.isnan(score(box("1"), answer, kind, spread))


def test_the_spread_decides_where_the_reward_ends():
    assert [number_score(x, 0.0, 2.0) for x in (0.0, 1.0, 2.0, 3.0)] == [1.0, 0.75, 0.0, 0.0]
    assert ranking_score([], []) == 1
