"""Asking a signal as a recipe wants it asked: in pieces, at once, again, from the cache, in a process, or some rows."""

import json
import math
import threading
import time

import pytest
import torch

from guerdon.signals import Cache, How, Scores, ask
from guerdon.signals.cache import identity
from guerdon.signals.process import ProcessSignal, WorkerDied

TEXTS = ["a", "bb", "ccc", "dddd", "eeeee"]
ROWS = {"completions": TEXTS}
ME = __name__ if __name__.startswith("tests.") else "tests.signals.test_asking"


def size(completions):
    return [float(len(c)) for c in completions]


def hang(completions):
    if "hang" in completions:
        time.sleep(60)
    return size(completions)


def die(completions):
    if "die" in completions:
        raise SystemExit(3)
    return size(completions)


def speak(completions):
    print("noise on standard output")
    return Scores(size(completions), [None if c else "not asked" for c in completions], [0.5] * len(completions))


def scores(outcome):
    return [None if math.isnan(v) else v for v in outcome.values["parts"].tolist()]


# in pieces ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 2, 5, 9])
@pytest.mark.parametrize("concurrency", [1, 3])
def test_pieces_give_what_the_whole_gives(batch, concurrency):
    seen = []

    def signal(completions):
        seen.append(len(completions))
        return size(completions)

    outcome = ask(signal, ROWS, 5, how=How(batch=batch, concurrency=concurrency))
    assert scores(outcome) == [1, 2, 3, 4, 5]
    assert max(seen) == min(batch, 5)
    assert sum(seen) == 5
    assert outcome.reasons == [None] * 5
    assert bool(outcome.latency.ge(0).all())


def test_calls_run_at_the_same_time_but_no_more_than_asked_for():
    now, most, lock = 0, 0, threading.Lock()

    def signal(completions):
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.05)
        with lock:
            now -= 1
        return size(completions)

    began = time.perf_counter()
    ask(signal, {"completions": TEXTS * 4}, 20, how=How(batch=1, concurrency=10))
    assert 2 <= most <= 10
    assert time.perf_counter() - began < 20 * 0.05


def test_one_piece_fails_alone():
    def signal(completions):
        if "ccc" in completions:
            raise OSError("gone")
        return size(completions)

    outcome = ask(signal, ROWS, 5, how=How(batch=2))
    assert scores(outcome) == [1, 2, None, None, 5]
    assert outcome.reasons[2:4] == ["failed: OSError: gone"] * 2
    assert outcome.failed == 2


def test_steps_of_pieces_are_padded_to_the_widest():
    outcome = ask(
        lambda completions: [[float(i) for i in range(len(c))] for c in completions],
        {"completions": ["a", "bbb"]},
        2,
        how=How(batch=1),
        makes=["step_parts"],
    )
    torch.testing.assert_close(
        outcome.values["step_parts"], torch.tensor([[0.0, math.nan, math.nan], [0.0, 1.0, 2.0]]), equal_nan=True
    )


# again -------------------------------------------------------------------------------------------------------------


class _Busy(Exception):
    retry_after = 0.01


@pytest.mark.parametrize(("failures", "retries", "lost"), [(2, 2, False), (3, 2, True), (0, 0, False), (1, 0, True)])
def test_a_call_that_failed_is_tried_again(failures, retries, lost):
    calls = []

    def signal(completions):
        calls.append(1)
        if len(calls) <= failures:
            raise _Busy("later")
        return size(completions)

    outcome = ask(signal, ROWS, 5, how=How(retries=retries, back_off=0.0))
    assert scores(outcome) == ([None] * 5 if lost else [1, 2, 3, 4, 5])
    assert len(calls) == min(failures, retries) + 1


def test_nan_of_a_row_is_an_answer_and_is_not_tried_again():
    calls = []

    def signal(completions):
        calls.append(1)
        return [math.nan] * len(completions)

    assert ask(signal, ROWS, 5, how=How(retries=3, back_off=0.0)).failed == 5
    assert len(calls) == 1


# some rows ---------------------------------------------------------------------------------------------------------


def test_only_wanted_rows_are_asked():
    seen = []

    def signal(completions, answer, group):
        seen.extend(completions)
        assert len(answer) == len(group) == len(completions)
        return size(completions)

    given = {**ROWS, "answer": [1, 2, 3, 4, 5], "group": torch.arange(5)}
    outcome = ask(signal, given, 5, wanted=torch.tensor([True, False, False, True, False]))
    assert scores(outcome) == [1, None, None, 4, None]
    assert seen == ["a", "dddd"]
    assert outcome.reasons[1] == "not asked"
    assert outcome.failed == 0
    nobody = ask(signal, given, 5, wanted=torch.zeros(5, dtype=torch.bool))
    assert scores(nobody) == [None] * 5
    assert len(seen) == 2


# from the cache ----------------------------------------------------------------------------------------------------


