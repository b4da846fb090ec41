"""RateLimiter: limits by cost, settled afterwards."""

from __future__ import annotations

import asyncio
import logging
from math import inf, nan

import anyio
import pytest

from seawall import (
    Bulkhead,
    CircuitBreaker,
    CircuitOpenError,
    Pipeline,
    RateLimitedError,
    RateLimiter,
    Retry,
    UsageError,
)
from seawall.core.call import Call
from seawall.core.open_attempt import OpenAttempt
from seawall.core.verdict import SUCCESS
from tests.doubles import Held, Script, company, turns, virtual
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def available(limiter):
    return round(limiter.snapshot().available, 6)


async def test_a_cost_from_the_arguments():
    """Each attempt takes what the function says of its arguments."""
    limiter = RateLimiter(1, burst=10, cost=lambda prompt, *, tokens=0: len(prompt) + tokens)
    work = Script("fine")
    await limiter.execute(work, "abc", tokens=4)
    assert available(limiter) == 3
    start = anyio.current_time()
    await limiter.execute(work, "abcde")
    assert anyio.current_time() - start == pytest.approx(2)
    assert available(limiter) == 0


async def test_a_cost_of_nothing_passes():
    """Unless there are debts."""
    limiter = RateLimiter(1, burst=2, cost=0, actual=lambda result: result)
    for _ in range(5):
        await limiter.execute(Script(0))
    await limiter.execute(Script(5))
    assert available(limiter) == -3
    start = anyio.current_time()
    await limiter.execute(Script(0))
    assert anyio.current_time() - start == pytest.approx(3)


@pytest.mark.parametrize("cost", [11, 10.5, -1, nan, inf, "3", None, True])
async def test_a_wrong_cost_is_refused(cost):
    """A function that returns what cannot be taken is a mistake of the caller, said at once."""
    limiter = RateLimiter(1, burst=10, cost=lambda: cost)
    work = Script("fine")
    with pytest.raises(UsageError, match="what cost returns must be a number >= 0 and <= 10"):
        await limiter.execute(work)
    assert (work.calls, available(limiter), limiter.waiting) == (0, 10, 0)


@pytest.mark.parametrize("cost", [11, -1, nan, inf])
def test_a_number_above_the_burst_is_refused_at_once(cost):
    """It could never be taken."""
    with pytest.raises(ValueError, match="cost must be a number >= 0 and <= 10"):
        RateLimiter(1, burst=10, cost=cost)


@pytest.mark.parametrize(
    "actual", [-1, nan, inf, 10**400, "3", None, True], ids=lambda x: str(x)[:9]
)
async def test_a_wrong_actual_is_refused(actual):
    """What it took stands."""
    limiter = RateLimiter(1, burst=10, cost=4, actual=lambda result: actual)
    with pytest.raises(UsageError, match="what actual returns must be a number >= 0"):
        await limiter.execute(Script("fine"))
    assert available(limiter) == 6


async def test_without_a_rate_costs_mean_nothing():
    """Neither function is asked."""
    limiter = RateLimiter(None, burst=1, cost=lambda: 1 / 0, actual=lambda result: 1 / 0)
    assert await limiter.execute(Script("fine")) == "fine"
    RateLimiter(None, cost=1000)


async def test_a_debt_is_waited_for():
    """Who comes after a call that cost more than it took waits for the rest of it."""
    limiter = RateLimiter(10, burst=20, cost=20, actual=lambda result: result)
    start = anyio.current_time()
    await limiter.execute(Script(50))
    assert available(limiter) == -30
    work = Script(20)
    await limiter.execute(work)
    assert work.times == [pytest.approx(start + 5)]


async def test_what_was_too_much_is_given_back():
    """At once, also to who waits already, and never above the burst."""
    limiter = RateLimiter(10, burst=20, cost=20, actual=lambda result: 5)
    start, held, work = anyio.current_time(), Held(), Script("fine")
    async with company() as group:
        group.start_soon(limiter.execute, held)
        await turns()
        group.start_soon(limiter.execute, work)
        await anyio.sleep(1)
        assert work.calls == 0
        held.let_go()
        await turns()
    # Of 20, 10 have regenerated, and 10 of the 15 are given back.
    assert work.times == [pytest.approx(start + 1)]
    await anyio.sleep(10)
    assert available(limiter) == 20


