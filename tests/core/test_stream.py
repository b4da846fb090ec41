"""Streams: retried and fallen back from until the first item, held until their end."""

from __future__ import annotations

import copy
import functools
import sys
import traceback
from contextlib import aclosing
from contextvars import ContextVar
from inspect import isasyncgenfunction, signature

import anyio
import pytest

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
    Stream,
    Timeout,
    UsageError,
)
from seawall.core.verdict import NEUTRAL
from tests.doubles import virtual
from tests.virtual_time import run


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


class Feed:
    """An async generator function; each attempt plays the next plan, the last one again and again.

    A plan is a list: an exception is raised, a number is slept, and everything else is yielded.

    Attributes:
        opened: attempts that began.
        closed: attempts whose generator has cleaned up.
    """

    def __init__(self, *plans):
        self.plans = plans
        self.opened = self.closed = 0

    async def __call__(self, *args, **kwargs):
        plan = self.plans[min(self.opened, len(self.plans) - 1)]
        self.opened += 1
        try:
            for step in plan:
                if isinstance(step, Exception):
                    raise step
                if isinstance(step, float):
                    await anyio.sleep(step)
                else:
                    yield step
        finally:
            self.closed += 1


async def consume(stream):
    return [item async for item in stream]


def policies(attempts=3):
    """Return a stack with everything that holds something, and its parts."""
    breaker, bulkhead = CircuitBreaker(3, open_for=5.0), Bulkhead(2)
    retry = Retry(attempts, backoff=1.0, budget=None)
    return Pipeline(retry, breaker, bulkhead), breaker, bulkhead


# Items, and what is repeated.


@pytest.mark.anyio
async def test_all_items_come_in_order():
    """The consumer gets what the function yields, also None, and then the loop ends for good."""
    pipeline, breaker, bulkhead = policies()
    stream = pipeline.stream(Feed([1, None, "three"]))
    assert isinstance(stream, Stream)
    assert await consume(stream) == [1, None, "three"]
    assert await consume(stream) == []
    assert bulkhead.in_flight == 0
    assert breaker.snapshot().successes == 1


@pytest.mark.anyio
async def test_arguments_reach_the_function():
    """The function is called with the further arguments, anew for each attempt."""
    calls = []

    async def tokens(prompt, /, *, size):
        calls.append((prompt, size))
        if len(calls) < 3:
            raise OSError("made up")
        yield prompt * size

    pipeline, _, _ = policies()
    assert await consume(pipeline.stream(tokens, "ab", size=2)) == ["abab"]
    assert calls == [("ab", 2)] * 3


@pytest.mark.anyio
async def test_nothing_begins_before_the_first_item_is_asked_for():
    """A stream that is never consumed takes no slot, and no attempt."""
    feed = Feed([1])
    pipeline, _, bulkhead = policies()
    stream = pipeline.stream(feed)
    await anyio.sleep(1)
    assert (feed.opened, bulkhead.in_flight) == (0, 0)
    await stream.aclose()
    assert await consume(stream) == []
    assert feed.opened == 0


@pytest.mark.anyio
async def test_a_failure_before_the_first_item_is_retried():
    """Until the first item an attempt is like any other: verdict, backoff, and note."""
    feed = Feed([OSError("first")], [0.5, OSError("second")], [1, 2])
    pipeline, breaker, bulkhead = policies()
    began = anyio.current_time()
    assert await consume(pipeline.stream(feed)) == [1, 2]
    assert anyio.current_time() - began == pytest.approx(2.5)
    assert (feed.opened, feed.closed, bulkhead.in_flight) == (3, 3, 0)
    snapshot = breaker.snapshot()
    assert (snapshot.failures, snapshot.successes) == (2, 1)


@pytest.mark.anyio
async def test_attempts_are_spent_before_the_first_item():
    """The last error is raised, with the note of the retry, and the stream is over."""
    feed = Feed([OSError("made up")])
    pipeline, _, bulkhead = policies()
    stream = pipeline.stream(feed)
    with pytest.raises(OSError, match="made up") as caught:
        await anext(stream)
    assert "gave up after 3 attempts" in caught.value.__notes__[0]
    assert await consume(stream) == []
    assert bulkhead.in_flight == 0


