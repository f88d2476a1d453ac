"""What shaping does to a file of scores, as a page: a figure per stage, shares of the credit, rows that were moved."""

from guerdon.report.charts import HEIGHT, LEFT, RIGHT, TOP, WIDTH, axis
from guerdon.report.html import Safe, document, join, number, percent, tag
from guerdon.training.shape import NOTHING, Input, Shaped, Spread, StageShape

_TALL = HEIGHT - 60


def page(shaped: Shaped, source: str) -> str:
    """The whole document: one file, no script, no external resource."""
    groups = "no groups" if shaped.groups is None else f"{shaped.groups:,} groups"
    body = tag(
        "body",
        tag("header", tag("p", source, cls="run"), tag("h1", "Shaping and credit, stage by stage")),
        tag("p", f"{shaped.rows:,} rows, {groups}.", cls="note"),
        tag("ul", *[tag("li", text) for text in shaped.without_effect], cls="warnings")
        if shaped.without_effect
        else None,
        composition(shaped),
        tag("h2", "Rows that changed their place"),
        _moved(shaped),
    )
    return document(f"{source} · Guerdon", body)


def composition(shaped: Shaped) -> Safe:
    """What explains the credit, and a figure for each stage."""
    return join(
        tag("h3", f"What explains the variance of {shaped.credit}"),
        _shares(shaped),
        tag("h3", "Stages", tag("small", "thin: what it was given; filled: what it made"), cls="stages"),
        tag("div", *[_stage(stage) for stage in shaped.stages], cls="charts"),
    )


def _shares(shaped: Shaped) -> Safe:
    known = {name: share for name, share in shaped.shares.items() if share is not None}
    if not known:
        return tag("p", f"{shaped.credit} is the same everywhere: there is nothing to learn.", cls="empty")
    rows = []
    for name, share in sorted(known.items(), key=lambda item: -item[1]):
        wide = min(1.0, max(0.0, share))
        bar = tag(
            "svg", tag("rect", x=0, y=2, width=f"{200 * wide:.1f}", height=10, cls="c0 fill"), viewBox="0 0 200 14"
        )
        said = "explains nothing" if abs(share) < NOTHING else "works against the rest" if share < 0 else ""
        rows.append(tag("tr", tag("td", name), tag("td", percent(share), cls="n"), tag("td", bar), tag("td", said)))
    rest = 1 - sum(known.values())
    if abs(rest) >= 0.01:
        rows.append(tag("tr", tag("td", "parts together"), tag("td", percent(rest), cls="n"), tag("td"), tag("td")))
    heads = ("part", "share", "", "")
    return tag("table", tag("thead", tag("tr", *[tag("th", h) for h in heads])), tag("tbody", *rows), cls="shares")


def _stage(stage: StageShape) -> Safe:
    spreads = [one.spread for one in stage.inputs]
    shown = [s for s in (*spreads, stage.after) if s.count]
    head = tag("h3", stage.stage, tag("small", f"→ {stage.quantity}"))
    if not shown:
        return tag("figure", head, tag("p", "Nothing is scored.", cls="empty"))
    low, high = min(s.low for s in shown), max(s.high for s in shown)
    low, high = (low - 0.5, high + 0.5) if low == high else (low, high)
    marks, x_at = axis(low, high, _TALL)
    drawn = [_outline(s, x_at, k) for k, s in enumerate(spreads[:5]) if s.count]
    made = [_bars(stage.after, x_at)] if stage.after.count else []
    drawing = tag(
        "svg",
        *made,
        *drawn,
        marks,
        viewBox=f"0 0 {WIDTH} {_TALL + 26}",
        role="img",
        aria_label=f"scores at {stage.stage}",
    )
    items = [
        tag("li", tag("i", cls=f"swatch c{k + 1}"), one.quantity, _order(one)) for k, one in enumerate(stage.inputs[:5])
    ]
    if len(stage.inputs) > 5:
        items.append(tag("li", f"and {len(stage.inputs) - 5} more"))
    after = stage.after
    lost = f", {after.unscored:,} unscored" if after.unscored else ""
    items.append(
        tag("li", tag("i", cls="swatch c0"), f"{stage.quantity} ", tag("b", f"mean {number(after.mean)}{lost}"))
    )
    return tag("figure", head, tag("ul", *items, cls="legend"), drawing)


def _order(one: Input) -> Safe | None:
    if one.reversed is None:
        return None
    told = [f"{percent(one.reversed)} of pairs reversed"] if one.reversed else []
    told += [f"{percent(one.tied)} tied"] if one.tied else []
    return tag("b", ", ".join(told) or "order kept")


def _bars(spread: Spread, x_at) -> Safe:
    top = max(spread.bins)
    pieces = []
    for left, right, count in _edges(spread, x_at):
        height = (_TALL - TOP) * count / top
        if count:
            pieces.append(
                tag(
                    "rect",
                    x=f"{left:.1f}",
                    y=f"{_TALL - height:.1f}",
                    width=f"{max(1.5, right - left - 0.5):.1f}",
                    height=f"{height:.1f}",
                )
            )
    return tag("g", *pieces, cls="c0 fill")


def _outline(spread: Spread, x_at, k: int) -> Safe:
    top = max(spread.bins)
    points = []
    for left, right, count in _edges(spread, x_at):
        y = _TALL - (_TALL - TOP) * count / top
        points += [f"{left:.1f} {y:.1f}", f"{right:.1f} {y:.1f}"]
    begin, end = points[0].split()[0], points[-1].split()[0]
    return tag("path", d=f"M{begin} {_TALL} L" + " L".join(points) + f" L{end} {_TALL}", cls=f"line c{k + 1}")


def _edges(spread: Spread, x_at) -> list[tuple[float, float, int]]:
    if len(spread.bins) == 1:
        at = x_at(spread.low)
        return [(max(LEFT, at - 2), min(WIDTH - RIGHT, at + 2), spread.bins[0])]
    step = (spread.high - spread.low) / len(spread.bins)
    return [(x_at(spread.low + i * step), x_at(spread.low + (i + 1) * step), c) for i, c in enumerate(spread.bins)]


def _moved(shaped: Shaped) -> Safe:
    rows = [
        tag(
            "tr",
            tag("td", stage.stage),
            tag("td", one.quantity),
            tag("td", row.row, cls="n"),
            tag("td", f"{row.before + 1:g} → {row.after + 1:g}", cls="n"),
            tag("td", " ".join(row.text.split())[:160]),
        )
        for stage in shaped.stages
        for one in stage.inputs
        for row in one.moved
    ]
    if not rows:
        return tag("p", "No stage turned the order of two rows of a group.", cls="empty")
    heads = ("stage", "against", "row", "place", "completion")
    return tag("table", tag("thead", tag("tr", *[tag("th", h) for h in heads])), tag("tbody", *rows))


__all__ = ["composition", "page"]
