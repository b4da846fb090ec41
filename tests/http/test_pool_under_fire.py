"""Requirement 7: whatever is cancelled and whenever, the client's pool loses no place.

On httpx 0.28.1 alone, timeouts around requests make the pool lose one place after another until
every request waits for ever (httpcore issue 1093). With ``SEAWALL_SOAK_SECONDS`` set, each fire
burns for so long.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from seawall import Bulkhead, Pipeline, Policy, Retry, Timeout, constant
from tests.http.conftest import Family
from tests.http.scripted import Exchange, Ledger, Server, drip, respond

pytestmark = pytest.mark.asyncio

PLACES = 10
CALLERS = 60

Fetch = Callable[[], Awaitable[Any]]


class AnyTimeout(Timeout):
    """An attempt timeout from 5 ms to 100 ms: before, at and after the answer of the server."""

    def seconds_for(self, call: Any) -> float:
        return random.choice((0.005, 0.01, 0.019, 0.02, 0.021, 0.025, 0.04, 0.1))


def build(family: Family, policy: Policy, wrap: Callable[[Any], Any] = lambda inner: inner) -> Any:
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=PLACES)
    )
    transport = family.binding.ResilientTransport(policy, wrap(inner))
    return family.client.AsyncClient(transport=transport, timeout=None), inner._pool


async def fire(server: Server, client: Any, seconds: float) -> None:
    """Let callers come and go, some of them cancelled, for so long."""
    loop = asyncio.get_running_loop()
    until = loop.time() + float(os.environ.get("SEAWALL_SOAK_SECONDS", seconds))

    async def fetch() -> None:
        how = random.random()
        if how < 0.7:
            await client.get(server.url)
        elif how < 0.85:
            async with client.stream("GET", server.url) as response:
                async for _ in response.aiter_raw():
                    if random.random() < 0.3:
                        break
        else:
            async with client.stream("GET", server.url):
                pass

    async def within_a_scope() -> None:
        with anyio.move_on_after(random.uniform(0, 0.06)):
            await fetch()

    async def caller() -> None:
        while loop.time() < until:
            await asyncio.sleep(random.uniform(0, 0.2))
            task = asyncio.ensure_future(random.choice((fetch, fetch, within_a_scope))())
            for chance in (0.4, 0.1):
                if random.random() < chance:
                    loop.call_later(random.uniform(0, 0.06), task.cancel)
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()

    await asyncio.gather(*[caller() for _ in range(CALLERS)])
    assert server.connections > PLACES


async def assert_that_every_place_is_usable(
    family: Family, server: Server, client: Any, pool: Any
) -> None:
    """As many requests as there are places are all at the server at once."""
    await asyncio.sleep(0.05)
    assert pool._requests == []
    assert all(connection.is_idle() for connection in pool._connections)
    arrived = asyncio.Event()
    waiting = 0

    async def together(exchange: Exchange) -> None:
        nonlocal waiting
        waiting += 1
        if waiting == PLACES:
            arrived.set()
        await arrived.wait()
        await respond()(exchange)

    server.play(together)
    transport = family.client.AsyncClient(transport=client._transport.inner, timeout=5)
    answers = await asyncio.wait_for(
        asyncio.gather(*[transport.get(server.url) for _ in range(PLACES)]), 5
    )
    assert [answer.status_code for answer in answers] == [200] * PLACES


@pytest.mark.slow
@pytest.mark.parametrize(
    "limit, seconds",
    [
        (None, 2),
        (PLACES, 1),
        (2 * PLACES, 0.5),
        pytest.param(None, 10, marks=pytest.mark.soak),
        pytest.param(PLACES, 10, marks=pytest.mark.soak),
    ],
    ids=["no bulkhead", "as many slots", "more slots", "ten seconds", "ten seconds, slots"],
)
async def test_no_place_is_lost(
    family: Family, server: Server, limit: int | None, seconds: float
) -> None:
    """Timeouts, cancellations and early ends, 60 callers on 10 places: all 10 are there after."""
    server.play(respond(body=b"x" * 2000, delay=0.02))
    ledger = Ledger()
    policies: list[Policy] = [Retry(2, backoff=constant(0), budget=None), ledger]
    if limit is not None:
        policies.append(Bulkhead(limit, queue=1000))
    client, pool = build(family, Pipeline(*policies, AnyTimeout(1)))
    async with client:
        await fire(server, client, seconds)
        assert ledger.held == 0
        assert len(ledger.verdicts) == ledger.given_back
        await assert_that_every_place_is_usable(family, server, client, pool)


async def test_no_place_is_lost_beneath_wrapping_transports(family: Family, server: Server) -> None:
    """The pool is found and repaired through a transport that is wrapped around it."""

    class Wrapper(family.client.AsyncBaseTransport):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def handle_async_request(self, request: Any) -> Any:
            return await self.inner.handle_async_request(request)

        async def aclose(self) -> None:
            await self.inner.aclose()

    server.play(respond(delay=0.02))
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=PLACES)
    )
    transport = family.binding.ResilientTransport(AnyTimeout(1), Wrapper(inner))
    async with family.client.AsyncClient(transport=transport, timeout=None) as client:
        await fire(server, client, 0.5)
        await assert_that_every_place_is_usable(family, server, client, inner._pool)


async def test_no_place_is_lost_by_bodies_that_end_at_the_deadline(
    family: Family, server: Server
) -> None:
    """The alarm of a body, with and without a reader, leaves the pool whole."""
    server.play(drip(10, every=0.01))
    client, pool = build(family, AnyTimeout(1))
    async with client:
        await fire(server, client, 0.6)
        await assert_that_every_place_is_usable(family, server, client, pool)
