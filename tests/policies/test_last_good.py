"""LastGood: what the same call returned last, where a call fails."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import weakref
from collections import Counter
from functools import partial
from math import inf

import anyio
import pytest

from seawall import (
    Bulkhead,
    Call,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Fallback,
    Kind,
    LastGood,
    Outcome,
    Pipeline,
    Retry,
    Timeout,
    UsageError,
    Verdict,
)
from seawall.core.open_attempt import OpenAttempt
from seawall.events import LastGoodServed
from tests.doubles import Held, Script, Witness, turns, virtual
from tests.listening import Heard
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


class Refused(Exception):
    """An error with an HTTP status, as clients raise it."""

    def __init__(self, status):
        super().__init__("made up")
        self.status_code = status


async def test_a_failed_call_gets_the_last_good_value():
    """The same object is served as often as the call fails, and a success replaces it."""
    good, better = object(), object()
    script = Script(good, OSError, OSError, better, OSError)
    policy = LastGood(60)
    assert [await policy.execute(script) for _ in range(5)] == [good, good, good, better, better]
    assert script.calls == 5


@pytest.mark.parametrize("value", [None, False, 0, "", ()], ids=repr)
async def test_any_value_is_a_good_value(value):
    """What is false, or ``None``, is kept like any other."""
    policy, script = LastGood(60), Script(value, OSError)
    for _ in range(2):
        assert await policy.execute(script) is value


async def test_without_a_value_the_error_is_raised():
    """Nothing is made up: the same error propagates, and has no note."""
    error = OSError("made up")
    policy = LastGood(60)
    with pytest.raises(OSError, match="made up") as caught:
        await policy.execute(Script(error))
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert (policy.served, policy.missed) == (0, 1)


async def test_a_value_is_served_within_its_time():
    """Until its age is ``ttl`` it is served, also again and again; later it is forgotten."""
    policy, script = LastGood(10), Script("good", OSError("made up"))
    await policy.execute(script)
    for seconds in (4, 6):
        await anyio.sleep(seconds)
        assert await policy.execute(script) == "good"
    await anyio.sleep(0.001)
    with pytest.raises(OSError, match="made up"):
        await policy.execute(script)
    assert len(policy) == 0


async def test_the_age_counts_from_the_answer():
    """A call that takes long keeps its value from its end on; a slow failure is served late."""

    async def slow():
        await anyio.sleep(5)
        if ages:
            raise OSError("made up")
        ages.append(0)
        return "good"

    ages = []
    policy = LastGood(9, mark=lambda value, age: ages.append(age))
    await policy.execute(slow)
    await anyio.sleep(3)
    await policy.execute(slow)
    assert ages == [0, 8]


async def test_a_value_may_be_served_for_ever():
    """``math.inf`` sets no limit."""
    policy, script = LastGood(inf), Script("good", OSError)
    await policy.execute(script)
    await anyio.sleep(1e5)
    assert await policy.execute(script) == "good"


# Which calls are the same.


async def echo(*args, **kwargs):
    """Answer while there is no outage."""
    if outage:
        raise OSError("made up")
    return args, kwargs


async def other(*args, **kwargs):
    if outage:
        raise OSError("made up")
    return "other"


outage: list[None] = []


@pytest.fixture
def down():
    """Make ``echo`` and ``other`` fail from now on."""
    yield lambda: outage.append(None)
    outage.clear()


async def found(policy, *call, **kwargs):
    """Say whether a value of the call is served."""
    try:
        await policy.execute(*call, **kwargs)
    except OSError:
        return False
    return True


async def test_calls_with_other_arguments_are_others(down):
    """Each call gets its own value back, whatever the order of the keywords."""
    policy = LastGood(60)
    await policy.execute(echo, 1, a=2, b=3)
    await policy.execute(echo, 1)
    down()
    assert await policy.execute(echo, 1, b=3, a=2) == ((1,), {"a": 2, "b": 3})
    assert await policy.execute(echo, 1) == ((1,), {})
    assert not await found(policy, echo, 2)
    assert not await found(policy, echo)
    assert not await found(policy, echo, 1, a=2)
    assert not await found(policy, echo, 1, a=2, b=4)


async def test_another_function_is_another_call(down):
    """One policy for several functions never gives the answer of one for the other."""
    policy = LastGood(60)
    await policy.execute(echo, 7)
    down()
    assert not await found(policy, other, 7)
    assert await found(policy, echo, 7)


async def test_a_partial_counts_as_what_it_calls(down):
    """A partial that is made anew for each call is the same call all the same."""
    policy = LastGood(60)
    await policy.execute(partial(partial(echo, 1, a=1), 2, b=2), 3, b=3)
    down()
    assert await policy.execute(partial(echo, 1, 2, a=1), 3, b=3) == ((1, 2, 3), {"a": 1, "b": 3})
    assert not await found(policy, partial(echo, 1, 2, a=1), 3, b=2)


async def test_a_partial_in_a_partial_is_looked_through(down):
    """One that Python does not merge with the partial around it counts the same."""
    inner = partial(echo, 1)
    inner.note = "with an attribute of its own"
    policy = LastGood(60)
    await policy.execute(partial(inner, 2))
    down()
    assert await policy.execute(partial(echo, 1), 2) == ((1, 2), {})


async def test_a_lambda_with_arguments_may_be_one_that_stays(down):
    """It is the same function in each call, as far as anybody can tell."""
    ask = lambda *args: echo(*args)  # noqa: E731 - that is what is tested
    policy = LastGood(60)
    await policy.execute(ask, 1)
    down()
    assert await policy.execute(ask, 1) == ((1,), {})


async def test_methods_are_told_apart_by_their_object(down):
    """A method that is bound anew for each call is the same; that of another object is not."""

    class Service:
        async def fetch(self):
            return await echo(id(self))

    one, two = Service(), Service()
    policy = LastGood(60)
    await policy.execute(one.fetch)
    down()
    assert await found(policy, one.fetch)
    assert not await found(policy, two.fetch)


async def test_a_bound_key_tells_apart_too(down):
    """What is kept for one tenant is not served to another."""
    policy = LastGood(60)
    await policy.bind(key="one").execute(echo, 1)
    down()
    assert await found(policy.bind(key="one"), echo, 1)
    assert not await found(policy.bind(key="two"), echo, 1)
    assert not await found(policy, echo, 1)


async def test_the_key_may_be_computed(down):
    """``key`` gets what the function gets; it alone decides, as in ``Keyed``."""
    seen = []

    def key(*args, **kwargs):
        seen.append((args, kwargs))
        return args[0]

    policy = LastGood(60, key=key)
    await policy.bind(key="bound").execute(echo, 1, [2], a=3)
    down()
    assert await policy.execute(lambda *args: echo(*args), 1, [4]) == ((1, [2]), {"a": 3})
    assert not await found(policy, echo, 2)
    assert seen == [((1, [2]), {"a": 3}), ((1, [4]), {}), ((2,), {})]


@pytest.mark.parametrize("key", [0, "", False, ()], ids=repr)
async def test_a_key_may_be_false(key):
    """Only ``None`` is no key."""
    policy, script = LastGood(60, key=lambda: key), Script("good", OSError)
    for _ in range(2):
        assert await policy.execute(script) == "good"


async def test_no_key_is_an_error():
    """A key that is ``None`` is refused before the function runs."""
    script = Script("never")
    with pytest.raises(UsageError, match="key of a LastGood returned None"):
        await LastGood(60, key=lambda: None).execute(script)
    assert script.calls == 0


@pytest.mark.parametrize("call", [([1],), ({"a": 1},), (1, {2})], ids=repr)
async def test_what_cannot_be_hashed_needs_a_key(call):
    """The error comes with the first call, not with the first outage, and shows what helps."""
    script = Script("never")
    with pytest.raises(UsageError) as caught:
        await LastGood(60).execute(script, *call)
    assert "right: LastGood(60, key=lambda ids: tuple(ids))" in str(caught.value)
    with pytest.raises(UsageError):
        await LastGood(60).execute(script, named=call[-1])
    with pytest.raises(UsageError):
        await LastGood(60, key=lambda *args: [args]).execute(script, *call)
    with pytest.raises(UsageError):
        await LastGood(60).bind(key=[]).execute(script)
    assert script.calls == 0


async def test_an_error_of_the_key_is_the_users_own():
    """What ``key`` raises propagates, a ``TypeError`` as well."""
    with pytest.raises(TypeError, match="missing 1 required") as caught:
        await LastGood(60, key=lambda url: url).execute(Script(1))
    assert not isinstance(caught.value, UsageError)


async def test_a_lambda_or_an_awaitable_is_shown_the_function():
    """Each is another one in each call, so nothing would ever be found; that is said at once."""
    script = Script("never")
    with pytest.raises(UsageError, match="a lambda is another function each time") as caught:
        await LastGood(60).execute(lambda: script(1))
    assert "right: await pipeline.execute(fetch, url)" in str(caught.value)
    coroutine = script(1)
    with pytest.raises(UsageError, match="does not show the arguments") as caught:
        await LastGood(60).bind(key=1).execute(coroutine)
    assert "right: await pipeline.execute(fetch, url)" in str(caught.value)
    assert coroutine.cr_frame is None
    assert script.calls == 0


async def test_with_a_key_an_awaitable_is_fine():
    """Who says what is the same may pass whatever can be called or awaited."""
    policy, script = LastGood(60, key=lambda: "rates"), Script("good", OSError)
    assert await policy.execute(script()) == "good"
    assert await policy.execute(script()) == "good"
    assert await policy.execute(lambda: script()) == "good"


async def test_a_decorated_function():
    """The function that is decorated tells its calls apart by their arguments."""
    script = Script("one", "two", OSError)

    @LastGood(60)
    async def fetch(number):
        return await script()

    assert [await fetch(1), await fetch(2), await fetch(1), await fetch(2)] == [
        *["one", "two"] * 2,
    ]


# What is kept, and what it answers for.


@pytest.mark.parametrize(
    "error",
    [
        OSError("made up"),
        ExceptionGroup("", [OSError(), CircuitOpenError(), ExceptionGroup("", [Refused(503)])]),
        *[Refused(status) for status in (408, 425, 429, 500, 502, 503, 504, 529)],
        CircuitOpenError(),
        CallTimeoutError(1.0),
        CallTimeoutError(1.0, phase="stalled"),
    ],
    ids=lambda error: f"{type(error).__name__}{getattr(error, 'status_code', '')}",
)
async def test_it_answers_for_outages(error):
    """Failures, refusals and what may heal get the kept value."""
    policy, script = LastGood(60), Script("good", error)
    for _ in range(2):
        assert await policy.execute(script) == "good"
    assert policy.served == 1


@pytest.mark.parametrize(
    "error",
    [
        *[Refused(status) for status in (400, 401, 403, 404, 410, 501)],
        TypeError("made up"),
        AttributeError("made up"),
        NameError("made up"),
        AssertionError("made up"),
        NotImplementedError("made up"),
        UsageError("made up"),
        ExceptionGroup("made up", [OSError(), TypeError()]),
        ExceptionGroup("made up", [OSError(), Refused(403)]),
    ],
    ids=lambda error: f"{type(error).__name__}{getattr(error, 'status_code', '')}",
)
async def test_it_does_not_hide_an_answer_or_a_mistake(error):
    """What the dependency has decided is passed on, and so is what is wrong in the program."""
    policy, script = LastGood(60), Script("good", error)
    await policy.execute(script)
    with pytest.raises(type(error)) as caught:
        await policy.execute(script)
    assert caught.value is error
    assert (policy.served, policy.missed) == (0, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
async def test_an_interrupt_is_never_answered_for(error):
    """What is no ``Exception`` propagates."""
    policy, script = LastGood(60), Script("good", error)
    await policy.execute(script)
    with pytest.raises(error):
        await policy.execute(script)


async def test_a_cancellation_is_never_answered_for():
    """A caller who leaves gets no answer, and its cancellation is not swallowed."""
    policy, held = LastGood(60), Script("good")
    seconds = [0.0, 5.0]

    async def sleeps():
        await anyio.sleep(seconds.pop(0))
        return await held()

    await policy.execute(sleeps)
    with anyio.move_on_after(1) as scope:
        await policy.execute(sleeps)
    assert scope.cancelled_caught
    assert policy.served == 0


async def test_the_classifier_decides():
    """What it calls a failure is answered for, and what it ignores is passed on."""
    classify = Classifier(failures=KeyError, ignore=OSError)
    pipeline = Pipeline(LastGood(60), classify=classify)
    script = Script("good", KeyError("made up"), OSError("made up"), ValueError("made up"))
    assert [await pipeline.execute(script) for _ in range(2)] == ["good"] * 2
    for kind in (OSError, ValueError):
        with pytest.raises(kind, match="made up"):
            await pipeline.execute(script)


async def test_a_result_that_is_judged_a_failure():
    """It is not kept, and is replaced by the kept value, if there is one."""
    heard = Heard()
    pipeline = Pipeline(
        LastGood(60), classify=Classifier(results=lambda result: result.startswith("bad"))
    )
    pipeline.subscribe(heard)
    script = Script("bad 1", "good", "bad 2", "bad 3")
    assert [await pipeline.execute(script) for _ in range(4)] == ["bad 1", *["good"] * 3]
    assert [event.error for event in heard.of(LastGoodServed)] == ["result"] * 2


@pytest.mark.parametrize(
    "verdict",
    [Verdict(Kind.NEUTRAL), Verdict(Kind.SUCCESS, retryable=True)],
    ids=["neutral", "to be repeated"],
)
async def test_only_a_success_is_kept(verdict):
    """A result that says nothing, or that is to be asked for again, is no good value."""

    def classify(outcome: Outcome) -> Verdict:
        return Verdict(Kind.FAILURE) if outcome.exception else verdict

    policy = LastGood(60)
    pipeline, script = Pipeline(policy, classify=classify), Script("so so", OSError("made up"))
    assert await pipeline.execute(script) == "so so"
    assert len(policy) == 0
    with pytest.raises(OSError, match="made up"):
        await pipeline.execute(script)


async def items():
    yield 1


class Stream:
    """An asynchronous iterable, as many clients return for a streamed answer."""

    def __aiter__(self):
        return items()


@pytest.mark.parametrize(
    "make", [lambda: iter([1]), items, Stream, lambda: map(str, [])], ids=[*"abcd"]
)
async def test_what_can_be_read_only_once_is_not_kept(make):
    """An iterator or a stream would be empty for the next caller."""
    policy, value = LastGood(60), make()
    assert await policy.execute(Script(value)) is value
    assert len(policy) == 0


async def test_a_stream_passes():
    """The items of ``stream()`` come as they come, and so does what it raises."""
    policy = LastGood(60)

    async def tokens(prompt, *, broken=False):
        if broken:
            raise OSError("made up")
        for token in prompt:
            yield token

    assert [token async for token in policy.stream(tokens, ["a", "b"])] == ["a", "b"]
    assert [token async for token in policy.stream(tokens, [])] == []
    with pytest.raises(OSError, match="made up"):
        async for _ in policy.stream(tokens, ["a", "b"], broken=True):
            pytest.fail("an item came")
    assert policy.snapshot().entries == policy.snapshot().missed == 0


def opens(call, outcome, closed):
    """Return a function that returns or raises while its attempt goes on."""

    async def close():
        closed.append("closed")

    async def function():
        call.open = OpenAttempt(close)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return function


def begin(function_of_call):
    call = Call()
    call.begin(lambda: None)
    call.function = function_of_call(call)
    return call


async def test_an_open_response_is_not_kept():
    """Its body can be read once, by the caller who has it."""
    policy, closed = LastGood(60, key=lambda: "key"), []
    call = begin(lambda call: opens(call, "open", closed))
    assert await policy.conduct(call) == "open"
    assert len(policy) == 0
    call.open.end(Verdict(Kind.SUCCESS))
    assert closed == []


@pytest.mark.parametrize("outcome", ["bad", OSError("made up")], ids=["result", "error"])
async def test_what_failed_while_open_is_closed(outcome):
    """Where the kept value is served, nobody else closes the body of the failed answer."""
    policy, closed, verdicts = LastGood(60, key=lambda: "key"), [], []
    pipeline = Pipeline(policy, classify=Classifier(results=lambda value: value == "bad"))
    await pipeline.execute(Script("good"))

    class Settle(Witness):
        async def run(self, call, proceed):
            try:
                return await proceed(call)
            finally:
                call.open.on_settle(lambda verdict: verdicts.append(verdict.kind))

    pipeline = Pipeline(policy, Settle(), classify=pipeline._classify)
    call = begin(lambda call: opens(call, outcome, closed))
    assert await pipeline.conduct(call) == "good"
    assert closed == ["closed"]
    assert verdicts == [Kind.FAILURE]
    assert call.open is None


async def test_the_value_is_judged_in_place_of_the_error():
    """Outside the call has succeeded."""
    witness = Witness()
    pipeline, script = Pipeline(witness, LastGood(60)), Script("good", OSError)
    for _ in range(2):
        await pipeline.execute(script)
    assert [verdict.kind for verdict in witness.verdicts] == [Kind.SUCCESS] * 2


# Its place in a pipeline.


async def test_around_a_breaker_a_retry_and_a_timeout():
    """The usual order: it answers when the attempts are spent, and while the circuit is open."""
    policy = LastGood(60)
    pipeline = Pipeline(policy, Retry(2, backoff=0), CircuitBreaker(2), Timeout(1))
    script = Script("good", OSError)
    assert [await pipeline.execute(script) for _ in range(5)] == ["good"] * 5
    # Retries are no evidence: it took two calls to trip.
    assert script.calls == 4
    assert policy.served == 4
    hanging = Pipeline(LastGood(60, key=lambda: 1), Timeout(1))
    await hanging.execute(Script("good"))
    assert await hanging.execute(anyio.sleep_forever) == "good"


async def test_around_it_a_fallback_answers_the_rest():
    """Where nothing is kept, its error goes on to the next."""
    pipeline = Pipeline(Fallback(value="default"), LastGood(60), Bulkhead(1))
    held = Held()
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.execute, held)
        await turns()
        assert await pipeline.execute(Script("never")) == "default"
        held.let_go()
        await turns()
        group.start_soon(pipeline.execute, held)
        await turns()
        assert await pipeline.execute(held) == ()
        held.let_go()


# Blocks and loops.


async def test_a_block_that_fails_gets_the_value():
    """What the body set is kept by the bound key; the body's exception is then swallowed."""
    policy = LastGood(60)
    for number in range(3):
        async with policy.bind(key="rates") as attempt:
            if number:
                raise OSError("made up")
            attempt.result = "good"
        assert attempt.result == "good"
    with pytest.raises(OSError, match="made up"):
        async with policy.bind(key="others"):
            raise OSError("made up")


