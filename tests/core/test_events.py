"""Listening: who hears which events, in which order, and that it harms no call."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import gc
import json
import logging
import pickle
import sys
import threading
import weakref
from collections import Counter
from contextlib import ExitStack
from enum import Enum
from math import inf, nan

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seawall
import seawall.events as events_module
from seawall import (
    AdaptiveLimit,
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Fallback,
    Hedge,
    Keyed,
    LastGood,
    Pipeline,
    Policy,
    RateLimiter,
    Retry,
    Subscription,
    Timeout,
    UsageError,
)
from seawall.core import listeners as listeners_module
from seawall.core import observe as observe_module
from seawall.core.listeners import EVERYWHERE, SUBSCRIPTIONS
from seawall.events import (
    AttemptFailed,
    CallFinished,
    CallRefused,
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    Event,
    LimitChanged,
    RateLimiterPaused,
    RetryNotMade,
    RetryScheduled,
    TimedOut,
)
from tests.cancellation.ways import WAYS
from tests.doubles import Script, turns, virtual
from tests.leaks.test_cycles import KINDS, Subjects, survive
from tests.listening import Heard
from tests.virtual_time import run

both = pytest.mark.anyio
eager = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
EVENTS = [getattr(events_module, name) for name in events_module.__all__]
TOLD = [kind for kind in EVENTS if kind not in {Event, CircuitEvent}]


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


@pytest.fixture(autouse=True)
def _nobody_listens_afterwards():
    """What a test subscribes ends with it, or when the policies that it dropped are freed."""
    before = set(SUBSCRIPTIONS)
    yield
    for subscription in list(EVERYWHERE):
        subscription.unsubscribe()
    if SUBSCRIPTIONS - before:
        gc.collect()
    assert before >= SUBSCRIPTIONS


async def fails(*args):
    raise OSError("made up")


async def answers(*args):
    return "fine"


async def hangs():
    await anyio.sleep(3600)


# The records.


class Color(Enum):
    RED = "red"


class Opaque:
    def __repr__(self):
        return "opaque"


def example(kind, **given):
    """Return an event of a kind whose fields are what may come, at its worst."""
    values = {
        "str": "text",
        "str | None": None,
        "float": inf,
        "float | None": nan,
        "int": 7,
        "bool": True,
        "Any": ("https", "host", 443),
        "Mapping[str, Any] | None": {"user": Opaque(), "color": Color.RED, 3: [1, (2, nan)]},
        "Literal['returned', 'raised', 'rejected', 'cancelled']": "raised",
        "Literal['won', 'lost', 'failed', 'gave_way']": "won",
    }
    types = {field.name: field.type.replace('"', "'") for field in dataclasses.fields(kind)}
    return kind(**{name: values[text] for name, text in types.items()} | given)


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_is_a_frozen_record(kind):
    """No field can be set or added, all are given by name, and each is explained."""
    event = example(kind)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.time = 1.0
    with pytest.raises((dataclasses.FrozenInstanceError, TypeError, AttributeError)):
        event.another = 1
    assert not hasattr(event, "__dict__")
    with pytest.raises(TypeError):
        kind(1.0, "Policy")
    explained = "".join(parent.__doc__ or "" for parent in kind.__mro__)
    assert [f.name for f in dataclasses.fields(kind) if f"{f.name}: " not in explained] == []
    plain = example(kind, tags={"user": 1})
    for twin in (copy.copy(plain), pickle.loads(pickle.dumps(plain))):
        assert (type(twin), repr(twin)) == (kind, repr(plain))


@pytest.mark.parametrize("kind", EVENTS)
def test_an_event_can_be_written_as_json(kind):
    """``as_dict`` has each field in plain values that strict JSON takes, and the type beside."""
    event = example(kind)
    written = event.as_dict()
    read = json.loads(json.dumps(written, allow_nan=False))
    assert read == written
    assert list(read) == ["type", *(field.name for field in dataclasses.fields(kind))]
    assert read["type"] == kind.__name__
    assert read["time"] is None
    assert read["key"] == ["https", "host", 443]
    assert read["tags"] == {"user": "opaque", "color": "red", "3": [1, [2, None]]}


def test_the_module_offers_every_event():
    """``seawall.events`` has all kinds of events that there are."""
    made = vars(sys.modules[Event.__module__]).values()
    assert {kind for kind in made if isinstance(kind, type) and issubclass(kind, Event)} == set(
        EVENTS
    )
    assert events_module.__all__ == sorted(events_module.__all__)


# Who hears what.


class Throttled(Exception):
    """A 429 that asks for a second."""

    status_code = 429

    def __init__(self):
        self.response = type("Response", (), {"status_code": 429, "headers": {"retry-after": "1"}})


async def throttled():
    raise Throttled


def all_policies():
    """Return a pipeline of all policies that have events of their own."""
    return Pipeline(
        Fallback(value="instead"),
        LastGood(60, key=lambda *args: "key"),
        Retry(2, backoff=1.0, budget=None),
        RateLimiter(None),
        CircuitBreaker(1, open_for=5.0),
        Bulkhead(1, queue=1),
        Hedge(0.8),
        AdaptiveLimit(1, maximum=2),
        Timeout(1.0),
        name="all",
    )


async def let_everything_happen(pipeline, *listeners):
    """Let each kind of event happen in such a pipeline, once at least, with these listeners."""
    breaker = pipeline.find(CircuitBreaker)
    with ExitStack() as stack:
        for listener in listeners:
            stack.enter_context(pipeline.subscribe(listener))
        await pipeline.execute(fails)  # opened, and refused at the second attempt
        await anyio.sleep(6.0)
        await pipeline.execute(answers)  # half-opened, closed; the limit grew
        await pipeline.execute(throttled)  # paused
        await anyio.sleep(1.0)
        async with anyio.create_task_group() as group:
            group.start_soon(pipeline.execute, anyio.sleep, 0.5)
            await turns()
            await pipeline.execute(answers)  # queued
        async with pipeline:  # not hedged
            pass
        await pipeline.execute(hangs)  # hedged, timed out, and the last good value was served
        breaker.isolate()


@both
async def test_everything_that_policies_do_is_heard():
    """A listener on a pipeline hears every kind of event that there is, of each of its policies."""
    heard = Heard()
    await let_everything_happen(all_policies(), heard)
    assert set(map(type, heard)) == set(TOLD)
    assert {event.policy for event in heard} == {
        "Pipeline",
        "Fallback",
        "LastGood",
        "Retry",
        "RateLimiter",
        "CircuitBreaker",
        "Bulkhead",
        "Hedge",
        "AdaptiveLimit",
        "Timeout",
    }
    assert [event.time for event in heard] == sorted(event.time for event in heard)
    changes = CircuitEvent | LimitChanged | RateLimiterPaused
    of_calls = [event for event in heard if not isinstance(event, changes)]
    assert {event.pipeline for event in of_calls} == {"all"}
    json.dumps([event.as_dict() for event in heard], allow_nan=False)


@both
@pytest.mark.parametrize("who", ["nobody", "a stranger", "somebody before"])
async def test_without_listeners_no_event_is_made(who, monkeypatch):
    """Where nobody hears a policy no event object is built, even if others are listened to."""
    made = []
    for kind in TOLD:
        init = kind.__init__

        def count(self, *args, init=init, **fields):
            made.append(type(self))
            init(self, *args, **fields)

        monkeypatch.setattr(kind, "__init__", count)
    pipeline = all_policies()
    stranger = Pipeline(CircuitBreaker())
    if who == "a stranger":
        stranger.subscribe(Heard())
    elif who == "somebody before":
        pipeline.subscribe(Heard()).unsubscribe()
    await let_everything_happen(pipeline)
    assert made == []
    await let_everything_happen(all_policies(), Heard())
    assert set(made) == set(TOLD)


def test_a_call_that_nobody_hears_does_not_even_ask():
    """A healthy call without listeners enters no function that has to do with events."""
    parts = {observe_module.__file__, listeners_module.__file__, Event.__module__}
    entered = Counter()

    def profile(frame, event, argument):
        if event == "call":
            entered[frame.f_code.co_filename] += 1

    async def main():
        pipeline = Pipeline(
            Timeout(30),
            Retry(),
            Hedge(1),
            RateLimiter(1e6, burst=5),
            CircuitBreaker(),
            Bulkhead(5),
            Fallback(value=1),
            Timeout(5),
        )
        await pipeline.execute(answers)
        sys.setprofile(profile)
        try:
            await pipeline.execute(answers)
        finally:
            sys.setprofile(None)

    run(main())
    assert sum(entered.values()) > 5
    assert parts & set(entered) == set()


@both
async def test_a_pipeline_speaks_for_all_in_it():
    """Nested pipelines and views are heard by way of the outermost, each of them once."""
    heard = Heard()
    breaker = CircuitBreaker(1, name="twice")
    inner = Pipeline(breaker, Pipeline(Bulkhead(1)), name="inner")
    outer = Pipeline(Retry(1), inner, breaker.bind(key="k"), name="outer")
    with outer.subscribe(heard):
        with pytest.raises(OSError, match="made up"):
            await outer.execute(fails)
    # The inner place of the breaker trips it; the outer one hears of no further transition.
    assert heard.kinds == ["CircuitOpened", "AttemptFailed", "RetryNotMade", "CallFinished"]
    finished = heard.the(CallFinished)
    assert (finished.policy, finished.name, finished.pipeline) == ("Pipeline", "outer", "outer")


@both
async def test_a_nested_pipeline_does_not_finish_the_call():
    """Who listens to an inner pipeline hears its policies; the call is the outer one's."""
    heard = Heard()
    inner = Pipeline(CircuitBreaker(1), name="inner")
    outer = Pipeline(Retry(1), inner, name="outer")
    with inner.subscribe(heard):
        with pytest.raises(OSError, match="made up"):
            await outer.execute(fails)
        assert heard.kinds == ["CircuitOpened"]
        with pytest.raises(CircuitOpenError):
            await inner.execute(fails)
    assert heard.kinds == ["CircuitOpened", "CallRefused", "CallFinished"]
    assert [event.pipeline for event in heard] == [None, "inner", "inner"]


