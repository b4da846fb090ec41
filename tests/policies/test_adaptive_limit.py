"""AdaptiveLimit: what it learns from calls, who waits, and who is refused."""

from __future__ import annotations

import asyncio
import random
from math import isnan

import anyio
import pytest

from seawall import (
    AdaptiveLimit,
    BulkheadFullError,
    Call,
    CallTimeoutError,
    CircuitBreaker,
    Classifier,
    Keyed,
    Kind,
    Pipeline,
    RejectedError,
    Timeout,
    Verdict,
)
from seawall.core.open_attempt import OpenAttempt
from seawall.events import CallQueued, CallRefused, LimitChanged
from tests.doubles import Held, Script, turns, virtual
from tests.listening import Heard
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def all_at_once(policy, function, count, *args):
    """Make so many calls at a time, and see them end."""

    async def one():
        try:
            await policy.execute(function, *args)
        except (OSError, TypeError, RejectedError, CallTimeoutError):
            pass

    async with anyio.create_task_group() as group:
        for _ in range(count):
            group.start_soon(one)


async def seconds_of(policy, function, seconds, count=10, *args):
    """Make so many calls at the beginning of each second, and wait for the next."""
    for _ in range(seconds):
        begun = anyio.current_time()
        await all_at_once(policy, function, count, *args)
        await anyio.sleep(begun + 1.0 - anyio.current_time())


class Status(Exception):
    """An error with an HTTP status."""

    def __init__(self, status):
        self.status_code = status


# What it learns.


async def test_it_grows_while_it_is_used_and_all_is_well():
    """It starts at 10, and doubles in a second."""
    limit = AdaptiveLimit(max_wait=None)
    limits = []
    async with anyio.create_task_group() as group:
        group.start_soon(all_at_once, limit, anyio.sleep, 3000, 0.1)
        for _ in range(4):
            await anyio.sleep(1.05)
            limits.append(limit.limit)
    # Twice, and the fifth of √limit that each window gives.
    assert limits == [20, 40, 82, 166]
    now = limit.snapshot()
    assert (now.reason, now.learning, now.rejected) == ("grew", True, 0)
    assert (now.long_latency, now.short_latency) == (pytest.approx(0.1), pytest.approx(0.1))


async def test_it_stays_where_it_is_if_it_is_not_used():
    """Four calls of ten at a time say nothing about ten."""
    limit = AdaptiveLimit()
    await seconds_of(limit, anyio.sleep, 20, 4, 0.1)
    now = limit.snapshot()
    assert (now.limit, now.reason, now.long_latency) == (10, "initial", pytest.approx(0.1))


async def test_timeouts_of_an_attempt_make_it_shrink():
    """A ``Timeout`` inside it that fires is a loss."""
    limit = AdaptiveLimit()
    await seconds_of(Pipeline(limit, Timeout(0.5)), anyio.sleep, 3, 10, 60.0)
    assert limit.limit < 10
    assert limit.snapshot().reason == "timeouts"


async def test_timeouts_of_the_whole_call_make_it_shrink():
    """So is one that cancels from outside: the dependency hung."""
    limit = AdaptiveLimit()
    await seconds_of(Pipeline(Timeout(0.5), limit), anyio.sleep, 3, 10, 60.0)
    assert limit.limit < 10
    assert limit.snapshot().reason == "timeouts"


@pytest.mark.parametrize("error", [TimeoutError, CallTimeoutError(1.0)], ids=["builtin", "inner"])
async def test_timeouts_of_the_function_make_it_shrink(error):
    """And what the function raises because something inside it timed out."""
    limit = AdaptiveLimit()
    await seconds_of(limit, Script(error), 3)
    assert limit.limit < 10
    assert limit.snapshot().reason == "timeouts"


@pytest.mark.parametrize(
    "status, reason", [(429, "throttled"), (503, "throttled"), (500, "initial")]
)
@pytest.mark.parametrize("way", ["raised", "returned"])
async def test_a_server_that_asks_for_less_makes_it_shrink(status, reason, way):
    """429 and 503 are losses, raised or returned; a 500 is an error like any other."""

    def classify(outcome):
        if isinstance(outcome.value, Status):
            throttled = outcome.value.status_code == 429
            return Verdict(Kind.NEUTRAL if throttled else Kind.FAILURE, throttled=throttled)
        return Classifier()(outcome)

    limit = AdaptiveLimit()
    outcome = Status(status)

    async def asks():
        if way == "returned":
            return outcome
        raise Status(status)

    pipeline = Pipeline(limit, classify=classify if way == "returned" else None)

    async def one():
        try:
            await pipeline.execute(asks)
        except Status:
            pass

    for _ in range(30):
        await one()
        await anyio.sleep(0.1)
    assert limit.snapshot().reason == reason
    assert (limit.limit < 10) is (reason == "throttled")