async def test_a_block_that_sets_no_result_keeps_nothing():
    """There is no value then, not even ``None``."""
    policy = LastGood(60)
    async with policy.bind(key="rates"):
        pass
    assert len(policy) == 0
    async with policy.bind(key="rates") as attempt:
        attempt.result = None
    assert len(policy) == 1


async def test_a_block_needs_a_key():
    """It has no arguments; the error shows how to give one."""
    with pytest.raises(UsageError) as caught:
        async with LastGood(60):
            pytest.fail("the body ran")
    assert 'right: async with pipeline.bind(key=("user", 7)) as attempt' in str(caught.value)
    with pytest.raises(UsageError):
        async for attempt in LastGood(60):
            async with attempt:
                pytest.fail("the body ran")
    async with LastGood(60, key=lambda: "key") as attempt:
        attempt.result = 1


async def test_a_bad_result_of_a_block_stays():
    """The body has run, and its result is the attempt's: it is neither kept nor replaced."""
    policy = LastGood(60)
    pipeline = Pipeline(policy, classify=Classifier(results=lambda value: value == "bad"))
    for result in ("good", "bad"):
        async with pipeline.bind(key=1) as attempt:
            attempt.result = result
        assert attempt.result == result
    assert (policy.served, len(policy)) == (0, 1)


