"""The rival written by hand must be correct: a ratio against a broken one would say nothing."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.overhead import handwritten, handwritten_blocks
from benchmarks.overhead.handwritten import Breaker, RefusedError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def fail():
    raise ConnectionError("down")


async def answer():
    return "answer"


async def opened(open_for):
    breaker = Breaker(open_for)
    call = handwritten.broken(fail, breaker)
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await call()
    return breaker


async def test_it_refuses_after_five_failures_in_a_row():
    """The sixth call never reaches what failed five times."""
    breaker = await opened(60.0)
    with pytest.raises(RefusedError):
        await handwritten.broken(answer, breaker)()


async def test_one_probe_closes_it():
    """After the open time one call probes; all others are refused until it has answered."""
    breaker = await opened(0.0)
    gate = asyncio.Event()
    probe = asyncio.ensure_future(handwritten.broken(gate.wait, breaker)())
    await asyncio.sleep(0)
    with pytest.raises(RefusedError):
        await handwritten.broken(answer, breaker)()
    gate.set()
    await probe
    assert await handwritten.broken(answer, breaker)() == "answer"


async def test_a_cancelled_probe_frees_its_place():
    """A caller that goes away while it probes leaves the place to the next."""
    breaker = await opened(0.0)
    probe = asyncio.ensure_future(handwritten.broken(asyncio.Event().wait, breaker)())
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    assert await handwritten.broken(answer, breaker)() == "answer"


async def test_what_began_before_a_trip_changes_nothing():
    """A late success does not close a circuit that opened meanwhile."""
    breaker = Breaker(60.0)
    late = breaker.admit()
    call = handwritten.broken(fail, breaker)
    for _ in range(5):
        with pytest.raises(ConnectionError):
            await call()
    breaker.settle(late, outcome=True)
    with pytest.raises(RefusedError):
        breaker.admit()


async def test_the_stack_retries_and_times_each_attempt():
    """Two failures and then the answer; and a hung attempt is ended and counted."""
    left = 2

    async def flaky():
        nonlocal left
        if left:
            left -= 1
            raise ConnectionError("down")
        return "answer"

    assert await handwritten.four(flaky, Breaker())() == "answer"
    assert await handwritten.five(answer, Breaker())() == "answer"
    breaker = Breaker()
    with pytest.raises(TimeoutError):
        await handwritten.four(asyncio.Event().wait, breaker, attempts=1, seconds=0.001)()
    assert breaker.failures == 1


async def test_the_full_bulkhead_refuses():
    """With its only slot taken it refuses, and that is no failure of the dependency."""
    breaker = Breaker()
    gate = asyncio.Event()
    waits = True

    async def wait_once():
        if waits:
            await gate.wait()

    call = handwritten.four(wait_once, breaker, limit=1)
    first = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    with pytest.raises(RefusedError, match="bulkhead"):
        await call()
    assert breaker.failures == 0
    gate.set()
    await first


async def test_the_context_managers_do_the_same():
    """They open after five failures, refuse when full, and a cancelled block frees its slot."""
    breaker = Breaker()
    gate = asyncio.Event()
    held = handwritten_blocks.four(gate.wait, breaker, limit=1)
    first = asyncio.ensure_future(held(1))
    await asyncio.sleep(0)
    with pytest.raises(RefusedError, match="bulkhead"):
        await held(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert breaker.failures == 0
    gate.set()
    await held(2)
    with pytest.raises(TimeoutError):
        await handwritten_blocks.four(asyncio.Event().wait, breaker, seconds=0.001)(1)
    failing = handwritten_blocks.four(fail, breaker)
    for _ in range(4):
        with pytest.raises(ConnectionError) as caught:
            await failing(1)
    assert caught.value.__notes__ == ["gave up after 1 attempt: a block runs once"]
    with pytest.raises(RefusedError, match="circuit"):
        await failing(1)
