"""What each policy tells: which event, when, and with what in it."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

import anyio
import pytest

import seawall
from seawall import (
    AdaptiveLimit,
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    DeadlineError,
    Fallback,
    Hedge,
    Keyed,
    LastGood,
    LoadShedder,
    Pipeline,
    RateLimitedError,
    RateLimiter,
    Retry,
    RetryBudget,
    Timeout,
)
from seawall.core import lazy_events
from seawall.core.open_attempt import OpenAttempt
from seawall.events import (
    AttemptFailed,
    CallFinished,
    CallQueued,
    CallRefused,
    CircuitClosed,
    CircuitHalfOpened,
    CircuitIsolated,
    CircuitOpened,
    FallbackUsed,
    HedgeEnded,
    HedgeStarted,
    RateLimiterPaused,
    RetryNotMade,
    RetryScheduled,
    TimedOut,
)
from tests.doubles import Held, Script, believe, turns, virtual
from tests.listening import Heard
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


@pytest.fixture
def heard():
    """What is heard everywhere."""
    listener = Heard()
    with seawall.subscribe(listener):
        yield listener


async def fails(*args):
    raise OSError("made up")


async def answers(*args):
    return "fine"


async def hangs():
    await anyio.sleep(3600)


def slow_to_end(seconds):
    """Return a function that hangs, and that takes so long to end when it is cancelled."""

    async def function():
        try:
            await hangs()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(seconds)

    return function


def told(heard):
    """Return all but how calls ended."""
    return [event for event in heard if not isinstance(event, CallFinished)]


# The circuit.


async def test_the_life_of_a_circuit(heard):
    """Each transition is told once, with what made it and how long the state before lasted."""
    breaker = CircuitBreaker(2, open_for=5.0, name="db")
    began = anyio.current_time()
    for _ in range(2):
        with pytest.raises(OSError, match="made up"):
            await breaker.execute(fails)
    await anyio.sleep(6.0)
    with pytest.raises(OSError, match="made up"):
        await breaker.execute(fails)
    await anyio.sleep(5.0)
    await breaker.execute(anyio.sleep, 2.0)
    await anyio.sleep(1.0)
    breaker.isolate()
    breaker.trip()  # an isolated circuit stays isolated
    breaker.reset()
    breaker.reset()
    breaker.trip()
    events = told(heard)
    assert [type(event) for event in events] == [
        CircuitOpened,
        CircuitHalfOpened,
        CircuitOpened,
        CircuitHalfOpened,
        CircuitClosed,
        CircuitIsolated,
        CircuitClosed,
        CircuitClosed,
        CircuitOpened,
    ]
    assert [(event.time - began, event.before, event.after, event.lasted) for event in events] == [
        (0.0, "closed", "open", None),
        (6.0, "open", "half_open", 6.0),
        (6.0, "half_open", "open", 0.0),
        (11.0, "open", "half_open", 5.0),
        (13.0, "half_open", "closed", 2.0),
        (14.0, "closed", "isolated", 1.0),
        (14.0, "isolated", "closed", 0.0),
        (14.0, "closed", "closed", 0.0),
        (14.0, "closed", "open", 0.0),
    ]
    assert [event.trigger for event in events] == [
        "the trip rule holds",
        "a call arrives after the open time",
        "a probe failed",
        "a call arrives after the open time",
        "close_after probes in a row succeeded",
        "isolate()",
        "reset()",
        "reset()",
        "trip()",
    ]
    opened = [event for event in events if isinstance(event, CircuitOpened)]
    assert [(e.failures, e.calls, e.cause, e.open_for) for e in opened] == [
        (2, 2, "OSError", 5.0),
        (1, 1, "OSError", 5.0),
        (0, 0, None, 5.0),
    ]
    assert {(event.policy, event.name, event.key) for event in events} == {
        ("CircuitBreaker", "db", None)
    }
    assert {event.attempt for event in events} == {0}


async def test_a_circuit_of_a_key_names_the_key(heard):
    """The transitions of a circuit in a ``Keyed`` name the key that it was made for."""
    keyed = Keyed(lambda key: Pipeline(CircuitBreaker(1)), key=lambda url: url)
    for _ in range(2):
        with pytest.raises((OSError, CircuitOpenError)):
            await keyed.execute(fails, "host")
    assert [(type(event), event.key) for event in told(heard)] == [
        (CircuitOpened, "host"),
        (CallRefused, "host"),
    ]


async def test_a_silent_circuit_says_stalled(heard):
    """Where calls got no answer at all, that is the cause, in place of an error."""
    breaker = CircuitBreaker(2, open_for=5.0)
    for _ in range(2):
        await breaker.execute(anyio.sleep, 0.1)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(breaker.execute, hangs)
        await turns()
        believe(breaker._circuit)
        await anyio.sleep(60.0)
        with pytest.raises(CircuitOpenError):
            await breaker.execute(answers)
        group.cancel_scope.cancel()
    assert heard.the(CircuitOpened).cause == "stalled"


@pytest.mark.parametrize("state", ["open", "half_open", "isolated"])
async def test_a_refusal_says_when_to_come_back(state, heard):
    """In every state that refuses it is told like the error: its name, and ``retry_after``."""
    breaker = CircuitBreaker(1, open_for=5.0, probe_lease=3.0, name="db")
    breaker.trip()
    async with anyio.create_task_group() as group:
        if state == "half_open":
            await anyio.sleep(5.0)
            group.start_soon(breaker.execute, hangs)
            await turns()
        elif state == "isolated":
            breaker.isolate()
        pipeline = Pipeline(Retry(1), breaker, name="p").bind(key="k", tags={"user": 1})
        with pytest.raises(CircuitOpenError) as caught:
            await pipeline.execute(answers)
        group.cancel_scope.cancel()
    refused = heard.the(CallRefused)
    assert caught.value.state == state
    assert (refused.error, refused.shadow) == ("CircuitOpenError", False)
    expected = {"open": 5.0, "half_open": 3.0, "isolated": None}[state]
    assert refused.retry_after == caught.value.retry_after == expected
    assert (refused.policy, refused.name, refused.pipeline) == ("CircuitBreaker", "db", "p")
    assert (refused.key, refused.tags, refused.attempt) == ("k", {"user": 1}, 1)


async def test_a_call_that_shadow_lets_pass_is_told(heard):
    """It is told as a refusal that was none, and the call ends as it ends."""
    breaker = CircuitBreaker(1, shadow=True)
    breaker.trip()
    assert await breaker.execute(answers) == "fine"
    assert heard.kinds == ["CircuitOpened", "CallRefused", "CallFinished"]
    assert heard.the(CallRefused).shadow
    assert heard.the(CallFinished).outcome == "returned"


async def test_a_call_that_is_refused_while_it_waits_is_told_once(heard):
    """A trip refuses those that wait inside: one refusal each, whatever encloses them."""
    breaker = CircuitBreaker(1, open_for=5.0)
    pipeline = Pipeline(Retry(1), breaker, breaker.bind(key="k"), Bulkhead(1, queue=5))
    async with anyio.create_task_group() as group:
        held = Held()
        errors = []

        async def call():
            try:
                await pipeline.execute(held)
            except CircuitOpenError as error:
                errors.append(error)

        for _ in range(3):
            group.start_soon(call)
            await turns()
        breaker.trip()
        await turns()
        held.let_go()
    assert len(errors) == 2
    assert [type(event) for event in told(heard)] == [
        CallQueued,
        CallQueued,
        CircuitOpened,
        *[CallRefused, RetryNotMade] * 2,
    ]
    assert {event.retry_after for event in heard.of(CallRefused)} == {5.0}
    assert breaker.snapshot().rejected == 2


async def test_a_breaker_inside_its_own_call_refuses_once(heard):
    """A function behind a breaker that calls another one behind it: only the inner is refused."""
    breaker = CircuitBreaker(1)

    @breaker
    async def row():
        return "row"

    @breaker
    async def user():
        breaker.trip()
        return await row()

    with pytest.raises(CircuitOpenError):
        await user()
    assert [type(event) for event in told(heard)] == [CircuitOpened, CallRefused]


async def test_a_child_tells_what_the_parent_refuses(heard):
    """A refusal by the parent is told by the child, on arrival and while a call waits inside."""
    parent = CircuitBreaker(1, open_for=5.0, name="parent")
    child = CircuitBreaker(1, parent=parent, name="child")
    pipeline = Pipeline(child, Bulkhead(1, queue=1))
    held = Held()
    async with anyio.create_task_group() as group:
        errors = []

        async def call():
            try:
                await pipeline.execute(held)
            except CircuitOpenError as error:
                errors.append(error)

        for _ in range(2):
            group.start_soon(call)
            await turns()
        parent.trip()
        await turns()
        await call()
        held.let_go()
    assert [(type(event), event.name) for event in told(heard)] == [
        (CallQueued, None),
        (CircuitOpened, "parent"),
        (CallRefused, "child"),
        (CallRefused, "child"),
    ]
    assert [error.name for error in errors] == ["parent"] * 2


# The retry.


async def test_each_attempt_is_told(heard):
    """What failed, what it was judged to be, and how long it takes until the next attempt."""
    pipeline = Pipeline(Retry(3, backoff=2.0, budget=None), name="p")
    began = anyio.current_time()
    with pytest.raises(OSError, match="made up"):
        await pipeline.bind(key="k").execute(Script(OSError, KeyError("a"), OSError("made up")))
    events = told(heard)
    assert [(type(e), e.attempt, e.time - began) for e in events] == [
        (AttemptFailed, 1, 0.0),
        (RetryScheduled, 1, 0.0),
        (AttemptFailed, 2, 2.0),
        (RetryScheduled, 2, 2.0),
        (AttemptFailed, 3, 4.0),
        (RetryNotMade, 3, 4.0),
    ]
    assert [event.error for event in events] == [
        *["OSError"] * 2,
        *["KeyError"] * 2,
        *["OSError"] * 2,
    ]
    assert {event.delay for event in heard.of(RetryScheduled)} == {2.0}
    failed = heard.of(AttemptFailed)[0]
    assert (failed.kind, failed.retryable) == ("failure", True)
    assert {(e.policy, e.pipeline, e.key) for e in events} == {("Retry", "p", "k")}


async def test_a_result_that_is_retried_is_told(heard):
    """There is no error then, so the event says ``result``."""
    pipeline = Pipeline(
        Retry(2, backoff=1.0), classify=Classifier(results=lambda result: result == "bad")
    )
    assert await pipeline.execute(Script("bad")) == "bad"
    assert [(type(event), event.error) for event in told(heard)] == [
        (AttemptFailed, "result"),
        (RetryScheduled, "result"),
        (AttemptFailed, "result"),
        (RetryNotMade, "result"),
    ]
    assert heard.the(CallFinished).outcome == "returned"
    assert heard.the(CallFinished).error is None


async def empty_budget():
    budget = RetryBudget(capacity=1, floor=0)
    with pytest.raises(OSError, match="made up"):
        await Retry(2, backoff=0, budget=budget).execute(fails)
    return budget


REASONS = {
    "spent": "all attempts are spent",
    "only": "all attempts are spent",
    "not retryable": "TypeError is not retried",
    "not retryable later": "TypeError is not retried",
    "on": "OSError is not retried",
    "refused": "BulkheadFullError is not retried",
    "budget": "the retry budget was empty",
    "deadline": "no time was left to wait 5 s",
    "idempotent": "the call is not idempotent, and it may have reached the dependency",
    "awaitable": "a coroutine object or other awaitable can run only once; to repeat it, pass the "
    "function: `await pipeline.execute(fetch, url)`, not `execute(fetch(url))`",
    "retry after": "the server asks to wait 60 s, max_retry_after=30.0",
}


@pytest.mark.parametrize("why", REASONS)
async def test_why_a_retry_is_not_made(why, heard):
    """Each reason is told in words, with the error of the attempt that was the last."""
    budget = await empty_budget()
    heard.clear()
    retry = Retry(2, backoff=5.0)
    wrong = [TypeError("made up")]
    calls = {
        "spent": lambda: Retry(2, backoff=0).execute(fails),
        "only": lambda: Retry(1).execute(fails),
        "not retryable": lambda: retry.execute(Script(*wrong)),
        "not retryable later": lambda: Retry(3, backoff=0).execute(Script(OSError, *wrong)),
        "on": lambda: Retry(2, on=KeyError).execute(fails),
        "refused": lambda: retry.execute(Script(BulkheadFullError())),
        "budget": lambda: Retry(2, backoff=0, budget=budget).execute(fails),
        "deadline": lambda: Pipeline(Timeout(4.0), retry).execute(fails),
        "idempotent": lambda: retry.bind(idempotent=False).execute(fails),
        "awaitable": lambda: retry.execute(fails()),
        "retry after": lambda: Pipeline(
            retry, classify=Classifier(retry_after=lambda outcome: 60.0)
        ).execute(fails),
    }
    with pytest.raises((OSError, TypeError, BulkheadFullError)) as caught:
        await calls[why]()
    not_made = heard.the(RetryNotMade)
    assert not_made.reason == REASONS[why]
    assert not_made.error == caught.type.__name__
    assert heard.kinds[-2:] == ["RetryNotMade", "CallFinished"]


async def test_a_block_says_why_it_is_not_retried(heard):
    """A block runs once, and the event says how to write a loop."""
    with pytest.raises(OSError, match="made up"):
        async with Retry(2, backoff=0):
            await fails()
    assert heard.the(RetryNotMade).reason == (
        "a block runs once; to repeat it, write `async for attempt in pipeline:` "
        "and inside `async with attempt:`"
    )


async def test_a_refused_attempt_has_not_failed(heard):
    """What never reached the dependency is told as refused, and as a retry that is not made."""
    pipeline = Pipeline(Retry(3, backoff=1.0), CircuitBreaker(1, open_for=9.0))
    with pytest.raises(OSError, match="made up"):
        await pipeline.execute(fails)
    assert [(type(event), event.attempt) for event in told(heard)] == [
        (CircuitOpened, 0),
        (AttemptFailed, 1),
        (RetryScheduled, 1),
        (CallRefused, 2),
        (RetryNotMade, 2),
    ]
    assert heard.the(RetryNotMade).error == "CircuitOpenError"


async def test_a_refusal_that_is_retried_is_told(heard):
    """``on`` may ask for it: then refusals are followed by retries."""
    bulkhead = Bulkhead(1)
    pipeline = Pipeline(Retry(2, backoff=1.0, on=BulkheadFullError), bulkhead)
    async with bulkhead:
        with pytest.raises(BulkheadFullError):
            await pipeline.execute(answers)
    assert [type(event) for event in told(heard)] == [
        CallRefused,
        RetryScheduled,
        CallRefused,
        RetryNotMade,
    ]


@pytest.mark.parametrize("on", [None, (OSError, BulkheadFullError)])
async def test_a_retry_that_was_scheduled_and_not_made(on, heard):
    """A loop that takes too long between two attempts: it is told that no other one is made."""
    pipeline = Pipeline(Timeout(10.0), Retry(3, backoff=1.0, on=on))
    error = OSError("made up") if on is None else BulkheadFullError()
    with pytest.raises((OSError, DeadlineError)) as caught:
        async for attempt in pipeline:
            if attempt.number == 2:
                await anyio.sleep(9.5)
            async with attempt:
                raise error
    assert caught.type is (OSError if on is None else DeadlineError)
    assert [type(event) for event in told(heard)][-2:] == [RetryScheduled, RetryNotMade]
    assert heard.the(RetryNotMade).reason == "no time was left"
    assert heard.the(RetryNotMade).error == type(error).__name__


async def test_a_cancelled_attempt_is_not_told(heard):
    """Neither a cancelled attempt nor a cancelled sleep before one has failed."""
    with anyio.move_on_after(1.0):
        await Retry(2).execute(hangs)
    with anyio.move_on_after(1.0):
        await Retry(2, backoff=5.0).execute(fails)
    assert [type(event) for event in told(heard)] == [AttemptFailed, RetryScheduled]
    assert [event.outcome for event in heard.of(CallFinished)] == ["cancelled"] * 2
    assert [event.attempts for event in heard.of(CallFinished)] == [1, 1]


# The timeout.


@pytest.mark.parametrize("cleanup", [0.0, 3.0])
async def test_a_timeout_says_by_how_much_it_was_overrun(cleanup, heard):
    """The overrun is what the function took to end; 0.0 where it ended at once."""
    began = anyio.current_time()
    timeout = Timeout(1.0, name="t")
    with pytest.raises(CallTimeoutError):
        await timeout.execute(slow_to_end(cleanup))
    timed_out = heard.the(TimedOut)
    assert (timed_out.seconds, timed_out.overrun) == (1.0, cleanup)
    assert timed_out.time == began + 1.0 + cleanup
    assert (timed_out.policy, timed_out.name, timed_out.attempt) == ("Timeout", "t", 1)
    assert heard.the(CallFinished).duration == 1.0 + cleanup
    assert timeout.snapshot().timed_out == 1


async def test_the_outer_timeout_overruns_by_the_cleanup_too(heard):
    """One timeout in another: only the one that ended the call is told."""
    pipeline = Pipeline(Timeout(2.0, name="outer"), Timeout(5.0, name="inner"))
    with pytest.raises(CallTimeoutError):
        await pipeline.execute(slow_to_end(1.5))
    assert [(event.name, event.overrun) for event in heard.of(TimedOut)] == [("outer", 1.5)]


async def test_what_did_not_time_out_is_not_told(heard):
    """A caller's cancellation, an error of the cleanup, the function's own ``TimeoutError``."""

    async def own():
        raise TimeoutError

    async def fails_to_end():
        try:
            await hangs()
        finally:
            raise OSError("made up")

    timeout = Timeout(1.0)
    with anyio.move_on_after(0.5):
        await timeout.execute(hangs)
    with pytest.raises(TimeoutError):
        await timeout.execute(own)
    with pytest.raises(OSError, match="made up"):
        await timeout.execute(fails_to_end)
    assert heard.of(TimedOut) == []
    assert [event.outcome for event in heard.of(CallFinished)] == ["cancelled", "raised", "raised"]
    assert timeout.snapshot().timed_out == 0


async def test_a_timeout_is_told_before_what_it_leads_to(heard):
    """From the inside out: the circuit opens, the timeout ends the attempt, a retry comes."""
    pipeline = Pipeline(Retry(2, backoff=1.0), Timeout(1.0), CircuitBreaker(1, open_for=0.5))
    with pytest.raises(CallTimeoutError):
        await pipeline.execute(hangs)
    assert [type(event) for event in told(heard)] == [
        *[CircuitOpened, TimedOut, AttemptFailed, RetryScheduled],
        *[CircuitHalfOpened, CircuitOpened, TimedOut, AttemptFailed, RetryNotMade],
    ]
    assert heard.of(CircuitOpened)[0].cause in {"CancelledError", "Cancelled"}


# The bulkhead.


async def test_who_waits_and_who_is_refused(heard):
    """A call that waits tells how many do, itself counted; one too many is refused."""
    bulkhead = Bulkhead(1, queue=2)
    pipeline = Pipeline(bulkhead, name="p")
    held = Held()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(pipeline.execute, held)
            await turns()
        with pytest.raises(BulkheadFullError):
            await pipeline.bind(key="k").execute(held)
        for _ in range(3):
            held.let_go()
            await turns()
    assert [event.waiting for event in heard.of(CallQueued)] == [1, 2]
    refused = heard.the(CallRefused)
    assert (refused.error, refused.retry_after) == ("BulkheadFullError", None)
    assert (refused.policy, refused.pipeline, refused.key) == ("Bulkhead", "p", "k")
    assert bulkhead.snapshot().rejected == 1


async def test_a_wait_that_was_too_long_is_a_refusal(heard):
    """After ``max_wait`` the call is refused; one that is cancelled meanwhile is not."""
    bulkhead = Bulkhead(1, queue=1, max_wait=2.0)
    async with bulkhead:
        began = anyio.current_time()
        with pytest.raises(BulkheadFullError):
            await bulkhead.execute(answers)
        with anyio.move_on_after(1.0):
            await bulkhead.execute(answers)
    assert [type(event) for event in told(heard)] == [CallQueued, CallRefused, CallQueued]
    assert heard.the(CallRefused).time == began + 2.0
    outcomes = [event.outcome for event in heard.of(CallFinished)]
    assert outcomes == ["rejected", "cancelled", "returned"]


# The rate limiter.


class Throttled(Exception):
    """A 429 that says for how long."""

    status_code = 429

    def __init__(self, retry_after):
        headers = {"retry-after": str(retry_after)}
        self.response = type("Response", (), {"status_code": 429, "headers": headers})()


async def test_who_waits_for_a_turn_and_who_is_refused(heard):
    """A call that waits tells how many do; one whose turn would come too late is refused."""
    limiter = RateLimiter(1, max_wait=2.5)
    pipeline = Pipeline(limiter, name="p")
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(pipeline.execute, answers)
            await turns(2)
        with pytest.raises(RateLimitedError):
            await pipeline.bind(key="k").execute(answers)
    assert [event.waiting for event in heard.of(CallQueued)] == [1, 2]
    refused = heard.the(CallRefused)
    assert (refused.error, refused.retry_after) == ("RateLimitedError", pytest.approx(3))
    assert (refused.policy, refused.pipeline, refused.key) == ("RateLimiter", "p", "k")


async def test_a_pause_is_told_when_it_begins_or_grows(heard):
    """With what the server asked for, and how long all of that key now wait."""
    keyed = Keyed(lambda key: RateLimiter(None, max_pause=9), key=lambda *_: "k")

    async def throttled(retry_after):
        # All are in flight when the first one is refused.
        await anyio.sleep(1)
        raise Throttled(retry_after)

    async def call(retry_after):
        with pytest.raises(Throttled):
            await keyed.execute(throttled, retry_after)

    async with anyio.create_task_group() as group:
        for retry_after in (5, 5, 2, 20):
            group.start_soon(call, retry_after)
    pauses = heard.of(RateLimiterPaused)
    assert {(each.retry_after, each.paused_for) for each in pauses} >= {(20, 9)}
    assert all(each.paused_for == min(each.retry_after, 9) for each in pauses)
    lengths = [each.paused_for for each in pauses]
    assert lengths == sorted(set(lengths))
    assert {(each.key, each.attempt, each.time) for each in pauses} == {
        ("k", 0, anyio.current_time())
    }


async def test_a_call_refused_while_it_waits_for_its_turn_is_told(heard):
    """The refusal is told in the moment when it is known, after the pause that it comes from."""
    limiter = RateLimiter(1, max_wait=3)

    async def throttled():
        await anyio.sleep(0.5)
        raise Throttled(9)

    async def late():
        with pytest.raises(RateLimitedError):
            await limiter.execute(answers)

    async def first():
        with pytest.raises(Throttled):
            await limiter.execute(throttled)

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        await turns(2)
        group.start_soon(late)
    kinds = [type(event) for event in told(heard)]
    assert kinds == [CallQueued, RateLimiterPaused, CallRefused]
    assert heard.the(RateLimiterPaused).waiting == 1
    assert heard.the(CallRefused).retry_after == pytest.approx(9)


async def test_a_slot_that_a_listener_gives_back_is_given_to_the_one_that_waits():
    """A listener may end the very call that another one is about to wait for."""
    bulkhead = Bulkhead(1, queue=1)
    opened = OpenAttempt(answers)

    async def opens():
        call.open = opened

    call = seawall.Call()
    call.begin(opens)
    await bulkhead.conduct(call)

    def end(event):
        if isinstance(event, CallQueued):
            opened.end(seawall.Verdict(seawall.Kind.SUCCESS))

    heard = Heard(end)
    with bulkhead.subscribe(heard):
        with anyio.fail_after(10.0):
            assert await bulkhead.execute(answers) == "fine"
    assert heard.kinds == ["CallQueued", "CallFinished"]
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_a_listener_cannot_overfill_the_queue():
    """A call that a listener makes when one is queued finds that one's place taken."""

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        bulkhead = Bulkhead(1, queue=1)
        tasks = []

        def call_too(event):
            if isinstance(event, CallQueued) and not tasks:
                tasks.append(None)
                tasks[0] = asyncio.create_task(bulkhead.execute(answers))

        with bulkhead.subscribe(Heard(call_too)):
            async with bulkhead:
                waits = asyncio.create_task(bulkhead.execute(answers))
                assert bulkhead.waiting == 1
            assert await waits == "fine"
        assert isinstance(tasks[0].exception(), BulkheadFullError)

    run(main())