async def test_a_block_that_was_refused_cannot_be_skipped():
    """Where no body has run, the refusal is raised, though a value is kept."""
    breaker = CircuitBreaker(1)
    pipeline = Pipeline(LastGood(60), breaker).bind(key=1)
    async with pipeline as attempt:
        attempt.result = "good"
    breaker.isolate()
    with pytest.raises(CircuitOpenError):
        async with pipeline:
            pytest.fail("the body ran")


async def test_a_loop_that_gives_up_gets_the_value():
    """The attempts are made, and then the value is the result of the last one."""
    pipeline = Pipeline(LastGood(60), Retry(2, backoff=0)).bind(key="rates")
    numbers = []
    for outage in (False, True):
        async for attempt in pipeline:
            async with attempt:
                numbers.append(attempt.number)
                if outage:
                    raise OSError("made up")
                attempt.result = "good"
        assert attempt.result == "good"
    assert numbers == [1, 1, 2]


async def test_the_value_served_to_a_block_is_judged():
    """A retry around it sees the value, as it does for a function."""
    pipeline = Pipeline(
        Retry(2, backoff=0),
        LastGood(60, mark=lambda value, age: "stale"),
        classify=Classifier(results=lambda value: value == "stale"),
    ).bind(key=1)
    attempts = 0
    async with pipeline as attempt:
        attempt.result = "good"
    async for attempt in pipeline:
        async with attempt:
            attempts += 1
            raise OSError("made up")
    assert attempts == 2


