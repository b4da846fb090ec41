"""The server over real sockets, one behavior at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from random import Random

import httpx
import pytest

from benchmarks.demo.script import Phase, Script
from benchmarks.demo.server import QUEUE, Server

pytestmark = pytest.mark.asyncio


@contextlib.asynccontextmanager
async def serving(*phases, seconds=1.0, **client_arguments):
    client_arguments = {"timeout": 5.0, "limits": httpx.Limits(), **client_arguments}
    async with Server(Script(seconds, phases), Random(1)) as server:
        async with httpx.AsyncClient(base_url=server.url, **client_arguments) as client:
            yield server, client


async def outcome(client):
    try:
        return (await client.get("/")).status_code
    except httpx.HTTPError as error:
        return type(error)


async def test_healthy():
    """A healthy server answers, and its connections are used again."""
    async with serving(Phase("healthy", 1.0, "")) as (server, client):
        responses = [await client.get("/") for _ in range(3)]
        assert [response.status_code for response in responses] == [200, 200, 200]
        streams = {id(response.extensions["network_stream"]) for response in responses}
        assert len(streams) == 1
        assert server.requests[0] == 3
        assert server.in_progress == 0


async def test_errors():
    """When all requests fail they end in a 500, a 502, a 503 or a reset."""
    async with serving(Phase("down", 1.0, "", errors=1.0)) as (_, client):
        seen = Counter([await outcome(client) for _ in range(60)])
    assert set(seen) == {500, 502, 503, httpx.ReadError}


async def test_some_errors():
    """When a part of the requests fails, the others are answered."""
    async with serving(Phase("flaky", 1.0, "", errors=0.5, service=0.001)) as (_, client):
        seen = Counter([await outcome(client) for _ in range(60)])
    assert set(seen) == {200, 502, 503, httpx.ReadError}
    assert 15 <= seen[200] <= 45


async def test_hanging():
    """A request that hangs is in progress until its client gives up."""
    phase = Phase("hanging", 1.0, "", hangs=True)
    async with serving(phase, timeout=0.05) as (server, client):
        assert await outcome(client) is httpx.ReadTimeout
        assert server.requests[0] == 1
        async with asyncio.timeout(2.0):
            while server.in_progress:
                await asyncio.sleep(0.005)


async def test_overload():
    """A server that is overloaded fills its queue and turns the rest away with Retry-After."""
    phase = Phase("overload", 1.0, "", workers=1, service=0.002)
    async with serving(phase) as (_, client):
        responses = await asyncio.gather(*(client.get("/") for _ in range(QUEUE + 30)))
    turned_away = [response for response in responses if response.status_code == 503]
    served = [response for response in responses if response.status_code == 200]
    assert len(served) >= QUEUE + 1
    assert turned_away
    assert {response.headers["Retry-After"] for response in turned_away} == {"1"}


async def test_next_phase():
    """The script goes on with time, and the load is accounted to the phase that it met."""
    phases = (Phase("down", 0.5, "", errors=1.0), Phase("recovery", 0.5, ""))
    async with serving(*phases, seconds=1.0) as (server, client):
        server.begin()
        assert await outcome(client) != 200
        await asyncio.sleep(0.55)
        assert await outcome(client) == 200
        assert server.requests == Counter({0: 1, 1: 1})


async def test_closing():
    """A server that is closed in the middle of a request leaves nothing running."""
    before = asyncio.all_tasks()
    async with serving(Phase("hanging", 1.0, "", hangs=True)) as (server, client):
        request = asyncio.create_task(outcome(client))
        while not server.in_progress:
            await asyncio.sleep(0.005)
        await server.__aexit__()
        assert issubclass(await request, httpx.TransportError)
    assert asyncio.all_tasks() == before