# The fallback.


@pytest.mark.parametrize(
    "answer", [{"value": "other"}, {"function": answers}], ids=["value", "function"]
)
async def test_a_fallback_tells_what_it_answers_for(answer, heard):
    """It is told before the answer is fetched, with the error; a return needs no fallback."""
    fallback = Fallback(**answer)
    assert await fallback.execute(answers) == "fine"
    assert told(heard) == []
    await fallback.execute(fails)
    used = heard.the(FallbackUsed)
    assert (used.error, used.policy, used.attempt) == ("OSError", "Fallback", 1)
    assert fallback.snapshot().used == 1


async def test_a_fallback_that_does_not_answer_tells_nothing(heard):
    """An error that it is not for, a cancellation, and a refused block pass untold."""
    fallback = Fallback(value="instead", on=KeyError)
    with pytest.raises(OSError, match="made up"):
        await fallback.execute(fails)
    with anyio.move_on_after(1.0):
        await Fallback(value="instead").execute(hangs)
    breaker = CircuitBreaker(1)
    breaker.isolate()
    with pytest.raises(CircuitOpenError):
        async with Pipeline(Fallback(value="instead"), breaker):
            raise AssertionError
    assert [type(event) for event in told(heard)] == [CircuitIsolated, CallRefused]


# Hedge.


