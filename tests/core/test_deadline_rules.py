"""Deadlines, rule by rule: who inherits them, what they stop, and which error is raised."""

from __future__ import annotations

import asyncio

import anyio
import pytest
import trio

import seawall
from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    DeadlineError,
    Fallback,
    Keyed,
    Pipeline,
    Policy,
    Retry,
    State,
    Timeout,
    deadline,
)
from tests.doubles import Held, Script, turns, virtual
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def block_the_loop(seconds):
    """Let time pass without a turn for anybody else, as blocking code does."""
    try:
        asyncio.get_running_loop().now += seconds
    except RuntimeError:
        trio.lowlevel.current_clock().jump(seconds)


class Noted:
    """An async function that notes what is left when it is called, and takes a while to fail.

    Attributes:
        left: what was left at each call.
        began: when each call began.
    """

    def __init__(self, seconds=1.0):
        self.seconds = seconds
        self.left = []
        self.began = []

    async def __call__(self):
        self.left.append(deadline())
        self.began.append(anyio.current_time())
        await anyio.sleep(self.seconds)
        raise OSError(f"number {len(self.left)}")


# Inner pipelines and child tasks inherit what is left.

WAYS = {
    "execute": lambda policy, work: policy.execute(work),
    "decorated": lambda policy, work: policy(work)(),
    "bound": lambda policy, work: policy.bind(key="k", timeout=100.0).execute(work),
    "keyed": lambda policy, work: Keyed(lambda key: policy, key=lambda: 1).execute(work),
    "nested": lambda policy, work: Pipeline(Pipeline(policy), Pipeline()).execute(work),
    "three deep": lambda policy, work: Pipeline().execute(policy.execute, work),
}


async def block(policy, work):
    async with policy:
        await work()


async def loop(policy, work):
    async for attempt in policy:
        async with attempt:
            await work()


WAYS |= {"block": block, "loop": loop}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["same task", "child task", "grandchild task"])
async def test_an_inner_pipeline_has_what_is_left(way, where):
    """Whatever way in, and in whatever task of the call, the inner pipeline has the rest."""
    seen = []

    async def note():
        seen.append(deadline())

    async def inner():
        await anyio.sleep(4)
        await WAYS[way](Pipeline(Retry(2), Timeout(20)), note)

    async def in_child(function):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(function)

    async def outer():
        if where == "same task":
            await inner()
        elif where == "child task":
            await in_child(inner)
        else:
            await anyio.sleep(1)
            await in_child(lambda: in_child(inner))

    await Timeout(10).execute(outer)
    assert seen == [5.0 if where == "grandchild task" else 6.0]
    assert deadline() is None


async def test_the_call_of_a_policy_has_it_too():
    """A policy inside reads the same from its call, and an attempt from its own."""
    seen = []

    class Look(Policy):
        async def run(self, call, proceed):
            seen.append(call.remaining())
            return await proceed(call)

    async def inner():
        await anyio.sleep(4)
        await Look().execute(anyio.sleep, 0)
        async with Look() as attempt:
            seen.append(attempt.remaining)

    await Timeout(10).execute(inner)
    assert seen == [6.0, 6.0, 6.0]


async def test_an_inner_deadline_ends_with_its_timeout():
    """After the inner call the outer deadline holds again, however the inner one ended."""
    seen = []

    async def outer():
        for work in (Script(1), Script(OSError), anyio.sleep_forever):
            try:
                await Timeout(1).execute(work)
            except (OSError, CallTimeoutError):
                pass
            seen.append(deadline())
        await Pipeline(Retry(2, backoff=1.0)).execute(Script(OSError, 1))
        seen.append(deadline())

    await Timeout(10).execute(outer)
    assert seen == [10.0, 10.0, 9.0, 8.0]


# Nothing sleeps past it.


