"""RateLimiter: what the server asks for holds for all callers."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import anyio
import pytest

from seawall import (
    Classifier,
    Kind,
    Pipeline,
    RateLimitedError,
    RateLimiter,
    Retry,
    Timeout,
    Verdict,
)
from seawall.core.call import Call
from seawall.core.open_attempt import OpenAttempt
from tests.doubles import Script, company, turns, virtual
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


class Refused(Exception):
    """An error response, as clients raise it."""

    def __init__(self, status=429, retry_after=None):
        self.status_code = status
        headers = {} if retry_after is None else {"retry-after": str(retry_after)}
        self.response = type("Response", (), {"status_code": status, "headers": headers})()


async def provoke(limiter, error):
    with pytest.raises(type(error)) as caught:
        await limiter.execute(Script(error))
    assert caught.value is error


async def time_to_go(policy, value=None):
    """Return after how many seconds the next call goes."""
    start, work = anyio.current_time(), Script(value)
    await policy.execute(work)
    return round(work.times[0] - start, 6)


def test_a_hundred_tasks_that_get_a_429_at_once():
    """Nothing is sent for 5 s, then all succeed at the rate, and the budget stays as it was."""
    limiter = RateLimiter(50, burst=100)
    retry = Retry(3)
    pipeline = Pipeline(Timeout(30), retry, limiter)
    sent = []

    async def request():
        loop = asyncio.get_running_loop()
        sent.append(loop.time() - 1000.0)
        if len(sent) <= 100:
            await asyncio.sleep(0.05)
            raise Refused(429, 5)
        return "fine"

    async def main():
        limiter_only = Pipeline(Timeout(30), limiter)
        tasks = [asyncio.create_task(pipeline.execute(request)) for _ in range(100)]
        await asyncio.sleep(1)
        # Those that never were refused themselves are held back too.
        tasks += [asyncio.create_task(limiter_only.execute(request)) for _ in range(20)]
        return await asyncio.gather(*tasks)

    assert run(main()) == ["fine"] * 120
    assert sent[:100] == [0.0] * 100
    assert len(sent) == 220
    assert min(sent[100:]) == pytest.approx(5.05)
    assert max(sent) < 5.05 + 0.1 + 220 / 50
    assert retry.budget.tokens == retry.budget.capacity
    assert limiter.snapshot().throttled == 100


def test_then_all_succeed_at_the_rate():
    """With the burst of 1 they are spaced from the first to the last."""
    pipeline = Pipeline(Retry(3), limiter := RateLimiter(50))
    sent, fine = [], []

    async def request():
        now = asyncio.get_running_loop().time() - 1000.0
        sent.append(now)
        if now < 3.0:
            # All are in flight when the first one is refused.
            await asyncio.sleep(3.0 - now)
            raise Refused(429, 5)
        fine.append(now)

    async def main():
        await asyncio.gather(*[pipeline.execute(request) for _ in range(100)])

    run(main())
    assert len(sent) == 200
    assert len(fine) == 100
    assert min(fine) >= 8.0
    assert [round(later - one, 6) for one, later in pairwise(fine)] == [0.02] * 99
    assert limiter.snapshot().throttled == 100


@pytest.mark.parametrize("rate", [None, 2])
async def test_those_who_wait_and_those_who_arrive_pause(rate):
    """With a rate they then go at the rate; without one, all at once."""
    limiter, start = RateLimiter(rate), anyio.current_time()
    times = []

    async def work():
        times.append(round(anyio.current_time() - start, 6))

    await provoke(limiter, Refused(429, 3))
    async with company() as group:
        for _ in range(2):
            group.start_soon(limiter.execute, work)
        await anyio.sleep(1)
        assert (times, limiter.waiting) == ([], 2)
        for _ in range(2):
            group.start_soon(limiter.execute, work)
    assert times == ([3.0] * 4 if rate is None else [3.0, 3.5, 4.0, 4.5])


@pytest.mark.parametrize(
    "error, paused",
    [
        (Refused(429, 4), 4),
        (Refused(529, 4), 4),
        (Refused(503, 4), 4),
        (Refused(429), 0),
        (Refused(503), 0),
        (Refused(500, 4), 0),
        (Refused(429, 0), 0),
        (Refused(429, 1000), 60),
        (OSError("made up"), 0),
        (ExceptionGroup("made up", [Refused(429, 4), OSError("made up")]), 4),
        (RateLimitedError(retry_after=4.0), 0),
    ],
    ids=lambda value: None,
)
async def test_what_pauses(error, paused):
    """What the server throttles and says for how long, and nothing else."""
    limiter = RateLimiter(None)
    await provoke(limiter, error)
    assert await time_to_go(limiter) == paused


async def test_an_unknown_time_is_counted_and_not_waited_for():
    """A 429 without a number pauses nobody."""
    limiter = RateLimiter(None)
    await provoke(limiter, Refused(429))
    assert limiter.snapshot().throttled == 1
    assert limiter.snapshot().paused_for == 0


@pytest.mark.parametrize("limit, paused", [(2.5, 2.5), (0, 0)])
async def test_no_pause_is_longer_than_max_pause(limit, paused):
    """Whatever the server asks for."""
    limiter = RateLimiter(None, max_pause=limit)
    await provoke(limiter, Refused(429, 1000))
    assert await time_to_go(limiter) == paused


async def test_pauses_overlap():
    """The one that ends last counts, and those who wait go then."""
    limiter, start = RateLimiter(None), anyio.current_time()
    gate = anyio.Event()

    async def in_flight(delay, retry_after):
        await gate.wait()
        await anyio.sleep(delay)
        raise Refused(429, retry_after)

    async def fails(delay, retry_after):
        with pytest.raises(Refused):
            await limiter.execute(in_flight, delay, retry_after)

    work = Script("fine")
    async with company() as group:
        for delay, retry_after in [(0, 5), (1, 2), (2, 6), (7.5, 0.25), (7.9, 3)]:
            group.start_soon(fails, delay, retry_after)
        await turns()
        gate.set()
        await anyio.sleep(0.5)
        group.start_soon(limiter.execute, work)
        await anyio.sleep(7)
        assert work.calls == 0
    assert work.times == [pytest.approx(start + 10.9)]


async def test_a_result_can_throttle():
    """By the classifier's verdict."""

    def classify(outcome):
        if outcome.exception is not None:
            return Verdict(Kind.FAILURE)
        throttled = outcome.value == "slow down"
        return Verdict(Kind.SUCCESS, throttled=throttled, retry_after=2.0 if throttled else None)

    limiter = RateLimiter(None)
    pipeline = Pipeline(limiter, classify=classify)
    assert await time_to_go(pipeline, "fine") == 0
    assert await time_to_go(pipeline, "slow down") == 0
    assert await time_to_go(pipeline, "fine") == 2