def takes(*seconds):
    """Return a function whose attempts take these seconds, and fail where they are negative."""
    left = list(seconds)

    async def function():
        mine = left.pop(0)
        await anyio.sleep(abs(mine))
        if mine < 0:
            raise OSError("made up")

    return function


@pytest.mark.parametrize(
    "seconds, outcome, error, after",
    [
        ((60, 0.5), "won", None, 1.5),
        ((2, 60), "lost", None, 2),
        ((3, -0.5), "failed", "OSError", 3),
    ],
    ids=["won", "lost", "failed"],
)
async def test_a_hedge_tells_how_it_ended(seconds, outcome, error, after, heard):
    """When it begins, with the delay, and when the race is over, with its number."""
    hedge = Hedge(1.0)
    began = anyio.current_time()
    await hedge.execute(takes(*seconds))
    started, ended = told(heard)
    assert (type(started), type(ended)) == (HedgeStarted, HedgeEnded)
    assert (started.delay, started.attempt, started.policy) == (1.0, 2, "Hedge")
    assert (ended.outcome, ended.error, ended.attempt) == (outcome, error, 2)
    assert started.time - began == pytest.approx(1.0)
    assert ended.time - began == pytest.approx(after)


async def test_a_hedge_tells_that_it_gave_way(heard):
    """At once, with the refusal, and once only."""
    await Pipeline(Hedge(1.0), Bulkhead(1)).execute(takes(3))
    assert [type(event) for event in told(heard)] == [HedgeStarted, CallRefused, HedgeEnded]
    ended = heard.the(HedgeEnded)
    assert (ended.outcome, ended.error) == ("gave_way", "BulkheadFullError")