@pytest.mark.parametrize("way", [way for way in WAYS if way not in {"block", "bound"}])
async def test_no_retry_sleeps_past_the_deadline_of_the_caller(way):
    """The last real error is raised at once, without the sleep that would be in vain."""
    work = Noted()
    retry = Retry(9, backoff=2.0, budget=None)

    async def outer():
        await WAYS[way](retry, work)

    began = anyio.current_time()
    with pytest.raises(OSError, match="number 2") as caught:
        await Timeout(5).execute(outer)
    assert anyio.current_time() - began == 4.0
    assert work.left == [5.0, 2.0]
    (note,) = caught.value.__notes__
    assert note == (
        "seawall: gave up after 2 attempts: OSError, slept 2 s, OSError; "
        "no time was left to wait 2 s"
    )


async def test_a_server_may_not_ask_to_sleep_past_it():
    """A ``retry_after`` beyond the deadline ends the call, with the real error."""
    pipeline = Pipeline(
        Timeout(5), Retry(9, backoff=0.0), classify=Classifier(retry_after=lambda error: 6.0)
    )
    began = anyio.current_time()
    with pytest.raises(OSError, match="number 1"):
        await pipeline.execute(Noted())
    assert anyio.current_time() - began == 1.0


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_sleep_that_ends_exactly_at_the_deadline_is_none(retries):
    """There would be no time for the attempt after it, so it is not slept."""
    work = Noted()
    began = anyio.current_time()
    with pytest.raises(OSError, match=f"number {retries + 1}"):
        await Pipeline(Timeout(3 + 2 * retries), Retry(9, backoff=2.0)).execute(work)
    assert anyio.current_time() - began == 1 + 3 * retries


async def test_retries_in_retries_stop_together():
    """An inner and an outer retry both know the one deadline: none of them goes on."""
    work = Noted()
    pipeline = Pipeline(
        Timeout(6), Retry(5, backoff=1.0, budget=None), Retry(2, backoff=1.0, budget=None)
    )
    with pytest.raises(OSError, match="number 3") as caught:
        await pipeline.execute(work)
    assert work.left == [6.0, 4.0, 2.0]
    assert len(caught.value.__notes__) == 1


# Nothing begins past it.


async def test_no_attempt_begins_past_it():
    """A loop that was blocked while a retry slept: the attempt is not made."""
    work = Noted()

    async def blocks():
        await anyio.sleep(1.5)
        block_the_loop(30)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(blocks)
        with pytest.raises((OSError, CallTimeoutError)):
            await Pipeline(Timeout(10), Retry(5, backoff=1.0)).execute(work)
    assert work.left == [10.0]


@pytest.mark.parametrize("policy", [Bulkhead(1, queue=9), Bulkhead(1, queue=9, max_wait=60.0)])
async def test_no_turn_is_taken_past_it(policy):
    """A slot that is handed over too late goes on to who still has time for it.

    The loop was blocked, so the slot comes before the timer of the timeout does.
    """
    held, later = Held(), Script("fine")
    ran, errors, answers = [], [], []
    breaker = CircuitBreaker(1)

    async def append():
        ran.append(1)

    async def late():
        try:
            await Pipeline(Timeout(5), breaker, policy).execute(append)
        except seawall.SeawallError as error:
            errors.append(error)

    async def patient():
        answers.append(await Pipeline(Timeout(100), policy).execute(later))

    async with anyio.create_task_group() as tasks:
        for function in (lambda: policy.execute(held), late, patient):
            tasks.start_soon(function)
            await turns()
        assert (policy.in_flight, policy.waiting) == (1, 2)
        block_the_loop(30)
        held.let_go()
    assert ran == []
    assert answers == ["fine"]
    (error,) = errors
    assert isinstance(error, DeadlineError | CallTimeoutError)
    assert (policy.in_flight, policy.waiting) == (0, 0)
    # It waited; the dependency has no part in that.
    assert breaker.state is State.CLOSED


OUTSIDE = {
    "nothing": ([], "DeadlineError of k"),
    "retry": ([Retry(3, backoff=0.0)], "DeadlineError of k"),
    "fallback": ([Fallback(value="instead")], "instead"),
}