@both
async def test_a_policy_is_heard_in_all_its_pipelines():
    """One that is shared tells which pipeline each call came by; the others stay unheard."""
    heard = Heard()
    shared = Bulkhead(1)
    pipelines = [Pipeline(Retry(), shared, name=name) for name in ("a", "b")]
    with shared.subscribe(heard):
        for pipeline in pipelines:
            async with shared:
                with pytest.raises(BulkheadFullError):
                    await pipeline.execute(answers)
    assert [(type(event), event.pipeline) for event in heard] == [
        (CallRefused, "a"),
        (CallFinished, None),  # the block
        (CallRefused, "b"),
        (CallFinished, None),
    ]
    assert {event.policy for event in heard} == {"Bulkhead"}


@both
async def test_everywhere_is_everywhere():
    """``seawall.subscribe`` hears policies that were made before and after it, alone or not."""
    heard = Heard()
    before = Pipeline(Bulkhead(1), name="before")
    with seawall.subscribe(heard):
        await before.execute(answers)
        await Pipeline(name="after").execute(answers)
        await Bulkhead(1).execute(answers)
    await before.execute(answers)
    assert [(event.policy, event.name) for event in heard.of(CallFinished)] == [
        ("Pipeline", "before"),
        ("Pipeline", "after"),
        ("Bulkhead", None),
    ]