async def test_a_debt_refuses_who_would_wait_in_vain():
    """Their turn is known to come too late now."""
    limiter = RateLimiter(10, burst=10, cost=10, actual=lambda result: 100, max_wait=2)
    held, late, start = Held(), Script("never"), anyio.current_time()

    async def waits():
        with pytest.raises(RateLimitedError) as caught:
            await limiter.execute(late)
        assert anyio.current_time() - start == pytest.approx(0.5)
        assert caught.value.retry_after == pytest.approx(9.5)

    async with company() as group:
        group.start_soon(limiter.execute, held)
        await turns()
        group.start_soon(waits)
        await anyio.sleep(0.5)
        held.let_go()
    assert late.calls == 0


async def test_in_blocks_the_cost_is_a_number():
    """A block has no arguments, which is said; its result is what it really cost."""
    asking = RateLimiter(1, burst=10, cost=lambda: 1)
    with pytest.raises(UsageError, match="a block has none"):
        async with asking:
            pytest.fail("it ran")
    limiter = RateLimiter(1, burst=10, cost=6, actual=lambda result: result)
    async with limiter as attempt:
        attempt.result = 2
    assert available(limiter) == 8
    async with limiter:
        pass
    # No result, nothing to ask.
    assert available(limiter) == 2
    await anyio.sleep(10)
    async for attempt in limiter:
        async with attempt:
            attempt.result = 9
    assert available(limiter) == 1


async def test_a_failed_call_cost_what_it_took():
    """Nobody knows better."""
    limiter = RateLimiter(1, burst=10, cost=6, actual=lambda result: 0)
    with pytest.raises(OSError, match="made up"):
        await limiter.execute(Script(OSError("made up")))
    assert available(limiter) == 4


# What a call took that was refused further inside.


async def test_what_was_refused_further_inside_is_given_back():
    """Nothing was sent, so nothing is spent; an answer and a failure are."""
    breaker = CircuitBreaker(1, open_for=60)
    limiter = RateLimiter(1, burst=3)
    pipeline = Pipeline(limiter, breaker)
    breaker.trip()
    for _ in range(10):
        with pytest.raises(CircuitOpenError):
            await pipeline.execute(Script("never"))
    assert available(limiter) == 3
    breaker.reset()
    with pytest.raises(OSError, match="made up"):
        await pipeline.execute(Script(OSError("made up")))
    assert available(limiter) == 2


async def test_what_has_regenerated_is_not_given_back():
    """It would be there twice."""
    full = Bulkhead(1, queue=1, max_wait=2)
    limiter = RateLimiter(1, burst=5, cost=3)
    held = Held()
    async with company() as group:
        group.start_soon(full.execute, held)
        await turns()
        with pytest.raises(Exception, match="the bulkhead is full"):
            await Pipeline(limiter, full).execute(Script("never"))
        # Of 3, 2 have come back by themselves in 2 seconds.
        assert available(limiter) == 5
        held.let_go()


async def test_who_leaves_while_it_waits_further_inside_gets_it_back():
    """A call that is cancelled in an inner line was not sent either."""
    outer, inner = RateLimiter(0.1, burst=3), RateLimiter(1)
    pipeline = Pipeline(outer, inner)
    await pipeline.execute(Script("fine"))
    assert available(outer) == 2
    with anyio.move_on_after(0.001):
        await pipeline.execute(Script("never"))
    assert available(outer) == pytest.approx(2, abs=0.01)
    with anyio.move_on_after(1.5):
        await pipeline.execute(anyio.sleep, 9)
    assert available(outer) == pytest.approx(1, abs=0.2)


async def test_who_leaves_while_it_waits_for_a_further_attempt_does_not():
    """The one before it was sent."""
    limiter, bulkhead = RateLimiter(0.001, burst=3), Bulkhead(1, queue=1)
    held, work = Held(), Script(OSError)

    async def hold():
        await anyio.sleep(0.5)
        await bulkhead.execute(held)

    async with company() as group:
        group.start_soon(hold)
        with anyio.move_on_after(2):
            await Pipeline(limiter, Retry(2, backoff=1), bulkhead).execute(work)
        held.let_go()
    assert work.calls == 1
    assert available(limiter) == pytest.approx(2, abs=0.1)