@pytest.mark.parametrize("blocked", [5, 30])
@pytest.mark.parametrize("outside", OUTSIDE)
async def test_a_turn_that_comes_too_late_is_a_refusal(outside, blocked):
    """It never reached the dependency, so it is not retried in vain, and may be answered for."""
    outer, expected = OUTSIDE[outside]
    policy, held = Bulkhead(1, queue=9), Held()
    outcomes = []

    async def late():
        pipeline = Pipeline(*outer, Timeout(5), policy).bind(key="k")
        try:
            outcomes.append(await pipeline.execute(Script("never")))
        except DeadlineError as error:
            outcomes.append(f"DeadlineError of {error.key}")

    async def blocks():
        await held()
        # Where the slot is given back at once, no timer has a turn in between.
        block_the_loop(blocked)

    async with anyio.create_task_group() as tasks:
        for function in (lambda: policy.execute(blocks), late):
            tasks.start_soon(function)
            await turns()
        held.let_go()
    assert outcomes == [expected]
    assert (policy.in_flight, policy.waiting) == (0, 0)


async def test_no_fallback_begins_past_it():
    """Where the time is up another region is not asked any more: the real error stays."""
    asked = []

    class Dawdles(Policy):
        async def run(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                block_the_loop(9)

    pipeline = Pipeline(Timeout(5), Fallback(lambda: asked.append(1)), Dawdles())
    with pytest.raises(OSError, match="made up"):
        await pipeline.execute(Script(OSError("made up")))
    assert asked == []


# The real error is kept.


async def test_the_real_error_is_the_one_that_was_raised():
    """It is the same object, with its own cause and context, and one note beside its own."""
    reason = KeyError("why")
    error = OSError("made up")
    error.add_note("of the user")
    error.__cause__ = reason

    async def fails():
        await anyio.sleep(1)
        raise error

    for _ in range(3):
        with pytest.raises(OSError, match="made up") as caught:
            await Pipeline(Timeout(2), Retry(5, backoff=9.0)).execute(fails)
        assert caught.value is error
    assert error.__cause__ is reason
    assert error.__context__ is None
    assert error.__notes__ == [
        "of the user",
        "seawall: gave up after 1 attempt: OSError; no time was left to wait 9 s",
    ]


async def test_a_refusal_at_the_end_does_not_hide_it():
    """Where the last attempt was refused for lack of time, the error before it is raised."""
    calls = []

    async def inner():
        calls.append(1)
        if len(calls) == 1:
            raise OSError("real")
        raise DeadlineError

    with pytest.raises(OSError, match="real") as caught:
        await Pipeline(Timeout(5), Retry(5, backoff=1.0)).execute(inner)
    (note,) = caught.value.__notes__
    assert note.endswith("DeadlineError; DeadlineError is not retried")


async def test_where_there_is_no_real_error_it_is_a_refusal():
    """A call that found no time at all is refused, so it is safe to repeat."""

    async def too_late():
        block_the_loop(9)
        await Pipeline(Retry(3)).execute(Script("never"))

    with pytest.raises((DeadlineError, CallTimeoutError)) as caught:
        await Timeout(5).execute(too_late)
    assert isinstance(caught.value, DeadlineError)


async def test_what_times_out_is_not_hidden_by_retries():
    """An attempt that the deadline itself ends is the timeout of the call."""
    pipeline = Pipeline(Timeout(5, name="whole"), Retry(3, backoff=1.0), Timeout(4, name="each"))
    with pytest.raises(CallTimeoutError) as caught:
        await pipeline.execute(anyio.sleep_forever)
    # The first attempt ends after 4 s; another would have to sleep up to the deadline.
    assert caught.value.name == "each"
    pipeline = Pipeline(Timeout(5, name="whole"), Retry(3, backoff=0.5), Timeout(4, name="each"))
    with pytest.raises(CallTimeoutError) as caught:
        await pipeline.execute(anyio.sleep_forever)
    assert caught.value.name == "whole"


# A task that outlives the call inherits none.


async def test_a_call_that_outlives_its_caller_goes_on():
    """A retry that was begun inside a call sleeps and tries on after the call has ended."""
    work = Noted()

    async def call(tasks):
        tasks.start_soon(refresh)
        await anyio.sleep(2.5)

    async def refresh():
        with pytest.raises(OSError, match="number 5"):
            await Retry(5, backoff=1.0, budget=None).execute(work)

    async with anyio.create_task_group() as tasks:
        await Timeout(4).execute(call, tasks)
    assert work.left == [4.0, 2.0, None, None, None]


async def test_a_call_that_outlives_an_inner_one_keeps_the_outer_deadline():
    """Of two deadlines, the one whose call still runs is the one that holds."""
    work = Noted()

    async def inner(tasks):
        tasks.start_soon(refresh)
        await anyio.sleep(0.5)

    async def refresh():
        with pytest.raises(OSError, match="number 4"):
            await Retry(9, backoff=1.0, budget=None).execute(work)

    async def outer():
        async with anyio.create_task_group() as tasks:
            await Timeout(2).execute(inner, tasks)

    await Timeout(8).execute(outer)
    assert work.left == [2.0, 6.0, 4.0, 2.0]


async def test_a_wait_that_outlives_the_call_goes_on():
    """A task that waits for a slot gets it after the call has ended that it was begun in."""
    policy, held, ran = Bulkhead(1, queue=1), Held(), []

    async def append():
        ran.append(deadline())

    async def call(tasks):
        tasks.start_soon(policy.execute, append)
        await anyio.sleep(1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(policy.execute, held)
        await turns()
        await Timeout(5).execute(call, tasks)
        await anyio.sleep(60)
        assert ran == []
        held.let_go()
    assert ran == [None]


async def test_a_task_that_was_begun_by_a_block_or_a_loop():
    """The same holds for what a block or an attempt leaves running."""
    seen = []

    async def refresher():
        seen.append(deadline())
        await anyio.sleep(20)
        seen.append(deadline())
        await Pipeline(Retry(2)).execute(Script(1))

    async with anyio.create_task_group() as tasks:
        async with Timeout(5):
            tasks.start_soon(refresher)
            await anyio.sleep(1)
        async for attempt in Pipeline(Timeout(5), Retry(2)):
            async with attempt:
                tasks.start_soon(refresher)
                await anyio.sleep(1)
    assert seen == [5.0, 5.0, None, None]


# Waiting is bounded.


@pytest.mark.parametrize(
    "max_wait, seconds, error, after",
    [
        (None, 5.0, CallTimeoutError, 5.0),
        (9.0, 5.0, CallTimeoutError, 5.0),
        (2.0, 5.0, BulkheadFullError, 2.0),
        (0, 5.0, BulkheadFullError, 0.0),
    ],
)
@pytest.mark.parametrize("whose", ["own", "caller's"])
async def test_a_wait_ends_at_max_wait_or_at_the_deadline(max_wait, seconds, error, after, whose):
    """Whichever comes first ends it, whether the timeout is of this pipeline or of a caller."""
    policy, held = Bulkhead(1, queue=5, max_wait=max_wait), Held()
    work = Script("never")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(policy.execute, held)
        await turns()
        began = anyio.current_time()
        with pytest.raises(error):
            if whose == "own":
                await Pipeline(Timeout(seconds), policy).execute(work)
            else:
                await Timeout(seconds).execute(policy.execute, work)
        assert anyio.current_time() - began == after
        assert (policy.in_flight, policy.waiting) == (1, 0)
        held.let_go()
    assert work.calls == 0


async def test_waiting_for_a_circuit_ends_at_the_deadline():
    """``wait_until_admitting`` waits no longer than its caller has time."""
    breaker = CircuitBreaker(1, open_for=60.0)
    breaker.trip()

    async def call():
        assert not await breaker.wait_until_admitting(max_wait=2.0)
        await breaker.wait_until_admitting()

    began = anyio.current_time()
    with pytest.raises((DeadlineError, CallTimeoutError)):
        await Timeout(5).execute(call)
    assert anyio.current_time() - began == 5.0
    with pytest.raises(CircuitOpenError):
        await breaker.execute(Script("never"))


def test_the_doubles_block_the_loop():
    """What these tests call a blocked loop is one: no timer fires meanwhile."""

    async def main():
        fired = []
        asyncio.get_running_loop().call_later(1.0, fired.append, 1)
        block_the_loop(5)
        assert fired == []
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert fired == [1]

    run(main())
