"""What a run borrows from its process and gives back: threads of torch, and signals that end it."""

import signal
import threading
from contextlib import contextmanager

import torch


@contextmanager
def threads(count: int | None):
    """So many threads of torch while a run runs; None: as many as there are."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def interrupts(stop: threading.Event):
    """The first Ctrl-C (or SIGTERM) ends the run after the iteration at hand, the second at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number, frame):
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