# Who learns that a value is old.


async def test_a_value_may_be_marked_with_its_age():
    """``mark`` makes what the caller gets; what is kept stays as it came."""
    policy = LastGood(60, mark=lambda value, age: (value, age))
    script = Script("good", OSError)
    assert await policy.execute(script) == "good"
    for age in (2.0, 5.0):
        await anyio.sleep(age if age == 2.0 else 3.0)
        assert await policy.execute(script) == ("good", age)


async def test_an_error_of_the_mark_propagates():
    """It is the user's own, and shows what was answered for."""

    def mark(value, age):
        raise ValueError("made up")

    policy, script = LastGood(60, mark=mark), Script("good", OSError)
    await policy.execute(script)
    with pytest.raises(ValueError, match="made up") as caught:
        await policy.execute(script)
    assert type(caught.value.__context__) is OSError


async def test_what_is_served_is_told():
    """The event has the error and the age, and what every event has of its call."""
    heard = Heard()
    pipeline = Pipeline(LastGood(60), CircuitBreaker(1), name="p")
    pipeline.subscribe(heard)
    view, script = pipeline.bind(key="k", tags={"user": 1}), Script("good", OSError)
    await view.execute(script)
    assert heard.kinds == ["CallFinished"]
    for _ in range(2):
        await anyio.sleep(2)
        await view.execute(script)
    first, second = heard.of(LastGoodServed)
    assert (first.error, first.age) == ("OSError", 2.0)
    assert (second.error, second.age) == ("CircuitOpenError", 4.0)
    assert (first.policy, first.pipeline, first.key) == ("LastGood", "p", "k")
    assert (first.attempt, first.tags) == (1, {"user": 1})
    assert first.time == anyio.current_time() - 2
    assert heard[-1].outcome == "returned"


