"""The tables of the page: evaluation, time, failures, samples."""

from collections.abc import Sequence
from statistics import median
from typing import Any

from guerdon.report.charts import spans_between
from guerdon.report.data import Run, finite, total
from guerdon.report.html import Safe, duration, join, number, percent, tag
from guerdon.report.samples import Sample, Samples, Token

_MOST_TOKENS, _MOST_PROMPT = 400, 1200


def table(head: Sequence[Any], rows: Sequence[Sequence[Any]], cls: str = "") -> Safe:
    """A table whose cells carry their column's name (a phone shows each row as a card)."""
    cells = [[tag("td", cell, data_label=str(name)) for name, cell in zip(head, row, strict=True)] for row in rows]
    body = tag("tbody", *[tag("tr", *row) for row in cells])
    return tag("div", tag("table", tag("thead", tag("tr", *[tag("th", h) for h in head])), body, cls=cls), cls="scroll")


def evaluation(run: Run) -> Safe:
    """Before and after, overall and by stratum; a sentence where nothing was evaluated."""
    before, after = run.before, run.after
    if before is None and after is None:
        return tag("p", "This run was not evaluated on held-out prompts.", cls="empty")
    last = after or before or {}
    first_rows, last_rows = _strata(before), _strata(after)
    names = list(dict.fromkeys([*first_rows, *last_rows]))
    head = ["prompts from", "number", "pass@1", "before", "after", "change", "greedy", "before", "after", "change"]
    rows = [_pair("all", before, after)]
    if len(names) > 1:
        column = next((str(s["by"]) for s in last.get("strata", []) if s.get("by")), "stratum")
        rows += [_pair(f"{column} {name}", first_rows.get(name), last_rows.get(name)) for name in names]
    count, k = finite(last.get("prompts")), last.get("samples")
    sentences = []
    if count:
        error = 50 / count**0.5
        sentences.append(f"A share of {number(count)} prompts has a standard error of up to {error:.1f} points.")
    if isinstance(k, int) and k > 1:
        shares = f"{percent((before or {}).get('pass_at_k'))} before, {percent((after or {}).get('pass_at_k'))} after"
        sentences.append(f"pass@{k}: {shares}.")
    if after is None:
        sentences.append("Training has not been evaluated yet.")
    elif run.planned and after["iteration"] < run.planned:
        sentences.append(f"After: iteration {after['iteration']} of {run.planned}.")
    return join(table(head, rows, "evaluation"), tag("p", " ".join(sentences), cls="note") if sentences else None)


