"""Charts of awkward series, and numbers for people."""

import math
from xml.etree import ElementTree

import pytest

from guerdon.report.charts import Series, bucket, line_chart, smooth, spans_between, ticks
from guerdon.report.html import Safe, duration, escape, join, number, percent, tag
from guerdon.report.panels import by_size

NAN = float("nan")


def parsed(markup):
    return ElementTree.fromstring(markup)


@pytest.mark.parametrize(
    "values",
    [
        [1.0],
        [0.0],
        [0.0] * 30,
        [-3.0] * 30,
        [1e-12] * 3,
        [1e30, -1e30],
        [None, 1.0, None],
        [NAN, 1.0, math.inf, 2.0],
        [float(i) for i in range(5000)],
        [1e-5 * i for i in range(40)],
    ],
)
def test_every_number_of_a_chart_is_finite_and_inside(values):
    figure = parsed(line_chart("a", [Series("s", list(enumerate(values)))]))
    written = ElementTree.tostring(figure, "unicode")
    assert "nan" not in written
    assert "inf" not in written
    for circle in figure.iter("circle"):
        assert 0 <= float(circle.get("cx", "")) <= 360
        assert 0 <= float(circle.get("cy", "")) <= 200
    for path in figure.iter("path"):
        ys = [float(p.split()[1]) for p in (path.get("d") or "").replace("L", "M").split("M")[1:]]
        assert ys
        assert all(0 <= y <= 200 for y in ys)


def test_a_single_point_is_a_mark_and_nothing_is_a_sentence():
    assert line_chart("a", [Series("s", [(3, 1.0)])]).count("<circle") == 1
    for points in ([], [(0, None)], [(0, NAN), (1, math.inf)]):
        assert "No finite value" in line_chart("a", [Series("s", points)])


def test_a_gap_breaks_the_line():
    figure = parsed(line_chart("a", [Series("s", [(0, 1.0), (1, 2.0), (2, None), (3, 1.0), (4, 2.0)])]))
    assert [p.get("d", "").count("M") for p in figure.iter("path")] == [2]


def test_a_tooltip_names_every_series_at_its_x():
    figure = parsed(line_chart("a", [Series("p", [(0, 1.0), (1, 0.25)]), Series("q", [(1, 5.0)])]))
    assert [t.text for t in figure.iter("title")] == ["iteration 0\np  1", "iteration 1\np  0.25\nq  5"]


def test_the_legend_gives_the_last_finite_value():
    assert [b.text for b in parsed(line_chart("a", [Series("s", [(0, 1.0), (1, 0.5), (2, None)])])).iter("b")] == [
        "0.5"
    ]


def test_ticks_are_round_and_within():
    assert ticks(0, 1) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    assert ticks(0, 39) == [0, 10, 20, 30]
    assert ticks(-0.05, 0.04) == pytest.approx([-0.04, -0.02, 0, 0.02, 0.04])
    assert ticks(2, 2) == [2]


def test_buckets_are_means_and_keep_short_series():
    assert bucket([(0, 1.0), (1, 2.0)], 2) == [(0, 1.0), (1, 2.0)]
    assert bucket([(0, 1.0), (1, 3.0), (2, None), (3, 5.0), (4, None)], 3) == [(1, 2.0), (3, 5.0), (4, None)]


def test_smoothing_is_a_centred_mean_of_five_and_keeps_gaps():
    made = smooth([(i, None if i == 3 else float(i)) for i in range(7)])
    assert made[2] == (2, pytest.approx((0 + 1 + 2 + 4) / 4))
    assert made[3] == (3, None)


def test_series_of_unlike_size_do_not_share_an_axis():
    series = [Series(name, [(0, v)]) for name, v in (("a", 0.5), ("b", 100.0), ("c", 1.0), ("z", 0.0))]
    assert [[s.name for s in group] for group in by_size(series)] == [["b"], ["c", "a", "z"]]
    assert [len(g) for g in by_size([Series(str(i), [(0, 1.0)]) for i in range(8)])] == [6, 2]


def test_rails_take_missing_shares():
    for pair in ((None, None), (0.0, None), (None, 1.0), (0.0, 1.0), (1.0, 0.0)):
        assert parsed(spans_between(*pair)).tag == "svg"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (NAN, "–"), (0.0, "0"), (12345, "12,345"), (0.30000001, "0.3"), (-0.0421, "−0.0421"),
        (2.5e-5, "2.5e-5"), (1e-3, "0.001"), (1234.5, "1,234"), (99.96, "100"), (1e12, "1.00e+12"), (True, "1"),
    ],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert number(value) == text


def test_times_and_shares_are_for_people():
    assert [duration(s) for s in (0.035, 4.2, 190, 3720, None)] == ["35 ms", "4.2 s", "3 min 10 s", "1 h 02 min", "–"]
    assert [percent(v) for v in (0.195, 1.0, None, NAN)] == ["19.5\u00a0%", "100.0\u00a0%", "–", "–"]


def test_only_safe_text_escapes_escaping():
    assert tag("p", "<b>", Safe("<i>"), title='"') == '<p title="&quot;">&lt;b&gt;<i></p>'
    assert join(["a", None, ["&"]]) == "a&amp;"
    assert escape("\x00\x1b[31m\ud800") == "\ufffd\ufffd[31m?"
