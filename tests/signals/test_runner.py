"""Whatever a signal does, its rows tell: every way to fail gives NaN with a reason, and stopping still stops."""

import asyncio
import math
import threading
import time

import numpy as np
import pytest
import torch

from guerdon.method import find
from guerdon.signals import chat_form, run_signal

NAN = float("nan")
ROWS = {"completions": ["a", "b", "c"]}


def run(result, makes=("parts",), **options):
    """Run a signal that returns (or raises) this."""

    def signal(completions):
        if isinstance(result, BaseException):
            raise result
        return result

    return run_signal(signal, ROWS, 3, makes=makes, **options)


def scores(outcome, name="parts"):
    return [None if math.isnan(v) else v for v in outcome.values[name].flatten().tolist()]


@pytest.mark.parametrize(
    "result",
    [
        [1, 0.5, True],
        (1, 0.5, True),
        np.array([1, 0.5, 1]),
        torch.tensor([1, 0.5, 1]),
        torch.tensor([1, 0.5, 1], dtype=torch.float64, requires_grad=True),
        [np.float32(1), 0.5, torch.tensor(1.0)],
    ],
)
def test_numbers_of_any_kind_become_float32(result):
    outcome = run(result)
    assert scores(outcome) == [1, 0.5, 1]
    assert outcome.values["parts"].dtype == torch.float32
    assert not outcome.values["parts"].requires_grad
    assert outcome.reasons == [None] * 3
    assert outcome.failed == 0
    assert outcome.seconds >= 0


def test_none_is_not_asked_nan_and_inf_are_failures():
    outcome = run([None, 1, NAN])
    assert scores(outcome) == [None, 1, None]
    assert outcome.reasons == ["not asked", None, "failed: the signal returned NaN"]
    assert outcome.failed == 1
    outcome = run([math.inf, -math.inf, 1e39])  # the last is infinite in float32
    assert scores(outcome) == [None] * 3
    assert outcome.reasons == ["failed: the signal returned inf"] * 3
    assert run([None] * 3).failed == 0


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (ValueError("no\nway"), "ValueError: no"),
        (StopIteration(), "StopIteration: "),
        (MemoryError(), "MemoryError: "),
        (RuntimeError("x" * 10_000), "RuntimeError: " + "x" * 200),
        ([1, 2], "expected 3 scores, got 2"),
        ([], "expected 3 scores, got 0"),
        (None, "expected 3 scores, got NoneType"),
        (7, "expected 3 scores, got int"),
        ("abc", "expected 3 scores, got str"),
        (["1", "2", "3"], "expected a number or None for each row, got str '1'"),
        ([1, {}, 3], "expected a number or None for each row, got dict '{}'"),
        ([[1], [2], [3]], "expected 3 scores with 1 axes (B), got shape [3, 1]"),
        (torch.zeros(3, 2), "expected 3 scores with 1 axes (B), got shape [3, 2]"),
        (torch.zeros(3, dtype=torch.complex64), "expected 3 scores, got Tensor"),
        (np.float64(3), "expected 3 scores, got float64"),
        ((x for x in (1, 2, 3)), "expected 3 scores, got generator"),
    ],
)
def test_every_row_fails_with_the_reason(result, reason):
    outcome = run(result)
    assert scores(outcome) == [None] * 3
    assert len(set(outcome.reasons)) == 1
    assert outcome.reasons[0].startswith("failed: ")
    assert outcome.reasons[0].removeprefix("failed: ").startswith(reason)
    assert len(outcome.reasons[0]) < 300
    assert outcome.failed == 3


def test_scores_by_step_may_be_ragged():
    outcome = run([[1, 0], [1], None], makes=("step_parts",), shape=(2,))
    assert scores(outcome, "step_parts") == [1, 0, 1, None, None, None]
    assert outcome.reasons == [None, None, "not asked"]
    assert run(ValueError(), makes=("step_parts",), shape=(2,)).values["step_parts"].shape == (3, 2)
    assert run(ValueError(), makes=("token_parts",)).values["token_parts"].shape == (3, 1)


