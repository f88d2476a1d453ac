"""Which metrics share a chart: the known ones by meaning, the rest by size, so that none is lost."""

import math
from collections.abc import Sequence

from guerdon.report.charts import COLOURS, Series, line_chart
from guerdon.report.data import Run
from guerdon.report.html import Safe

_COUNTERS = {"event", "iteration", "skipped", "skipped_in_a_row", "steps", "total_tokens"}
_PARTS = (("parts/", "Parts"), ("step_parts/", "Step parts"), ("token_parts/", "Token parts"))


def charts(run: Run) -> list[Safe]:
    """Every chart of the page, in reading order; a metric that was never logged has none."""
    names = run.names()
    left = [n for n in names if n not in _COUNTERS]
    made: list[Safe] = []
    end = max((event["iteration"] for event in (*run.iterations, *run.evaluations)), default=None)

    def take(*wanted: str) -> list[str]:
        found = [n for n in wanted if n in left]
        for n in found:
            left.remove(n)
        return found

    def add(title: str, note: str, series: Sequence[Series]) -> None:
        if series:
            made.append(line_chart(title, series, note=note, end=end))

    def starting(prefix: str) -> list[str]:
        return take(*[n for n in left if n.startswith(prefix)])

    held_out = [run.evaluated("accuracy", "held-out pass@1"), run.evaluated("greedy", "held-out greedy")]
    correct = [run.series(n, "training rollouts") for n in take("correct")]
    add("Correct", "share of completions", [*correct, *(s for s in held_out if s.values)])
    add("Reward", "mean per completion", [run.series(n) for n in take("rewards")])
    for prefix, title in _PARTS:
        series = [run.series(n, n.removeprefix(prefix)) for n in starting(prefix)]
        for some in by_size(series):
            add(title, "mean of what each signal said", some)
    add("Length", "tokens per completion", [run.series(n, "tokens") for n in take("length")])
    add("Cut off", "share that hit the length limit", [run.series(n, "truncated") for n in take("truncated")])
    add("Entropy", "nats per token, of the sampled ones", [run.series(n) for n in take("entropy")])
    sizes = [
        run.series(n, name)
        for n, name in (
            ("effective_sample_size", "policy against the iteration's start"),
            ("engine/effective_sample_size", "the iteration's start against the sampler"),
        )
        if take(n)
    ]
    add("Effective sample size", "share of tokens, by importance weights", sizes)
    spread = [run.series(n, n.removesuffix("/std")) for n in take("advantages/std", "token_advantages/std")]
    add("Spread of credit", "standard deviation", spread)
    loss, terms = take("loss"), starting("loss/")
    series = [run.series(n, "total" if n == "loss" else n.removeprefix("loss/")) for n in (*loss, *terms)]
    if len(terms) == 1 and loss and series[0].points == series[1].points:
        series = [Series(series[1].name, series[1].points)]
    for some in by_size(series):
        add("Loss", "", some)
    models = [run.series(n, n.removeprefix("model/")) for n in starting("model/")]
    for some in by_size(models):
        add("Models in the loop", "loss and gradient norm of each", some)
    state = [run.series(n, n.removeprefix("state/")) for n in starting("state/")]
    for some in by_size(state):
        add("State of stages", "multipliers, thresholds, running means", some)
    add("Gradient norm", "before clipping", [run.series(n, "norm") for n in take("gradient_norm")])
    add("Learning rate", "", [run.series(n, "rate") for n in take("learning_rate")])
    signals = [run.series(n, n.removeprefix("seconds/signal/")) for n in starting("seconds/signal/")]
    phases = [run.series(n, "whole iteration") for n in take("seconds")]
    phases += [run.series(n, n.removeprefix("seconds/")) for n in starting("seconds/")]
    add("Seconds", "per iteration and phase", phases[:COLOURS])
    for some in by_size(signals, ratio=100):
        add("Seconds of signals", "per iteration", some)
    waits = [n for n in starting("seconds_per_row/") if n.endswith("/p95")]
    waits = [n for n in waits if any(e.get(n) != e.get(n[:-2] + "50") for e in run.iterations)]
    for some in by_size([run.series(n, n.removeprefix("seconds_per_row/").removesuffix("/p95")) for n in waits]):
        add("Latency of signals", "seconds a row waited, 95th percentile", some)
    for some in by_size([run.series(n, n.removeprefix("cost/"), absent=0.0) for n in starting("cost/")]):
        add("Cost of signals", "in each signal's unit", some)
    cached = [run.series(n, n.removeprefix("cached/"), absent=0.0) for n in starting("cached/")]
    for some in by_size(cached):
        add("Answered from the cache", "share of rows", some)
    add("Speed", "completion tokens per second", [run.series(n, "tokens/s") for n in take("tokens_per_second")])
    failed = [run.series(n, n.removeprefix("failed/"), absent=0.0) for n in starting("failed/")]
    for some in by_size(failed):
        add("Failed", "share of scores", some)
    add("Rows in the loss", "per iteration", [run.series(n, "rows") for n in take("trained_rows")])
    add(
        "Tokens trained on", "chosen positions per iteration", [run.series(n, "tokens") for n in take("trained_tokens")]
    )
    for some in by_size([s for s in map(run.series, left) if s.values]):
        add("Other", "", some)
    return made


def by_size(series: Sequence[Series], ratio: float = 20) -> list[list[Series]]:
    """Groups that one axis can carry: largest absolute values within ``ratio``, at most six, in order of size."""
    groups: list[list[Series]] = []
    top = math.inf
    for one in sorted(series, key=_size, reverse=True):
        size = _size(one)
        if groups and len(groups[-1]) < COLOURS and (size * ratio >= top or size == 0):
            groups[-1].append(one)
        else:
            groups.append([one])
            top = size
    return groups


def _size(series: Series) -> float:
    return max((abs(v) for v in series.values), default=0.0)
