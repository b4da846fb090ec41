"""How long a stream and its items may take."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing, suppress

import anyio
import pytest

import seawall
from seawall import (
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    Fallback,
    Pipeline,
    Retry,
    State,
    Timeout,
)
from seawall.core.deadline import current_scope
from tests.core.test_stream import Feed, consume, policies
from tests.doubles import virtual
from tests.virtual_time import run


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


# The first item.


@pytest.mark.anyio
async def test_the_first_item_may_take_so_long_in_each_attempt():
    """An attempt without a first item in time is a FAILURE, and is retried like a timeout."""
    feed = Feed([9.0, "late"], [1.0, "in time", 9.0, "later"])
    pipeline, breaker, bulkhead = policies()
    began = anyio.current_time()
    assert await consume(pipeline.stream(feed, first_item_timeout=2.0)) == ["in time", "later"]
    assert anyio.current_time() - began == pytest.approx(2.0 + 1.0 + 1.0 + 9.0)
    assert (feed.opened, feed.closed, bulkhead.in_flight) == (2, 2, 0)
    snapshot = breaker.snapshot()
    assert (snapshot.failures, snapshot.successes) == (1, 1)


@pytest.mark.anyio
async def test_the_error_of_a_late_first_item():
    """It is a CallTimeoutError that says what was late, and a TimeoutError."""
    feed = Feed([9.0, "late"])
    pipeline = Pipeline(Retry(2, backoff=0, budget=None), name="model")
    with pytest.raises(TimeoutError) as caught:
        await consume(pipeline.stream(feed, first_item_timeout=2.0))
    error = caught.value
    assert isinstance(error, CallTimeoutError)
    assert (error.phase, error.seconds, error.name) == ("first_item", 2.0, "model")
    assert (feed.opened, feed.closed) == (2, 2)


@pytest.mark.anyio
async def test_a_late_first_item_is_fallen_back_from():
    """Another model may be faster; its own first item has the same time."""
    slow, other = Feed([9.0, "slow"]), Feed([1.0, "other"])
    stream = Fallback(other).stream(slow, first_item_timeout=2.0)
    assert await consume(stream) == ["other"]
    with pytest.raises(CallTimeoutError, match="first_item"):
        await consume(Fallback(slow).stream(slow, first_item_timeout=2.0))


@pytest.mark.anyio
async def test_opening_the_stream_counts_as_time_of_the_first_item():
    """Where an async function opens the stream, its time is part of it."""

    async def create():
        await anyio.sleep(1.5)
        return Feed([1.0, "late"])()

    with pytest.raises(CallTimeoutError, match="first_item"):
        await consume(Pipeline().stream(create, first_item_timeout=2.0))


@pytest.mark.anyio
async def test_waiting_for_a_slot_is_no_time_of_the_first_item():
    """The time runs from when the function is called."""
    pipeline = Pipeline(Bulkhead(1, queue=5))
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.execute, anyio.sleep, 60.0)
        await anyio.sleep(1)
        stream = pipeline.stream(Feed([1.0, "in time"]), first_item_timeout=2.0)
        assert await consume(stream) == ["in time"]


# Items after the first.


@pytest.mark.anyio
async def test_a_stream_that_falls_silent_is_ended():
    """It is a FAILURE that is raised as it is, and not retried: the consumer has seen items."""
    feed = Feed([9.0, "a", 1.0, "b", 9.0, "late"])
    pipeline, breaker, bulkhead = policies()
    items = []
    began = anyio.current_time()
    with pytest.raises(CallTimeoutError) as caught:
        async for item in pipeline.stream(feed, idle_timeout=2.0):
            items.append(item)
    assert (caught.value.phase, caught.value.seconds) == ("idle", 2.0)
    assert items == ["a", "b"]
    assert anyio.current_time() - began == pytest.approx(9.0 + 1.0 + 2.0)
    assert (feed.opened, feed.closed, bulkhead.in_flight) == (1, 1, 0)
    assert breaker.snapshot().failures == 1


@pytest.mark.anyio
async def test_a_slow_consumer_is_not_idle():
    """Only the time in which an item is waited for counts."""
    feed = Feed(["a", 1.0, "b", 1.0, "c"])
    items = []
    async for item in Bulkhead(1).stream(feed, first_item_timeout=2.0, idle_timeout=2.0):
        items.append(item)
        await anyio.sleep(60)
    assert items == ["a", "b", "c"]


@pytest.mark.anyio
async def test_a_long_stream_of_regular_items_goes_on():
    """The time begins anew with each item, however many there are."""
    feed = Feed([step for item in range(500) for step in (1.9, item)])
    stream = Bulkhead(1).stream(feed, first_item_timeout=2.0, idle_timeout=2.0)
    assert await consume(stream) == list(range(500))


def test_an_item_that_comes_in_spite_of_the_timeout_counts():
    """A function that swallows its cancellation and yields has yielded, and the stream goes on."""

    async def stubborn():
        for item in "ab":
            with suppress(BaseException):
                await anyio.sleep(9)
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
            yield item
        yield "c"

    async def main():
        stream = Bulkhead(1).stream(stubborn, first_item_timeout=2.0, idle_timeout=2.0)
        assert await consume(stream) == ["a", "b", "c"]
        assert asyncio.current_task().cancelling() == 0

    run(main())


@pytest.mark.anyio
async def test_an_error_in_the_cleanup_of_a_timeout_passes():
    """What the function raises instead of its cancellation is raised as it is."""

    async def broken():
        yield 1
        try:
            await anyio.sleep(9)
        finally:
            raise OSError("made up")

    with pytest.raises(OSError, match="made up"):
        await consume(Bulkhead(1).stream(broken, idle_timeout=2.0))


@pytest.mark.anyio
async def test_a_timeout_of_the_function_itself_is_not_ours():
    """It passes as it is, and is judged like any other error."""
    error = TimeoutError("made up")
    with pytest.raises(TimeoutError) as caught:
        await consume(Bulkhead(1).stream(Feed([1, error]), idle_timeout=2.0))
    assert caught.value is error


@pytest.mark.anyio
@pytest.mark.parametrize("read", ["first", "later"])
async def test_what_runs_in_a_read_that_times_out_has_failed(read):
    """A policy that the function uses counts the cancellation as a FAILURE: it hung."""
    breaker = CircuitBreaker(1, open_for=60.0)

    async def tokens():
        if read == "later":
            yield 1
        await breaker.execute(anyio.sleep, 9.0)
        yield 2

    with pytest.raises(CallTimeoutError):
        await consume(Bulkhead(1).stream(tokens, first_item_timeout=2.0, idle_timeout=2.0))
    assert breaker.state is State.OPEN


@pytest.mark.anyio
async def test_times_of_items_are_no_deadlines():
    """What is opened for the first item may live longer than that, so no deadline is set."""
    seen = []

    async def tokens():
        seen.append(seawall.deadline())
        yield 1
        seen.append(seawall.deadline())

    assert await consume(Bulkhead(1).stream(tokens, first_item_timeout=2, idle_timeout=2)) == [1]
    assert seen == [None, None]


# Where the times are set.


@pytest.mark.anyio
async def test_a_view_sets_the_times():
    """On each stream that goes through it, decorated functions included."""
    view = Bulkhead(5).bind(first_item_timeout=2.0).bind(idle_timeout=3.0)
    with pytest.raises(CallTimeoutError, match=r"of 2 s \(first_item\)"):
        await consume(view.stream(Feed([9.0, 1])))
    with pytest.raises(CallTimeoutError, match=r"of 3 s \(idle\)"):
        await consume(view(Feed([1, 9.0, 1]))())
    assert repr(view) == "Bulkhead(5).bind(first_item_timeout=2.0, idle_timeout=3.0)"
    assert await view.execute(anyio.sleep, 60.0) is None


@pytest.mark.anyio
async def test_what_is_given_to_the_stream_outranks_a_view():
    """And of two views, the inner one decides for what is inside it."""
    view = Bulkhead(5).bind(first_item_timeout=2.0, idle_timeout=2.0)
    items = [5.0, 1, 5.0, 2]
    with pytest.raises(CallTimeoutError, match=r"of 2 s \(idle\)"):
        await consume(view.stream(Feed(items), first_item_timeout=6.0))
    assert await consume(view.stream(Feed(items), first_item_timeout=6, idle_timeout=6)) == [1, 2]
    outer = Pipeline(Fallback(Feed(items)), view).bind(first_item_timeout=6.0, idle_timeout=6.0)
    inner = Feed([3.0, 1])
    # The fallback is outside the inner view, and has the time of the outer one.
    assert await consume(outer.stream(inner)) == [1, 2]
    assert inner.opened == 1


@pytest.mark.parametrize("name", ["first_item_timeout", "idle_timeout"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_times_must_be_positive(name, value):
    """A wrong value is named, with what is allowed."""
    for call in (Pipeline().bind, lambda **times: Pipeline().stream(Feed([1]), **times)):
        with pytest.raises(ValueError, match=f"{name} must be a number > 0 or None, not"):
            call(**{name: value})
        with pytest.raises(TypeError, match=f"{name} must be a number > 0 or None, not '1'"):
            call(**{name: "1"})


# Timeouts around.


@pytest.mark.anyio
async def test_a_timeout_further_inside_covers_the_time_until_the_first_item():
    """Once there is a first item, the attempt timeout is over."""
    feed = Feed([9.0, "late"], [1.0, "a", 20.0, "b"])
    pipeline = Pipeline(Timeout(60), Retry(2, backoff=0), inner := Timeout(5), Bulkhead(1))
    assert await consume(pipeline.stream(feed)) == ["a", "b"]
    assert (feed.opened, inner.timed_out) == (2, 1)
    assert inner.snapshot().in_flight == 0


@pytest.mark.anyio
async def test_the_outermost_timeout_bounds_the_whole_stream():
    """A read that waits at the deadline ends, as a FAILURE."""
    feed = Feed([step for item in range(100) for step in (1.0, item)])
    breaker, bulkhead = CircuitBreaker(1), Bulkhead(1)
    pipeline = Pipeline(Timeout(10.5), Retry(2), Timeout(5), breaker, bulkhead)
    items = []
    with pytest.raises(CallTimeoutError) as caught:
        async for item in pipeline.stream(feed, idle_timeout=9.0):
            items.append(item)
    assert (caught.value.phase, caught.value.seconds) == ("call", 10.5)
    assert items == list(range(10))
    assert (feed.opened, feed.closed, bulkhead.in_flight) == (1, 1, 0)
    assert breaker.state is State.OPEN


@pytest.mark.anyio
async def test_a_consumer_that_is_too_slow_meets_the_deadline():
    """The next read raises; the dependency has no part in it, so it counts for nothing."""
    feed = Feed([1, 2])
    breaker, bulkhead = CircuitBreaker(1), Bulkhead(1)
    stream = Pipeline(Timeout(10), breaker, bulkhead).stream(feed)
    assert await anext(stream) == 1
    await anyio.sleep(11)
    with pytest.raises(CallTimeoutError) as caught:
        await anext(stream)
    assert (caught.value.phase, caught.value.seconds) == ("call", 10.0)
    assert await consume(stream) == []
    assert (feed.closed, bulkhead.in_flight) == (1, 0)
    assert (breaker.state, breaker.snapshot().neutral) == (State.CLOSED, 1)


def test_a_stream_that_nobody_reads_ends_at_the_deadline():
    """On asyncio all is given back then, though the consumer may never come again."""
    feed = Feed([1, 2])
    breaker, bulkhead = CircuitBreaker(1), Bulkhead(1)

    async def main():
        stream = Pipeline(Timeout(10), breaker, bulkhead).stream(feed)
        assert await anext(stream) == 1
        await asyncio.sleep(9.9)
        assert (feed.closed, bulkhead.in_flight) == (0, 1)
        await asyncio.sleep(0.2)
        assert (feed.closed, bulkhead.in_flight) == (1, 0)
        assert breaker.snapshot().neutral == 1
        with pytest.raises(CallTimeoutError):
            await anext(stream)
        await stream.aclose()
        assert asyncio.get_running_loop().timers() == []

    run(main())


def test_closing_waits_for_a_stream_that_ends_at_the_deadline():
    """Who closes it meanwhile goes on when the function has cleaned up."""
    events = []

    async def tokens():
        try:
            yield 1
        finally:
            await asyncio.sleep(5)
            events.append("clean")

    async def main():
        stream = Pipeline(Timeout(10)).stream(tokens)
        assert await anext(stream) == 1
        await asyncio.sleep(11)
        await stream.aclose()
        events.append("closed")

    run(main())
    assert events == ["clean", "closed"]


@pytest.mark.anyio
async def test_a_timeout_of_the_calling_code_sees_to_itself():
    """Where it fires while an item is waited for, the dependency hung: a FAILURE."""
    feed = Feed([1, 60.0, 2])
    breaker, bulkhead = CircuitBreaker(1), Bulkhead(1)
    pipeline = Pipeline(Timeout(30), breaker, bulkhead)
    with pytest.raises(CallTimeoutError) as caught:
        async with Timeout(5):
            await consume(pipeline.stream(feed, idle_timeout=20.0))
    assert caught.value.seconds == 5
    assert (feed.closed, bulkhead.in_flight, breaker.state) == (1, 0, State.OPEN)


@pytest.mark.anyio
async def test_a_stream_may_outlive_the_timeout_of_the_code_that_began_it():
    """A deadline ends with the block that set it; that of the pipeline stays."""
    stream = Pipeline(Timeout(30), Bulkhead(1)).stream(Feed([1, 10.0, 2, 30.0, 3]))
    async with Timeout(5):
        assert await anext(stream) == 1
    assert await anext(stream) == 2
    with pytest.raises(CallTimeoutError) as caught:
        await anext(stream)
    assert caught.value.seconds == 30


@pytest.mark.anyio
async def test_a_cancellation_is_never_taken_for_a_timeout():
    """A consumer that is cancelled gets its cancellation, whatever times are set."""
    breaker, bulkhead = CircuitBreaker(1), Bulkhead(1)
    feed = Feed([1, 60.0, 2])
    with anyio.CancelScope(deadline=anyio.current_time() + 3) as scope:
        pipeline = Pipeline(Timeout(30), breaker, bulkhead)
        async with aclosing(pipeline.stream(feed, idle_timeout=20.0)) as stream:
            await consume(stream)
    assert scope.cancelled_caught
    assert (feed.closed, bulkhead.in_flight) == (1, 0)
    assert breaker.snapshot().neutral == 1


def test_a_cancellation_in_the_same_moment_as_a_timeout_passes():
    """Who asks to cancel the task gets that, not the timeout."""
    for moment in (-1e-9, 0.0, 1e-9):

        async def main(moment=moment):
            async def reads():
                await consume(Bulkhead(1).stream(Feed([1, 60.0, 2]), idle_timeout=2.0))

            task = asyncio.create_task(reads())
            asyncio.get_running_loop().call_at(1002.0 + moment, task.cancel)
            await asyncio.wait({task})
            if moment <= 0:
                assert task.cancelled()
            else:
                # The timeout had already been raised, or the cancellation came on top of it.
                assert task.cancelled() or isinstance(task.exception(), CallTimeoutError)

        run(main())


def test_one_alarm_serves_all_reads():
    """Items that come in time arm no timer each, and at the end none is left."""
    armed = []

    async def main():
        loop = asyncio.get_running_loop()
        call_at = loop.call_at

        def counted(when, callback, *args, context=None):
            if getattr(callback, "__name__", "") == "_ring":
                armed.append(when)
            return call_at(when, callback, *args, context=context)

        loop.call_at = counted
        feed = Feed([step for item in range(100) for step in (0.01, item)])
        stream = Timeout(60).stream(feed, first_item_timeout=5.0, idle_timeout=5.0)
        async for _ in stream:
            assert len([timer for timer in loop.timers() if "_ring" in repr(timer)]) == 1
        assert [timer for timer in loop.timers() if "_ring" in repr(timer)] == []

    run(main())
    assert len(armed) <= 2


def test_a_timer_keeps_no_stream_alive():
    """What the function belongs to may hold the stream: together they are garbage, timer or not."""
    dropped = []

    class Session:
        async def tokens(self):
            yield 1
            yield 2

        def __del__(self):
            dropped.append(True)

    async def main():
        bulkhead = Bulkhead(1)
        session = Session()
        timed = Pipeline(Timeout(3600), bulkhead)
        session.stream = timed.stream(session.tokens, idle_timeout=3600.0)
        assert await anext(session.stream) == 1
        del session
        gc.collect()
        assert (len(dropped), bulkhead.in_flight) == (1, 0)

    run(main())


def test_blocks_that_come_and_go_in_the_function_leave_no_scopes():
    """A function that opens a block for each item does not make the chain of scopes longer."""
    lengths = []

    async def tokens():
        for item in range(50):
            async with Timeout(5):
                yield item

    async def main():
        async for _ in Timeout(60).stream(tokens, idle_timeout=3.0):
            length, scope = 0, current_scope.get()
            while scope is not None:
                length, scope = length + 1, scope.outer
            lengths.append(length)

    run(main())
    assert max(lengths) <= 4