async def test_a_hedge_tells_why_it_is_not_made(heard):
    """Without a token when it would be due; what cannot be hedged, when it begins."""
    hedge = Hedge(1.0, budget=RetryBudget(0, capacity=1, floor=0))
    await hedge.execute(takes(3, 3))
    heard.clear()
    await hedge.execute(takes(3))
    assert [event.reason for event in told(heard)] == ["the budget was empty"]
    heard.clear()
    await hedge.bind(idempotent=False).execute(takes(3))
    assert [event.reason for event in told(heard)] == ["the call is not idempotent"]


# Keyed.


async def test_the_policies_of_all_keys_are_heard():
    """Those made before and after subscribing; after the end none of them is."""
    keyed = Keyed(lambda key: CircuitBreaker(1))
    heard = Heard()

    async def fail(*keys):
        for key in keys:
            with pytest.raises(OSError, match="made up"):
                await keyed.bind(key=key).execute(fails)

    await keyed.bind(key="before").execute(answers)
    with Pipeline(keyed, name="p").subscribe(heard):
        await fail("before", "after")
        assert [event.key for event in heard.of(CircuitOpened)] == ["before", "after"]
        heard.clear()
    for breaker in (keyed["before"], keyed["after"]):
        breaker.reset()
    await keyed.bind(key="later").execute(answers)
    await fail("before", "after", "later")
    assert heard.kinds == []


