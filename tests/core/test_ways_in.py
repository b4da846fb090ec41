"""Every way into a pipeline runs the same policies."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import warnings

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Classifier,
    Fallback,
    Keyed,
    Kind,
    Pipeline,
    Policy,
    Retry,
    Timeout,
    UsageError,
    Verdict,
)
from tests.doubles import virtual

pytestmark = pytest.mark.anyio


async def double(number, *, plus=0):
    await anyio.sleep(0)
    return 2 * number + plus


class Doubler:
    async def __call__(self, number, *, plus=0):
        return await double(number, plus=plus)

    async def method(self, number, *, plus=0):
        return await double(number, plus=plus)


class Promise:
    """An awaitable that is no coroutine."""

    def __init__(self, number):
        self.number = number

    def __await__(self):
        return double(self.number).__await__()


CALLABLES = {
    "async function": double,
    "partial": functools.partial(double),
    "bound method": Doubler().method,
    "object with async __call__": Doubler(),
    "function that returns a coroutine": lambda number, plus=0: double(number, plus=plus),
    "function that returns an awaitable": lambda number, plus=0: Promise(number + plus / 2),
}

STANDARD = Pipeline.standard(limit=10)


def standard():
    return Pipeline.standard(limit=10)


@pytest.mark.parametrize("function", CALLABLES.values(), ids=CALLABLES.keys())
async def test_callables_of_every_kind(function):
    """Any callable that returns an awaitable is called with its arguments."""
    assert await standard().execute(function, 4, plus=2) == 10


async def test_awaitables():
    """A coroutine object and any other awaitable are awaited."""
    assert await standard().execute(double(4)) == 8
    assert await standard().execute(Promise(4)) == 8


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_futures_and_tasks():
    """A Future and a Task are awaited."""
    import asyncio

    future = asyncio.get_running_loop().create_future()
    future.set_result(8)
    assert await standard().execute(future) == 8
    assert await standard().execute(asyncio.create_task(double(4))) == 8


async def test_decorator_keeps_the_function():
    """A decorated function keeps its name, its signature and that it is async."""
    decorated = standard()(double)
    assert await decorated(4, plus=1) == 9
    assert inspect.iscoroutinefunction(decorated)
    assert inspect.signature(decorated) == inspect.signature(double)
    assert decorated.__wrapped__ is double


@pytest.mark.parametrize(
    "policy",
    [
        lambda: Timeout(5),
        Retry,
        CircuitBreaker,
        lambda: Bulkhead(1),
        lambda: Fallback(value=0),
        lambda: Keyed(lambda key: Bulkhead(1), key=lambda number: "key"),
        Pipeline,
    ],
    ids=["Timeout", "Retry", "CircuitBreaker", "Bulkhead", "Fallback", "Keyed", "Pipeline"],
)
async def test_each_policy_alone(policy):
    """Each policy has the ways in of a pipeline."""
    policy = policy()
    assert await policy.execute(double, 4) == 8
    assert await policy(double)(4) == 8
    if isinstance(policy, Keyed):
        return
    assert await policy.execute(double(4)) == 8
    async with policy as attempt:
        assert attempt.number == 1
    async for attempt in policy:
        async with attempt:
            attempt.result = await double(4)
    assert attempt.result == 8


async def test_the_first_policy_is_the_outermost():
    """Pipeline(A, B) is A around B, nested pipelines included, and built but once."""
    order = []

    class Mark(Policy):
        def __init__(self, name):
            self.name = name

        async def run(self, call, proceed):
            order.append(self.name)
            return await proceed(call)

    pipeline = Pipeline(Mark("a"), Pipeline(Mark("b"), Pipeline(), Mark("c")), Mark("d"))
    assert await pipeline.execute(double, 4) == 8
    assert order == ["a", "b", "c", "d"]


async def test_bind_sets_what_belongs_to_the_call():
    """A bound view sets key, timeout, idempotent and tags; binding again changes only some."""
    calls = []

    class Look(Policy):
        async def run(self, call, proceed):
            calls.append((call.key, call.idempotent, call.tags, call.deadline - call.now() < 3))
            return await proceed(call)

    view = Pipeline(Look()).bind(key="a", timeout=2.0, idempotent=False)
    assert await view.execute(double, 4) == 8
    async with view.bind(key="b", tags={"tag": 1}):
        pass
    assert calls == [("a", False, None, True), ("b", False, {"tag": 1}, True)]
    with pytest.raises(CallTimeoutError):
        await Pipeline().bind(timeout=0.01).execute(anyio.sleep, 30)


async def test_the_innermost_classifier_decides():
    """In nested pipelines the innermost classifier given decides for all outside it."""
    breaker = CircuitBreaker(1)
    inner = Pipeline(Pipeline(), classify=lambda outcome: Verdict(Kind.SUCCESS))
    pipeline = Pipeline(breaker, inner, classify=Classifier(failures=OSError))

    async def fail():
        raise OSError("made up")

    with pytest.raises(OSError, match="made up"):
        await pipeline.execute(fail)
    assert breaker.state.value == "closed"


async def test_a_sync_function_is_shown_the_right_call():
    """A function that returns no awaitable is a UsageError that shows both calls."""

    def fetch():
        return 1

    with pytest.raises(UsageError) as caught:
        await standard().execute(fetch)
    assert "wrong: def " in str(caught.value)
    assert "right: async def " in str(caught.value)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: STANDARD.execute(5),
        lambda: STANDARD.execute(double(1), 2),
        lambda: STANDARD(double(1)),
        lambda: STANDARD(5),
    ],
)
async def test_wrong_targets(wrong):
    """What is neither a callable nor an awaitable is refused, with the right call shown."""
    with pytest.raises(UsageError, match="right: "):
        await wrong()


async def test_a_coroutine_runs_once_and_says_so():
    """A coroutine object gets one attempt, and its exception a note on how to get more."""

    async def fail():
        raise OSError("made up")

    with pytest.raises(OSError, match="made up") as caught:
        await standard().execute(fail())
    (note,) = caught.value.__notes__
    assert "await pipeline.execute(fetch, url)" in note


async def test_a_refused_coroutine_is_closed():
    """A coroutine that a policy refuses is closed, and nothing warns that it was never awaited."""
    breaker, bulkhead = CircuitBreaker(), Bulkhead(1)
    breaker.trip()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused = double(1)
        with pytest.raises(CircuitOpenError):
            await breaker.execute(refused)
        assert inspect.getcoroutinestate(refused) == inspect.CORO_CLOSED
        async with bulkhead:
            refused = double(1)
            with pytest.raises(BulkheadFullError):
                await bulkhead.execute(refused)
        assert inspect.getcoroutinestate(refused) == inspect.CORO_CLOSED


# ----------------------------------------------------------------------------------- more callables


class Service:
    """Every kind of method that a class may have."""

    factor = 2

    async def method(self, number):
        return self.factor * number

    @classmethod
    async def of_class(cls, number):
        return cls.factor * number

    @staticmethod
    async def static(number):
        return 2 * number


@pytest.mark.parametrize(
    "function",
    [
        Service().method,
        Service().of_class,
        Service.static,
        Promise,
        functools.partial(functools.partial(double), plus=0),
        functools.partial(Promise),
        functools.lru_cache(lambda number: Promise(number)),
    ],
    ids=[
        "method",
        "class method",
        "static method",
        "class whose objects are awaitable",
        "partial of partial",
        "partial of a class",
        "cached function",
    ],
)
async def test_further_callables(function):
    """Whatever can be called and returns an awaitable is run, and can be decorated."""
    assert await standard().execute(function, 4) == 8
    assert await standard()(function)(4) == 8
    assert inspect.iscoroutinefunction(standard()(function))


async def test_a_function_is_called_again_for_each_attempt():
    """A retry calls the function with the same arguments again."""
    seen = []

    def connect(host, *, port):
        seen.append((host, port))
        return fail(len(seen))

    async def fail(number):
        if number < 3:
            raise OSError("made up")
        return number

    assert await Retry(3, backoff=0).execute(connect, "host", port=80) == 3
    assert seen == [("host", 80)] * 3


async def test_a_function_that_raises_before_its_awaitable():
    """What a sync function raises instead of returning a coroutine is judged and retried too."""
    calls = []

    def connect():
        calls.append(1)
        if len(calls) < 2:
            raise OSError("made up")
        return double(4)

    assert await Retry(3, backoff=0).execute(connect) == 8


async def test_arguments_of_any_name():
    """Positional and keyword arguments of every name go to the function."""

    async def function(self, target, /, call, *, fn=None, timeout=None, **rest):
        return self, target, call, fn, timeout, rest

    result = await standard().execute(function, 1, 2, 3, fn=4, timeout=5, key=6, args=7)
    assert result == (1, 2, 3, 4, 5, {"key": 6, "args": 7})


async def test_decorated_methods():
    """A decorated method, class method and static method get their object, class, or nothing."""
    pipeline = standard()

    class Client:
        factor = 3

        @pipeline
        async def method(self, number):
            return self.factor * number

        @classmethod
        @pipeline
        async def of_class(cls, number):
            return cls.factor * number

        @staticmethod
        @pipeline
        async def static(number):
            return 3 * number

    client = Client()
    assert await client.method(2) == await client.of_class(2) == await client.static(2) == 6


async def test_a_decorator_on_a_decorator():
    """Two pipelines around one function are nested, and the function is found through both."""
    outer, inner = Bulkhead(1), Bulkhead(2)

    @outer
    @inner
    async def look():
        return outer.in_flight, inner.in_flight

    assert await look() == (1, 1)
    assert inspect.iscoroutinefunction(look)
    assert inspect.unwrap(look).__qualname__.endswith("look")


async def test_the_decorator_shows_both_calls():
    """A decorated sync function is shown how to be async when it is called."""

    @standard()
    def fetch():
        return 1

    with pytest.raises(UsageError, match="right: async def"):
        await fetch()


async def test_an_async_generator_function_is_no_function():
    """It would be run as one: `execute` shows what is there for it."""

    async def items():
        yield 1

    with pytest.raises(UsageError, match=r"right: async for item in pipeline.stream"):
        await standard().execute(items)


# ------------------------------------------------------------------------- awaitables that run once


async def test_a_coroutine_begins_only_behind_the_policies():
    """A coroutine object begins when all policies have let it pass, and not before."""
    order = []

    class Note(Policy):
        async def run(self, call, proceed):
            order.append("policy")
            return await proceed(call)

    async def work():
        order.append("work")

    await Note().execute(work())
    assert order == ["policy", "work"]


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_an_awaitable_is_awaited_once(attempts):
    """Whatever the retries, an awaitable is awaited once; the note is given where it matters."""
    runs = []

    class Once:
        def __await__(self):
            runs.append(1)
            raise OSError("made up")
            yield

    with pytest.raises(OSError, match="made up") as caught:
        await Retry(attempts, backoff=0).execute(Once())
    assert runs == [1]
    notes = getattr(caught.value, "__notes__", [])
    assert len(notes) == (attempts > 1)
    assert all("can run only once" in note for note in notes)


async def test_a_policy_that_repeats_an_awaitable():
    """A policy of the user that runs an awaitable twice gets a UsageError, not a RuntimeError."""

    class Twice(Policy):
        async def run(self, call, proceed):
            await proceed(call)
            return await proceed(call)

    with pytest.raises(UsageError, match="only once"):
        await Twice().execute(double(4))
    assert await Twice().execute(double, 4) == 8


class Refuse(Policy):
    async def run(self, call, proceed):
        raise BulkheadFullError(policy=self)


class Answer(Policy):
    async def run(self, call, proceed):
        return "answer"


@pytest.mark.parametrize("way", ["refused", "answered", "cancelled", "timed out", "wrong"])
async def test_a_coroutine_that_never_began_is_closed(way):
    """However a call ends before its coroutine began, the coroutine is closed."""
    bulkhead = Bulkhead(1, queue=1)
    coroutine = double(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with bulkhead:
            if way == "refused":
                with pytest.raises(BulkheadFullError):
                    await Refuse().execute(coroutine)
            elif way == "answered":
                assert await Answer().execute(coroutine) == "answer"
            elif way == "cancelled":
                with anyio.move_on_after(0.001):
                    await bulkhead.execute(coroutine)
            elif way == "timed out":
                with pytest.raises(CallTimeoutError):
                    await Pipeline(Timeout(0.001), bulkhead).execute(coroutine)
            else:
                with pytest.raises(UsageError):
                    await bulkhead.execute(coroutine, 4)
        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
        del coroutine
        gc.collect()
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


def test_a_coroutine_without_a_loop_is_closed():
    """Where no event loop runs, the error says so, and the coroutine is closed."""
    coroutine = double(4)
    execution = Pipeline().execute(coroutine)
    with pytest.raises(UsageError, match="no event loop"):
        execution.send(None)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_is_refused_goes_on():
    """A Task is not ours to close: refused, it runs on; timed out, it is cancelled, as by await."""
    import asyncio

    task = asyncio.create_task(asyncio.sleep(0.001, "value"))
    with pytest.raises(BulkheadFullError):
        await Refuse().execute(task)
    assert await task == "value"
    task = asyncio.create_task(asyncio.sleep(30))
    with pytest.raises(CallTimeoutError):
        await Timeout(0.001).execute(task)
    assert task.cancelled()
    future = asyncio.get_running_loop().create_future()
    with pytest.raises(CallTimeoutError):
        await Timeout(0.001).execute(future)
    assert future.cancelled()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_coroutine_that_goes_on_is_not_closed():
    """A coroutine that a policy leaves running in a task of its own runs to its end."""
    import asyncio

    class InBackground(Policy):
        async def run(self, call, proceed):
            tasks.append(asyncio.create_task(proceed(call)))
            await asyncio.sleep(0)
            return "later"

    tasks = []
    assert await InBackground().execute(asyncio.sleep(0.001, "value")) == "later"
    assert await tasks[0] == "value"


# -------------------------------------------------------------------------------------- bound views


class Look(Policy):
    """Writes down what is set on each call."""

    def __init__(self):
        self.calls = []

    async def run(self, call, proceed):
        self.calls.append((call.key, call.idempotent, call.tags))
        return await proceed(call)


async def test_a_view_has_every_way_in():
    """What a view sets is on the calls of every way in, and on no others."""
    look = Look()
    view = look.bind(key="a", idempotent=True, tags={"n": 1})
    assert await view.execute(double, 4) == 8
    assert await view.execute(double(4)) == 8
    assert await view(double)(4) == 8
    async with view:
        pass
    async for attempt in view:
        async with attempt:
            pass
    assert look.calls == [("a", True, {"n": 1})] * 5
    look.calls.clear()
    await look.execute(double, 4)
    assert look.calls == [(None, None, None)]


async def test_a_view_of_a_view():
    """Binding again changes what is given, and keeps the rest; the first view stays as it is."""
    look = Look()
    first = look.bind(key="a", tags={"n": 1}, timeout=0.001)
    second = first.bind(key="b", timeout=30.0)
    await second.execute(anyio.sleep, 0.002)
    with pytest.raises(CallTimeoutError) as caught:
        await first.execute(anyio.sleep, 30)
    assert caught.value.seconds == 0.001
    assert look.calls == [("b", None, {"n": 1}), ("a", None, {"n": 1})]
    assert "key='b'" in repr(second)


async def test_a_view_is_a_policy():
    """A view may stand in a pipeline; what it sets is set from there on inwards."""
    look, outer = Look(), Look()
    await Pipeline(outer, look.bind(key="inner")).bind(key="outer").execute(double, 4)
    assert outer.calls == [("outer", None, None)]
    assert look.calls == [("inner", None, None)]
    # What it does not set stays as it is.
    await Pipeline(look.bind(tags={"n": 1})).bind(key="outer", idempotent=False).execute(double, 4)
    assert look.calls[1:] == [("outer", False, {"n": 1})]


@pytest.mark.parametrize(
    "anyio_backend", [virtual("asyncio"), virtual("trio")], ids=["asyncio", "trio"]
)
async def test_the_timeout_of_a_view_covers_all_attempts():
    """`bind(timeout=...)` is a Timeout around the whole pipeline, its retries included."""
    tries = []

    async def work():
        tries.append(1)
        await anyio.sleep(30)

    pipeline = Pipeline(Retry(99, backoff=0, budget=None), Timeout(2))
    with pytest.raises(CallTimeoutError) as caught:
        await pipeline.bind(timeout=5).execute(work)
    assert caught.value.seconds == 5
    assert len(tries) == 3


async def test_what_is_not_idempotent_is_not_repeated():
    """`bind(idempotent=False)` lets Retry repeat only what never reached the dependency."""
    tries = []

    async def refused():
        tries.append(1)
        raise ConnectionRefusedError

    async def reset():
        tries.append(1)
        raise ConnectionResetError

    view = Retry(3, backoff=0).bind(idempotent=False)
    with pytest.raises(ConnectionRefusedError):
        await view.execute(refused)
    assert len(tries) == 3
    tries.clear()
    with pytest.raises(ConnectionResetError) as caught:
        await view.execute(reset)
    assert len(tries) == 1
    assert "not idempotent" in caught.value.__notes__[0]


async def test_keys_choose_a_policy():
    """The key of a view is what Keyed chooses by, and what a refusal names."""
    keyed = Keyed(lambda key: Bulkhead(1))
    async with keyed.bind(key="a"):
        with pytest.raises(BulkheadFullError) as caught:
            await keyed.bind(key="a").execute(double, 4)
        assert caught.value.key == "a"
        assert await keyed.bind(key="b").execute(double, 4) == 8


# ----------------------------------------------------------------------------- a policy of the user


class Announce(Policy):
    async def run(self, call, proceed):
        said.append(f"attempt {call.attempt}")
        return await proceed(call)


said: list[str] = []


async def test_a_policy_of_the_user_in_every_way():
    """The policy that the design shows works alone, in a pipeline, and in each way in."""
    said.clear()
    for policy in (Announce(), Pipeline(Announce()), Pipeline(Timeout(5), Announce(), Retry(2))):
        assert await policy.execute(double, 4) == 8
        assert await policy.execute(double(4)) == 8
        assert await policy(double)(4) == 8
        async with policy as attempt:
            attempt.result = 8
        async for attempt in policy:
            async with attempt:
                attempt.result = 8
    assert said == ["attempt 1"] * 15
    said.clear()
    async for attempt in Pipeline(Retry(3, backoff=0), Announce()):
        async with attempt:
            if attempt.number < 3:
                raise OSError("made up")
    assert said == ["attempt 1", "attempt 2", "attempt 3"]


async def test_the_innermost_classifier_given_decides_for_all_ways():
    """In nested pipelines, for a function, a block and a loop alike."""
    pipeline = Pipeline(
        Retry(3, backoff=0),
        Pipeline(Pipeline(), classify=Classifier(results=lambda value: value < 3)),
        classify=Classifier(results=lambda value: True),
    )
    values = []

    async def count():
        values.append(len(values) + 1)
        return values[-1]

    assert await pipeline.execute(count) == 3
    async for attempt in pipeline:
        async with attempt:
            attempt.result = attempt.number
    assert attempt.result == 3
    async with pipeline as attempt:
        attempt.result = 1


async def test_a_copy_of_a_policy_that_was_used():
    """A copy runs itself, not the policy that it was copied from."""
    first = Mark("first")
    assert await first.execute(double, 4) == 8
    async with first:
        pass
    second = copy.copy(first)
    second.name = "second"
    said.clear()
    await second.execute(double, 4)
    async with second:
        pass
    assert said == ["second"] * 2


class Mark(Policy):
    def __init__(self, name):
        self.name = name

    async def run(self, call, proceed):
        said.append(self.name)
        return await proceed(call)