@both
async def test_a_function_hears_an_event_once():
    """The same listener in several places hears each event once, until the last place is left."""
    heard = Heard()
    breaker = CircuitBreaker()
    pipeline = Pipeline(breaker)
    ways = [breaker.subscribe, pipeline.subscribe, pipeline.subscribe, seawall.subscribe]
    subscriptions = [subscribe(heard) for subscribe in ways]
    for left in reversed(range(len(ways))):
        heard.clear()
        breaker.trip()
        breaker.reset()
        assert heard.kinds == ["CircuitOpened", "CircuitClosed"]
        subscriptions[left].unsubscribe()
    heard.clear()
    breaker.trip()
    assert heard.kinds == []


@both
async def test_a_bound_method_is_one_function():
    """Each access makes a new bound method; it is the same listener all the same."""

    class Metrics:
        def __init__(self):
            self.opened = 0

        def listen(self, event):
            self.opened += isinstance(event, CircuitOpened)

    metrics = Metrics()
    breaker = CircuitBreaker()
    with breaker.subscribe(metrics.listen), Pipeline(breaker).subscribe(metrics.listen):
        breaker.trip()
    assert metrics.opened == 1


@both
async def test_a_view_is_heard_as_what_is_behind_it():
    """Listening to a view is listening to its policy, and lasts when the view is dropped."""
    heard = Heard()
    pipeline = Pipeline(CircuitBreaker(1), name="p")
    subscription = pipeline.bind(key="dropped").subscribe(heard)
    gc.collect()
    view = pipeline.bind(key="k", tags={"tenant": 7})
    with pytest.raises(OSError, match="made up"):
        await view.execute(fails)
    with pytest.raises(CircuitOpenError):
        await view.execute(fails)
    for event in heard.of(CallFinished):
        assert (event.policy, event.name, event.pipeline) == ("Pipeline", "p", "p")
    refused = heard.the(CallRefused)
    assert (refused.key, refused.tags, refused.pipeline) == ("k", {"tenant": 7}, "p")
    assert [(event.key, event.tags) for event in heard.of(CallFinished)] == [
        ("k", {"tenant": 7})
    ] * 2
    heard.clear()
    subscription.unsubscribe()
    with pytest.raises(CircuitOpenError):
        await view.execute(fails)
    assert heard.kinds == []