@pytest.mark.parametrize("error", [OSError, TypeError, BulkheadFullError])
async def test_errors_that_come_fast_move_nothing(error):
    """Neither those of the dependency nor bugs nor refusals further inside."""
    limit = AdaptiveLimit()
    await seconds_of(limit, Script(error), 30, 10)
    now = limit.snapshot()
    assert (now.limit, now.reason, now.long_latency) == (10, "initial", None)


async def test_a_caller_that_leaves_is_no_evidence():
    """Cancelled by its caller, a call says nothing about the dependency, however long it took."""
    limit = AdaptiveLimit()
    for _ in range(50):
        with anyio.move_on_after(1.0):
            await all_at_once(limit, anyio.sleep, 10, 60.0)
    now = limit.snapshot()
    assert (now.limit, now.reason, now.long_latency, now.in_flight) == (10, "initial", None, 0)


async def test_latency_makes_it_shrink():
    """Answers that take more than twice as long as usual are a queue that has formed."""
    limit = AdaptiveLimit(100)
    await seconds_of(limit, anyio.sleep, 5, 60, 0.1)
    assert limit.snapshot().reason == "grew"
    for _ in range(5):
        await seconds_of(limit, anyio.sleep, 1, limit.limit, 0.9)
    assert limit.snapshot().reason == "latency"
    assert limit.limit < 90


async def test_the_wait_for_a_slot_is_no_latency():
    """Measured is from the slot to the answer: the queue here is not the queue there."""
    limit = AdaptiveLimit(2, maximum=2, max_wait=None)
    await all_at_once(limit, anyio.sleep, 40, 0.1)
    now = limit.snapshot()
    assert (now.long_latency, now.short_latency) == (pytest.approx(0.1), pytest.approx(0.1))


# A response that is still open.


async def opened(policy, *, head, body, end, classify=None):
    """Call a function that returns after ``head`` seconds, and end its body ``body`` later."""

    async def opens():
        await anyio.sleep(head)
        call.open = OpenAttempt(nothing)
        return "response"

    async def nothing():
        pass

    call = Call()
    call.begin(opens)
    await policy.conduct(call)
    await anyio.sleep(body)
    call.open.end(end)


async def test_an_open_response_holds_its_slot_but_is_measured_to_its_beginning():
    """How long a body takes depends on its size, and on how fast the caller reads it."""
    limit = AdaptiveLimit(20)
    async with anyio.create_task_group() as group:
        for _ in range(20):

            async def one():
                await opened(limit, head=1.0, body=100.0, end=Verdict(Kind.SUCCESS))

            group.start_soon(one)
        await anyio.sleep(50.0)
        assert limit.in_flight == 20
    await all_at_once(limit, anyio.sleep, 20, 1.0)
    assert limit.in_flight == 0
    assert limit.snapshot().long_latency == pytest.approx(1.0)


@pytest.mark.parametrize("timed_out", [True, False])
async def test_a_body_that_times_out_is_a_loss(timed_out):
    """A response that has begun well and then breaks off; another error in it is none."""
    limit = AdaptiveLimit(10, max_wait=None)
    end = Verdict(Kind.FAILURE, timed_out=timed_out)
    for _ in range(4):
        async with anyio.create_task_group() as group:
            for _ in range(6):

                async def one():
                    await opened(limit, head=0.1, body=1.0, end=end)

                group.start_soon(one)
    assert limit.in_flight == 0
    assert (limit.snapshot().reason == "timeouts") is timed_out


async def test_a_classifier_that_raises_holds_nothing():
    """The slot comes back, and the attempt is no evidence."""

    def confused(outcome):
        raise ValueError("made up")

    limit = AdaptiveLimit(1)
    for function in (Script("fine"), Script(OSError)):
        with pytest.raises(ValueError, match="made up"):
            await Pipeline(limit, classify=confused).execute(function)
        assert limit.in_flight == 0
    call = Call()
    with pytest.raises(ValueError, match="made up"):
        await opened(Pipeline(limit, classify=confused), head=0.1, body=0.0, end=None)
    assert limit.in_flight == 0
    del call


# Waiting.


