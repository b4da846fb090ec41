"""What the limit must do to be one: all that the stack of four policies does, at its only order."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections import deque
from contextvars import ContextVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.overhead import limit, runners
from benchmarks.overhead.handwritten import RefusedError
from seawall import (
    Bulkhead,
    BulkheadFullError,
    CircuitBreaker,
    CircuitOpenError,
    FailureRate,
    Pipeline,
    Retry,
    Timeout,
    exponential,
)
from tests.doubles import Held, Script, turns
from tests.virtual_time import run

OPEN_FOR = 30.0
REFUSALS = (RefusedError, CircuitOpenError, BulkheadFullError)


def fused(function, **options):
    return limit.four(function, **options)


def layered(function, limit=100, attempts=3, seconds=10.0):
    pipeline = Pipeline(
        Retry(attempts, backoff=exponential(0.001)),
        CircuitBreaker(FailureRate(0.5, 30.0, 20), open_for=OPEN_FOR, stalls=False),
        Bulkhead(limit),
        Timeout(seconds),
    )
    return pipeline(function)


BOTH = pytest.mark.parametrize("build", [fused, layered])


def as_function(script):
    async def function():
        return await script()

    return function


@BOTH
def test_it_passes_the_proofs_that_peers_pass(build):
    """It retries, and it opens by failures and then refuses without calling."""

    async def main():
        await runners.prove_retry(build)
        _, error = await runners.open_circuit(build)
        assert issubclass(error, REFUSALS)

    run(main())


@BOTH
def test_it_counts_attempts(build):
    """Three attempts and no more; then the last error is raised."""

    async def main():
        script = Script(ConnectionError)
        with pytest.raises(ConnectionError):
            await build(as_function(script))()
        assert script.calls == 3

    run(main())


@BOTH
def test_a_hung_attempt_is_ended(build):
    """The timeout ends an attempt at its time, and what hangs is tried again."""

    async def main():
        held = Held()
        begun = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError):
            await build(as_function(held), attempts=2, seconds=5.0)()
        assert held.calls == 2
        assert asyncio.get_running_loop().time() - begun == pytest.approx(10.0, abs=0.1)
        assert asyncio.current_task().cancelling() == 0

    run(main())


@BOTH
def test_one_timer_serves_all_calls(build):
    """A hundred calls in flight have one timer, and each ends at its own time."""

    async def main():
        loop = asyncio.get_running_loop()
        call = build(as_function(Held()), attempts=1, seconds=5.0)

        async def timed(delay):
            await asyncio.sleep(delay)
            begun = loop.time()
            with pytest.raises(TimeoutError):
                await call()
            return loop.time() - begun

        tasks = [asyncio.ensure_future(timed(number * 0.01)) for number in range(100)]
        await asyncio.sleep(2.0)
        assert len(loop.timers()) == 1
        # A timer is never armed anew within a millisecond.
        assert all(5.0 <= taken < 5.002 for taken in await asyncio.gather(*tasks))

    run(main())


@BOTH
@pytest.mark.parametrize("ticks", range(4))
def test_a_cancelled_call_gives_its_slot_back(build, ticks):
    """Whenever the caller goes away, its slot is free for the next."""

    async def main():
        held = Held()
        call = build(as_function(held), limit=1)
        task = asyncio.ensure_future(call())
        await turns(ticks)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        next_one = asyncio.ensure_future(call())
        await turns()
        assert held.inside == 1
        held.let_go()
        await next_one

    run(main())


@BOTH
def test_a_callers_cancellation_at_the_deadline_passes(build):
    """Cancelled in the very tick in which the timeout fires, it is no timeout."""

    async def main():
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(build(as_function(Held()), seconds=5.0)())
        await turns()
        loop.call_at(loop.time() + 5.0, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


@BOTH
def test_the_full_bulkhead_refuses(build):
    """A refused call is not tried again, and opens nothing."""

    async def main():
        held = Held()
        call = build(as_function(held), limit=1)
        first = asyncio.ensure_future(call())
        await turns()
        for _ in range(50):
            with pytest.raises(REFUSALS):
                await call()
        held.let_go()
        await first
        second = asyncio.ensure_future(call())
        await turns()
        held.let_go()
        await second
        assert held.calls == 2

    run(main())


async def open_by_failures(call, script):
    while True:
        calls = script.calls
        with pytest.raises((ConnectionError, *REFUSALS)):
            await call()
        if script.calls == calls:
            return


@BOTH
def test_it_opens_by_the_share_of_failures(build):
    """Nineteen failures do not open it, twenty do; half of more calls than twenty does too."""

    async def main():
        script = Script(ConnectionError)
        call = build(as_function(script), attempts=1)
        await open_by_failures(call, script)
        assert script.calls == 20
        script = Script(*["answer"] * 30, ConnectionError)
        call = build(as_function(script), attempts=1)
        for _ in range(30):
            await call()
        await open_by_failures(call, script)
        assert script.calls == 60

    run(main())


@BOTH
def test_what_is_old_is_forgotten(build):
    """Failures from before the window began open nothing."""

    async def main():
        script = Script(ConnectionError)
        call = build(as_function(script), attempts=1)
        for _ in range(19):
            with pytest.raises(ConnectionError):
                await call()
        await asyncio.sleep(31.0)
        await open_by_failures(call, script)
        assert script.calls == 19 + 20
        script = Script(*[ConnectionError] * 19, "answer", ConnectionError)
        call = build(as_function(script), attempts=1)
        for _ in range(19):
            with pytest.raises(ConnectionError):
                await call()
        await asyncio.sleep(31.0)
        await call()
        await open_by_failures(call, script)
        assert script.calls == 19 + 20

    run(main())


@BOTH
def test_one_probe_decides(build):
    """After the open time one call is let through, the others are refused until it has ended."""

    async def main():
        script = Script(ConnectionError)
        functions = [as_function(script)]

        async def function():
            return await functions[-1]()

        call = build(function, attempts=1)
        await open_by_failures(call, script)
        await asyncio.sleep(OPEN_FOR - 0.001)
        with pytest.raises(REFUSALS):
            await call()
        await asyncio.sleep(0.001)
        with pytest.raises(ConnectionError):
            await call()
        with pytest.raises(REFUSALS):
            await call()
        await asyncio.sleep(OPEN_FOR)
        held = Held()
        functions.append(as_function(held))
        cancelled = asyncio.ensure_future(call())
        await turns()
        with pytest.raises(REFUSALS):
            await call()
        cancelled.cancel()
        await turns()
        probe = asyncio.ensure_future(call())
        await turns()
        assert held.calls == 2
        held.let_go()
        await probe
        functions.append(as_function(Script("answer")))
        assert [await call() for _ in range(3)] == ["answer"] * 3

    run(main())


@BOTH
@pytest.mark.parametrize("succeeds", [False, True])
def test_what_began_before_a_trip_changes_nothing(build, succeeds):
    """A late success does not close a circuit, nor does a late failure keep it open for longer."""

    async def main():
        script, probe = Script(ConnectionError), Held()
        lates = [asyncio.Event() for _ in range(2)]
        waiting = list(lates)
        functions = []

        async def late():
            await waiting.pop().wait()
            if not succeeds:
                raise ConnectionError

        async def function():
            return await functions[-1]()

        call = build(function, attempts=1, seconds=1000.0)
        functions.append(late)
        tasks = [asyncio.ensure_future(call()) for _ in lates]
        await turns()
        functions.append(as_function(script))
        await open_by_failures(call, script)
        await asyncio.sleep(OPEN_FOR / 2)
        lates[0].set()
        await turns()
        with pytest.raises(REFUSALS):
            await call()
        await asyncio.sleep(OPEN_FOR / 2)
        functions.append(as_function(probe))
        probing = asyncio.ensure_future(call())
        await turns()
        assert probe.inside == 1
        lates[1].set()
        await turns()
        with pytest.raises(REFUSALS):
            await call()
        probe.let_go()
        await probing
        functions.append(as_function(Script("answer")))
        assert await call() == "answer"
        await asyncio.gather(*tasks, return_exceptions=True)

    run(main())


@BOTH
def test_repeated_attempts_are_no_evidence(build):
    """Where every other call needs a retry, half of the calls have failed, and not a third."""

    async def main():
        script = Script(*["answer", ConnectionError, "answer"] * 9, "answer", ConnectionError)
        call = build(as_function(script))
        for _ in range(19):
            await call()
        with pytest.raises((ConnectionError, *REFUSALS)):
            await call()
        with pytest.raises(REFUSALS):
            await call()

    run(main())


@BOTH
def test_a_swallowed_cancellation_leaves_nothing(build):
    """A function that returns in spite of its timeout has returned, and is cancelled once."""

    async def main():
        times = 0

        async def stubborn():
            nonlocal times
            for _ in range(3):
                try:
                    await asyncio.sleep(10.0)
                except asyncio.CancelledError:
                    times += 1
            return "answer"

        async def other():
            await asyncio.sleep(8.0)
            await call()

        functions = [stubborn]

        async def function():
            return await functions.pop()()

        call = build(function, seconds=5.0)
        functions.insert(0, as_function(Script("answer")))
        beside = asyncio.ensure_future(other())
        assert await call() == "answer"
        await beside
        assert times == 1
        assert asyncio.current_task().cancelling() == 0

    run(main())


@BOTH
def test_an_idle_timer_keeps_no_context(build):
    """What a caller had in its context is free when its call is over, though the timer remains."""

    async def main():
        class Request:
            pass

        call = build(as_function(Script("answer")))
        variable = ContextVar("variable")

        async def handler():
            request = Request()
            variable.set(request)
            await call()
            return weakref.ref(request)

        reference = await asyncio.ensure_future(handler())
        await turns()
        gc.collect()
        assert reference() is None
        assert len(asyncio.get_running_loop().timers()) == 1

    run(main())


@BOTH
def test_retries_are_paid_from_a_budget(build):
    """Ten tokens are ten retries; ten first successes pay for one more, as do thirty seconds."""

    async def main():
        script = Script(*[ConnectionError] * 12, *["answer"] * 10, ConnectionError)
        call = build(as_function(script), attempts=100)
        with pytest.raises(ConnectionError):
            await call()
        assert script.calls == 11
        with pytest.raises(ConnectionError):
            await call()
        assert script.calls == 12
        for _ in range(10):
            await call()
        with pytest.raises(ConnectionError):
            await call()
        assert script.calls == 22 + 2
        await asyncio.sleep(30.0)
        with pytest.raises(ConnectionError):
            await call()
        assert script.calls == 24 + 2

    run(main())


class Moment:
    """A clock that a test sets."""

    def __init__(self):
        self.now = 0.0

    def time(self):
        return self.now


@given(st.lists(st.tuples(st.floats(0.0, 70.0) | st.floats(0.0, 1.0), st.booleans()), max_size=80))
def test_the_window_holds_what_is_young(calls):
    """All calls of the last 30 s are counted, and none that is older than a bucket more."""

    async def make():
        return limit.State(OPEN_FOR, 30.0)

    state = asyncio.run(make())
    state.loop = clock = Moment()
    state.forget()
    history = deque()
    for gap, bad in calls:
        clock.now += gap
        if clock.now >= state.quiet_until:
            state.advance(clock.now)
        state.calls += 1
        state.failures += bad
        history.append((clock.now, bad))
        slack = 1e-6
        surely = [bad for at, bad in history if at > clock.now - 30.0 + slack]
        perhaps = [bad for at, bad in history if at >= clock.now - 30.0 - state.width - slack]
        assert len(surely) <= state.calls <= len(perhaps)
        assert sum(surely) <= state.failures <= sum(perhaps)
