from __future__ import annotations

from hyx.bulkhead import bulkhead
from hyx.circuitbreaker import consecutive_breaker
from hyx.fallback import fallback
from hyx.retry import retry
from hyx.retry.backoffs import expo
from hyx.retry.jitters import full
from hyx.timeout import timeout

from benchmarks.overhead.peers import BASE, OPEN_FOR, TRANSIENT, Peer


def make_retry():
    # Its `attempts` are retries, without the first call.
    return retry(
        on=TRANSIENT,
        attempts=2,
        backoff=expo(min_delay_secs=BASE, max_delay_secs=10.0, jitter=full),
    )


def make_breaker():
    return consecutive_breaker(recovery_time_secs=OPEN_FOR, recovery_threshold=1)


def make_bulkhead():
    return bulkhead(max_concurrency=100, max_capacity=100)


def timed(function, seconds=10.0):
    # Its decorator runs each call in a task of its own; its context manager is several times
    # faster. One per call: shared, it loses one of two concurrent calls.
    async def call():
        async with timeout(seconds):
            return await function()

    return call


def four(function):
    return make_retry()(make_breaker()(make_bulkhead()(timed(function))))


def block(function):
    breaker, slots = make_breaker(), make_bulkhead()

    async def run(count):
        for _ in range(count):
            async with breaker, slots, timeout(10.0):
                await function()

    return run


async def substitute(*_):
    return "fallback"


PEER = Peer(
    name="hyx",
    distributions=("hyx",),
    policies="all four",
    composition="`@retry` on `@consecutive_breaker` on `@bulkhead` on `async with timeout`; "
    "the fifth is another `async with timeout`",
    timeout=timed,
    retry=make_retry(),
    breaker=lambda function: make_breaker()(function),
    bulkhead=lambda function: make_bulkhead()(function),
    fallback=fallback(substitute),
    four=four,
    five=lambda function: timed(four(function), 30.0),
    block=block,
)
