"""RateLimiter: who goes when, who waits, and who is refused."""

from __future__ import annotations

import asyncio
import gc
import random
import weakref
from contextvars import ContextVar
from math import floor

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Keyed,
    Pipeline,
    RateLimitedError,
    RateLimiter,
    Timeout,
)
from tests.doubles import Held, Script, company, turns, virtual
from tests.virtual_time import VirtualLoop, run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def since(start, times):
    return [round(time - start, 6) for time in times]


# Pace.


async def test_calls_are_spaced_in_order():
    """The burst goes at once, the rest evenly, first come first served."""
    limiter = RateLimiter(10, burst=3)
    start, went = anyio.current_time(), []

    async def work(number):
        went.append((number, round(anyio.current_time() - start, 6)))

    async with company() as group:
        for number in range(6):
            group.start_soon(limiter.execute, work, number)
            await turns(3)
        assert limiter.waiting == 3
    assert went == [(0, 0.0), (1, 0.0), (2, 0.0), (3, 0.1), (4, 0.2), (5, 0.3)]
    assert limiter.waiting == 0


async def test_a_thousand_who_wait_are_served_in_order():
    """Each in its turn, to the tick."""
    limiter = RateLimiter(100)
    went = []

    async def work(number):
        went.append((number, anyio.current_time()))

    start = anyio.current_time()
    async with company() as group:
        for number in range(1000):
            group.start_soon(limiter.execute, work, number)
            await turns(2)
        assert limiter.waiting == 999
    assert [number for number, _ in went] == list(range(1000))
    assert since(start, [time for _, time in went]) == [n / 100 for n in range(1000)]


def test_a_long_time_of_saturated_load():
    """Ten thousand calls through the policy itself take their time to the tick."""
    limiter = RateLimiter(100, burst=5)

    async def nothing():
        pass

    async def worker(count):
        for _ in range(count):
            await limiter.execute(nothing)

    async def main():
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*[worker(1000) for _ in range(10)])
        return loop.time() - start

    assert run(main()) == pytest.approx((10_000 - 5) / 100, abs=1e-9)


async def test_one_timer_for_all_who_wait():
    """However many wait, one timer is armed; with nobody there, none."""
    limiter = RateLimiter(10, max_wait=100)
    for _ in range(2):
        async with company() as group:
            for _ in range(50):
                group.start_soon(limiter.execute, Script("fine"))
            await turns()
            assert limiter.waiting in {49, 50}
            assert timers() == 1
        assert timers() == 0


class CoarseLoop(VirtualLoop):
    """A loop like uvloop's: its clock and its timers know whole milliseconds only.

    Each callback takes it 20 µs.

    Attributes:
        armed: how many timers were set.
    """

    def __init__(self):
        super().__init__()
        self.armed = 0
        self.on_step = self.take_time

    def take_time(self):
        self.now += 0.00002

    def time(self):
        return floor(self.now * 1000 + 1e-6) / 1000

    def call_at(self, when, callback, *args, context=None):
        self.armed += 1
        ticks = round((when - self.time()) * 1000)
        if ticks <= 0:
            return self.call_soon(callback, *args, context=context)
        return super().call_at(self.time() + ticks / 1000, callback, *args, context=context)


@pytest.mark.parametrize("rate", [3, 30, 700])
def test_a_clock_that_is_a_millisecond_coarse(rate):
    """An alarm that comes too early is set once more, not again and again until it is time."""
    limiter, loop = RateLimiter(rate), CoarseLoop()

    async def main():
        start = loop.time()
        await asyncio.gather(*[limiter.execute(Script("fine")) for _ in range(100)])
        return loop.time() - start

    took = loop.run_until_complete(main())
    loop.close()
    assert loop.armed <= 250
    assert 99 / rate <= took <= 99 * (1 / rate + 0.001)


