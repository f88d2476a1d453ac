"""Pieces of work in torch's threads: all done once, errors brought back, from two threads at once, after a fork."""

import os
import threading
import time

import pytest
import torch

from guerdon.kernels import _threads


@pytest.fixture(params=["openmp", "own threads"])
def team(request, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    if request.param == "own threads":
        monkeypatch.setattr(_threads, "_openmp", lambda: None)
    return request.param


def test_every_piece_is_done_once_by_several_threads(team):
    done, threads = [], set()

    def job(piece):
        time.sleep(0.01)
        threads.add(threading.get_ident())
        done.append(piece)

    _threads.share(job, [(k,) for k in range(12)])
    assert sorted(done) == list(range(12))
    assert 1 < len(threads) <= 3


def test_the_error_of_a_piece_is_the_callers_and_later_pieces_are_left(team):
    done = []

    def job(piece):
        if piece == 2:
            raise ValueError("piece 2 is bad")
        time.sleep(0.005)
        done.append(piece)

    with pytest.raises(ValueError, match="piece 2 is bad"):
        _threads.share(job, [(k,) for k in range(100)])
    assert len(done) < 50


def test_two_threads_may_share_work_at_once(team):
    totals = {}

    def caller(name):
        done = []
        for _ in range(20):
            _threads.share(done.append, [(k,) for k in range(10)])
        totals[name] = sum(done)

    callers = [threading.Thread(target=caller, args=(name,)) for name in "ab"]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(timeout=60)
    assert totals == {"a": 900, "b": 900}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_threads_that_it_does_not_have(team):
    _threads.share(time.sleep, [(0.001,) for _ in range(6)])
    process = os.fork()
    if process == 0:
        done = []
        _threads.share(done.append, [(k,) for k in range(6)])
        os._exit(0 if sorted(done) == list(range(6)) else 1)
    for _ in range(200):
        ended, status = os.waitpid(process, os.WNOHANG)
        if ended:
            break
        time.sleep(0.05)
    else:
        os.kill(process, 9)
        os.waitpid(process, 0)
        pytest.fail("the forked process hangs")
    assert os.waitstatus_to_exitcode(status) == 0


def test_torch_on_linux_lends_its_threads():
    assert _threads._openmp() is not None