async def test_keys_of_keys_are_heard():
    """A ``Keyed`` in a ``Keyed`` hands on those who listen to what it makes."""
    tree = Keyed(
        lambda region: Keyed(lambda host: CircuitBreaker(1), key=lambda region, host: host),
        key=lambda region, host: region,
    )
    heard = Heard()
    await tree.execute(answers, "eu", "a")
    with tree.subscribe(heard):
        for place in [("eu", "a"), ("eu", "b"), ("us", "c")]:
            with pytest.raises(OSError, match="made up"):
                await tree.execute(fails, *place)
    assert [event.key for event in heard.of(CircuitOpened)] == ["a", "b", "c"]


async def test_a_circuit_that_keys_share_names_the_first(heard):
    """Its calls name their own keys; its transitions name the one that it was first made for."""
    shared = CircuitBreaker(1)
    keyed = Keyed(lambda key: shared)
    await keyed.bind(key="a").execute(answers)
    with pytest.raises(OSError, match="made up"):
        await keyed.bind(key="b").execute(fails)
    with pytest.raises(CircuitOpenError):
        await keyed.bind(key="b").execute(answers)
    assert [(type(event), event.key) for event in told(heard)] == [
        (CircuitOpened, "a"),
        (CallRefused, "b"),
    ]


async def test_a_policy_that_keys_share_is_heard_once():
    """One bulkhead behind all circuits: each of its events is heard once, and none afterwards."""
    shared = Bulkhead(1)
    keyed = Keyed(lambda key: Pipeline(CircuitBreaker(), shared))
    heard = Heard()
    async with shared:
        with keyed.subscribe(heard):
            for key in ("a", "b", "c"):
                with pytest.raises(BulkheadFullError):
                    await keyed.bind(key=key).execute(answers)
            assert len(shared._listeners) == 1
        assert [event.key for event in heard.of(CallRefused)] == ["a", "b", "c"]
        heard.clear()
        with pytest.raises(BulkheadFullError):
            await keyed.bind(key="a").execute(answers)
    assert heard.kinds == []


