"""What programs cost, with a sandbox that says so."""

import threading

import pytest

from guerdon.sandbox import measure
from guerdon.sandbox.judge import Judging
from guerdon.sandbox.measure import costs, physical_cores
from guerdon.sandbox.protocol import Check, Observed

TESTS = "assert f(1) == 2"
SECONDS = {"pass": 0.5, "slow": 4.5, "fast": 1.5}


class Told(Judging):
    """Runs nothing; a program costs what its text says, and in the first round twice that."""

    workers = 4

    def __init__(self, runs=None):
        self.runs = runs or {}
        self.lock, self.order, self.at_work, self.most = threading.Lock(), [], 0, 0
        self.together = threading.Event()

    def observe(self, request):
        with self.lock:
            again = self.order.count(request.program)
            self.order.append(request.program)
            self.at_work += 1
            self.most = max(self.most, self.at_work)
            if self.at_work > 1:
                self.together.set()
        self.together.wait(0.05)
        with self.lock:
            self.at_work -= 1
        seconds = SECONDS[request.program] * (1 if again else 2)
        if request.program in self.runs:
            seconds = self.runs[request.program][min(again, len(self.runs[request.program]) - 1)]
        return Observed("ok", ('{"v": 2}',), seconds=seconds, memory=1024.0)


@pytest.mark.parametrize("lanes", [1, 2])
def test_the_least_of_all_rounds_less_an_empty_program(lanes):
    sandbox = Told()
    slow, fast = costs(sandbox, [Check("slow", TESTS), Check("fast", TESTS)], repeats=3, lanes=lanes)
    assert (slow.seconds, fast.seconds) == (4.0, 1.0)
    assert (slow.memory, fast.memory) == (0.0, 0.0)
    assert sandbox.most == lanes
    if lanes == 1:
        assert sandbox.order == ["pass", "slow", "fast", "slow", "fast", "pass", "fast", "pass", "slow"]


def test_programs_under_other_tests_have_an_empty_program_of_their_own():
    sandbox = Told()
    others = [Check("slow", TESTS), Check("slow", "assert f(1) == 2\nassert f(1) == 2"), Check("slow", TESTS)]
    assert [cost.seconds for cost in costs(sandbox, others, repeats=2)] == [4.0] * 3
    assert len(sandbox.order) == 8


def test_rounds_that_contradict_each_other_are_run_again_alone():
    """The odd rounds say 3.5, the even ones 4.5: a quarter apart. Alone it takes 3.1."""
    checks = [Check("slow", TESTS), Check("fast", TESTS)]
    runs = {"pass": [0.5], "fast": [1.5], "slow": [3.5, 4.5, 3.5, 4.5, 3.1]}
    sandbox = Told(runs)
    slow, fast = costs(sandbox, checks, repeats=4, lanes=2, agree=0.1)
    assert (slow.seconds, fast.seconds) == (pytest.approx(2.6), 1.0)
    assert [sandbox.order.count(name) for name in ("slow", "fast", "pass")] == [8, 4, 8]
    assert sandbox.order[12:] == ["pass", "slow", "slow", "pass"] * 2
    assert costs(Told(runs), checks, repeats=4, lanes=2, agree=0.5)[0].seconds == 3.0
    assert costs(Told(runs), checks, repeats=4, lanes=2)[0].seconds == 3.0


def test_threads_of_one_core_count_once(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "_SIBLINGS", str(tmp_path / "{}"))
    monkeypatch.setattr(measure.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    assert physical_cores(9) == 2  # nothing says which are threads of one core
    for cpu, siblings in enumerate(("0-1", "0-1", "2-3", "2-3")):
        (tmp_path / str(cpu)).write_text(siblings)
    assert (physical_cores(9), physical_cores(1)) == (2, 1)
    for cpu in range(4):
        (tmp_path / str(cpu)).write_text(f"{cpu}\n")
    assert physical_cores(9) == 4


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"lanes": 0}])
def test_nothing_to_measure_with(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        costs(Told(), [], **wrong)