def test_several_results():
    made = (torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, NAN, 0.0]))
    outcome = run(made, makes=("parts", "correct"))
    assert scores(outcome, "correct") == [1, None, 0]  # nothing verified the second: no failure
    assert outcome.failed == 0
    outcome = run(([1, None, 0], [1, 1, 1]), makes=("parts", "correct"))
    assert scores(outcome, "correct") == [1, None, 1]
    assert outcome.reasons[1] == "not asked"
    outcome = run([1, 0, 1], makes=("parts", "correct"))
    assert outcome.reasons[0] == "failed: expected a tuple of 2 results (parts, correct), got list of 3"


def test_a_signal_that_hangs_is_left_behind():
    release = threading.Event()

    def hangs(completions):
        release.wait(20)
        return [1.0] * 3

    start = time.perf_counter()
    outcome = run_signal(hangs, ROWS, 3, timeout=0.1)
    assert time.perf_counter() - start < 5
    assert outcome.reasons == ["failed: timed out after 0.1 s"] * 3
    values = outcome.values["parts"].clone()
    release.set()  # what it says later changes nothing
    time.sleep(0.05)
    assert outcome.values["parts"].isnan().all()
    assert values.isnan().all()


def test_async_signals():
    async def slow(completions):
        await asyncio.sleep(0)
        return [1, 2, 3]

    async def hangs(completions):
        await asyncio.sleep(1)

    async def raises(completions):
        raise ValueError("late")

    assert scores(run_signal(slow, ROWS, 3)) == [1, 2, 3]
    assert run_signal(hangs, ROWS, 3, timeout=0.1).failed == 3
    assert run_signal(raises, ROWS, 3).reasons[0] == "failed: ValueError: late"

    async def inside_a_loop():
        return run_signal(slow, ROWS, 3)

    assert scores(asyncio.run(inside_a_loop())) == [1, 2, 3]

    class Judge:
        async def __call__(self, completions):
            return [3, 2, 1]

    assert scores(run_signal(Judge(), ROWS, 3)) == [3, 2, 1]
    assert scores(asyncio.run(_within(lambda: run_signal(Judge(), ROWS, 3)))) == [3, 2, 1]


async def _within(call):
    return call()


@pytest.mark.parametrize("timeout", [None, 5.0])
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_stopping_passes(stop, timeout):
    with pytest.raises(stop):
        run(stop(), timeout=timeout)


@pytest.mark.parametrize("timeout", [None, 5.0])
def test_the_signal_cannot_change_lists_nor_leave_gradients(timeout):
    given = {"completions": ["a", "b", "c"]}
    weight = torch.ones(3, requires_grad=True)

    def signal(completions):
        completions.clear()
        return weight * 2

    outcome = run_signal(signal, given, 3, timeout=timeout)
    assert given == ROWS
    assert scores(outcome) == [2, 2, 2]


def test_a_registered_method_says_what_it_makes():
    outcome = run_signal(find("final-answer"), {"completions": ["7", "8"], "answer": [7, "?"]}, 2)
    assert scores(outcome) == [1, None]
    assert scores(outcome, "correct") == [1, None]
    assert outcome.reasons == [None, "failed: the signal returned NaN"]
    outcome = run_signal(find("final-answer"), {"completions": ["7", "8"]}, 2)
    assert outcome.failed == 2
    assert set(outcome.values) == {"parts", "correct"}


def test_no_rows():
    assert run_signal(lambda completions: [], {"completions": []}, 0).values["parts"].shape == (0,)


def test_chat_prompts_get_chat_completions():
    chat = [[{"role": "user", "content": "2+2?"}]]
    made = chat_form({"prompts": chat, "completions": ["4"], "answer": [4]})
    assert made == {"prompts": chat, "completions": [[{"role": "assistant", "content": "4"}]], "answer": [4]}
    plain = {"prompts": ["2+2?"], "completions": ["4"]}
    assert chat_form(plain) == plain
    assert chat_form({"prompts": [], "completions": []}) == {"prompts": [], "completions": []}


def test_an_async_signal_that_exits_leaves_the_loop_to_others():
    loops = []

    async def exits(completions):
        raise SystemExit(3)

    async def healthy(completions):
        loops.append(asyncio.get_running_loop())
        return [1.0] * len(completions)

    assert scores(run_signal(healthy, ROWS, 3)) == [1, 1, 1]
    with pytest.raises(SystemExit):
        run_signal(exits, ROWS, 3)
    assert scores(run_signal(healthy, ROWS, 3)) == [1, 1, 1]
    assert loops[0] is loops[1]
