"""What the tests of hosts share."""

import asyncio

import pytest


@pytest.fixture(autouse=True)
def closed_event_loop():
    """verl's managers take the thread's event loop, or make one, and leave it open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()