@pytest.mark.anyio
async def test_an_error_after_the_first_item_is_raised_as_it_is():
    """It is a FAILURE, there is no second attempt, and its traceback is the function's."""
    error = OSError("made up")
    feed = Feed([1, 2, error], ["again"])
    pipeline, breaker, bulkhead = policies()
    items = []
    with pytest.raises(OSError, match="made up") as caught:
        async for item in pipeline.stream(feed):
            items.append(item)
    assert caught.value is error
    assert not hasattr(error, "__notes__")
    assert traceback.extract_tb(error.__traceback__)[-1].name == "__call__"
    assert (items, feed.opened, feed.closed, bulkhead.in_flight) == ([1, 2], 1, 1, 0)
    snapshot = breaker.snapshot()
    assert (snapshot.failures, snapshot.successes) == (1, 0)


@pytest.mark.anyio
async def test_errors_after_the_first_item_are_judged_by_the_rules_of_the_call():
    """A bug, a refusal further inside, and what a classifier ignores, are no failure there too."""
    breaker = CircuitBreaker(1, open_for=5.0)
    pipeline = Pipeline(breaker, classify=Classifier(ignore=KeyError))
    for error in (TypeError("a bug"), BulkheadFullError(), KeyError("ignored")):
        with pytest.raises(type(error)):
            await consume(pipeline.stream(Feed([1, error])))
        assert breaker.state is State.CLOSED
    assert breaker.snapshot().neutral == 3
    with pytest.raises(OSError, match="made up"):
        await consume(pipeline.stream(Feed([1, OSError("made up")])))
    assert breaker.state is State.OPEN


@pytest.mark.anyio
async def test_a_classifier_that_raises_on_an_error_after_the_first_item():
    """What it raises propagates, and everything is given back."""

    def classify(outcome):
        raise ZeroDivisionError

    bulkhead = Bulkhead(1)
    breaker = CircuitBreaker(1)
    pipeline = Pipeline(breaker, bulkhead, classify=classify)
    feed = Feed([1, OSError("made up")])
    with pytest.raises(ZeroDivisionError):
        await consume(pipeline.stream(feed))
    assert (feed.closed, bulkhead.in_flight) == (1, 0)
    assert breaker.snapshot().neutral == 1


@pytest.mark.anyio
async def test_an_empty_stream_is_a_success():
    """It ends without an item, once, and nothing is retried."""
    feed = Feed([])
    pipeline, breaker, bulkhead = policies()
    assert await consume(pipeline.stream(feed)) == []
    assert (feed.opened, feed.closed, bulkhead.in_flight) == (1, 1, 0)
    assert breaker.snapshot().successes == 1


@pytest.mark.anyio
async def test_items_are_no_results():
    """The rules for the results of ordinary calls are not asked about streams."""

    def results(value):
        raise AssertionError(value)

    pipeline = Pipeline(Retry(3), CircuitBreaker(1), classify=Classifier(results=results))
    assert await consume(pipeline.stream(Feed([1, 2]))) == [1, 2]
    assert await consume(pipeline.stream(Feed([]))) == []


@pytest.mark.anyio
async def test_a_call_that_is_not_idempotent_is_not_repeated():
    """Views set the same things on a stream as on a call."""
    feed = Feed([OSError("made up")])
    pipeline, _, _ = policies()
    with pytest.raises(OSError, match="made up"):
        await consume(pipeline.bind(idempotent=False).stream(feed))
    assert feed.opened == 1


@pytest.mark.anyio
async def test_a_refused_stream_never_begins():
    """Refusals are raised where the first item is asked for."""
    breaker = CircuitBreaker(1, open_for=5.0)
    breaker.trip()
    await anyio.sleep(0)
    feed = Feed([1])
    await Pipeline(Bulkhead(1)).execute(anyio.sleep, 0)
    with pytest.raises(CircuitOpenError):
        await anext(Pipeline(breaker).stream(feed))
    assert feed.opened == 0


# What is held, and until when.


@pytest.mark.anyio
async def test_slots_and_tickets_are_held_until_the_end():
    """A slot is taken, and the verdict open, from the first attempt to the last item."""
    pipeline, breaker, bulkhead = policies()
    async with aclosing(pipeline.stream(Feed([1, 2]))) as stream:
        assert bulkhead.in_flight == 0
        assert await anext(stream) == 1
        assert (bulkhead.in_flight, breaker.snapshot().successes) == (1, 0)
        await anyio.sleep(100)
        assert await anext(stream) == 2
        assert (bulkhead.in_flight, breaker.snapshot().successes) == (1, 0)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert (bulkhead.in_flight, breaker.snapshot().successes) == (0, 1)


