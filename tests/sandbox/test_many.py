"""Many checks in one call."""

import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

from guerdon.sandbox.judge import Judging
from guerdon.sandbox.protocol import Check, Observed


class Instant(Judging):
    """A sandbox whose programs all give 2."""

    workers = 2

    def __init__(self):
        self.at_work, self.most, self.lock = 0, 0, threading.Lock()

    def observe(self, request):
        with self.lock:
            self.at_work += 1
            self.most = max(self.most, self.at_work)
        time.sleep(0)
        with self.lock:
            self.at_work -= 1
        return Observed("ok", ('{"v": 2}',))


CHECK = Check("def f(x): return 2", "assert f(1) == 2")


def peak(call):
    """What a call gives, and the most bytes held meanwhile."""
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_long_call_holds_little_more_than_its_verdicts():
    """A future for each check takes 1.4 kilobytes each, which a process then keeps: 13 megabytes for 10,000 checks."""
    sandbox, checks = Instant(), [CHECK] * 1000
    sandbox.run(CHECK)
    verdicts, most = peak(lambda: sandbox.run_all(checks))
    with ThreadPoolExecutor(2) as pool:
        again, of_futures = peak(lambda: list(pool.map(sandbox.run, checks)))
    assert verdicts == again
    assert [v.score for v in verdicts] == [1.0] * len(checks)
    assert most < 0.6 * of_futures
    assert sandbox.most <= sandbox.workers
