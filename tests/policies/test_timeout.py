"""`Timeout`: what it ends and what it leaves alone, on asyncio and trio.

That it agrees with `asyncio.timeout` is tested in `test_timeout_oracle`.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import anyio
import pytest
import trio

from seawall import (
    Bulkhead,
    CallTimeoutError,
    DeadlineError,
    Kind,
    Pipeline,
    Policy,
    Retry,
    Timeout,
    UsageError,
    deadline,
)
from seawall.core.deadline import Scope
from tests.doubles import virtual
from tests.virtual_time import VirtualLoop, run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return virtual(request.param)


on_asyncio = pytest.mark.parametrize("anyio_backend", [virtual("asyncio")], ids=["asyncio"])
on_trio = pytest.mark.parametrize("anyio_backend", [virtual("trio")], ids=["trio"])


async def hang() -> None:
    await anyio.sleep(1000)


async def by_execute(timeout: Policy, work: Callable[[], Any]) -> Any:
    return await timeout.execute(work)


async def by_coroutine(timeout: Policy, work: Callable[[], Any]) -> Any:
    return await timeout.execute(work())


async def by_decorator(timeout: Policy, work: Callable[[], Any]) -> Any:
    return await timeout(work)()


async def by_block(timeout: Policy, work: Callable[[], Any]) -> Any:
    async with timeout:
        return await work()


async def by_loop(timeout: Policy, work: Callable[[], Any]) -> Any:
    async for attempt in timeout:
        async with attempt:
            attempt.result = await work()
    return attempt.result


WAYS = [by_execute, by_coroutine, by_decorator, by_block, by_loop]
every_way = pytest.mark.parametrize("way", WAYS)


# ------------------------------------------------------------------------------------- the error


@every_way
async def test_ends_what_takes_too_long(way):
    """What takes too long is ended, and the error says which limit passed."""
    begun = anyio.current_time()
    with pytest.raises(CallTimeoutError) as caught:
        await way(Timeout(2.5, name="search"), hang)
    error = caught.value
    assert anyio.current_time() - begun == 2.5
    assert (error.seconds, error.name, error.phase) == (2.5, "search", "call")
    assert isinstance(error, TimeoutError)
    assert str(error) == "no answer within the timeout of 'search' of 2.5 s (call)"


@every_way
async def test_leaves_alone_what_is_in_time(way):
    """What is in time returns its value, and is not disturbed afterwards."""

    async def work() -> str:
        await anyio.sleep(0.99)
        return "value"

    assert await way(Timeout(1), work) == "value"
    await anyio.sleep(5)


@every_way
@pytest.mark.parametrize("late", [False, True])
async def test_a_timeout_error_of_the_user(way, late):
    """A TimeoutError of the user's code leaves as it is, also where it answers our timeout."""
    theirs = TimeoutError("of the user")

    async def work() -> None:
        try:
            await anyio.sleep(5 if late else 0.5)
        finally:
            raise theirs

    with pytest.raises(TimeoutError) as caught:
        await way(Timeout(1), work)
    assert caught.value is theirs
    await anyio.sleep(1)


@every_way
async def test_a_function_that_returns_in_spite_of_it(way):
    """A function that cleans up and returns when it is cancelled has returned: nothing is lost."""

    async def work() -> str:
        with anyio.move_on_after(5) as scope:
            await hang()
        assert scope.cancelled_caught
        return "partial"

    assert await way(Timeout(10), work) == "partial"
    if isinstance(asyncio_task(), asyncio.Task):

        async def stubborn() -> str:
            try:
                await hang()
            except asyncio.CancelledError:
                return "partial"
            return "whole"

        assert await way(Timeout(1), stubborn) == "partial"
        assert asyncio_task().cancelling() == 0


def asyncio_task() -> Any:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


@every_way
async def test_cleanup_may_take_its_time(way):
    """The cleanup of an ended function is waited for; shielded, it may await."""
    log = []

    async def work() -> None:
        try:
            await hang()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
            log.append(anyio.current_time())

    begun = anyio.current_time()
    with pytest.raises(CallTimeoutError):
        await way(Timeout(1), work)
    assert [time - begun for time in log] == [4]