async def test_it_waits_a_quarter_of_a_second():
    """Whoever gets no slot by then is refused, and the refusal says by whom."""
    limit, held = AdaptiveLimit(1), Held()
    async with anyio.create_task_group() as group:
        group.start_soon(limit.execute, held)
        await turns()
        begun = anyio.current_time()
        with pytest.raises(BulkheadFullError) as caught:
            await limit.bind(key="host").execute(held)
        assert anyio.current_time() - begun == pytest.approx(0.25)
        held.let_go()
    assert (caught.value.policy, caught.value.key) == (limit, "host")
    assert (limit.snapshot().rejected, limit.waiting, limit.in_flight) == (1, 0, 0)


async def test_the_order_of_arrival_is_kept():
    """First come, first served."""
    limit = AdaptiveLimit(1, maximum=1, max_wait=None)
    order = []

    async def work(number):
        order.append(number)
        await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(limit.execute, work, number)
            await turns(3)
    assert order == list(range(10))


async def test_a_limit_that_grows_lets_in_those_who_wait():
    """The slots that it gains go to the longest waiting, at once."""
    limit, held = AdaptiveLimit(2, max_wait=None), Held()
    async with anyio.create_task_group() as group:
        for _ in range(7):
            group.start_soon(limit.execute, held)
            await turns(5)
        assert (held.inside, limit.waiting) == (2, 5)
        held.let_go()
        await turns()
        # Two answers that found the limit reached have made it four.
        assert (limit.limit, held.inside, limit.waiting) == (4, 4, 1)
        held.let_go()
        await turns()
        held.let_go()


async def test_a_limit_below_what_is_in_flight():
    """It takes nothing away, grants nothing more until there is room again, and loses no count."""
    limit, held = AdaptiveLimit(10, max_wait=None), Held()
    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(limit.execute, held)
        await turns()
        # The other two slots time out, again and again.
        timed_out = Pipeline(limit, Timeout(0.5))
        while limit.limit > 3:
            await all_at_once(timed_out, anyio.sleep, 2 if limit.limit == 10 else 0, 60.0)
            if limit.limit < 10:
                break
        now = limit.snapshot()
        assert (now.limit, now.in_flight, now.reason) == (7, 8, "timeouts")
        for _ in range(3):
            group.start_soon(limit.execute, held)
        await turns()
        assert (limit.in_flight, limit.waiting, held.inside) == (8, 3, 8)
        group.cancel_scope.cancel()
    assert (limit.in_flight, limit.waiting) == (0, 0)


async def test_a_slot_that_comes_back_to_a_smaller_limit_is_nobodys():
    """Of eight in flight at a limit of seven, the second that ends makes room for one."""
    limit = AdaptiveLimit(8, max_wait=None)
    limit._estimate.learning = False
    gates = [anyio.Event() for _ in range(8)]
    began = []

    async def work(number):
        await gates[number].wait()

    async def late(number):
        began.append(number)
        await anyio.sleep(3600.0)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(limit.execute, work, number)
        await turns()
        for number in range(2):
            group.start_soon(limit.execute, late, number)
            await turns()
        limit._estimate.limit = limit._slots.limit = 7
        gates[0].set()
        await turns()
        assert (limit.in_flight, limit.waiting, began) == (7, 2, [])
        gates[1].set()
        await turns()
        assert (limit.in_flight, limit.waiting, began) == (7, 1, [0])
        group.cancel_scope.cancel()
    assert (limit.in_flight, limit.waiting) == (0, 0)


@pytest.mark.parametrize("seed", range(8))
async def test_under_random_load_no_slot_is_lost(seed):
    """With timeouts, cancels, failures and trips, never more run than the limit, and all ends."""
    chance = random.Random(seed)
    limit = AdaptiveLimit(chance.choice([1, 3, 10]), maximum=20, max_wait=chance.choice([None, 1]))
    pipeline = Pipeline(Timeout(2), CircuitBreaker(3, open_for=0.5), limit)
    inside = 0
    overfull = []

    async def work():
        nonlocal inside
        inside += 1
        if inside > limit._slots.in_flight:
            overfull.append(inside)
        try:
            await anyio.sleep(chance.choice([0, 0.1, 0.5, 1, 5]))
            if chance.random() < 0.3:
                raise chance.choice([OSError("made up"), Status(429), TimeoutError()])
        finally:
            inside -= 1

    async def caller():
        await anyio.sleep(chance.random() * 20)
        with anyio.move_on_after(chance.choice([0.3, 1, 50])):
            try:
                await pipeline.execute(work)
            except (OSError, Status, RejectedError, CallTimeoutError):
                pass

    limits = []
    with limit.subscribe(lambda event: limits.append(event)):
        async with anyio.create_task_group() as group:
            for _ in range(400):
                group.start_soon(caller)
    assert overfull == []
    assert (inside, limit.in_flight, limit.waiting) == (0, 0, 0)
    assert limit._slots.limit == limit.limit
    moves = [event for event in limits if isinstance(event, LimitChanged)]
    assert all(1 <= event.after <= 20 for event in moves)
    # Each move begins where the one before it ended.
    assert [event.before for event in moves[1:]] == [event.after for event in moves[:-1]]


