from __future__ import annotations

from nopanic import backoff, bulkhead, circuit_breaker, compose, deadline, fallback, retry, timeout

from benchmarks.overhead.peers import BASE, OPEN_FOR, TRANSIENT, Peer


def make_retry():
    return retry(3, on=TRANSIENT, backoff=backoff.full_jitter(base=BASE, cap=10.0))


def make_breaker():
    return circuit_breaker(reset_timeout=OPEN_FOR)


def make_bulkhead():
    return bulkhead(100, max_wait=0)


def four(function):
    return compose(make_retry(), make_breaker(), make_bulkhead(), timeout(10.0))(function)


def five(function):
    # Its documented total for all attempts; an outer timeout(30.0) does the same and is slower.
    return compose(deadline(30.0), make_retry(), make_breaker(), make_bulkhead(), timeout(10.0))(
        function
    )


def block(function):
    breaker, slots, limit = make_breaker(), make_bulkhead(), timeout(10.0)

    async def run(count):
        for _ in range(count):
            async with breaker.guard(), slots.guard(), limit.guard():
                await function()

    return run


PEER = Peer(
    name="nopanic",
    distributions=("nopanic",),
    policies="all four",
    composition="`compose(retry, circuit_breaker, bulkhead, timeout)`, decorated once; "
    "the fifth is `deadline`",
    timeout=timeout(10.0),
    retry=lambda function: make_retry()(function),
    breaker=lambda function: make_breaker()(function),
    bulkhead=lambda function: make_bulkhead()(function),
    fallback=fallback("fallback"),
    four=four,
    five=five,
    block=block,
)