# --------------------------------------------------------------------------------- whose timeout?


@pytest.mark.parametrize("outer, inner", [(3, 1), (1, 3)])
@pytest.mark.parametrize("nested", ["pipeline", "calls", "blocks"])
async def test_nested_timeouts(outer, inner, nested):
    """Of two nested timeouts the shorter one ends the call, and the error is its own."""
    timeouts = Timeout(outer, name="outer"), Timeout(inner, name="inner")
    begun = anyio.current_time()
    with pytest.raises(CallTimeoutError) as caught:
        if nested == "pipeline":
            await Pipeline(*timeouts).execute(hang)
        elif nested == "calls":
            await timeouts[0].execute(timeouts[1].execute, hang)
        else:
            async with timeouts[0], timeouts[1]:
                await hang()
    assert caught.value.name == ("outer" if outer < inner else "inner")
    assert anyio.current_time() - begun == 1


async def test_nested_timeouts_of_the_same_tick():
    """When both are over in the same tick, the outer one ends the call."""
    with pytest.raises(CallTimeoutError) as caught:
        await Pipeline(Timeout(2, name="outer"), Timeout(2, name="inner")).execute(hang)
    assert caught.value.name == "outer"


async def test_the_outer_timeout_covers_retries():
    """The total timeout ends the retries; each attempt has the inner timeout anew."""
    begun = anyio.current_time()
    tries = []

    async def work() -> None:
        tries.append(anyio.current_time() - begun)
        await hang()

    pipeline = Pipeline(Timeout(5, name="all"), Retry(9, backoff=0), Timeout(2, name="each"))
    with pytest.raises(CallTimeoutError) as caught:
        await pipeline.execute(work)
    assert tries == [0, 2, 4]
    assert caught.value.name == "all"


async def test_a_callers_scope_is_no_timeout():
    """A cancelled scope of the caller passes, and is not reported as a timeout."""
    with anyio.move_on_after(1) as scope:
        await Timeout(2).execute(hang)
    assert scope.cancelled_caught
    with anyio.CancelScope() as scope:
        scope.cancel()
        await Timeout(2).execute(hang)
    assert scope.cancelled_caught


# ----------------------------------------------------------------------- the caller's cancellation


@pytest.mark.parametrize("way", WAYS)
def test_a_cancellation_in_any_tick(way):
    """Cancelled before, in and after the tick of the timeout: it passes, or came after the end."""

    def attempt(callback: int) -> tuple[bool, asyncio.Task[None]]:
        async def main() -> tuple[bool, asyncio.Task[None]]:
            loop: Any = asyncio.get_running_loop()
            task = asyncio.create_task(way(Timeout(1), hang))
            count = -1
            asked = False

            def on_step() -> None:
                nonlocal count, asked
                count += 1
                if count == callback and not task.done():
                    asked = task.cancel()

            loop.on_step = on_step
            await asyncio.wait([task])
            loop.on_step = None
            return asked, task

        return run(main())

    for callback in range(20):
        asked, task = attempt(callback)
        if not asked:
            assert isinstance(task.exception(), CallTimeoutError)
            break
        assert task.cancelled(), callback
        # A task that never began has entered nothing.
        assert task.cancelling() == 1
    assert callback > 2