async def test_what_it_shows():
    """The snapshot counts what is kept and what it was good for."""
    policy, script = LastGood(60, max_entries=5), Script("good", OSError)
    for number in (1, 1, 2):
        with contextlib.suppress(OSError):
            await policy.execute(script, number)
    now = policy.snapshot()
    assert (now.ttl, now.max_entries, now.entries, now.served, now.missed) == (60, 5, 1, 1, 1)
    assert now.as_dict()["type"] == "LastGoodSnapshot"
    policy.clear()
    assert policy.snapshot().entries == len(policy) == 0
    assert repr(policy) == "LastGood(60, max_entries=5)"


# What is forgotten.


async def test_the_least_recently_used_is_forgotten(down):
    """A value that was served or renewed is used."""
    policy = LastGood(60, max_entries=3)
    for number in (1, 2, 3, 1):
        await policy.execute(echo, number)
    down()
    assert await found(policy, echo, 2)
    outage.clear()
    await policy.execute(echo, 4)
    down()
    assert [await found(policy, echo, number) for number in (1, 2, 3, 4)] == [
        *[True, True, False, True],
    ]


async def test_old_values_make_room():
    """What is too old to be served does not stay until the room is needed."""
    policy = LastGood(10, max_entries=1000)
    for number in range(100):
        await policy.execute(Script(number), number)
    await anyio.sleep(11)
    script = Script("good")
    for _ in range(100):
        await policy.execute(script)
    assert len(policy) == 1