@both
async def test_the_timeout_of_a_view_is_heard():
    """``bind(timeout=...)`` tells like a ``Timeout``, to those who hear the policy behind it."""
    heard, stranger = Heard(), Heard()
    pipeline = Pipeline(name="p")
    with pipeline.subscribe(heard), Pipeline().subscribe(stranger):
        with pytest.raises(CallTimeoutError):
            await pipeline.bind(timeout=2.0, key="k").execute(hangs)
    timed_out = heard.the(TimedOut)
    assert (timed_out.policy, timed_out.seconds, timed_out.pipeline) == ("Timeout", 2.0, "p")
    assert heard.kinds == ["TimedOut", "CallFinished"]
    assert stranger.kinds == []


@both
async def test_a_policy_of_ones_own_is_heard():
    """A policy that knows nothing of events tells how its calls end, also if it is a dataclass."""

    @dataclasses.dataclass(frozen=True)
    class Quiet(Policy):
        listeners: list[str] = dataclasses.field(default_factory=list)
        key: str = "secret"

        async def run(self, call, proceed):
            return await proceed(call)

    heard = Heard()
    quiet = Quiet()
    with quiet.subscribe(heard):
        await quiet.execute(answers)
        await Keyed(lambda key: quiet).bind(key="k").execute(answers)
    assert [(event.policy, event.name) for event in heard] == [("Quiet", None)]
    # Its own fields are its own.
    assert (quiet.listeners, quiet.key) == ([], "secret")


@both
async def test_a_copy_has_no_listeners():
    """Who listens to a policy does not listen to its copies."""
    heard = Heard()
    timeout = Timeout(1.0)
    with timeout.subscribe(heard):
        for twin in (copy.copy(timeout), copy.deepcopy(timeout)):
            with pytest.raises(CallTimeoutError):
                await twin.execute(hangs)
    assert heard.kinds == []


# Every way in.


class Work:
    """What runs behind the policy: it does as told, on any way in."""

    def __init__(self, outcome):
        self.outcome = outcome

    async def __call__(self):
        await anyio.sleep(0.5)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    async def pause(self, seconds):
        await anyio.sleep(seconds)


ONCE = {"coroutine", "block", "attempt", "bind_block", "nested_block"}
ONCE |= {"exit_stack", "generator", "manager"}


@both
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_every_way_in_tells_the_same(way):
    """However a call comes in, its failures and its end are heard, with times and attempts."""
    pipeline = Pipeline(Retry(2, backoff=1.0, budget=None), CircuitBreaker(1), name="p")
    heard = Heard()
    with seawall.subscribe(heard):
        assert await way.run(pipeline, Work("fine")) in {"fine", None}
        ends = [event for event in heard if event.pipeline in {"p", "outer", None}]
        assert {type(event) for event in ends} == {CallFinished}
        # The body of the generator is left where it stands.
        left = {"cancelled"} if way.name == "generator" else {"returned"}
        assert {event.outcome for event in ends} == left
        assert {event.duration for event in ends} == {0.5}
        assert {event.attempts for event in ends} == {1}
        heard.clear()
        with pytest.raises(OSError, match="made up"):
            await way.run(pipeline, Work(OSError("made up")))
    told = [event for event in heard if not isinstance(event, CallFinished)]
    assert [type(event) for event in told] == (
        [CircuitOpened, AttemptFailed, RetryNotMade]
        if way.name in ONCE
        else [CircuitOpened, AttemptFailed, RetryScheduled, CallRefused, RetryNotMade]
    )
    assert {event.outcome for event in heard.of(CallFinished)} == {"raised"}
    assert {event.error for event in heard.of(CallFinished)} == {"OSError"}


@both
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_cancelled_call_is_heard_on_every_way_in(way):
    """Whoever cancels it, the call has ended as cancelled, and no attempt has failed."""
    pipeline = Pipeline(Retry(2, backoff=1.0), CircuitBreaker(1), Bulkhead(1), name="p")
    heard = Heard()
    with seawall.subscribe(heard):
        with anyio.move_on_after(0.25):
            await way.run(pipeline, Work("never"))
    assert set(map(type, heard)) == {CallFinished}
    assert {event.outcome for event in heard} == {"cancelled"}
    assert {event.error for event in heard} <= {"CancelledError", "Cancelled"}
    assert {event.duration for event in heard} == {0.25}
    assert pipeline.find(Bulkhead).in_flight == 0


@both
@pytest.mark.parametrize("way", WAYS, ids=str)
async def test_a_refused_call_is_heard_on_every_way_in(way):
    """A refusal is told by the policy that refuses, and the call has ended as rejected."""
    pipeline = Pipeline(Retry(2, backoff=1.0), CircuitBreaker(1, open_for=9.0, name="c"), name="p")
    pipeline.find(CircuitBreaker).trip()
    heard = Heard()
    with seawall.subscribe(heard):
        with pytest.raises(CircuitOpenError):
            await way.run(pipeline, Work("never"))
    refused = heard.the(CallRefused)
    assert (refused.policy, refused.name, refused.retry_after) == ("CircuitBreaker", "c", 9.0)
    ends = [event for event in heard.of(CallFinished) if event.outcome != "returned"]
    assert {(event.outcome, event.error) for event in ends} == {("rejected", "CircuitOpenError")}