async def test_two_limiters_compose():
    """Requests and tokens: the refusal of one costs the other nothing."""
    requests = RateLimiter(60, per=60, burst=10)
    tokens = RateLimiter(100, burst=100, cost=lambda size: size, max_wait=0)
    pipeline = Pipeline(requests, tokens)
    work = Script("fine")
    for _ in range(2):
        await pipeline.execute(work, 50)
    for _ in range(20):
        with pytest.raises(RateLimitedError) as caught:
            await pipeline.execute(work, 50)
        assert caught.value.policy is tokens
    assert (work.calls, available(requests), available(tokens)) == (2, 8, 0)
    await anyio.sleep(caught.value.retry_after)
    await pipeline.execute(work, 50)
    assert (work.calls, available(requests)) == (3, 7.5)


@pytest.mark.parametrize("order", ["requests first", "tokens first"])
def test_two_limiters_hold_together(order):
    """Under load each window keeps both limits, and the tighter one is used up."""
    requests = RateLimiter(10, burst=5)
    tokens = RateLimiter(100, burst=60, cost=lambda size: size)
    pair = [requests, tokens] if order == "requests first" else [tokens, requests]
    pipeline = Pipeline(*pair)
    sent = []

    async def work(size):
        sent.append((asyncio.get_running_loop().time(), size))

    async def main():
        sizes = [1 + (7 * number) % 30 for number in range(600)]
        await asyncio.gather(*[pipeline.execute(work, size) for size in sizes])

    run(main())
    assert len(sent) == 600
    for first in range(0, 600, 7):
        total = 0
        for count, (time, size) in enumerate(sent[first:], start=1):
            total += size
            seconds = time - sent[first][0]
            # The outer one may have let pass before what the inner one lets pass now.
            if order == "requests first":
                assert total <= 100 * seconds + 60 + 1e-6
            else:
                assert count <= 10 * seconds + 5 + 1e-6
    seconds = sent[-1][0] - sent[0][0]
    assert sum(size for _, size in sent) == pytest.approx(100 * seconds, rel=0.05)


async def test_a_retry_pays_for_each_attempt():
    """Each attempt is sent, so each one counts."""
    limiter = RateLimiter(1, burst=5)
    work = Script(OSError, OSError, "fine")
    await Pipeline(Retry(3, backoff=0, budget=None), limiter).execute(work)
    assert available(limiter) == 2


# Responses whose body is still open.


def opened(limiter, answer="response"):
    """Return a call that returns while its attempt goes on, and that attempt."""

    async def close():
        pass

    async def opens():
        call.open = body
        return answer

    body = OpenAttempt(close)
    call: Call[str] = Call()
    call.begin(opens)
    return call, body


async def test_an_open_body_is_settled_at_its_end():
    """What it cost is known then."""
    used = []
    limiter = RateLimiter(1, burst=10, cost=8, actual=lambda result: used[0])
    call, body = opened(limiter)
    await limiter.conduct(call)
    assert available(limiter) == 2
    used.append(3)
    body.settle(SUCCESS)
    assert available(limiter) == 2
    body.end(SUCCESS)
    assert available(limiter) == 7
    body.end(SUCCESS)
    assert available(limiter) == 7


async def test_a_body_that_cannot_be_told_keeps_its_estimate(caplog):
    """The error goes to the log: others have their steps to take."""
    limiter = RateLimiter(1, burst=10, cost=8, actual=lambda result: result["usage"])
    bulkhead = Bulkhead(1)
    call, body = opened(limiter, {})
    await Pipeline(bulkhead, limiter).conduct(call)
    with caplog.at_level(logging.ERROR, "seawall"):
        body.end(SUCCESS)
    assert (available(limiter), bulkhead.in_flight) == (2, 0)
    assert "cannot tell what a call cost" in caplog.text
    assert "KeyError" in caplog.text


def test_a_body_that_ends_on_another_loop_changes_nothing():
    """What the old loop left behind is forgotten."""
    limiter = RateLimiter(1, burst=10, cost=8, actual=lambda result: 0)
    bodies = []

    async def begin():
        call, body = opened(limiter)
        bodies.append(body)
        await limiter.conduct(call)

    async def end():
        await limiter.execute(Script("fine"))
        before = available(limiter)
        bodies[0].end(SUCCESS)
        assert available(limiter) == before

    run(begin())
    run(end(), start=5.0)


async def test_an_actual_that_raises():
    """Its error passes, and what the call took stands."""
    limiter = RateLimiter(1, burst=10, cost=8, actual=lambda result: result["usage"])
    with pytest.raises(KeyError):
        await limiter.execute(Script({}))
    assert available(limiter) == 2