async def test_where_nobody_listens_no_event_is_even_imported(monkeypatch):
    """Whatever happens in the calls, none of them pays for making the classes of events."""
    for name in seawall.events.__all__:
        monkeypatch.delattr(lazy_events, name, raising=False)
    broken = CircuitBreaker(1, open_for=5.0)
    shadowed = CircuitBreaker(1, shadow=True)
    shadowed.trip()
    limiter = RateLimiter(1, max_wait=3)
    bulkhead = Bulkhead(1, queue=1)
    shedder = LoadShedder(k=1.0)
    kept = LastGood(60.0, key=lambda: "any")
    await kept.execute(answers)
    policies = [
        broken,
        shadowed,
        limiter,
        bulkhead,
        shedder,
        kept,
        Timeout(1.0),
        Retry(2, backoff=0.1),
        Retry(2, backoff=0.1, budget=RetryBudget(0.0, capacity=1)),
        Fallback(value="instead"),
        Hedge(0.1, budget=None),
        Hedge(0.1, budget=RetryBudget(0.0, capacity=1)),
        AdaptiveLimit(2),
    ]

    async def throttled():
        raise Throttled(2)

    for policy in policies:
        pipeline = Pipeline(policy, name="p")
        async with anyio.create_task_group() as group:
            for function in (fails, throttled, hangs, answers) * 3:

                async def call(function=function, pipeline=pipeline):
                    with suppress(Exception):
                        await pipeline.bind(timeout=2.0).execute(function)

                group.start_soon(call)
    broken.reset()
    broken.isolate()
    assert [policy.rejected > 0 for policy in (limiter, bulkhead, shedder)] == [True] * 3
    assert broken.snapshot().rejected > 0
    assert shadowed.snapshot().would_refuse > 0
    assert kept.served > 0
    assert not {*seawall.events.__all__} & {*vars(lazy_events)}
    with seawall.subscribe(print):
        assert {*seawall.events.__all__} <= {*vars(lazy_events)}