async def test_an_alarm_keeps_no_context():
    """What the first call had in its context is free when that has ended, though others wait."""

    class Request:
        """Something that a context variable holds."""

    async def first():
        variable.set(request := Request())
        seen.append(weakref.ref(request))
        await limiter.execute(Script("fine"))

    variable, limiter, seen = ContextVar("variable"), RateLimiter(1), []
    await limiter.execute(Script("fine"))
    async with company() as group:
        group.start_soon(first)
        await turns()
        for _ in range(3):
            group.start_soon(limiter.execute, Script("fine"))
        await anyio.sleep(2.5)
        gc.collect()
        assert limiter.waiting == 2
        assert seen[0]() is None


async def test_who_leaves_last_leaves_no_timer():
    """A line that everybody has left wakes nobody."""
    limiter = RateLimiter(1)
    await limiter.execute(Script("fine"))
    async with company() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(cancel_soon, scope)
            await limiter.execute(Script("never"))
    assert timers() == 0


async def cancel_soon(scope):
    await turns(3)
    scope.cancel()


def timers():
    """Count what would wake the loop."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        import trio

        deadline = trio.lowlevel.current_statistics().seconds_to_next_deadline
        # Of all deadlines, trio tells the nearest only.
        return 0 if deadline == float("inf") else 1
    return len(loop.timers())


async def test_who_comes_while_others_wait_waits_behind_them():
    """A small cost that would fit does not overtake a large one."""
    limiter = RateLimiter(1, burst=4, cost=lambda cost: cost)
    start, went = anyio.current_time(), []

    async def work(cost):
        went.append((cost, round(anyio.current_time() - start, 6)))

    async with company() as group:
        for cost in (3, 4, 1, 0):
            group.start_soon(limiter.execute, work, cost)
            await turns(3)
    assert went == [(3, 0.0), (4, 3.0), (1, 4.0), (0, 4.0)]


# Refusals.


async def test_no_wait_at_all():
    """With ``max_wait=0`` who cannot go at once is refused, and told when to come back."""
    limiter = RateLimiter(2, per=10, max_wait=0)
    work = Script("fine")
    await limiter.execute(work)
    await anyio.sleep(1)
    with pytest.raises(RateLimitedError) as caught:
        await limiter.bind(key="host").execute(work)
    error = caught.value
    assert (error.policy, error.key) == (limiter, "host")
    assert error.retry_after == pytest.approx(4)
    assert work.calls == 1
    await anyio.sleep(error.retry_after)
    assert await limiter.execute(work) == "fine"
    assert limiter.snapshot().rejected == 1


async def test_who_would_wait_too_long_is_refused_at_once():
    """Those ahead are counted; nobody begins to wait who would wait in vain."""
    limiter = RateLimiter(10, max_wait=0.5)
    start = anyio.current_time()
    work, refused = Script("fine"), []

    async def call():
        try:
            await limiter.execute(work)
        except RateLimitedError as error:
            refused.append((anyio.current_time() - start, error.retry_after))

    async with company() as group:
        for _ in range(10):
            group.start_soon(call)
            await turns(2)
    # One at once, five within half a second, and four too many.
    assert work.calls == 6
    assert refused == [(0.0, pytest.approx(0.6))] * 4


async def test_who_comes_when_it_was_told_goes_at_once():
    """``retry_after`` is true: then the line is served, and there is room."""
    limiter = RateLimiter(10, max_wait=0.5)
    async with company() as group:
        for _ in range(6):
            group.start_soon(limiter.execute, Script("fine"))
        await turns()
        with pytest.raises(RateLimitedError) as caught:
            await limiter.execute(Script("never"))
        await anyio.sleep(caught.value.retry_after)
        before = anyio.current_time()
        await limiter.execute(Script("fine"))
        assert anyio.current_time() == before


@pytest.mark.parametrize("seconds", [0.5, 0.9999, 1.0])
async def test_a_turn_past_the_deadline_is_refused_at_once(seconds):
    """Who has less time left than until its turn does not wait for the timeout."""
    limiter = RateLimiter(1)
    work = Script("fine")
    await limiter.execute(work)
    begun = anyio.current_time()
    with pytest.raises(RateLimitedError) as caught:
        await Pipeline(Timeout(seconds), limiter).execute(work)
    assert anyio.current_time() == begun
    assert caught.value.retry_after == pytest.approx(1)
    assert limiter.waiting == 0
    assert await Pipeline(Timeout(1.5), limiter).execute(work) == "fine"
    assert anyio.current_time() - begun == pytest.approx(1)


async def test_who_is_known_to_wait_in_vain_is_refused_while_it_waits():
    """When a pause moves its turn past its deadline or ``max_wait``; others go on waiting."""
    limiter, start = RateLimiter(1), anyio.current_time()
    ends = {}

    async def call(name, policy):
        try:
            await policy.execute(Script("fine"))
            ends[name] = round(anyio.current_time() - start, 6)
        except RateLimitedError as error:
            ends[name] = (round(anyio.current_time() - start, 6), round(error.retry_after, 6))

    async def throttled():
        await anyio.sleep(0.5)
        raise Throttled(5)

    async def first():
        with pytest.raises(Throttled):
            await limiter.execute(throttled)

    async with company() as group:
        group.start_soon(first)
        await turns(3)
        group.start_soon(call, "patient", limiter)
        await turns(3)
        group.start_soon(call, "hurried", Pipeline(Timeout(4), limiter))
        await turns(3)
        group.start_soon(call, "steady", Pipeline(Timeout(9), limiter))
    # Without the hurried one, the steady one has its turn at once after the patient one.
    assert ends == {"patient": 5.5, "hurried": (0.5, 6.0), "steady": 6.5}


class Throttled(Exception):
    """A 429 with its Retry-After, as clients raise them."""

    def __init__(self, retry_after=None, status=429):
        self.status_code = status
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        self.response = type("Response", (), {"status_code": status, "headers": headers})()


async def test_an_enclosing_timeout_counts_the_wait():
    """What the wait took is not left for the function."""
    limiter = RateLimiter(1)
    await limiter.execute(Script("fine"))

    begun = anyio.current_time()
    ended = []

    async def hurried():
        with pytest.raises(CallTimeoutError):
            await Pipeline(Timeout(1.5), limiter).execute(anyio.sleep, 9)
        ended.append(anyio.current_time() - begun)

    async with company() as group:
        group.start_soon(hurried)
        await turns()
        assert limiter.waiting == 1
    assert ended == [pytest.approx(1.5)]
    assert limiter.waiting == 0


def test_turns_that_come_late():
    """Where the loop was busy, a wait that has become too long is refused, not prolonged."""
    limiter = RateLimiter(10, max_wait=0.35)

    async def main():
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(limiter.execute(Script("fine"))) for _ in range(4)]
        await asyncio.sleep(0)
        assert limiter.waiting == 3
        loop.call_later(0.05, lambda: setattr(loop, "now", loop.now + 0.25))
        return await asyncio.gather(*tasks, return_exceptions=True)

    *served, late = run(main())
    assert served == ["fine"] * 3 or isinstance(served[-1], RateLimitedError)
    assert isinstance(late, RateLimitedError)


# Who leaves.


async def test_the_turn_of_who_leaves_goes_to_the_next():
    """Nobody waits for somebody who has left the line."""
    limiter, start = RateLimiter(1), anyio.current_time()
    went, scopes = [], {}

    async def call(name):
        with anyio.CancelScope() as scopes[name]:
            await limiter.execute(work, name)

    async def work(name):
        went.append((name, round(anyio.current_time() - start, 6)))

    async with company() as group:
        for name in "abcd":
            group.start_soon(call, name)
            await turns(3)
        await anyio.sleep(0.5)
        scopes["b"].cancel()
        await turns(3)
        assert limiter.waiting == 2
    assert went == [("a", 0.0), ("c", 1.0), ("d", 2.0)]


def test_who_is_cancelled_in_the_tick_of_its_grant_passes_it_on():
    """The turn goes to the next living one in the same tick; no time of anybody is lost."""
    limiter = RateLimiter(1)
    went = []

    async def work(number):
        went.append((number, asyncio.get_running_loop().time() - 1000.0))

    async def main():
        loop = asyncio.get_running_loop()
        tasks = []
        for number in range(5):
            tasks.append(asyncio.create_task(limiter.execute(work, number)))
            await asyncio.sleep(0)
        granted = list(limiter._line.queue)[:3]

        def on_step():
            for task, waiter in zip(tasks[1:3], granted, strict=False):
                if waiter.granted and not task.done():
                    task.cancel()

        loop.on_step = on_step
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        loop.on_step = None
        return [type(end).__name__ for end in ends]

    ends = run(main())
    assert ends == ["NoneType", "CancelledError", "CancelledError", "NoneType", "NoneType"]
    assert went == [(0, 0.0), (3, 1.0), (4, 2.0)]


async def test_a_timeout_in_line_leaves_the_turn_to_others():
    """A deadline that ends a wait moves those behind it up."""
    limiter, start = RateLimiter(1), anyio.current_time()
    times = []

    async def work():
        times.append(round(anyio.current_time() - start, 6))

    async with company() as group:
        for _ in range(3):
            group.start_soon(limiter.execute, work)
            await turns(2)
        with anyio.move_on_after(0.5):
            await limiter.execute(work)
        await limiter.execute(work)
    assert times == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize("seed", range(8))
async def test_under_random_load(seed):
    """With cancels, timeouts and refusals inside, no window gets too much, and nobody stays."""
    chance = random.Random(seed)
    rate, burst = chance.choice([(5, 1), (5, 4), (20, 2)])
    limiter = RateLimiter(rate, burst=burst, max_wait=chance.choice([None, 3, 30]))
    pipeline = Pipeline(limiter, Bulkhead(3))
    sent = []

    async def work():
        sent.append(anyio.current_time())
        await anyio.sleep(chance.choice([0, 0.1, 2]))
        if chance.random() < 0.3:
            raise OSError("made up")

    async def caller():
        await anyio.sleep(chance.random() * 20)
        with anyio.move_on_after(chance.choice([0.3, 3, 50])):
            try:
                await Pipeline(Timeout(chance.choice([1, 10])), pipeline).execute(work)
            except (OSError, RateLimitedError, BulkheadFullError, CallTimeoutError):
                pass

    async with company() as group:
        for _ in range(200):
            group.start_soon(caller)
    assert limiter.waiting == 0
    assert limiter._line._ahead == 0
    assert len(sent) > 30
    for first, start in enumerate(sent):
        for last, end in enumerate(sent[first:]):
            assert last + 1 <= rate * (end - start) + burst + 1e-6


# Other policies.


async def test_who_waits_when_the_circuit_opens_is_refused():
    """It takes no turn: the next call goes when its own would have come."""
    breaker, limiter = CircuitBreaker(1, open_for=0.5), RateLimiter(1)
    pipeline, refused, start = Pipeline(breaker, limiter), [], anyio.current_time()
    late = Script("never")

    async def fails():
        await anyio.sleep(0.25)
        raise OSError("made up")

    async def first():
        with pytest.raises(OSError, match="made up"):
            await pipeline.execute(fails)

    async def waits():
        with pytest.raises(CircuitOpenError):
            await pipeline.execute(late)
        refused.append(round(anyio.current_time() - start, 6))

    async with company() as group:
        group.start_soon(first)
        await turns(3)
        for _ in range(3):
            group.start_soon(waits)
            await turns(3)
    assert refused == [0.25] * 3
    assert (limiter.waiting, late.calls) == (0, 0)
    await anyio.sleep(0.6)
    await pipeline.execute(Script("fine"))
    assert anyio.current_time() - start == pytest.approx(1.0)


async def test_each_key_has_its_own():
    """In a ``Keyed`` one key's load is not another one's; a spent one is not forgotten."""
    keyed = Keyed(lambda key: RateLimiter(1, max_wait=0), max_keys=1)
    work = Script("fine")
    for key in "ab":
        await keyed.bind(key=key).execute(work)
        with pytest.raises(RateLimitedError):
            await keyed.bind(key=key).execute(work)
    assert list(keyed) == ["a", "b"]
    await anyio.sleep(1)
    await keyed.bind(key="c").execute(work)
    assert list(keyed) == ["c"]


async def test_what_matters():
    """It may be forgotten when a new one would do the same."""
    limiter = RateLimiter(2, max_pause=5)
    assert not limiter.matters(anyio.current_time())
    with pytest.raises(Throttled):
        await limiter.execute(Script(Throttled(3)))
    assert limiter.matters(anyio.current_time())
    await anyio.sleep(1)
    assert limiter.matters(anyio.current_time())
    await anyio.sleep(2)
    assert not limiter.matters(anyio.current_time())
    async with company() as group:
        group.start_soon(limiter.execute, Script("fine"))
        group.start_soon(limiter.execute, Script("fine"))
        await turns()
        assert limiter.matters(anyio.current_time())


async def test_a_body_that_outlives_its_turn_holds_nothing():
    """A limiter limits how often, not how many at a time."""
    limiter, held = RateLimiter(10), Held()
    async with company() as group:
        for _ in range(5):
            group.start_soon(limiter.execute, held)
        await anyio.sleep(1)
        assert held.inside == 5
        held.let_go()


# Loops.


def test_it_serves_one_loop_after_another():
    """Who waited on a loop that is gone is forgotten; no time has passed in between."""
    limiter = RateLimiter(1, burst=2)

    async def work():
        return round(asyncio.get_running_loop().time(), 6)

    async def main(count):
        return await asyncio.gather(*[limiter.execute(work) for _ in range(count)])

    assert run(main(4)) == [1000, 1000, 1001, 1002]
    # The level was 2 at its last moment, so the next turn is in one second.
    assert run(main(2), start=5.0) == [6, 7]

    async def leave():
        tasks = [asyncio.create_task(limiter.execute(work)) for _ in range(3)]
        await asyncio.sleep(0)
        assert limiter.waiting == 3
        return tasks

    loop = VirtualLoop()
    tasks = loop.run_until_complete(leave())
    loop.close()
    assert run(main(2), start=7.0) == [8, 9]
    for task in tasks:
        task._log_destroy_pending = False
        task.get_coro().close()
    assert run(main(1), start=8.0) == [9]


def test_a_pause_lasts_from_loop_to_loop():
    """What is left of it is waited for on the next one."""
    limiter = RateLimiter(None)

    async def throttled():
        with pytest.raises(Throttled):
            await limiter.execute(Script(Throttled(10)))
        await asyncio.sleep(4)
        with pytest.raises(RateLimitedError):
            await Pipeline(Timeout(1), limiter).execute(Script("never"))

    async def after():
        await limiter.execute(Script("fine"))
        return asyncio.get_running_loop().time()

    run(throttled())
    assert run(after(), start=7.0) == 13.0


def test_the_clock_leaps():
    """A leap forward lets the burst go; a leap back makes nobody wait for the clock."""
    limiter = RateLimiter(1, burst=2)

    async def main():
        loop = asyncio.get_running_loop()
        went = []

        async def work():
            went.append(loop.time())

        for _ in range(2):
            await limiter.execute(work)
        loop.now += 1e6
        for _ in range(3):
            await limiter.execute(work)
        loop.now -= 5e5
        for _ in range(2):
            await limiter.execute(work)
        return [time - 1000.0 for time in went]

    assert run(main()) == [0, 0, 1e6, 1e6, 1e6 + 1, 5e5 + 2, 5e5 + 3]


# What it shows.


@pytest.mark.parametrize(
    "limiter, text",
    [
        (RateLimiter(50), "RateLimiter(50)"),
        (RateLimiter(None, max_pause=5), "RateLimiter(None, max_pause=5)"),
        (
            RateLimiter(90, 60, burst=9, max_wait=0.5, cost=3),
            "RateLimiter(90, per=60, burst=9, max_wait=0.5, cost=3)",
        ),
    ],
    ids=["plain", "no rate", "all"],
)
def test_it_shows_its_settings(limiter, text):
    """The repr is what was asked for."""
    assert repr(limiter) == text