@both
async def test_a_breaker_alone_tells_of_its_refusals():
    """The refusal that costs no call is told like any other when somebody listens."""
    breaker = CircuitBreaker(1, open_for=9.0, name="c")
    with pytest.raises(OSError, match="made up"):
        await breaker.execute(fails)
    heard = Heard()
    with breaker.subscribe(heard):
        with pytest.raises(CircuitOpenError):
            await breaker.execute(answers)
    with pytest.raises(CircuitOpenError):
        await breaker.execute(answers)
    assert heard.kinds == ["CallRefused", "CallFinished"]
    assert breaker.snapshot().rejected == 2


@both
@pytest.mark.parametrize(
    "error, outcome",
    [
        (OSError("made up"), "raised"),
        (BulkheadFullError(), "rejected"),
        (ExceptionGroup("made up", [OSError("1")]), "raised"),
        (KeyboardInterrupt(), "cancelled"),
    ],
    ids=repr,
)
async def test_how_a_call_ended(error, outcome):
    """A refusal is told apart from an error, and from what is no ``Exception``."""
    heard = Heard()
    pipeline = Pipeline(Bulkhead(1))
    with pipeline.subscribe(heard):
        with pytest.raises(type(error)):
            await pipeline.execute(Script(error))
    finished = heard.the(CallFinished)
    assert (finished.outcome, finished.error) == (outcome, type(error).__name__)


@both
async def test_the_duration_has_all_waits_in_it():
    """From the way in to the end: the queue, the attempts, and the sleeps between them."""
    heard = Heard()
    pipeline = Pipeline(Retry(3, backoff=2.0, budget=None), Bulkhead(1, queue=1))
    with pipeline.subscribe(heard):
        async with anyio.create_task_group() as group:
            group.start_soon(pipeline.execute, anyio.sleep, 1.0)
            await turns()
            began = anyio.current_time()
            script = Script(OSError, OSError, "fine")
            assert await pipeline.execute(script) == "fine"
    finished = heard.of(CallFinished)[-1]
    assert (finished.duration, finished.attempts, finished.attempt) == (5.0, 3, 3)
    assert finished.time == began + 5.0


@both
async def test_a_loop_that_is_left_has_been_cancelled():
    """``break`` between two attempts ends the call; before the first there was none."""
    heard = Heard()
    pipeline = Pipeline(Retry(3, backoff=1.0))
    with pipeline.subscribe(heard):
        async for _ in pipeline:
            break
        gc.collect()
        assert heard.kinds == []
        async for attempt in pipeline:
            if attempt.number == 2:
                break
            async with attempt:
                await fails()
        del attempt
        gc.collect()
    finished = heard.the(CallFinished)
    assert (finished.outcome, finished.error, finished.attempts) == (
        "cancelled",
        "GeneratorExit",
        1,
    )


@both
async def test_a_fallback_makes_it_a_return():
    """What the caller gets is what counts: an answer, whatever happened inside."""
    heard = Heard()
    pipeline = Pipeline(Fallback(value="instead"))
    with pipeline.subscribe(heard):
        assert await pipeline.execute(fails) == "instead"
    assert heard.kinds == ["FallbackUsed", "CallFinished"]
    assert heard.the(CallFinished).outcome == "returned"


@both
async def test_a_pipeline_inside_the_function_is_a_call_of_its_own():
    """A function that uses another pipeline: each event names the pipeline that it belongs to."""
    heard = Heard()
    inner = Pipeline(Timeout(1.0), name="inner")
    outer = Pipeline(Retry(1), name="outer")

    async def function():
        await inner.execute(hangs)

    with seawall.subscribe(heard):
        with pytest.raises(CallTimeoutError):
            await outer.execute(function)
    assert [(type(event), event.pipeline) for event in heard] == [
        (TimedOut, "inner"),
        (CallFinished, "inner"),
        (AttemptFailed, "outer"),
        (RetryNotMade, "outer"),
        (CallFinished, "outer"),
    ]


# The subscription.