def test_a_row_that_was_scored_is_not_asked_again(tmp_path):
    asked = []

    def signal(completions, answer):
        asked.extend(completions)
        return [float(len(c)) + a for c, a in zip(completions, answer, strict=True)]

    cache = Cache(tmp_path / "scores.sqlite")
    how = How(cache=cache, name="size", batch=2)
    given = {**ROWS, "answer": [0.0] * 5}
    first = ask(signal, given, 5, how=how)
    again = ask(signal, {"completions": [*TEXTS[:4], "new"], "answer": [0.0, 0.0, 1.0, 0.0, 0.0]}, 5, how=how)
    assert scores(first) == [1, 2, 3, 4, 5]
    assert scores(again) == [1, 2, 4, 4, 3]
    assert asked == [*TEXTS, "ccc", "new"]  # another answer is another row
    assert (first.cached, again.cached) == (0, 3)
    cache.close()
    reopened = Cache(tmp_path / "scores.sqlite")
    assert len(reopened) == 7
    assert ask(signal, given, 5, how=How(cache=reopened, name="size")).cached == 5
    assert ask(signal, given, 5, how=How(cache=reopened, name="other")).cached == 0


def test_failures_are_not_remembered_but_not_asked_is(tmp_path):
    answers = iter([[math.nan, None, 1.0], [2.0]])
    how = How(cache=Cache(tmp_path / "scores.sqlite"), name="x")
    given = {"completions": ["a", "b", "c"]}
    first = ask(lambda completions: next(answers), given, 3, how=how)
    second = ask(lambda completions: next(answers), given, 3, how=how)
    assert scores(first) == [None, None, 1]
    assert scores(second) == [2, None, 1]
    assert second.reasons[1] == "not asked"


def test_what_has_no_content_cannot_be_cached(tmp_path):
    how = How(cache=Cache(tmp_path / "scores.sqlite"), name="x")
    with pytest.raises(ValueError, match="cache = false"):
        ask(lambda tokens: [0.0], {"tokens": torch.zeros(1, 4)}, 1, how=how)


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    path = tmp_path / "scores.sqlite"
    path.write_text("not a database, however long this text may be" * 40)
    with pytest.raises(ValueError, match="expected a cache of scores"):
        Cache(path)


def test_threads_share_a_cache(tmp_path):
    cache = Cache(tmp_path / "scores.sqlite")
    texts = [str(i) for i in range(200)]

    def work(start):
        ask(
            size,
            {"completions": texts[start : start + 100]},
            100,
            how=How(cache=cache, name="s", batch=7, concurrency=4),
        )

    threads = [threading.Thread(target=work, args=(i,)) for i in (0, 50, 100)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(cache) == 200


def test_the_identity_of_a_signal_knows_its_options_and_source():
    assert identity(size, {"a": 1}) == identity(size, {"a": 1})
    assert len({identity(size, {}), identity(size, {"a": 1}), identity(hang, {})}) == 3


# in a process ------------------------------------------------------------------------------------------------------


def test_a_process_answers_and_keeps_reasons_and_costs():
    signal = ProcessSignal(f"{ME}:speak")
    try:
        outcome = ask(signal, {"completions": ["a", ""]}, 2)
        assert scores(outcome) == [1, None]
        assert outcome.reasons == [None, "not asked"]
        assert outcome.cost.tolist() == [0.5, 0.5]
    finally:
        signal.close()


def test_a_process_that_hangs_is_killed_and_replaced():
    signal = ProcessSignal(f"{ME}:hang", timeout=120.0)
    try:
        signal.timeout = 1.0
        ask(signal, ROWS, 5)
        [before] = signal._pool.workers
        outcome = ask(signal, {"completions": ["a", "hang", "b"]}, 3, how=How(batch=1))
        assert scores(outcome)[1] is None
        assert "timed out after 1 s; its process was killed" in outcome.reasons[1]
        assert before.process.poll() is not None
        signal.timeout = 120.0
        assert scores(ask(signal, ROWS, 5)) == [1, 2, 3, 4, 5]
    finally:
        signal.close()


def test_a_process_that_dies_is_replaced():
    signal = ProcessSignal(f"{ME}:die")
    try:
        with pytest.raises(WorkerDied, match="code 3"):
            signal(completions=["die"])
        assert signal(completions=["x"]) == [1.0]
    finally:
        signal.close()


def test_what_it_raises_is_told_and_the_process_goes_on():
    signal = ProcessSignal(f"{ME}:size")
    try:
        with pytest.raises(RuntimeError, match="TypeError"):
            signal(completions=[1])
        [one] = signal._pool.workers
        assert signal(completions=["\udc80\x00é"]) == [3.0]
        assert [one] == list(signal._pool.workers)
    finally:
        signal.close()


def test_large_arguments_pass_the_pipe():
    signal = ProcessSignal(f"{ME}:size")
    try:
        assert signal(completions=["x" * 3_000_000]) == [3_000_000.0]
    finally:
        signal.close()


def test_the_scores_in_the_cache_are_plain(tmp_path):
    cache = Cache(tmp_path / "scores.sqlite")
    ask(size, ROWS, 5, how=How(cache=cache, name="s"))
    rows = [json.loads(said) for (said,) in cache._base.execute("SELECT said FROM scores")]
    assert sorted(row["values"]["parts"] for row in rows) == [1, 2, 3, 4, 5]
