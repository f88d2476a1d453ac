"""The page of runs in every state, hostile text included."""

import json
import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from guerdon.report import write_report
from guerdon.report.samples import read_samples
from guerdon.training import train

HOSTILE = "</title></style></pre><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\x00"
RECIPE = '[task]\nuse = "arithmetic"\n[[reward]]\nuse = "final-answer"\n[training]\niterations = 4\n'
VOID = {"meta", "br", "rect", "line", "circle", "path"}


class Page(HTMLParser):
    """Tags, text and attributes; fails where tags do not nest."""

    def __init__(self, markup):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.feed(markup)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


def read(run):
    """The page of a run folder, checked for what no page may hold."""
    markup = write_report(run).read_text("utf-8")
    page = Page(markup)
    assert "://" not in markup
    assert "url(" not in markup
    assert "@import" not in markup
    assert not {"script", "link", "img", "iframe", "object", "use", "image", "base", "form", "a"} & set(page.tags)
    assert not [k for k, _ in page.attributes if k.startswith("on") or k in ("src", "href", "srcset")]
    return page


def make_run(path, events=(), recipe=RECIPE, rollouts=None):
    (path / "rollouts").mkdir(parents=True)
    if recipe is not None:
        (path / "recipe.toml").write_text(recipe, "utf-8")
    (path / "metrics.jsonl").write_text("".join(json.dumps(e) + "\n" for e in events), "utf-8")
    if rollouts is not None:
        pq.write_table(pa.table(rollouts), path / "rollouts" / "000003.parquet")
    return path


def iteration(i, **more):
    return {"event": "iteration", "iteration": i, "correct": 0.5, "seconds": 2.0, "tokens_per_second": 10.0, **more}


def evaluated(i, accuracy, **more):
    return {
        "event": "evaluation",
        "iteration": i,
        "prompts": 50,
        "samples": 1,
        "accuracy": accuracy,
        "greedy": accuracy,
        **more,
    }


def rollouts(completion="13=4", rows=1, **more):
    n = len(completion)
    return {
        "prompts": ["9+4="] * rows, "completions": [completion] * rows, "correct": [1.0] * rows,
        "parts.final-answer": [1.0] * rows, "rewards": [0.5] * rows, "mask": [[True] * (n + 1)] * rows,
        "token_start": [[*range(n), n]] * rows, "token_end": [[*range(1, n + 1), n]] * rows,
        "token_advantages": [[1.0, -0.5, *[0.0] * (n - 1)]] * rows, **more,
    }  # fmt: skip


def test_a_real_run_from_end_to_end(tmp_path):
    run = tmp_path / "run"
    train(
        {
            "task": {"use": "arithmetic", "operands": [2, 3], "largest": 9},
            "policy": {"use": "tiny", "width": 24, "heads": 2, "layers": 1},
            "reward": [{"use": "final-answer"}, {"use": "length", "weight": 0.01}],
            "pipeline": [{"use": "weighted-sum"}, {"use": "moving-average-baseline"}],
            "loss": [{"use": "clipped-surrogate"}, {"use": "entropy-bonus", "weight": 0.01}],
            "training": {"iterations": 3, "prompts": 4, "samples": 2, "evaluate_prompts": 6, "threads": 1},
        },
        run,
    )
    page = read(run)
    for text in (
        "arithmetic · tiny", "pass@1", "operands 2", "final-answer", "clipped-surrogate", "Entropy", "Effective sample size", "Gradient norm",
        "Learning rate", "credit of a token", "No signal failed", "moving-average-baseline", "of 8 completions",
    ):  # fmt: skip
        assert text in page.text, text
    assert page.tags.count("figure") >= 12
    assert "unfinished" not in page.text


def test_hostile_text_stays_text(tmp_path):
    run = make_run(
        tmp_path / "run",
        [
            evaluated(
                0, 0.1, strata=[{"value": HOSTILE, "prompts": 1, "accuracy": 0.0, "greedy": 1.0}, {"value": "b"}]
            ),
            iteration(0, **{f"parts/{HOSTILE}": 1.0, f"failed/{HOSTILE}": 0.5, f"seconds/signal/{HOSTILE}": 1.0}),
        ],
        RECIPE + f"# {HOSTILE[:-1]}\n",
        rollouts(
            HOSTILE, **{"prompts": [HOSTILE], f"parts.{HOSTILE}": [1.0], f"reasons.{HOSTILE}": [f"failed: {HOSTILE}"]}
        ),
    )
    page = read(run)
    # prompt, reason, recipe ... whole; the completion is cut into a character per token
    assert page.text.count("<script>alert(1)</script>") >= 6
    assert "onerror=alert(2)" in page.text


def test_an_unfinished_run_says_so_and_has_no_after(tmp_path):
    run = make_run(tmp_path / "run", [evaluated(0, 0.25), iteration(0), iteration(1)])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"event": "iteration", "itera')
    page = read(run)
    assert "The run is unfinished: 2 of 4 iterations" in page.text
    assert "25.0\u00a0% → –" in page.text
    assert "Training has not been evaluated yet." in page.text
    assert "No rollouts were saved." in page.text