@pytest.mark.anyio
async def test_a_full_bulkhead_lets_the_next_stream_in_at_the_end_of_the_last():
    """Streams wait for a slot like calls do."""
    pipeline = Pipeline(Bulkhead(1, queue=5))
    order = []

    async def one(name):
        async for item in pipeline.stream(Feed([1.0, name, 1.0, name])):
            order.append(item)

    async with anyio.create_task_group() as group:
        for name in "abc":
            group.start_soon(one, name)
            await anyio.sleep(0.01)
    assert order == list("aabbcc")


@pytest.mark.anyio
async def test_time_for_stalls_stops_at_the_first_item():
    """A stream that has begun is in flight no longer, however long it goes on."""
    breaker = CircuitBreaker(1, open_for=5.0)
    for _ in range(5):
        await breaker.execute(anyio.sleep, 0.01)
    stream = breaker.stream(Feed([1, 2]))
    assert await anext(stream) == 1
    await anyio.sleep(3600)
    # An arrival is what finds the stalled calls.
    await breaker.execute(anyio.sleep, 0.01)
    assert breaker.state is State.CLOSED
    assert await consume(stream) == [2]
    snapshot = breaker.snapshot()
    assert (snapshot.successes, snapshot.failures, snapshot.in_flight) == (7, 0, 0)


@pytest.mark.anyio
async def test_a_probe_is_a_probe_until_its_stream_ends():
    """A half-open circuit closes on the verdict of the whole stream."""
    for end, state in (([], State.CLOSED), ([OSError("made up")], State.OPEN)):
        breaker = CircuitBreaker(1, open_for=5.0)
        breaker.trip()
        with pytest.raises(CircuitOpenError):
            await breaker.execute(anyio.sleep, 0)
        await anyio.sleep(5.0)
        stream = breaker.stream(Feed([1, *end]))
        assert await anext(stream) == 1
        assert breaker.state is State.HALF_OPEN
        if end:
            with pytest.raises(OSError, match="made up"):
                await consume(stream)
        else:
            assert await consume(stream) == []
        assert breaker.state is state


@pytest.mark.anyio
async def test_a_key_is_kept_while_its_stream_is_open():
    """The policy of a key is not forgotten as long as a stream runs through it."""
    keyed = Keyed(lambda key: Bulkhead(1), max_keys=1)
    stream = keyed.bind(key="a").stream(Feed([1, 2]))
    await anext(stream)
    for other in "bc":
        await keyed.bind(key=other).execute(anyio.sleep, 0)
    assert "a" in list(keyed)
    await stream.aclose()
    await keyed.bind(key="d").execute(anyio.sleep, 0)
    assert "a" not in list(keyed)


@pytest.mark.anyio
async def test_a_key_may_come_from_the_arguments():
    """A policy that looks at the arguments of the call sees those of the function."""
    keyed = Keyed(lambda key: Bulkhead(1), key=lambda prompt, size: prompt)
    assert await consume(keyed.stream(Feed([1]), "ab", size=2)) == [1]
    assert list(keyed) == ["ab"]


# Fallbacks.


@pytest.mark.anyio
async def test_a_fallback_streams_in_place_of_the_function():
    """Its generator gets the arguments, sees the error, and holds what is held further outside."""
    seen = []

    async def other(*args, **kwargs):
        seen.append((args, kwargs, type(sys.exception())))
        yield "other"
        yield "model"

    outer, inner = Bulkhead(1), Bulkhead(1)
    feed = Feed([OSError("made up")])
    pipeline = Pipeline(outer, Fallback(other), inner)
    stream = pipeline.stream(feed, "prompt", size=1)
    assert await anext(stream) == "other"
    assert seen == [(("prompt",), {"size": 1}, OSError)]
    assert (outer.in_flight, inner.in_flight) == (1, 0)
    assert await consume(stream) == ["model"]
    assert outer.in_flight == 0


@pytest.mark.anyio
async def test_fallbacks_chain_up_to_a_first_item():
    """A fallback whose own stream fails before its first item is fallen back from in turn."""
    second, third = Feed([OSError("made up")]), Feed(["third"])
    pipeline = Pipeline(Fallback(third), Fallback(second), CircuitBreaker(1))
    assert await consume(pipeline.stream(Feed([OSError("made up")]))) == ["third"]
    assert (second.opened, second.closed) == (1, 1)