def _strata(event: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    strata = (event or {}).get("strata")
    return {str(s.get("value")): s for s in strata if isinstance(s, dict)} if isinstance(strata, list) else {}


def _pair(name: str, before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[Any]:
    a, b = before or {}, after or {}
    row: list[Any] = [name, number(a.get("prompts", b.get("prompts")))]
    for key in ("accuracy", "greedy"):
        old, new = finite(a.get(key)), finite(b.get(key))
        row += [spans_between(old, new), percent(old), percent(new), change(old, new)]
    return row


def change(before: float | None, after: float | None) -> Safe:
    """Points gained or lost."""
    if before is None or after is None:
        return Safe("–")
    points = 100 * (after - before)
    kind = "gain" if points > 0.05 else "drop" if points < -0.05 else "same"
    return tag("span", f"{points:+.1f}".replace("-", "−"), cls=kind)


def times(run: Run) -> Safe:
    """Seconds of each phase, as a share of all iterations."""
    whole = run.seconds
    if not whole:
        return tag("p", "No iteration was timed.", cls="empty")
    signals = [n for n in run.names() if n.startswith("seconds/signal/")]
    spent = [(f"signal {n.removeprefix('seconds/signal/')}", total(run.iterations, n) or 0.0) for n in signals]
    scoring = sum(seconds for _, seconds in spent)
    sampling = total(run.iterations, "seconds/rollouts") or 0.0
    updating = total(run.iterations, "seconds/update") or 0.0
    rows = [
        ("sampling and credit", max(0.0, sampling - scoring)),
        *spent,
        ("update", updating),
        ("saving and the rest", max(0.0, whole - sampling - updating)),
    ]
    cells = [
        [
            name,
            tag("div", tag("i", style=f"width:{100 * min(1.0, seconds / whole):.1f}%"), cls="bar"),
            percent(seconds / whole),
            duration(seconds),
            duration(seconds / run.done),
        ]
        for name, seconds in sorted(rows, key=lambda row: -row[1])
    ]
    return table(["phase", "share", "of all", "total", "per iteration"], cells, "times")


def signals(run: Run) -> Safe:
    """How long each signal took of a step, how long a row waited for it, what it cost, and how often it failed."""
    prefix, whole = "seconds/signal/", run.seconds
    labels = [n.removeprefix(prefix) for n in run.names() if n.startswith(prefix)]
    if not labels or not whole:
        return tag("p", "No signal was timed.", cls="empty")
    rows = []
    for label in labels:
        spent = total(run.iterations, prefix + label) or 0.0
        rows.append(
            [
                label,
                duration(spent / run.done),
                percent(spent / whole),
                duration(_middle(run, f"seconds_per_row/{label}/p50")),
                duration(_middle(run, f"seconds_per_row/{label}/p95")),
                number(total(run.iterations, f"cost/{label}")),
                percent((total(run.iterations, f"cached/{label}") or 0.0) / run.done),
                percent((total(run.iterations, f"failed/{label}") or 0.0) / run.done),
            ]
        )
    head = ["signal", "per iteration", "of a step", "p50 of a row", "p95 of a row", "cost", "cached", "failed"]
    note = "Signals run beside each other, so their shares need not add up. Percentiles: the median iteration's."
    return join(table(head, rows, "signals"), tag("p", note, cls="note"))


def _middle(run: Run, name: str) -> float | None:
    values = [v for v in (finite(e.get(name)) for e in run.iterations) if v is not None]
    return median(values) if values else None


def warnings(run: Run) -> list[str]:
    """What a person should know before believing the numbers."""
    said = list(run.problems)
    last = run.iterations[-1] if run.iterations else {}
    if run.planned and run.done < run.planned:
        said.append(f"The run is unfinished: {run.done} of {run.planned} iterations were logged.")
    skipped = finite(last.get("skipped"))
    if skipped:
        said.append(f"{number(skipped)} optimiser steps were skipped because loss or gradient was not finite.")
    names = [n for n in run.names() if any(e.get(n, 0) is None for e in run.iterations)]
    if names:
        listed = ", ".join(names[:6]) + (" and others" if len(names) > 6 else "")
        said.append(f"Not finite in at least one iteration: {listed}.")
    cut = finite(last.get("truncated"))
    if cut is not None and cut > 0.2:
        said.append(f"{percent(cut)} of the last completions were cut off by the length limit.")
    return said


def failures(run: Run) -> Safe:
    """Failed scores per signal, and why."""
    rows = []
    for name in (n for n in run.names() if n.startswith("failed/")):
        shares = [finite(e.get(name)) or 0.0 for e in run.iterations]
        row = [percent(sum(shares) / len(shares)), percent(max(shares)), number(sum(s > 0 for s in shares))]
        rows.append([name.removeprefix("failed/"), *row])
    made = [table(["signal", "failed on average", "worst", "iterations with failures"], rows)] if rows else []
    reasons = run.samples.reasons if run.samples else []
    if reasons:
        made.append(
            tag("p", f"Why rows of iteration {run.samples.iteration if run.samples else 0} are unscored:", cls="note")
        )
        made.append(table(["part", "reason", "rows"], [[n, _cut(r, 300), number(c)] for n, r, c in reasons]))
    return join(made) if made else tag("p", "No signal failed.", cls="empty")


def samples(drawn: Samples | None) -> Safe:
    """The dozen rows, completions coloured by credit."""
    if drawn is None or not drawn.rows:
        return tag("p", "No rollouts were saved.", cls="empty")
    names = [name for name, _ in drawn.rows[0].parts]
    rewarded = any(sample.reward is not None for sample in drawn.rows)
    head = ["", "prompt", "completion", *names, *(["reward"] if rewarded else []), "advantage"]
    rows = [_row(sample, drawn.scale, rewarded) for sample in drawn.rows]
    note = f"{len(rows)} of {drawn.total} completions of iteration {drawn.iteration}, half of them right where there are enough, rows with credit first. "
    note += "Several numbers in a cell: one per step or token. "
    if drawn.scale:
        note += "Where credit is finer than a row, advantage is its mean over the completion. "
    return join(tag("p", note, cls="note"), _key(drawn.scale), table(head, rows, "samples"))


def _row(sample: Sample, scale: float, rewarded: bool) -> list[Any]:
    right = None if sample.correct is None else sample.correct >= 0.5
    verdict = {None: ("?", "not verified"), True: ("✓", "right"), False: ("✗", "wrong")}[right]
    mark = tag("span", verdict[0], cls=f"verdict {verdict[1].split()[-1]}", title=verdict[1])
    return [
        mark,
        tag("pre", _cut(sample.prompt, _MOST_PROMPT)),
        credited(sample, scale),
        *[_value(value) for _, value in sample.parts],
        *([number(sample.reward)] if rewarded else []),
        number(sample.advantage),
    ]


def credited(sample: Sample, scale: float) -> Safe:
    """A completion with each token on the colour of its credit; plain text where the spans were not kept."""
    if not sample.tokens:
        return tag("pre", _cut(sample.completion, 4 * _MOST_TOKENS))
    shown = [_token(t, scale) for t in sample.tokens[:_MOST_TOKENS]]
    hidden = len(sample.tokens) - len(shown)
    more = tag("em", f" … {number(hidden)} more tokens") if hidden else None
    return tag("pre", shown, more, cls="credit")


def _token(token: Token, scale: float) -> Safe:
    text = token.text.replace("\n", "↵\n") if token.text else "∎"
    end = "" if token.text else " end"
    if token.credit is None:
        return tag("span", text, cls=f"t{end}", title="not the policy's choice, or unscored")
    level = round(10 * token.credit / scale) if scale else 0
    if level == 0 and token.credit:
        level = 1 if token.credit > 0 else -1
    colour = f" p{level}" if level > 0 else f" n{-level}" if level < 0 else ""
    return tag("span", text, cls=f"t{colour}{end}", title=f"credit {number(token.credit)}")


def _key(scale: float) -> Safe | None:
    if not scale:
        return None
    swatches = [tag("i", cls=f"n{i}") for i in (10, 8, 6, 4, 2)] + [tag("i", cls="zero")]
    swatches += [tag("i", cls=f"p{i}") for i in (2, 4, 6, 8, 10)]
    ends = (tag("b", "−" + number(scale)), tag("b", "+" + number(scale)))
    return tag("p", "credit of a token ", ends[0], tag("span", swatches, cls="ramp"), ends[1], cls="key")


def _value(value: Any) -> str:
    if not isinstance(value, list):
        return number(value)
    shown = " · ".join(number(v) for v in value[:12]) or "–"
    return shown + (f" · … ({len(value)})" if len(value) > 12 else "")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + f" … ({len(text) - most:,} more characters)"
