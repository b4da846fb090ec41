"""`seawall.deadline()`: what is left, for whom, and for how long."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from contextlib import aclosing

import anyio
import pytest

from seawall import (
    Bulkhead,
    CallTimeoutError,
    CircuitBreaker,
    DeadlineError,
    Kind,
    Pipeline,
    Policy,
    Retry,
    Timeout,
    UsageError,
    deadline,
)
from tests.doubles import virtual
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return virtual(request.param)


on_asyncio = pytest.mark.parametrize("anyio_backend", [virtual("asyncio")], ids=["asyncio"])


async def left() -> float | None:
    return deadline()


async def left_after(seconds: float) -> float | None:
    await anyio.sleep(seconds)
    return deadline()


async def test_what_is_left():
    """It is the time until the timeout fires; None where there is none."""
    assert deadline() is None
    assert await Timeout(10).execute(left) == 10
    assert await Timeout(10).execute(left_after, 4) == 6
    assert await Pipeline().execute(left) is None
    assert deadline() is None


async def test_in_blocks_and_loops():
    """The body of a block or of an attempt has the deadline too, and what follows has not."""
    async with Timeout(10) as attempt:
        assert deadline() == attempt.remaining == 10
    assert deadline() is None
    async for attempt in Pipeline(Timeout(10), Retry(3, backoff=1), Timeout(2)):
        async with attempt:
            assert deadline() == attempt.remaining == 2
            if attempt.number == 1:
                await anyio.sleep(1)
                raise OSError("made up")
    assert deadline() is None


async def test_nested():
    """It is the earliest of all timeouts around, in this pipeline and in those that call it."""
    assert await Pipeline(Timeout(10), Timeout(20)).execute(left) == 10
    assert await Pipeline(Timeout(20), Timeout(10)).execute(left) == 10
    assert await Timeout(10).execute(Timeout(20).execute, left) == 10
    assert await Timeout(20).execute(Timeout(10).execute, left) == 10

    async def between() -> list[float | None]:
        before = deadline()
        inside = await Timeout(5).execute(left_after, 1)
        return [before, inside, deadline()]

    assert await Timeout(10).execute(between) == [10, 4, 9]


async def test_after_every_kind_of_end():
    """A call that failed, timed out or was cancelled takes its deadline with it."""

    async def fail() -> None:
        raise OSError("made up")

    with pytest.raises(OSError, match="made up"):
        await Timeout(10).execute(fail)
    assert deadline() is None
    with pytest.raises(CallTimeoutError):
        await Timeout(1).execute(anyio.sleep, 5)
    assert deadline() is None
    with anyio.move_on_after(1):
        await Timeout(10).execute(anyio.sleep, 5)
    assert deadline() is None
    with pytest.raises(OSError, match="made up"):
        async with Timeout(10):
            raise OSError("made up")
    assert deadline() is None


async def test_child_tasks_inherit():
    """Tasks that a call starts have its deadline; those of others have not."""
    seen = []

    async def child(name: str) -> None:
        await anyio.sleep(1)
        seen.append((name, deadline()))

    async def call() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(child, "child")
            await Timeout(3).execute(child, "nested")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(child, "other")
        await Timeout(10).execute(call)
    assert sorted(seen) == [("child", 9), ("nested", 2), ("other", None)]


async def test_a_task_that_outlives_the_call():
    """What a call left running has no deadline any more, and may begin calls for ever."""
    seen = []

    async with anyio.create_task_group() as tasks:

        async def refresher() -> None:
            seen.append(deadline())
            await anyio.sleep(20)
            seen.append(deadline())
            seen.append(await Timeout(5).execute(left))
            seen.append(await Pipeline(Retry(2), CircuitBreaker()).execute(left))

        async def call() -> None:
            tasks.start_soon(refresher)
            await anyio.sleep(1)

        await Timeout(10).execute(call)
    # On trio a nursery's tasks have the context of who started them, too.
    assert seen == [10, None, 5, None]


async def test_a_refresher_keeps_the_outer_deadline():
    """Of two timeouts around a call, a task that outlives the inner one has the outer one left."""
    seen = []

    async def inner(tasks: anyio.abc.TaskGroup) -> None:
        tasks.start_soon(later)

    async def later() -> None:
        await anyio.sleep(1)
        seen.append(deadline())

    async def outer() -> None:
        async with anyio.create_task_group() as tasks:
            await Timeout(3).execute(inner, tasks)

    await Timeout(10).execute(outer)
    assert seen == [9]


async def test_nothing_is_left():
    """Code that goes on after its time is up reads 0.0, and begins no further call."""
    ran = []

    async def work() -> None:
        try:
            await anyio.sleep(5)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(1)
                assert deadline() == 0.0
                for way in (Pipeline().execute, Retry(3).execute, Timeout(9).execute):
                    with pytest.raises(DeadlineError) as caught:
                        await way(append)
                    assert caught.value.retry_after is None
                with pytest.raises(DeadlineError):
                    async with Pipeline():
                        ran.append(1)
                with pytest.raises(DeadlineError):
                    async for attempt in Pipeline():
                        async with attempt:
                            ran.append(1)
                coroutine = append()
                with pytest.raises(DeadlineError):
                    await Pipeline().execute(coroutine)
                assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED

    async def append() -> None:
        ran.append(1)

    with pytest.raises(CallTimeoutError):
        await Timeout(1).execute(work)
    assert ran == []


async def test_a_retry_around_a_call_that_has_no_time():
    """A call that finds no time left is a refusal: nothing is retried in vain."""
    tries = []

    async def work() -> None:
        tries.append(deadline())
        await anyio.sleep(1)
        raise OSError("made up")

    async def call() -> None:
        await Retry(5, backoff=0.5).execute(work)

    with pytest.raises(OSError, match="made up") as caught:
        await Timeout(3).execute(call)
    assert tries == [3, 1.5]
    (note,) = caught.value.__notes__
    assert "no time was left to wait 0.5 s" in note


async def test_the_verdict_knows_the_timeouts_of_callers():
    """A circuit inside a call whose caller timed out counts a failure: the dependency hung."""
    kinds = []

    class Look(Policy):
        async def run(self, call, proceed):
            try:
                return await proceed(call)
            except BaseException as error:
                kinds.append(call.judge_error(error).kind)
                raise

    async def call() -> None:
        await Pipeline(Look(), Bulkhead(1)).execute(anyio.sleep, 5)

    with pytest.raises(CallTimeoutError):
        await Timeout(1).execute(call)
    with anyio.move_on_after(1):
        await Timeout(3).execute(call)
    assert kinds == [Kind.FAILURE, Kind.NEUTRAL]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_in_a_thread():
    """A thread that has no loop is told so; what is left is read before, and passed on."""
    async with Timeout(10):
        with pytest.raises(UsageError, match="no event loop"):
            await asyncio.to_thread(deadline)


@on_asyncio
async def test_scopes_of_another_loop():
    """A loop in another thread, which has a copy of the context, ignores the deadline of this."""

    def other_loop() -> None:
        seen.append(run(left(), start=0))
        seen.append(run(Timeout(3).execute(left), start=0))
        seen.append(run(Pipeline(Retry(2)).execute(left), start=9999))

    seen: list[float | None] = []
    async with Timeout(10):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(other_loop,))
        thread.start()
        thread.join()
        assert deadline() == 10
    assert seen == [None, 3, None]


def test_a_scope_of_a_loop_that_is_closed():
    """A context that was copied inside a call of an earlier loop holds no deadline later."""
    contexts = []

    async def call() -> None:
        contexts.append(contextvars.copy_context())

    run(Timeout(10).execute(call), start=1000)

    async def later() -> float | None:
        task = asyncio.create_task(left(), context=contexts[0])
        return await task

    assert run(later(), start=0) is None


def test_no_loop():
    """Where no event loop runs, there is no time to tell."""
    with pytest.raises(UsageError, match="no event loop is running"):
        deadline()


@on_asyncio
async def test_a_block_in_a_generator_leaks_no_deadline_when_closed_elsewhere():
    """A generator that is closed by another task leaves no deadline behind in either."""

    async def items():
        async with Timeout(10):
            yield deadline()

    async with aclosing(items()) as generator:
        assert await anext(generator) == 10
        # As with asyncio.timeout, who drives a generator is inside its block.
        assert deadline() == 10
        await asyncio.create_task(generator.aclose())
        assert deadline() is None
