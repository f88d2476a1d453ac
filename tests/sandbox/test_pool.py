"""The pool of processes that sandboxes and signals share."""

import gc
import threading

import pytest

from guerdon.sandbox.pool import Pool


class Fake:
    made = 0

    def __init__(self):
        Fake.made += 1
        self.number, self.alive, self.greeted, self.killed = Fake.made, True, False, False

    def greet(self):
        self.greeted = True

    def kill(self):
        self.alive, self.killed = False, True


class Deaf(Fake):
    def greet(self):
        raise ConnectionError("never ready")


@pytest.fixture(autouse=True)
def _from_one():
    Fake.made = 0


def test_workers_start_when_needed_and_are_used_again():
    pool = Pool(2, Fake)
    assert Fake.made == 0
    for _ in range(3):
        with pool.worker() as worker:
            assert worker.greeted
    assert Fake.made == 1
    with pool.worker() as one, pool.worker() as two:
        assert one is not two
    assert len(pool.workers) == 2


@pytest.mark.parametrize("how", ["raises", "dies", "is dropped"])
def test_a_bad_worker_is_ended_and_replaced(how):
    pool = Pool(1, Fake)
    try:
        with pool.worker() as first:
            if how == "raises":
                raise KeyError
            if how == "dies":
                first.alive = False
            else:
                pool.drop(first)
    except KeyError:
        pass
    with pool.worker() as second:
        assert second is not first
    assert first.killed
    assert pool.workers == {second}


def test_one_that_never_gets_ready_is_ended_and_its_place_is_free():
    pool = Pool(1, Deaf)
    for _ in range(2):
        with pytest.raises(ConnectionError), pool.worker():
            pytest.fail("it was lent")
    assert Fake.made == 2
    assert not pool.workers


def test_nobody_gets_a_worker_that_another_has():
    pool = Pool(2, Fake)
    held, most, lock = 0, 0, threading.Lock()

    def use():
        nonlocal held, most
        with pool.worker():
            with lock:
                held += 1
                most = max(most, held)
            threading.Event().wait(0.01)
            with lock:
                held -= 1

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most <= 2
    assert Fake.made <= 2


@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_all_end_with_the_pool(how):
    pool = Pool(2, Fake)
    with pool.worker() as one, pool.worker() as two:
        pass
    if how == "closed":
        pool.close()
    del pool
    gc.collect()
    assert one.killed
    assert two.killed


def test_a_worker_that_is_lent_while_the_pool_closes_is_not_lent_again():
    pool = Pool(1, Fake)
    with pool.worker() as one:
        pool.close()
    assert one.killed
    with pool.worker() as two:
        assert two is not one
