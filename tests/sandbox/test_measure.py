"""What programs cost, with a sandbox that says so."""

import threading

import pytest

from guerdon.sandbox.judge import Judging
from guerdon.sandbox.measure import costs
from guerdon.sandbox.protocol import Check, Observed

TESTS = "assert f(1) == 2"
SECONDS = {"pass": 0.5, "slow": 4.5, "fast": 1.5}


class Told(Judging):
    """Runs nothing; a program costs what its text says, and in the first round twice that."""

    workers = 4

    def __init__(self):
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
        return Observed("ok", ('{"v": 2}',), seconds=SECONDS[request.program] * (1 if again else 2), memory=1024.0)


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


@pytest.mark.parametrize("wrong", [{"repeats": 0}, {"lanes": 0}])
def test_nothing_to_measure_with(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        costs(Told(), [], **wrong)
