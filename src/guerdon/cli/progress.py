"""What a person sees of a run: one live line in a terminal, a plain line now and then elsewhere, a table at the end."""

import time
import warnings
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_EVERY = 10.0
"""Seconds between plain lines where there is no terminal."""


class Progress:
    """Observer of a run (``guerdon.training.loop.Observe``); a context manager that owns the live line."""

    def __init__(self, *, quiet: bool = False, to_stderr: bool = False):
        self.console = Console(stderr=to_stderr, quiet=quiet, highlight=False)
        self.live: Live | None = None
        self.iterations, self.first = 1, 0
        self.began = self.printed = time.monotonic()
        self.trained = 0.0

    def __enter__(self) -> "Progress":
        if self.console.is_terminal and not self.console.quiet:
            self.live = Live(console=self.console, refresh_per_second=4, transient=True)
            self.live.start()
        self._catch = warnings.catch_warnings()
        self._catch.__enter__()
        warnings.simplefilter("ignore", RuntimeWarning)  # they arrive as events and are printed once
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self._catch.__exit__(None, None, None)

    def stop(self) -> None:
        """Take the live line away."""
        if self.live is not None:
            self.live.stop()
            self.live = None

    def __call__(self, event: str, data: dict[str, Any]) -> None:
        if event == "start":
            self.iterations, self.first = data["iterations"], data["first"]
            self.console.print(f"run [bold]{data['run']}[/] · {data['iterations'] - data['first']} iterations")
            if self.live is not None:
                self.live.update(Text("evaluating the policy as it is …", style="dim"))
        elif event == "evaluation":
            self.console.print(_evaluation(data))
            if data["iteration"] == self.first:
                self.began = time.monotonic()
        elif event == "warning":
            self.console.print(f"[yellow]warning:[/] {data['message']}")
        elif event == "iteration":
            self._iteration(data)

    def _iteration(self, data: dict[str, Any]) -> None:
        done = data["iteration"] + 1
        now = time.monotonic()
        left = (now - self.began) / max(1, done - self.first) * (self.iterations - done)
        if self.live is not None:
            self.live.update(live_line(data, done, self.iterations, left, self.console.width))
        elif now - self.printed >= _EVERY or done == self.iterations:
            self.printed = now
            self.console.print(plain_line(data, done, self.iterations, left), soft_wrap=True)


def plain_line(data: dict[str, Any], done: int, total: int, left: float) -> str:
    """One iteration in words: ``12/200  verified-steps 0.71  acc 0.58  entropy 0.21  len 11.2  5,120 tok/s  1:34 left``."""
    pieces = [f"{done}/{total}", *(f"{name} {value:.2f}" for name, value in parts_of(data).items())]
    if data.get("correct") is not None:
        pieces.append(f"acc {data['correct']:.2f}")
    pieces += [
        f"entropy {data['entropy']:.2f}",
        f"len {data['length']:.1f}",
        f"{data['tokens_per_second']:,.0f} tok/s",
        f"{clock(left)} left",
    ]
    if data.get("skipped"):
        pieces.append(f"{data['skipped']} skipped")
    return "  ".join(pieces)


def live_line(data: dict[str, Any], done: int, total: int, left: float, width: int) -> Table:
    """The same in one line of the terminal, behind a bar where there is room.

    Where it is narrow, names of parts are cut first; where there are many parts, the last ones are left out. The
    accuracy, the entropy, the length, the speed and the time left always stand.
    """
    parts = parts_of(data)
    line = plain_line(data, done, total, left)
    if len(line) > width:
        speed = data["tokens_per_second"]
        tail = [
            *([] if data.get("correct") is None else [f"acc {data['correct']:.2f}"]),
            f"ent {data['entropy']:.2f}",
            f"len {data['length']:.1f}",
            f"{speed / 1000:.1f}k tok/s" if speed >= 1000 else f"{speed:.0f} tok/s",
            f"{clock(left)} left",
        ]
        for names in (*_names(list(parts)), *(_names(list(parts))[-1][:n] for n in range(len(parts) - 1, -1, -1))):
            values = [f"{name} {value:.2f}" for name, value in zip(names, parts.values(), strict=False)]
            more = [f"+{len(parts) - len(names)}"] if len(names) < len(parts) else []
            line = " ".join([f"{done}/{total}", *values, *more, *tail])
            if len(line) <= width:
                break
    grid = Table.grid(padding=(0, 1))
    room = min(20, width - len(line) - 1)
    if room >= 8:
        grid.add_row(
            ProgressBar(total=total, completed=done, width=room), Text(line, no_wrap=True, overflow="ellipsis")
        )
    else:
        grid.add_row(Text(line, no_wrap=True, overflow="ellipsis"))
    return grid


def _names(names: list[str]) -> list[list[str]]:
    """The names of the parts, ever shorter: whole, last word, five letters of it, initials."""
    last = [n.rsplit("-", 1)[-1] for n in names]
    initials = ["-".join(piece[:1] for piece in n.split("-")) for n in names]
    return [t for t in (names, last, [n[:5] for n in last], initials) if len(set(t)) == len(t)] or [names]


def parts_of(data: dict[str, Any]) -> dict[str, float]:
    """Mean of every part that was scored, by its reward's name."""
    heads = ("parts/", "step_parts/", "token_parts/")
    return {k.split("/", 1)[1]: v for k, v in data.items() if k.startswith(heads) and isinstance(v, float) and v == v}


def clock(seconds: float) -> str:
    """``1:34``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def before_and_after(result: Any, report: Path) -> None:
    """The table at the end of a run, and where its report is."""
    console = Console(highlight=False)
    start, final = result.start, result.final
    if start is not None and final is not None and final.accuracy is not None:
        table = Table(title=f"held-out prompts: {final.prompts}", title_justify="left")
        table.add_column(str(final.strata[0].get("by") or "") if final.strata else "")
        for name in ("pass@1 before", "after", "greedy before", "after"):
            table.add_column(name, justify="right")
        stratum = {s["value"]: s for s in start.strata}
        for after in final.strata:
            before = stratum.get(after["value"], {})
            table.add_row(
                f"{after['value']} ({after['prompts']})",
                *(
                    _share(x)
                    for x in (before.get("accuracy"), after["accuracy"], before.get("greedy"), after["greedy"])
                ),
            )
        table.add_row(
            "[bold]all", *(f"[bold]{_share(x)}" for x in (start.accuracy, final.accuracy, start.greedy, final.greedy))
        )
        console.print(table)
        if final.samples > 1:
            console.print(f"pass@{final.samples}: {_share(start.pass_at_k)} → {_share(final.pass_at_k)}")
    console.print(f"{clock(result.seconds)} of wall clock · report: {report}", soft_wrap=True)


def _evaluation(data: dict[str, Any]) -> str:
    when = "before" if data["iteration"] == 0 else f"after {data['iteration']}"
    if data["accuracy"] is None:
        return (
            f"{when}: length {data['length']:.1f}, truncated {_share(data['truncated'])} on {data['prompts']} prompts"
        )
    return f"{when}: pass@1 {_share(data['accuracy'])}, greedy {_share(data['greedy'])} on {data['prompts']} held-out prompts"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
