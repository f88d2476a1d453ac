"""The live line fits the terminal and never loses what matters; the table at the end."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from guerdon.cli.progress import Progress, before_and_after, clock, live_line, plain_line
from guerdon.training import Evaluation

EVENT = {
    "iteration": 198, "parts/final-answer": 0.5312, "step_parts/verified-steps": 0.7049, "rewards": 0.7, "correct": 0.5312,
    "entropy": 0.1234, "length": 118.25, "tokens_per_second": 12345.6, "skipped": 0,
}  # fmt: skip


def drawn(event, width, total=200):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(live_line(event, event["iteration"] + 1, total, 634.0, width))
    return console.file.getvalue().rstrip("\n")


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("parts", [0, 1, 2, 9])
def test_the_live_line_is_one_line_that_keeps_what_matters(width, parts):
    event = {**EVENT, **{f"parts/some-signal-{i}": 0.1 * i for i in range(parts)}}
    line = drawn(event, width)
    assert "\n" not in line
    assert len(line) <= width
    for piece in ("199/200", "acc 0.53", "0.12", "len 118.", "tok/s", "10:34 left"):
        assert piece in line, line


def test_two_parts_fit_eighty_columns_under_names_that_can_be_told():
    line = drawn(EVENT, 80)
    assert "answe 0.53" in line or "answer 0.53" in line
    assert "steps 0.70" in line


def test_a_wide_terminal_has_the_whole_names_and_a_bar():
    line = drawn(EVENT, 160)
    assert "verified-steps 0.70" in line
    assert "━" in line


def test_parts_that_nothing_scored_are_left_out():
    assert "final-answer" not in plain_line({**EVENT, "parts/final-answer": float("nan")}, 1, 2, 3.0)


def test_the_clock():
    assert [clock(0.4), clock(61), clock(6000)] == ["0:00", "1:01", "100:00"]


def test_without_a_terminal_lines_are_plain_and_rare(capsys):
    progress = Progress()
    progress.console = Console(force_terminal=False, width=80)
    with progress:
        progress("start", {"run": "runs/x", "iterations": 3, "first": 0})
        for i in range(3):
            progress("iteration", {**EVENT, "iteration": i})
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "run runs/x · 3 iterations"
    assert len(out) == 2  # the first iterations come within the interval, the last is always said
    assert out[1].startswith("3/3")


def test_quiet_says_nothing(capsys):
    with Progress(quiet=True) as progress:
        progress("start", {"run": "runs/x", "iterations": 3, "first": 0})
        progress("iteration", {**EVENT, "iteration": 2})
    assert capsys.readouterr().out == ""


def test_the_table_at_the_end(capsys):
    def evaluation(accuracy, greedy):
        strata = [{"by": "operands", "value": 2, "prompts": 8, "accuracy": accuracy, "greedy": greedy}]
        return Evaluation(8, 1, accuracy, accuracy, greedy, 11.0, 0.0, strata)

    before_and_after(
        SimpleNamespace(start=evaluation(0.5, 0.6), final=evaluation(0.9, 0.95), seconds=61.0), Path("r.html")
    )
    out = capsys.readouterr().out
    for piece in ("operands", "2 (8)", "0.500", "0.900", "0.600", "0.950", "all", "1:01 of wall clock", "r.html"):
        assert piece in out
    assert max(map(len, out.splitlines())) <= 80


def test_no_table_where_nothing_verifies(capsys):
    nothing = Evaluation(8, 1, None, None, None, 11.0, 0.0)
    before_and_after(SimpleNamespace(start=nothing, final=nothing, seconds=1.0), Path("r.html"))
    assert "r.html" in capsys.readouterr().out