def test_memory_is_bounded_and_a_call_costs_the_same():
    """Of 20,000 calls a hundred values are kept, and a late call enters no more functions."""
    alive = weakref.WeakSet()

    class Value:
        def __init__(self):
            alive.add(self)

    async def fetch(number):
        if number % 3 == 0:
            raise OSError("made up")
        return Value()

    async def main():
        policy = LastGood(60, max_entries=100)

        async def cost(numbers):
            entered = Counter()

            def profile(frame, event, argument):
                entered[event] += 1

            sys.setprofile(profile)
            try:
                for number in numbers:
                    with contextlib.suppress(OSError):
                        await policy.execute(fetch, number)
            finally:
                sys.setprofile(None)
            return entered["call"] + entered["c_call"]

        early = await cost(range(300))
        for number in range(300, 20_000):
            with contextlib.suppress(OSError):
                await policy.execute(fetch, number)
        late = await cost(range(30_000, 30_300))
        gc.collect()
        assert len(policy) == len(alive) == 100
        return early, late

    early, late = run(main())
    assert late <= early * 1.2


def test_from_one_loop_to_the_next_no_time_passes():
    """The clocks differ, so the ages move along; a second running loop is refused."""
    policy, script, ages = LastGood(10, mark=lambda value, age: age), Script("good", OSError), []

    async def use(seconds):
        ages.append(await policy.execute(script))
        await anyio.sleep(seconds)
        ages.append(await policy.execute(script))

    run(use(1.0), start=1000.0)
    run(use(3.0), start=5.0)
    run(use(4.0), start=1e5)
    assert ages == ["good", *map(pytest.approx, [1.0, 1.0, 4.0, 4.0, 8.0])]
    with pytest.raises(OSError):
        run(use(4.0), start=0.0)
    assert ages[6:] == [pytest.approx(8.0)]

    async def main():
        await policy.execute(script)
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()

    def elsewhere():
        with pytest.raises(UsageError, match="another event loop"):
            run(policy.execute(script))
        refused.append(True)

    refused = []
    script.outcomes = ("good",)
    run(main())
    assert refused


def test_a_value_that_came_last_on_a_loop_is_new_on_the_next():
    """What came long after the first call of a loop has no more age on the next one than it had."""
    policy, script = LastGood(10, mark=lambda value, age: age), Script("good", "good", OSError)

    async def keep_late():
        await policy.execute(script)
        await anyio.sleep(500.0)
        await policy.execute(script)

    run(keep_late())
    assert run(policy.execute(script), start=3.0) == pytest.approx(0.0)


async def test_concurrent_calls_share_no_state():
    """Of calls that overlap, each gets its own value; of equal ones the last to end is kept."""
    gates = {number: anyio.Event() for number in range(4)}

    async def fetch(name, number):
        await gates[number].wait()
        return number

    policy = LastGood(60, key=lambda name, number: name)
    got = {}

    async def call(name, number):
        got[number] = await policy.execute(fetch, name, number)

    async with anyio.create_task_group() as group:
        for number in range(4):
            group.start_soon(call, "ab"[number % 2], number)
        for number in (3, 2, 0, 1):
            gates[number].set()
            await turns()
    assert got == {0: 0, 1: 1, 2: 2, 3: 3}
    assert await policy.execute(Script(OSError), "a", 0) == 0
    assert await policy.execute(Script(OSError), "b", 0) == 1