@pytest.mark.parametrize("first", ["caller", "timeout"])
@on_asyncio
async def test_a_cancellation_of_the_same_time(first):
    """When the caller cancels at the very time of the timeout, the cancellation wins."""
    loop = asyncio.get_running_loop()
    timeout = Timeout(1)
    task = asyncio.create_task(timeout.execute(hang))
    if first == "caller":
        loop.call_at(loop.time() + 1, task.cancel)
        await asyncio.sleep(0)
    else:
        await asyncio.sleep(0)
        loop.call_at(loop.time() + 1, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelling() == 1


@on_asyncio
async def test_cancelled_twice_then_uncancelled():
    """A caller that takes its cancellation back, as TaskGroup does, gets the timeout."""

    async def work() -> None:
        try:
            await hang()
        finally:
            asyncio.current_task().uncancel()

    task = asyncio.create_task(Timeout(1).execute(work))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_at(asyncio.get_running_loop().time() + 1, task.cancel)
    with pytest.raises(CallTimeoutError):
        await task
    assert task.cancelling() == 0


@on_asyncio
async def test_inside_a_task_group_and_around_it():
    """A timeout around a TaskGroup, and in its tasks, neither swallows nor invents anything."""
    ended = []

    async def work(timeout: Timeout) -> None:
        try:
            await timeout.execute(hang)
        except CallTimeoutError as error:
            ended.append(error.name)

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for seconds in (1, 2, 9):
                tasks.create_task(work(Timeout(seconds, name=str(seconds))))

    with pytest.raises(CallTimeoutError) as caught:
        await Timeout(3, name="group").execute(group)
    assert caught.value.name == "group"
    assert ended == ["1", "2"]

    async def failing() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Timeout(5).execute(hang))
            await asyncio.sleep(1)
            raise OSError("made up")

    with pytest.raises(ExceptionGroup) as group_caught:
        await Timeout(3).execute(failing)
    assert [type(error) for error in group_caught.value.exceptions] == [OSError]
    assert asyncio.current_task().cancelling() == 0


@on_asyncio
async def test_wait_for_inside_and_around():
    """`asyncio.wait_for` and `asyncio.timeout` inside and around raise their own errors."""
    with pytest.raises(TimeoutError) as caught:
        await Timeout(2).execute(asyncio.wait_for, hang(), 1)
    assert not isinstance(caught.value, CallTimeoutError)
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(1):
            await Timeout(2).execute(hang)
    assert not isinstance(caught.value, CallTimeoutError)
    with pytest.raises(CallTimeoutError):
        async with asyncio.timeout(2):
            await Timeout(1).execute(hang)
    assert asyncio.current_task().cancelling() == 0


# ---------------------------------------------------------------------------------- shared timers


class CountingLoop(VirtualLoop):
    """A loop that writes down when each timer is armed, and for when."""

    def __init__(self) -> None:
        super().__init__()
        self.armed: list[tuple[float, float]] = []

    def call_at(self, when, callback, *args, context=None):
        if "_fire" in getattr(callback, "__name__", ""):
            self.armed.append((self.time(), when))
        return super().call_at(when, callback, *args, context=context)


on_counting = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"loop_factory": CountingLoop})], ids=["asyncio"]
)


@on_counting
async def test_one_timer_for_all_calls():
    """A thousand calls at a time, and ten thousand in a row, share one timer of the loop."""
    loop: Any = asyncio.get_running_loop()
    timeout = Timeout(10)
    gate = asyncio.Event()
    tasks = [asyncio.create_task(timeout.execute(gate.wait)) for _ in range(1000)]
    await asyncio.sleep(1)
    assert len(loop.armed) == 1
    gate.set()
    await asyncio.gather(*tasks)
    for _ in range(10_000):
        await timeout.execute(asyncio.sleep, 0)
    assert len(loop.armed) == 1
    await asyncio.sleep(30)
    assert len(loop.armed) == 1
    assert loop.timers() == []


@on_counting
async def test_the_timer_is_not_armed_again_within_a_millisecond():
    """Deadlines 0.1 ms apart are met in steps of a millisecond, each at most one too late."""
    loop: Any = asyncio.get_running_loop()
    timeout = Timeout(1)
    late = []

    async def work(number: int) -> None:
        await asyncio.sleep(number / 10_000)
        begun = loop.time()
        with pytest.raises(CallTimeoutError):
            await timeout.execute(hang)
        late.append(loop.time() - begun - 1)

    await asyncio.gather(*(work(number) for number in range(200)))
    assert len(late) == 200
    assert min(late) >= -1e-9
    assert max(late) <= 0.001 + 1e-9
    assert len(loop.armed) <= 22
    assert all(when - now >= 0.001 - 1e-9 for now, when in loop.armed)