@pytest.mark.parametrize("recipe", [RECIPE, None, "", "not = [toml", 'colour = "red"'])
def test_a_run_that_has_only_begun(tmp_path, recipe):
    page = read(make_run(tmp_path / "run", recipe=recipe))
    assert "No iteration has been logged yet." in page.text
    assert "not evaluated" in page.text
    assert ("The recipe" in page.text) == (recipe is not RECIPE)


def test_null_metrics_are_gaps_and_a_warning(tmp_path):
    events = [iteration(i, loss=None if i == 1 else 0.5, entropy=None, skipped=i, truncated=0.5) for i in range(4)]
    page = read(make_run(tmp_path / "run", events))
    assert "Not finite in at least one iteration: loss, entropy." in page.text
    assert "3 optimiser steps were skipped" in page.text
    assert "50.0\u00a0% of the last completions were cut off" in page.text
    assert "No finite value was logged." in page.text


def test_failures_are_counted_with_their_reasons(tmp_path):
    drawn = rollouts(rows=3, **{"reasons.judge": ["failed: timeout", None, "failed: timeout"]})
    page = read(make_run(tmp_path / "run", [iteration(0, **{"failed/judge": 0.1}), iteration(1)], rollouts=drawn))
    assert "judge5.0\u00a0%10.0\u00a0%1" in page.text
    assert "judgefailed: timeout2" in page.text


def test_every_metric_has_a_chart(tmp_path):
    names = [
        "rewards",
        "parts/a",
        "step_parts/b",
        "token_parts/c",
        "length",
        "loss",
        "loss/x",
        "loss/y",
        "mine",
        "yours/z",
    ]
    page = read(make_run(tmp_path / "run", [iteration(i, **dict.fromkeys(names, 0.1 + i)) for i in range(2)]))
    legends = re.findall(r'swatch[^>]*></i>([^<]*)<', (tmp_path / "run" / "report.html").read_text())  # fmt: skip
    assert {"rewards", "a", "b", "c", "tokens", "total", "x", "y", "mine", "yours/z"} <= set(legends)
    assert "Other" in page.text


def test_tokens_take_the_colour_of_their_credit(tmp_path):
    make_run(tmp_path / "run", [iteration(0)], rollouts=rollouts())
    write_report(tmp_path / "run")
    cells = re.search(r'<pre class="credit">(.*?)</pre>', (tmp_path / "run" / "report.html").read_text())
    assert cells is not None
    assert re.findall(r'class="([^"]*)" title="([^"]*)">([^<]*)<', cells[1]) == [
        ("t p10", "credit 1", "1"), ("t n5", "credit −0.5", "3"), ("t", "credit 0", "="), ("t", "credit 0", "4"),
        ("t end", "credit 0", "∎"),
    ]  # fmt: skip


def test_credit_falls_back_to_steps_then_rows_and_skips_what_was_not_chosen(tmp_path):
    base = {k: v for k, v in rollouts("ab").items() if k != "token_advantages"}
    ids, mask = [[0, 1, -1]], [[True, False, True]]
    steps = make_run(tmp_path / "s", rollouts={**base, "step_ids": ids, "step_advantages": [[0.5, float("nan")]]})
    rows = make_run(tmp_path / "r", rollouts={**base, "advantages": [2.0], "mask": mask})
    credit = [[t.credit for t in read_samples(r / "rollouts", []).rows[0].tokens] for r in (steps, rows)]
    assert credit == [[0.5, None, None], [2.0, None, 2.0]]


def test_text_between_and_after_the_spans_is_kept(tmp_path):
    drawn = rollouts("abcdef", token_start=[[1, 1, 4]], token_end=[[2, 3, 5]], mask=[[True] * 3])
    (sample,) = read_samples(make_run(tmp_path / "r", rollouts=drawn) / "rollouts", []).rows
    assert [t.text for t in sample.tokens] == ["a", "b", "c", "d", "e", "f"]


def test_half_of_the_samples_are_right_where_there_are_enough(tmp_path):
    correct = [1.0] * 40 + [0.0] * 3 + [float("nan")] * 2
    run = make_run(tmp_path / "r", rollouts=rollouts(rows=45, correct=correct))
    values = [s.correct for s in read_samples(run / "rollouts", []).rows]
    assert len(values) == 12
    assert values.count(1.0) == 7
    assert values.count(0.0) == 3
    assert values.count(None) == 2


def test_old_rollouts_without_spans_and_damaged_ones(tmp_path):
    keep = ("prompts", "completions", "rewards")
    run = make_run(tmp_path / "r", [iteration(0)], rollouts={k: v for k, v in rollouts().items() if k in keep})
    (run / "rollouts" / "000009.parquet").write_bytes(b"PAR1 not really")
    page = read(run)
    assert "13=4" in page.text
    assert "The rollouts 000009.parquet could not be read" in page.text


def test_long_completions_are_cut(tmp_path):
    page = read(make_run(tmp_path / "r", [iteration(0)], rollouts=rollouts("x" * 5000)))
    assert "4,601 more tokens" in page.text
    assert (tmp_path / "r" / "report.html").stat().st_size < 200_000


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected a run folder"):
        write_report(tmp_path)


def test_long_runs_say_what_a_line_averages_and_absent_failures_are_zero(tmp_path):
    events = [iteration(i, **({"failed/judge": 0.5} if i < 2 else {})) for i in range(400)]
    page = read(make_run(tmp_path / "r", events))
    assert "Thin lines: means of 3 iterations." in page.text
    assert "judge0" in page.text
