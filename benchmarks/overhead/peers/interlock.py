from __future__ import annotations

from interlock import CircuitBreaker, Config, Pipeline
from interlock import timeout as interlock_timeout
from tenacity import wait_exponential_jitter

from benchmarks.overhead.peers import BASE, OPEN_FOR, Peer


def make_breaker():
    return CircuitBreaker(name="benchmark", config=Config(wait_duration_in_open=OPEN_FOR))


def with_four(builder):
    # Its retry never repeats a refusal, whatever it is given; the rest of its defaults stay.
    return (
        builder.retry(attempts=3, wait=wait_exponential_jitter(initial=BASE, max=10.0, jitter=BASE))
        .circuit_breaker(make_breaker())
        .bulkhead(100)
        .timeout(10.0)
    )


def four(function):
    return with_four(Pipeline.builder()).build()(function)


def five(function):
    return with_four(Pipeline.builder().timeout(30.0)).build()(function)


def retry(function):
    wait = wait_exponential_jitter(initial=BASE, max=10.0, jitter=BASE)
    return Pipeline.builder().retry(attempts=3, wait=wait).build()(function)


def timeout(function):
    async def call():
        async with interlock_timeout(10.0):
            return await function()

    return call


PEER = Peer(
    name="interlock-cb",
    distributions=("interlock-cb", "tenacity"),
    policies="three; retry is tenacity's",
    composition="`Pipeline.builder()` with `.retry` (tenacity), `.circuit_breaker`, `.bulkhead`, "
    "`.timeout`, decorated once",
    timeout=timeout,
    retry=retry,
    breaker=lambda function: make_breaker()(function),
    bulkhead=lambda function: Pipeline.builder().bulkhead(100).build()(function),
    fallback=lambda function: Pipeline.builder().fallback(lambda _: "fallback").build()(function),
    four=four,
    five=five,
)