# What it shows and tells.


async def test_what_it_shows():
    """The limit, who holds it, who waits, and why it last moved."""
    limit, held = AdaptiveLimit(2, minimum=2, maximum=5), Held()
    limit.name = "api"
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(limit.execute, held)
            await turns()
        now = limit.snapshot()
        assert (now.limit, now.minimum, now.maximum) == (2, 2, 5)
        assert (now.in_flight, now.waiting, now.rejected) == (2, 1, 0)
        assert (now.reason, now.learning) == ("initial", True)
        assert (now.long_latency, now.short_latency) == (None, None)
        assert limit.snapshot() == now
        written = now.as_dict()
        held.let_go()
        await turns()
        held.let_go()
    assert (written["policy"], written["name"], written["limit"]) == ("AdaptiveLimit", "api", 2)
    assert limit.snapshot().reason == "grew"


async def test_what_it_tells():
    """Each change of the limit is told once, as of the policy and its key; waits and refusals."""
    heard = Heard()
    keyed = Keyed(lambda key: AdaptiveLimit(1, maximum=2), key=lambda *args: "host")
    with keyed.subscribe(heard):
        async with anyio.create_task_group() as group:
            group.start_soon(keyed.execute, anyio.sleep, 0.5)
            await turns()
            with pytest.raises(BulkheadFullError):
                await keyed.execute(anyio.sleep, 0)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await keyed.execute(Script(TimeoutError))
            await anyio.sleep(2.0)
    changes = [(each.before, each.after, each.reason) for each in heard.of(LimitChanged)]
    assert changes == [(1, 2, "grew"), (2, 1, "timeouts")]
    assert {(e.policy, e.key, e.attempt) for e in heard.of(LimitChanged)} == {
        ("AdaptiveLimit", "host", 0)
    }
    assert heard.the(CallQueued).waiting == 1
    assert heard.the(CallRefused).error == "BulkheadFullError"


async def test_it_matters_while_it_protects():
    """A limit that had to shrink is kept for a minute; one that has only grown is not."""
    limit = AdaptiveLimit()
    assert not limit.matters(anyio.current_time())
    await seconds_of(limit, Script(TimeoutError), 3)
    assert limit.matters(anyio.current_time())
    assert not limit.matters(anyio.current_time() + 61.0)
    grown = AdaptiveLimit()
    await seconds_of(grown, anyio.sleep, 3, 10, 0.1)
    assert not grown.matters(anyio.current_time())


async def test_a_circuit_refuses_those_who_wait():
    """Whoever waits here when a circuit outside opens never reaches the dependency."""
    breaker, limit, held = CircuitBreaker(), AdaptiveLimit(1, max_wait=None), Held()
    pipeline = Pipeline(breaker, limit)
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.execute, held)
        await turns()
        group.start_soon(all_at_once, pipeline, held, 3)
        await turns()
        breaker.trip()
        await turns()
        assert (limit.in_flight, limit.waiting, held.calls) == (1, 0, 1)
        held.let_go()


def test_it_serves_one_loop_after_another():
    """What it has learned stays; slots that were held on a loop that is gone are free."""
    limit = AdaptiveLimit(2, maximum=4)

    async def learn():
        await seconds_of(limit, anyio.sleep, 3, 2, 0.1)
        task = asyncio.create_task(limit.execute(asyncio.sleep, 3600))
        await asyncio.sleep(0)
        task.cancel()

    run(learn())
    before = limit.snapshot()
    assert (before.limit, before.in_flight) == (4, 0)

    async def later():
        assert limit.limit == 4
        await limit.execute(asyncio.sleep, 0.1)

    run(later(), start=5.0)
    assert limit.limit == 4
    assert not isnan(limit._estimate.long)


@pytest.mark.parametrize(
    "limit, text",
    [
        (AdaptiveLimit(), "AdaptiveLimit(10, minimum=1, maximum=1000, max_wait=0.25)"),
        (
            AdaptiveLimit(5, minimum=2, maximum=9, max_wait=None),
            "AdaptiveLimit(5, minimum=2, maximum=9, max_wait=None)",
        ),
    ],
    ids=["defaults", "others"],
)
def test_it_shows_its_settings(limit, text):
    """The repr is what was asked for."""
    assert repr(limit) == text
