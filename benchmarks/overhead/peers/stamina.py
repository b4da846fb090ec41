from __future__ import annotations

import asyncio
from itertools import count as counter

import stamina
from purgatory import AsyncCircuitBreakerFactory

from benchmarks.overhead.peers import BASE, OPEN_FOR, TRANSIENT, Peer

# It logs each retry; only a proof ever retries, and the report is all that is to be read.
stamina.instrumentation.set_on_retry_hooks([])

NAMES = counter(1)


def retry(function):
    return stamina.retry(
        on=TRANSIENT, attempts=3, timeout=None, wait_initial=BASE, wait_jitter=BASE
    )(function)


def breaker(function):
    factory = AsyncCircuitBreakerFactory(default_ttl=OPEN_FOR)
    return factory(f"benchmark {next(NAMES)}")(function)


def four(function):
    semaphore = asyncio.Semaphore(100)

    async def limited():
        async with semaphore, asyncio.timeout(10.0):
            return await function()

    return retry(breaker(limited))


def five(function):
    inner = four(function)

    async def call():
        async with asyncio.timeout(30.0):
            return await inner()

    return call


def loop(function):
    async def run(count):
        for _ in range(count):
            async for attempt in stamina.retry_context(
                on=TRANSIENT, attempts=3, timeout=None, wait_initial=BASE, wait_jitter=BASE
            ):
                with attempt:
                    await function()

    return run


PEER = Peer(
    name="stamina + purgatory",
    distributions=("stamina", "purgatory"),
    policies="two: stamina's retry, purgatory's breaker",
    composition="`@stamina.retry` on purgatory's decorator on `asyncio.Semaphore` and "
    "`asyncio.timeout` by hand",
    retry=retry,
    breaker=breaker,
    four=four,
    five=five,
    loop=loop,
)
