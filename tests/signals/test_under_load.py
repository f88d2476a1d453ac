"""A busy machine and clocks that are far too short: a value is right, or it is NaN and a reason says why. Never another."""

import json
import math
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from guerdon.signals import Cache, How, ask, math_equal, mathematics, run_signal
from guerdon.signals.clocked import DIED, TIMED_OUT, Clocked
from guerdon.signals.equality.symbolic import Symbolic
from tests.data.make_math_pairs import FILE

ME = __name__ if __name__.startswith("tests.") else "tests.signals.test_under_load"
CALLERS = 8
PAIRS = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()][::4]
OPEN = [
    ("\\sqrt[4]{32}", "\\boxed{2\\sqrt[4]{2}}", 1.0),
    ("\\sqrt[4]{32}", "\\boxed{2\\sqrt[4]{3}}", 0.0),
    ("10+y", "\\boxed{y+\\binom{5}{2}}", 1.0),
]
"""Reference, completion and label of pairs that exact comparison leaves to a process under a clock."""


@contextmanager
def busy(threads=6):
    """Threads of this process that never rest, so that every other one is late."""
    over = threading.Event()

    def spin():
        while not over.is_set():
            sum(range(2000))

    spinning = [threading.Thread(target=spin, daemon=True) for _ in range(threads)]
    for thread in spinning:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in spinning:
            thread.join()


def at_once(call, count=CALLERS):
    """What ``call(0)``, ``call(1)`` ... return, all at the same time."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def right_or_unscored(outcome, labels, name="parts"):
    """How many are unscored; every other one has its label."""
    missing = 0
    for value, reason, label in zip(outcome.values[name].tolist(), outcome.reasons, labels, strict=True):
        if math.isnan(value):
            assert reason is not None
            assert reason.startswith("failed: ")
            missing += 1
        else:
            assert (value, reason) == (label, None)
    return missing


def tens(value, seconds):
    """Whether a number is 10 or more, said after so many seconds; in a process of its own."""
    said = []
    for number, rest in zip(value, seconds, strict=True):
        time.sleep(rest)
        said.append(number >= 10)
    return said


def test_exact_comparison_from_many_threads():
    labels = [float(pair["equal"]) for pair in PAIRS]
    given = {"completions": [p["completion"] for p in PAIRS], "answer": [p["gold"] for p in PAIRS]}

    def call(caller):
        return run_signal(math_equal, given, len(PAIRS), timeout=0.02 if caller % 2 else None)

    with busy():
        outcomes = at_once(call)
    missing = [right_or_unscored(outcome, labels, "correct") for outcome in outcomes]
    assert missing[::2] == [0] * (CALLERS // 2)
    assert sum(missing) > 0  # the clock was too short for somebody


def test_signals_that_are_late_from_many_threads(tmp_path):
    """Late answers belong to nobody: not to the next call, and not to the cache."""
    labels = [float(i) for i in range(12)]
    cache = Cache(tmp_path / "scores.sqlite")
    how = How(timeout=0.015, batch=2, concurrency=3, cache=cache, name="late")
    dice = random.Random(0)

    def late(completions):
        time.sleep(dice.uniform(0, 0.03))
        return [float(text) for text in completions]

    def call(caller):
        order = random.Random(caller).sample(range(12), 12)
        return order, ask(late, {"completions": [str(i) for i in order]}, 12, how=how)

    with busy(2):
        told = at_once(call)
    missing = [right_or_unscored(outcome, [labels[i] for i in order]) for order, outcome in told]
    assert sum(missing) > 0
    time.sleep(0.1)  # the last of them has spoken by now
    quick = ask(lambda completions: [float(text) for text in completions], {"completions": [str(i) for i in range(12)]}, 12,
                how=How(cache=cache, name="late"))  # fmt: skip
    assert quick.values["parts"].tolist() == labels
    cache.close()


def test_a_process_that_is_late_never_answers_the_next_question():
    """Two threads, and answers that come about when the clock runs out: the process is killed, and its successor is not it."""
    worker = Clocked(f"{ME}:tens", ("value", "seconds"), [(1, 0.0)], timeout=0.3)
    questions = [[(3, 0.0), (18, 0.4)], [(13, 0.29)]]
    try:
        with busy(2):
            told = at_once(lambda caller: worker.decide(questions[caller]), 2)
        for asked, said in zip(questions, told, strict=True):
            for (value, _), verdict in zip(asked, said, strict=True):
                assert verdict in (value >= 10, TIMED_OUT, DIED)
        assert told[0][1] == TIMED_OUT
        worker.timeout = 60.0
        assert worker.decide([(9, 0.0), (10, 0.0), (11, 0.4)]) == [False, True, True]
    finally:
        worker.close()


def test_symbolic_comparison_under_a_clock_that_is_too_short(monkeypatch):
    checker = Symbolic(timeout=0.001)
    monkeypatch.setattr(mathematics, "_symbolic", lambda _: checker)

    def said(pairs):
        columns = {"completions": [said for _, said, _ in pairs], "answer": [gold for gold, _, _ in pairs]}
        return right_or_unscored(run_signal(math_equal, columns, len(pairs)), [label for *_, label in pairs], "correct")

    try:
        with busy(2):
            assert said(OPEN[:1]) == 1
        for worker in checker._workers:
            worker.timeout = 120.0
        assert said(OPEN) == 0
    finally:
        checker.close()