@pytest.mark.anyio
async def test_there_is_no_fallback_after_the_first_item():
    """The consumer has seen an item: another answer would not go on where it stopped."""
    other = Feed(["other"])
    with pytest.raises(OSError, match="made up"):
        await consume(Fallback(other).stream(Feed([1, OSError("made up")])))
    assert other.opened == 0


@pytest.mark.anyio
async def test_an_async_function_of_a_fallback_may_open_the_stream():
    """What it returns is the stream."""

    async def opens():
        await anyio.sleep(0)
        return Feed(["opened"])()

    assert await consume(Fallback(opens).stream(Feed([OSError("made up")]))) == ["opened"]


@pytest.mark.anyio
@pytest.mark.parametrize("answer", ["text", ["a", "b"], None], ids=repr)
async def test_a_fallback_of_a_plain_value_is_a_usage_error(answer):
    """The message shows how to write it; a value is refused before it is needed."""
    feed = Feed([OSError("made up")])
    with pytest.raises(UsageError, match=r"no async iterable.*\n.*wrong.*\n.*right") as caught:
        await consume(Fallback(lambda: answer).stream(feed))
    assert type(answer).__name__ in str(caught.value)
    with pytest.raises(UsageError, match="no async iterable"):
        await consume(Fallback(value=answer).stream(feed))
    assert feed.opened == 1


@pytest.mark.anyio
async def test_a_policy_of_ones_own_may_answer_with_a_stream():
    """What comes out in place of the function's stream is streamed like that, or taught."""

    class Answer(Policy):
        def __init__(self, answer):
            self.answer = answer

        async def run(self, call, proceed):
            return self.answer

    assert await consume(Answer(Feed([1, 2])()).stream(Feed([3]))) == [1, 2]
    with pytest.raises(UsageError, match="a policy answered a stream with str"):
        await consume(Answer("text").stream(Feed([3])))


@pytest.mark.anyio
async def test_a_stream_cannot_be_answered_with_twice():
    """A policy that remembers results must not hand out one stream again."""

    class Remember(Policy):
        answer = None

        async def run(self, call, proceed):
            self.answer = self.answer or await proceed(call)
            return self.answer

    policy = Remember()
    assert await consume(policy.stream(Feed([1, 2]))) == [1, 2]
    with pytest.raises(UsageError, match="consumed already"):
        await consume(policy.stream(Feed([1, 2])))


@pytest.mark.anyio
async def test_what_a_policy_throws_away_is_closed():
    """A stream that was opened but goes to nobody is ended, and its generator closed."""

    class Again(Policy):
        async def run(self, call, proceed):
            await proceed(call)
            return await proceed(call)

    class Fail(Policy):
        async def run(self, call, proceed):
            await proceed(call)
            raise OSError("made up")

    bulkhead = Bulkhead(2)
    feed = Feed([1, 2])
    assert await consume(Pipeline(Again(), bulkhead).stream(feed)) == [1, 2]
    assert (feed.opened, feed.closed, bulkhead.in_flight) == (2, 2, 0)
    feed = Feed([1, 2])
    with pytest.raises(OSError, match="made up"):
        await consume(Pipeline(Fail(), bulkhead).stream(feed))
    assert (feed.opened, feed.closed, bulkhead.in_flight) == (1, 1, 0)


@pytest.mark.anyio
async def test_policies_see_how_far_a_stream_came():
    """The result of the call tells at the end what came last, which for a model is the usage."""
    seen = []

    class Count(Policy):
        async def run(self, call, proceed):
            stream = await proceed(call)
            seen.append((stream.count, stream.last))
            call.open.on_release(lambda: seen.append((stream.count, stream.last)))
            return stream

    assert await consume(Count().stream(Feed(["a", "b", "usage"]))) == ["a", "b", "usage"]
    assert seen == [(1, "a"), (3, "usage")]


@pytest.mark.anyio
async def test_attempts_side_by_side_each_open_their_own_stream():
    """A policy that gives copies of the call to its attempts hands out one of their streams."""

    class First(Policy):
        async def run(self, call, proceed):
            copies = [copy.copy(call) for _ in range(3)]
            streams = [await proceed(each) for each in copies]
            for lost in copies[1:]:
                await lost.open.discard(NEUTRAL)
            call.open = copies[0].open
            return streams[0]

    feed = Feed([1, 2])
    outer, inner = Bulkhead(9), Bulkhead(9)
    stream = Pipeline(outer, First(), inner).stream(feed)
    assert await anext(stream) == 1
    assert (feed.opened, feed.closed, outer.in_flight, inner.in_flight) == (3, 2, 1, 1)
    assert await consume(stream) == [2]
    assert (feed.closed, outer.in_flight, inner.in_flight) == (3, 0, 0)