@both
async def test_unsubscribing_ends_it():
    """After ``unsubscribe`` nothing is heard; a second time, or a ``with``, does no harm."""
    heard, other = Heard(), Heard()
    breaker = CircuitBreaker()
    with breaker.subscribe(other), breaker.subscribe(heard) as subscription:
        assert isinstance(subscription, Subscription)
        breaker.trip()
        subscription.unsubscribe()
        subscription.unsubscribe()
        breaker.reset()
    assert heard.kinds == ["CircuitOpened"]
    assert other.kinds == ["CircuitOpened", "CircuitClosed"]
    subscription.unsubscribe()


@pytest.mark.parametrize(
    "where", [seawall.subscribe, Pipeline().subscribe, Pipeline().bind().subscribe]
)
@pytest.mark.parametrize("wrong", ["nothing", "async", "partial", "object", "method"])
def test_what_is_no_listener_is_shown_the_right_way(where, wrong):
    """An async function would never run, whatever it is wrapped in; the error shows a plain one."""

    class Async:
        async def __call__(self, event):
            raise AssertionError

        async def listen(self, event):
            raise AssertionError

    listener = {
        "nothing": None,
        "async": answers,
        "partial": functools.partial(answers, 1),
        "object": Async(),
        "method": Async().listen,
    }[wrong]
    with pytest.raises(UsageError, match=r"right: def listen\(event\)"):
        where(listener)


def test_a_class_or_a_partial_is_a_listener():
    """Any callable that is not async will do."""
    heard = []
    for listener in (heard.append, functools.partial(heard.append), list.__class__, dict.fromkeys):
        seawall.subscribe(listener).unsubscribe()
    breaker = CircuitBreaker()
    with breaker.subscribe(functools.partial(lambda first, event: heard.append(event), 1)):
        breaker.trip()
    assert len(heard) == 1


def test_it_lasts_though_nobody_keeps_it():
    """A subscription that is dropped goes on: only ``unsubscribe`` and the policy's end end it."""
    heard = Heard()
    breaker = CircuitBreaker()
    breaker.subscribe(heard)
    seawall.subscribe(heard.append)
    gc.collect()
    breaker.trip()
    assert heard.kinds == ["CircuitOpened"] * 2


def test_it_ends_with_its_policy():
    """Neither the policy nor what listens to it is kept alive by having been subscribed to."""

    def listen_and_drop():
        pipeline = Pipeline(Retry(), Keyed(lambda key: CircuitBreaker()))
        heard = Heard()
        pipeline.subscribe(heard)
        run(pipeline.bind(key=1).execute(answers))
        assert heard.kinds == ["CallFinished"]
        return weakref.ref(pipeline), weakref.ref(heard)

    references = listen_and_drop()
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_whoever_subscribes_at_the_same_time_is_heard():
    """A thread that subscribes while another one does so loses nobody.

    The first one is stopped half-way, until the second has come through: which it only does where
    nothing holds it back.
    """
    through = threading.Event()
    first, second = Heard(), Heard()
    reads = 0

    class Halting(CircuitBreaker):
        @property
        def _listeners(self):
            nonlocal reads
            kept = self.__dict__.get("kept", ())
            if threading.current_thread() is threading.main_thread():
                reads += 1
                if reads == 2:
                    other.start()
                    through.wait(0.2)
            return kept

        @_listeners.setter
        def _listeners(self, listeners):
            self.__dict__["kept"] = listeners
            if threading.current_thread() is other:
                through.set()

    breaker = Halting()
    other = threading.Thread(target=breaker.subscribe, args=(second,))
    breaker.subscribe(first)
    other.join(60)
    breaker.trip()
    assert [heard.kinds for heard in (first, second)] == [["CircuitOpened"]] * 2


# Listeners that act.


@both
async def test_events_are_heard_in_order_by_all():
    """What a listener causes is heard after what caused it, also by those who hear it later."""
    breaker = CircuitBreaker(1)

    def close(event):
        if isinstance(event, CircuitOpened):
            breaker.reset()

    first, last, everywhere = Heard(close), Heard(), Heard()
    with seawall.subscribe(everywhere), breaker.subscribe(first), breaker.subscribe(last):
        breaker.trip()
    changes = [("closed", "open"), ("open", "closed")]
    assert first.changes == last.changes == everywhere.changes == changes
    assert breaker.state.value == "closed"