@on_asyncio
async def test_a_hundred_deadlines_each_in_time():
    """Calls that begin at different times are each ended at their own, others return between."""
    loop = asyncio.get_running_loop()
    timeout = Timeout(2)
    ends: dict[int, float] = {}

    async def work(number: int) -> None:
        await asyncio.sleep(number / 8)
        try:
            await timeout.execute(asyncio.sleep, 1 if number % 3 else 1000)
        except CallTimeoutError:
            assert number % 3 == 0
        ends[number] = loop.time() - begun - number / 8

    begun = loop.time()
    await asyncio.gather(*(work(number) for number in range(100)))
    assert ends == {number: 1 if number % 3 else 2 for number in range(100)}


@on_asyncio
async def test_calls_that_have_ended_are_not_kept():
    """However many calls have ended, in whatever way, a timeout keeps nothing of them."""
    timeout = Timeout(1)

    async def fail() -> None:
        raise OSError("made up")

    before = scopes()
    for _ in range(50):
        await timeout.execute(asyncio.sleep, 0)
        with pytest.raises(OSError, match="made up"):
            await timeout.execute(fail)
        async with timeout:
            pass
    for _ in range(5):
        with pytest.raises(CallTimeoutError):
            await timeout.execute(hang)
    # The loop itself keeps the context of a cancelled sleep until its time.
    await asyncio.sleep(2000)
    assert scopes() == before


def scopes() -> int:
    gc.collect()
    return sum(isinstance(each, Scope) for each in gc.get_objects())


@on_asyncio
async def test_a_limit_for_each_call():
    """A subclass may give each call its own limit; none at all is `inf`."""

    class ByTag(Timeout):
        def seconds_for(self, call):
            return call.tags["seconds"]

    timeout = ByTag(1)
    for seconds in (3, 1, 2):
        with pytest.raises(CallTimeoutError) as caught:
            await timeout.bind(tags={"seconds": seconds}).execute(hang)
        assert caught.value.seconds == seconds
    await timeout.bind(tags={"seconds": float("inf")}).execute(hang)


@on_asyncio
async def test_limits_that_are_no_longer_used_are_forgotten():
    """A limit that differs from call to call leaves no trace of those before."""

    class Rising(Timeout):
        def seconds_for(self, call):
            self.seconds += 1
            return self.seconds

    timeout = Rising(1)
    for _ in range(500):
        await timeout.execute(asyncio.sleep, 0)
    await asyncio.sleep(10_000)
    gc.collect()
    assert sum(type(each).__name__ == "_Lane" for each in gc.get_objects()) < 20


@every_way
async def test_a_longer_timeout_inside_a_shorter_one(way):
    """The deadline inside is the earlier one, so a retry does not sleep past it."""
    tries = []

    async def work() -> None:
        tries.append(deadline())
        await anyio.sleep(0.125)
        raise OSError("made up")

    pipeline = Pipeline(Timeout(1), Timeout(30), Retry(9, backoff=0.5))
    begun = anyio.current_time()
    with pytest.raises(OSError, match="made up") as caught:
        await way(pipeline, work)
    assert tries[0] == 1
    if way in {by_execute, by_decorator, by_loop}:
        assert tries == [1, 0.375]
        assert "no time was left" in caught.value.__notes__[0]
    assert anyio.current_time() - begun < 1.0 + 1e-9


# -------------------------------------------------------------------------------- loops and tasks


def test_one_loop_after_the_other():
    """A timeout serves a later loop as it did the first, whatever the two clocks show."""
    timeout = Timeout(1)

    async def main() -> None:
        begun = asyncio.get_running_loop().time()
        with pytest.raises(CallTimeoutError):
            await timeout.execute(hang)
        assert asyncio.get_running_loop().time() - begun == 1

    for start in (1000.0, 5.0, 9000.0):
        run(main(), start=start)

    async def on_trio_too() -> None:
        with pytest.raises(CallTimeoutError):
            await timeout.execute(hang)

    trio.run(on_trio_too, clock=trio.testing.MockClock(autojump_threshold=0))