# Functions of all kinds.


class Model:
    """Something with methods that yield."""

    pipeline = Pipeline(Retry(2, backoff=0), Bulkhead(9))

    def __init__(self, name):
        self.name = name

    async def tokens(self, prompt):
        yield self.name
        yield prompt

    @pipeline
    async def decorated(self, prompt):
        """Yield twice."""
        yield self.name
        yield prompt


class Opened:
    """What a client of an API returns: it is iterated over, and has a ``close``."""

    def __init__(self, items):
        self.items = list(items)
        self.closed = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        await anyio.sleep(0)
        if not self.items:
            raise StopAsyncIteration
        return self.items.pop(0)

    async def close(self):
        await anyio.sleep(0)
        self.closed += 1


@pytest.mark.anyio
async def test_methods_partials_and_objects():
    """Whatever is callable and returns an async iterable is a function of a stream."""
    model = Model("m")
    policy = Bulkhead(1)
    assert await consume(policy.stream(model.tokens, "p")) == ["m", "p"]
    assert await consume(policy.stream(functools.partial(model.tokens, "p"))) == ["m", "p"]
    assert await consume(policy.stream(lambda: Opened("ab"))) == ["a", "b"]
    assert await consume(policy.stream(Opened, "ab")) == ["a", "b"]


@pytest.mark.anyio
async def test_an_async_function_may_open_the_stream():
    """Opening is part of the attempt, and what was opened is closed when it is left early."""
    opened = []

    async def create(items):
        await anyio.sleep(1)
        opened.append(Opened(items))
        if len(opened) == 1:
            raise OSError("made up")
        return opened[-1]

    pipeline, _, bulkhead = policies()
    assert await consume(pipeline.stream(create, "abc")) == ["a", "b", "c"]
    async with aclosing(pipeline.stream(create, "abc")) as stream:
        assert await anext(stream) == "a"
    assert opened[-1].closed == 1
    assert (len(opened), bulkhead.in_flight) == (3, 0)


@pytest.mark.anyio
@pytest.mark.parametrize("target", [None, "text", 5], ids=repr)
async def test_only_functions_can_be_streamed(target):
    """What is not callable is refused at once."""
    with pytest.raises(UsageError, match="needs an async generator function"):
        Pipeline().stream(target)


@pytest.mark.anyio
async def test_a_generator_is_no_function():
    """The error shows that the function itself is to be passed."""
    with pytest.raises(UsageError, match=r"right: pipeline.stream\(tokens, prompt\)"):
        Pipeline().stream(Feed([1])())
    with pytest.raises(UsageError, match=r"right: pipeline.stream\(tokens, prompt\)"):
        Pipeline()(Feed([1])())


@pytest.mark.anyio
async def test_a_function_that_yields_nothing_is_a_usage_error():
    """An ordinary function, sync or async, is shown what to do; execute shows the way here."""

    async def answers():
        return "text"

    with pytest.raises(UsageError, match="the function of a stream returned str"):
        await anext(Pipeline().stream(answers))
    with pytest.raises(UsageError, match="the function of a stream returned str"):
        await anext(Pipeline().stream(str))
    with pytest.raises(UsageError, match=r"in pipeline.stream\(Model.tokens\)"):
        await Pipeline().execute(Model("m").tokens, "p")


@pytest.mark.anyio
async def test_an_opening_that_raises_stop_async_iteration_is_no_empty_stream():
    """As in a generator, it becomes a RuntimeError."""

    async def create():
        raise StopAsyncIteration

    with pytest.raises(RuntimeError, match="raised StopAsyncIteration"):
        await anext(Pipeline().stream(create))


# The decorator.


@pytest.mark.anyio
async def test_a_decorated_generator_function():
    """Each call of it is a stream behind the pipeline; name, text and signature are kept."""
    model = Model("m")
    assert await consume(model.decorated("p")) == ["m", "p"]
    assert isinstance(model.decorated("p"), Stream)
    assert Model.decorated.__name__ == "decorated"
    assert Model.decorated.__doc__ == "Yield twice."
    assert list(signature(Model.decorated).parameters) == ["self", "prompt"]