@pytest.mark.parametrize("calls", [1, 2, 5])
@given(data=st.data())
def test_the_transitions_of_a_circuit_are_a_chain(calls, data):
    """Each begins where the last one ended, whatever listeners do to the circuit meanwhile."""
    actions = st.sampled_from(["trip", "reset", "isolate", "succeed", "fail", "wait", "nothing"])
    script = data.draw(st.lists(actions, max_size=12))
    answer = iter(data.draw(st.lists(actions, max_size=12)))
    breaker = CircuitBreaker(calls, open_for=1.0)

    def begin(action):
        if action in {"trip", "reset", "isolate"}:
            getattr(breaker, action)()
        elif action in {"succeed", "fail"}:
            # Nothing in it waits, so a listener may run it to its end.
            try:
                breaker.execute(Script("fine" if action == "succeed" else OSError)).send(None)
            except (StopIteration, OSError, CircuitOpenError):
                pass

    active, passive = Heard(lambda event: begin(next(answer, "nothing"))), Heard()

    async def main():
        with breaker.subscribe(active), breaker.subscribe(passive):
            for action in script:
                begin(action)
                if action == "wait":
                    await asyncio.sleep(1.5)

    run(main())
    assert list(active) == list(passive)
    changes = passive.changes
    assert [after for _, after in changes[:-1]] == [before for before, _ in changes[1:]]
    if changes:
        assert changes[0][0] == "closed"
        assert changes[-1][1] == breaker.state.value
    times = [event.time for event in passive]
    assert times == sorted(times)


@eager
def test_a_listener_may_make_calls_by_eager_tasks():
    """A call that a listener runs at once is heard after the event that it was made for."""
    heard, late = Heard(), Heard()
    tasks = []

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        breaker = CircuitBreaker(1, open_for=5.0)

        def call_again(event):
            if isinstance(event, CircuitOpened):
                tasks.append(asyncio.create_task(breaker.execute(answers)))

        heard.then = call_again
        with breaker.subscribe(heard), breaker.subscribe(late):
            with pytest.raises(OSError, match="made up"):
                await breaker.execute(fails)
        assert isinstance(tasks[0].exception(), CircuitOpenError)

    run(main())
    assert heard.kinds == late.kinds
    # Its call has ended before the one that opened the circuit has.
    assert late.kinds == ["CircuitOpened", "CallRefused", "CallFinished", "CallFinished"]
    assert [event.outcome for event in late.of(CallFinished)] == ["rejected", "raised"]


@eager
def test_the_call_of_a_listener_is_not_timed_out_with_the_first():
    """What a listener begins when a call has timed out has all the time it wants."""

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        report = Pipeline(Timeout(10.0))
        tasks = []

        def tell(event):
            if isinstance(event, TimedOut):
                tasks.append(asyncio.create_task(report.execute(asyncio.sleep, 5.0, "told")))

        pipeline = Pipeline(Timeout(1.0))
        with pipeline.subscribe(tell):
            with pytest.raises(CallTimeoutError):
                await pipeline.execute(hangs)
        return await tasks[0]

    assert run(main()) == "told"


@both
async def test_unsubscribing_while_an_event_is_told():
    """From then on nothing is heard: neither this event nor those that already wait."""
    breaker = CircuitBreaker()
    subscriptions = {}

    def end_both(event):
        breaker.isolate()  # an event that waits until this one is told
        subscriptions["self"].unsubscribe()
        subscriptions["next"].unsubscribe()

    itself, following, last = Heard(end_both), Heard(), Heard()
    subscriptions["self"] = breaker.subscribe(itself)
    subscriptions["next"] = breaker.subscribe(following)
    with breaker.subscribe(last):
        breaker.trip()
    assert itself.kinds == ["CircuitOpened"]
    assert following.kinds == []
    assert last.kinds == ["CircuitOpened", "CircuitIsolated"]


@both
async def test_subscribing_while_an_event_is_told():
    """A listener that comes then hears what happens from then on, and not what has happened."""
    breaker = CircuitBreaker()
    late = Heard()
    subscriptions = []

    def invite(event):
        if not subscriptions:
            breaker.isolate()
            subscriptions.append(breaker.subscribe(late))

    with breaker.subscribe(Heard(invite)):
        breaker.trip()
        assert late.kinds == []
        breaker.reset()
    assert late.kinds == ["CircuitClosed"]
    subscriptions[0].unsubscribe()


@both
async def test_a_listener_that_closes_a_circuit_lets_the_next_call_in():
    """The call that made it half-open finds it closed, and runs; its refusal would be none."""
    breaker = CircuitBreaker(1, open_for=5.0)

    def close(event):
        if isinstance(event, CircuitHalfOpened):
            breaker.reset()

    breaker.trip()
    await anyio.sleep(5.0)
    heard = Heard(close)
    with breaker.subscribe(heard):
        assert await breaker.execute(answers) == "fine"
    assert heard.kinds == ["CircuitHalfOpened", "CircuitClosed", "CallFinished"]
    assert heard.the(CircuitClosed).trigger == "reset()"


# Listeners that raise.