def test_two_loops_at_a_time():
    """A timeout that belongs to a loop which is still open is refused to another."""
    timeout = Timeout(1)
    with asyncio.Runner() as first:
        first.run(timeout.execute(asyncio.sleep, 0))

        async def main() -> None:
            with pytest.raises(UsageError, match="another event loop"):
                await timeout.execute(asyncio.sleep, 0)

        run(main())


@on_asyncio
async def test_a_block_that_ends_in_another_task_is_not_ended_by_its_timeout():
    """The timeout of a generator that moved to another task does not cancel that task."""
    timeout = Timeout(1)

    async def items() -> AsyncIterator[int]:
        async with timeout:
            yield 1
            await asyncio.sleep(5)
            yield 2

    async with aclosing(items()) as generator:
        assert await asyncio.create_task(anext(generator)) == 1
        assert await asyncio.create_task(anext(generator)) == 2


@on_asyncio
async def test_a_timeout_that_was_closed_by_the_collector():
    """A call that is thrown away half-way leaves its timeout in order."""
    timeout = Timeout(1)
    coroutine = timeout.execute(asyncio.Event().wait)
    coroutine.send(None)
    coroutine.close()
    await asyncio.sleep(2)
    with pytest.raises(CallTimeoutError):
        await timeout.execute(hang)


# --------------------------------------------------------------------- the verdict, the next call


@pytest.mark.parametrize("place", ["around", "inside", "around the caller"])
async def test_the_verdict_on_a_call_that_hung(place):
    """A policy inside or outside a timeout that fired sees a FAILURE."""
    seen = []

    class Look(Policy):
        async def run(self, call, proceed):
            try:
                return await proceed(call)
            except BaseException as error:
                verdict = call.judge_error(error)
                seen.append((verdict.kind, verdict.retryable))
                raise

    async def nested() -> None:
        await Look().execute(hang)

    with pytest.raises(CallTimeoutError):
        if place == "around":
            await Pipeline(Look(), Timeout(1)).execute(hang)
        elif place == "inside":
            await Pipeline(Timeout(1), Look()).execute(hang)
        else:
            await Timeout(1).execute(nested)
    assert seen == [(Kind.FAILURE, place == "around")]


async def test_a_wait_that_times_out_is_no_failure():
    """What a timeout ended while it waited for its slot never reached the dependency."""
    seen = []

    class Look(Policy):
        async def run(self, call, proceed):
            try:
                return await proceed(call)
            except BaseException as error:
                seen.append(call.judge_error(error).kind)
                raise

    bulkhead = Bulkhead(1, queue=5)
    async with bulkhead:
        with pytest.raises(CallTimeoutError):
            await Pipeline(Timeout(1), Look(), bulkhead).execute(hang)
    assert seen == [Kind.NEUTRAL]
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


@on_asyncio
async def test_no_call_begins_after_the_deadline():
    """A body that swallowed the timeout and goes on begins no further call within it."""

    async def work() -> None:
        try:
            await hang()
        except asyncio.CancelledError:
            assert deadline() == 0.0
            with pytest.raises(DeadlineError):
                await Pipeline().execute(hang)
            raise

    with pytest.raises(CallTimeoutError):
        await Timeout(1).execute(work)


@on_trio
async def test_a_timeout_is_a_cancel_scope_on_trio():
    """On trio a nursery inside a timeout ends with it, in one piece."""

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            nursery.start_soon(hang)

    with pytest.raises(CallTimeoutError):
        await Timeout(1).execute(work)

    async def failing() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hang)
            raise OSError("made up")

    with pytest.raises(ExceptionGroup) as caught:
        await Timeout(1).execute(failing)
    assert [type(error) for error in caught.value.exceptions] == [OSError]


@pytest.mark.parametrize("seconds", [0.001, 1, 10**6])
async def test_shown_as_written(seconds):
    """The representation of a timeout is how it is written."""
    assert repr(Timeout(seconds)) == f"Timeout({seconds})"
    assert repr(Timeout(seconds, name="x")) == f"Timeout({seconds}, name='x')"