@pytest.mark.anyio
async def test_a_decorated_generator_function_is_retried():
    """The decorator does what stream does."""
    attempts = []

    @Pipeline(Retry(3, backoff=0, budget=None))
    async def tokens(prompt):
        attempts.append(prompt)
        if len(attempts) < 3:
            raise OSError("made up")
        yield prompt

    assert await consume(tokens("p")) == ["p"]
    assert attempts == ["p"] * 3


@pytest.mark.anyio
async def test_objects_and_partials_that_yield_can_be_decorated():
    """Also where the generator function is in a partial, or is the call of an object."""
    feed = Feed([1, 2])
    assert await consume(Bulkhead(1)(feed)()) == [1, 2]
    partial = functools.partial(Model("m").tokens, "p")
    assert await consume(Bulkhead(1)(partial)()) == ["m", "p"]


def test_a_decorated_generator_function_is_none_itself():
    """Who asks that would send and throw, which a stream does not take."""
    assert not isasyncgenfunction(Model.decorated)
    assert isasyncgenfunction(Model.decorated.__wrapped__)
    stream = Model("m").decorated("p")
    assert not hasattr(stream, "asend")
    assert not hasattr(stream, "athrow")


# Contexts.

setting: ContextVar[str] = ContextVar("setting", default="none")


@pytest.mark.anyio
async def test_the_function_runs_in_the_context_of_its_consumer():
    """It sees what the consumer has set, and what it set itself in an item before."""
    seen = []

    async def tokens():
        seen.append(setting.get())
        token = setting.set("function")
        yield 1
        seen.append(setting.get())
        setting.reset(token)
        yield 2
        seen.append(setting.get())

    setting.set("consumer")
    pipeline = Pipeline(Timeout(9), Retry(2), Bulkhead(1), Timeout(9))
    timed = pipeline.stream(tokens, first_item_timeout=3.0, idle_timeout=3.0)
    assert await consume(timed) == [1, 2]
    assert seen == ["consumer", "function", "consumer"]


@pytest.mark.anyio
async def test_the_deadline_is_seen_in_the_function_and_not_by_its_consumer():
    """Until the first item it is that of the attempt, afterwards that of the whole call."""
    seen, outside = [], []

    async def tokens():
        for item in range(3):
            await anyio.sleep(1)
            seen.append(seawall.deadline())
            yield item

    pipeline = Pipeline(Timeout(30), Retry(2), Timeout(10))
    async for _ in pipeline.stream(tokens, first_item_timeout=5.0, idle_timeout=5.0):
        outside.append(seawall.deadline())
    assert seen == [pytest.approx(9), pytest.approx(28), pytest.approx(27)]
    assert outside == [None] * 3


@pytest.mark.anyio
async def test_nested_calls_inherit_the_deadline_of_the_stream():
    """What the function calls between two items has no more time than the stream."""
    left = []

    async def ask():
        left.append(seawall.deadline())

    async def tokens():
        yield 1
        await anyio.sleep(4)
        await Timeout(50).execute(ask)
        yield 2

    assert await consume(Timeout(10).stream(tokens)) == [1, 2]
    assert left == [pytest.approx(6)]


@pytest.mark.anyio
async def test_a_stream_begins_with_the_deadline_of_its_consumer():
    """A consumer whose time is up begins no stream."""
    feed = Feed([1])
    try:
        async with Timeout(1):
            await anyio.sleep(5)
    except CallTimeoutError:
        pass
    assert await consume(Bulkhead(1).stream(feed)) == [1]

    async def late():
        with anyio.CancelScope(shield=True):
            await anyio.sleep(5)
        await consume(Bulkhead(1).stream(feed))

    with pytest.raises((DeadlineError, CallTimeoutError)):
        await Timeout(1).execute(late)
    assert feed.opened == 1


def test_blocks_in_the_function_span_items():
    """A block that the function holds open across items keeps its own deadline in sight.

    On asyncio: trio allows no cancel scope to stay open across a ``yield``.
    """
    seen, outside = [], []

    async def tokens():
        yield 0
        async with Timeout(5):
            yield 1
            await anyio.sleep(1)
            seen.append(seawall.deadline())
            yield 2
            seen.append(seawall.deadline())
        seen.append(seawall.deadline())

    async def main():
        async for _ in Timeout(10).stream(tokens, idle_timeout=3.0):
            outside.append(seawall.deadline())

    run(main())
    assert seen == [pytest.approx(4), pytest.approx(4), pytest.approx(9)]