@both
@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, GeneratorExit])
async def test_a_listener_that_raises_is_logged(kind, error, caplog):
    """It harms no call and no other listener; the log says which one, and has the traceback."""

    def stumble(event):
        if isinstance(event, kind):
            raise error

    heard, expected = Heard(), Heard()
    await let_everything_happen(all_policies(), expected)
    caplog.set_level(logging.ERROR, "seawall")
    caplog.clear()
    await let_everything_happen(all_policies(), stumble, heard)
    assert heard.kinds == expected.kinds
    assert len(caplog.records) == len(expected.of(kind))
    for record in caplog.records:
        assert (record.name, record.levelno) == ("seawall", logging.ERROR)
        assert record.getMessage() == f"a listener raised on {kind.__name__}"
        assert record.seawall_listener is stumble
        assert record.exc_info[0] is error


@both
@pytest.mark.parametrize("kind", TOLD)
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_in_a_listener_passes_and_leaves_nothing_behind(kind, error):
    """It ends the program as it should: others hear the event first, and nothing stays held."""
    stumbled = []

    def stumble(event):
        if isinstance(event, kind) and not stumbled:
            stumbled.append(event)
            raise error

    heard = Heard()
    pipeline = all_policies()
    with pytest.raises(BaseException) as caught:
        await let_everything_happen(pipeline, stumble, heard)
    if isinstance(caught.value, BaseExceptionGroup):
        assert caught.group_contains(error)
    else:
        assert isinstance(caught.value, error)
    assert heard.of(kind)[0] is stumbled[0]
    held = [
        (snapshot.policy, getattr(snapshot, "in_flight", 0), getattr(snapshot, "waiting", 0))
        for snapshot in pipeline.snapshot().policies
    ]
    assert [item for item in held if item[1:] != (0, 0)] == []
    # It works as before, once a pause is over.
    await anyio.sleep(1.0)
    pipeline.find(CircuitBreaker).reset()
    heard.clear()
    with pipeline.subscribe(heard):
        assert await pipeline.execute(answers) == "fine"
    # An answer may well move a limit that has shrunk.
    assert [kind for kind in heard.kinds if kind != "LimitChanged"] == ["CallFinished"]


# Threads.


def test_two_threads_with_a_loop_each():
    """Events are heard in the thread where they happen, and no thread waits for another."""
    second_is_done = threading.Event()
    threads = {}

    def listen(event):
        name = event.pipeline or event.name
        threads.setdefault(name, []).append((type(event).__name__, threading.current_thread().name))
        # The first thread is inside a listener as long as the second one runs.
        if name == "first":
            assert second_is_done.wait(30)

    def work(name, wait_for=None):
        async def main():
            if wait_for is not None:
                while wait_for not in threads:
                    await asyncio.sleep(0.001)
            pipeline = Pipeline(Retry(2, backoff=0.0), CircuitBreaker(1, name=name), name=name)
            with pytest.raises(OSError, match="made up"):
                await pipeline.execute(fails)

        asyncio.run(main())
        if wait_for is not None:
            second_is_done.set()

    with seawall.subscribe(listen):
        first = threading.Thread(target=work, name="first", args=("first",))
        second = threading.Thread(target=work, name="second", args=("second", "first"))
        for thread in (first, second):
            thread.start()
        for thread in (first, second):
            thread.join(60)
    kinds = [CircuitOpened, AttemptFailed, RetryScheduled, CallRefused, RetryNotMade, CallFinished]
    assert threads == {
        name: [(kind.__name__, name) for kind in kinds] for name in ("first", "second")
    }


# Nothing stays.


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_call_with_listeners_leaves_no_cycle(kind):
    """All that belongs to a call that was listened to is freed without the garbage collector."""

    async def main():
        call = getattr(Subjects(), kind)
        await survive(call)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        for _ in range(5):
            await survive(call)
        gc.collect()
        return Counter(type(item).__name__ for item in gc.garbage)

    told = []
    gc.disable()
    try:
        with seawall.subscribe(lambda event: told.append(type(event))):
            assert asyncio.run(main()) == {}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert told


def test_a_listener_that_raises_leaves_no_cycle():
    """Neither does what it raised, once it is logged."""

    def stumble(event):
        raise ValueError("made up")

    async def main():
        pipeline = Pipeline(Retry(1), CircuitBreaker(1000))
        with pipeline.subscribe(stumble):
            await survive(functools.partial(pipeline.execute, raises_value_error))
            gc.collect()
            gc.set_debug(gc.DEBUG_SAVEALL)
            for _ in range(5):
                await survive(functools.partial(pipeline.execute, raises_value_error))
            gc.collect()
        return Counter(type(item).__name__ for item in gc.garbage)

    async def raises_value_error():
        raise ValueError("made up")

    logger = logging.getLogger("seawall")
    gc.disable()
    logger.propagate = False  # pytest keeps the records
    try:
        assert asyncio.run(main()) == {}
    finally:
        logger.propagate = True
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