async def test_a_block_can_throttle():
    """By what its body raises, or by its result."""
    limiter = RateLimiter(None)
    with pytest.raises(Refused):
        async with limiter:
            raise Refused(429, 2)
    assert await time_to_go(limiter) == 2


async def test_an_outer_retry_waits_with_the_others():
    """Its further attempt takes its turn in the line."""
    limiter = RateLimiter(1)
    pipeline = Pipeline(Retry(2, backoff=0, budget=None), limiter)
    work = Script(Refused(429, 2), "fine")
    assert await pipeline.execute(work) == "fine"
    assert work.gaps == [2.0]


@pytest.mark.parametrize("verdict_at", ["the head", "the end"])
async def test_a_body_left_open_can_throttle(verdict_at):
    """A response that goes on throttles by its head, or by how its body ends, once."""
    limiter = RateLimiter(None)
    slow = Verdict(Kind.SUCCESS, throttled=True, retry_after=3.0)
    fine = Verdict(Kind.SUCCESS)

    async def close():
        pass

    async def opens():
        call.open = body
        return "response"

    body = OpenAttempt(close)
    call: Call[str] = Call()
    call.begin(opens)
    call.classifier = lambda outcome: slow if verdict_at == "the head" else fine
    await limiter.conduct(call)
    assert limiter.snapshot().throttled == (verdict_at == "the head")
    body.end(slow)
    assert limiter.snapshot().throttled == 1
    assert await time_to_go(limiter) == 3


async def test_a_classifier_that_raises_pauses_nobody():
    """Its error passes."""

    def confused(outcome):
        raise ValueError("made up")

    limiter = RateLimiter(None)
    with pytest.raises(ValueError, match="made up"):
        await Pipeline(limiter, classify=confused).execute(Script(Refused(429, 5)))
    assert await time_to_go(limiter) == 0


async def test_one_classifier_of_ones_own_for_errors():
    """``Classifier(retry_after=...)`` reads what the default rules do not know."""
    limiter = RateLimiter(None)
    classify = Classifier(retry_after=lambda error: error.seconds)

    class Busy(Exception):
        status_code = 429
        seconds = 1.5

    pipeline = Pipeline(limiter, classify=classify)
    with pytest.raises(Busy):
        await pipeline.execute(Script(Busy))
    assert await time_to_go(limiter) == 1.5
