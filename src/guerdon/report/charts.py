"""Line charts as inline SVG: axes, ticks, a legend with the last value, a hover strip per iteration.

Everything is sized in a 360-wide view box, so that a card on a phone or one of three columns on a desk draws its text
at about its natural size. Values that are not finite leave a gap in their line.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from guerdon.report.html import Safe, join, number, tag

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 26
COLOURS = 6
MOST_POINTS = 160

Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True)
class Series:
    """A named line; ``dots`` draws a mark on each point and no smoothing (few measurements)."""

    name: str
    points: Points
    dots: bool = False

    @property
    def values(self) -> list[float]:
        """The finite ones."""
        return [y for _, y in self.points if _finite(y)]  # pyright: ignore[reportReturnType]


def line_chart(title: str, series: Sequence[Series], *, note: str = "", end: float | None = None) -> Safe:
    """A card with a chart of up to six series that share the axes; a sentence where there is nothing to draw.

    ``end``: where the iterations end at least, so that the charts of a page have one axis.
    """
    shown = [s for s in series if s.values][:COLOURS]
    head = tag("h3", title, tag("small", note) if note else None)
    if not shown:
        return tag("figure", head, tag("p", "No finite value was logged.", cls="empty"))
    return tag("figure", head, legend(shown), line_drawing(title, shown, end=end))


def line_drawing(title: str, series: Sequence[Series], *, end: float | None = None, **place: float) -> Safe:
    """The chart without its card; ``place`` (x, y, width, height) is where it stands in a larger drawing."""
    shown = [s for s in series if s.values][:COLOURS]
    binned = [Series(s.name, s.points if s.dots else bucket(s.points, MOST_POINTS), s.dots) for s in shown]
    xs = [x for s in shown for x, _ in s.points] + ([] if end is None else [end])
    ys = [y for s in binned for y in s.values]
    x_at, x_ticks = _scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, pad=0, whole=True)
    y_at, y_ticks = _scale(*_with_zero(min(ys), max(ys)), HEIGHT - BOTTOM, TOP, pad=0.06)
    return tag(
        "svg",
        [_gridline(y_at(y), _tick(y, y_ticks)) for y in y_ticks],
        [tag("text", _tick(x, x_ticks), x=_r(x_at(x)), y=HEIGHT - 10, cls="tick x") for x in x_ticks],
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM, cls="axis"),
        tag("text", "iteration", x=WIDTH - RIGHT, y=HEIGHT, cls="tick end"),
        [_draw(s, k, x_at, y_at) for k, s in enumerate(binned)],
        _strips(binned, x_at),
        viewBox=f"0 0 {WIDTH} {HEIGHT + 3}",
        role="img",
        aria_label=f"{title} by iteration",
        **place,
    )


def legend(series: Sequence[Series]) -> Safe:
    """Swatch, name and last finite value of each series."""
    items = [
        tag(
            "li",
            tag("i", cls=f"swatch c{k}" + (" dot" if s.dots else "")),
            s.name,
            tag("b", number(s.values[-1])),
        )
        for k, s in enumerate(series)
    ]
    return tag("ul", *items, cls="legend")


def bucket(points: Points, most: int) -> list[tuple[float, float | None]]:
    """At most ``most`` points: means of neighbours, each at the middle of its neighbours' x."""
    size = math.ceil(len(points) / most) if points else 1
    if size <= 1:
        return list(points)
    made: list[tuple[float, float | None]] = []
    for i in range(0, len(points), size):
        some = points[i : i + size]
        finite = [y for _, y in some if _finite(y)]
        made.append((some[len(some) // 2][0], sum(finite) / len(finite) if finite else None))  # pyright: ignore
    return made


def smooth(points: Points) -> list[tuple[float, float | None]]:
    """Centred mean over a tenth of the points (at least 5); a gap stays a gap."""
    reach = max(2, len(points) // 20)
    made: list[tuple[float, float | None]] = []
    for i, (x, y) in enumerate(points):
        near = [v for _, v in points[max(0, i - reach) : i + reach + 1] if _finite(v)]
        made.append((x, sum(near) / len(near) if _finite(y) else None))  # pyright: ignore
    return made


def spans_between(before: float | None, after: float | None) -> Safe:
    """A share before (ring) and after (disc) on a rail from 0 to 1."""
    at = [8 + 104 * min(1, max(0, v)) if _finite(v) else None for v in (before, after)]  # pyright: ignore
    a, b = at
    return tag(
        "svg",
        tag("line", x1=8, x2=112, y1=8, y2=8, cls="rail"),
        tag("line", x1=_r(a), x2=_r(b), y1=8, y2=8, cls="up" if b >= a else "down") if a and b else None,
        tag("circle", cx=_r(a), cy=8, r=4, cls="before") if a else None,
        tag("circle", cx=_r(b), cy=8, r=4.5, cls="up" if not a or b >= a else "down") if b else None,
        viewBox="0 0 120 16",
        cls="rails",
        aria_hidden="true",
    )


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) within [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [(first + i) * step for i in range(math.floor(high / step + 1e-9) - first + 1)]


def _draw(series: Series, k: int, x_at, y_at) -> Safe:
    finite = [(x, y) for x, y in series.points if _finite(y)]
    if series.dots or len(finite) == 1:
        marks = [tag("circle", cx=_r(x_at(x)), cy=_r(y_at(y)), r=3.5, cls=f"c{k} mark") for x, y in finite]
        return join(tag("path", d=_path(series.points, x_at, y_at), cls=f"c{k} thread"), marks)
    if len(series.points) < 24:
        return tag("path", d=_path(series.points, x_at, y_at), cls=f"c{k} line")
    return join(
        tag("path", d=_path(series.points, x_at, y_at), cls=f"c{k} raw"),
        tag("path", d=_path(smooth(series.points), x_at, y_at), cls=f"c{k} line"),
    )


def _path(points: Points, x_at, y_at) -> str:
    pieces, pen = [], "M"
    for x, y in points:
        if _finite(y):
            pieces.append(f"{pen}{_r(x_at(x))} {_r(y_at(y))}")
        pen = "L" if _finite(y) else "M"
    return "".join(pieces)


def _strips(series: Sequence[Series], x_at) -> list[Safe]:
    """An invisible strip per x whose tooltip names every value there."""
    read: dict[float, list[str]] = {}
    for s in series:
        for x, y in s.points:
            if _finite(y):
                read.setdefault(x, []).append(f"{s.name}  {number(y, 4)}")
    xs = sorted(read)
    middles = [x_at((a + b) / 2) for a, b in itertools.pairwise(xs)]
    edges = [LEFT, *middles, WIDTH - RIGHT]
    return [
        tag(
            "g",
            tag("rect", x=_r(edges[i]), y=TOP, width=_r(edges[i + 1] - edges[i]), height=HEIGHT - TOP - BOTTOM),
            tag("line", x1=_r(x_at(x)), x2=_r(x_at(x)), y1=TOP, y2=HEIGHT - BOTTOM),
            tag("title", "\n".join([f"iteration {number(x)}", *read[x]])),
            cls="strip",
        )
        for i, x in enumerate(xs)
    ]


def axis(low: float, high: float, floor: float) -> tuple[Safe, Callable[[float], float]]:
    """A horizontal axis at the height ``floor`` with its ticks, and the map of values onto it."""
    x_at, marks = _scale(low, high, LEFT, WIDTH - RIGHT, pad=0)
    line = tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_r(floor), y2=_r(floor), cls="axis")
    labels = [tag("text", _tick(x, marks), x=_r(x_at(x)), y=_r(floor + 16), cls="tick x") for x in marks]
    return join(line, labels), x_at


def _gridline(y: float, label: str) -> Safe:
    return join(
        tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=_r(y), y2=_r(y), cls="grid"),
        tag("text", label, x=LEFT - 6, y=_r(y + 3.5), cls="tick y"),
    )


def _scale(low: float, high: float, start: float, end: float, *, pad: float, whole: bool = False):
    """A linear map onto [start, end] and its ticks; a constant lies in the middle."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        spare = 0.5 if whole or low == 0 else abs(low) * 0.5
        low, high, pad = low - spare, high + spare, 0
    spare = (high - low) * pad
    bottom, top = (low if low == 0 else low - spare), (high if high == 0 else high + spare)
    marks = ticks(bottom, top)
    if whole:
        marks = [m for m in marks if abs(m - round(m)) < 1e-9]
    return (lambda v: start + (v - bottom) / (top - bottom) * (end - start)), marks


def _with_zero(low: float, high: float) -> tuple[float, float]:
    """Zero joins the axis where it costs less than half of it."""
    if 0 < low < 0.5 * high:
        return 0.0, high
    return (low, 0.0) if 0.5 * low < high < 0 else (low, high)


def _tick(value: float, marks: Sequence[float]) -> str:
    step = abs(marks[1] - marks[0]) if len(marks) > 1 else abs(value)
    if abs(value) < 1e-12 * max(1.0, step) or value == 0:
        return "0"
    size = max(abs(m) for m in marks)
    if size <= 2e-3:
        return number(value * 10.0 ** -(power := math.floor(math.log10(abs(value)) + 1e-9)), 3) + f"e{power}"
    if size >= 1e4:
        scale, unit = (1e6, "M") if size >= 1e6 else (1e3, "k")
        return number(value / scale, 4) + unit
    return number(value, max(2, min(6, 1 + math.ceil(math.log10(abs(value) / step) + 1e-9) if step else 3)))


def _finite(value: float | None) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _r(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
