"""What a hundred requests that hang cost the requests of the same client to another origin."""

from __future__ import annotations

import asyncio

import httpx

from benchmarks.overhead import cases, own, runners
from benchmarks.overhead.measure import Group

NEIGHBORS = "A `GET` beside 100 that hang"
BESIDE = f"{own.STANDARD}, beside 100"
BARE_BESIDE = f"{cases.BARE_CLIENT}, beside 100"

HUNG = 100


async def hang(stack, client, pool, url):
    """Have requests of a client wait for ever, until the stack unwinds."""
    tasks = [asyncio.ensure_future(client.get(url, timeout=None)) for _ in range(HUNG)]

    async def end():
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(end)
    while len(pool.connections) < HUNG:
        await asyncio.sleep(0.01)


async def group(stack, url, silent_url):
    """Build clients with and without such neighbors; nothing limits their connections."""

    async def bare():
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        return await stack.enter_async_context(httpx.AsyncClient(limits=limits))

    async def ours():
        return await stack.enter_async_context(own.client_of(cases.OWN))

    bare_alone, bare_beside, alone, beside = await bare(), await bare(), await ours(), await ours()
    await hang(stack, bare_beside, bare_beside._transport._pool, silent_url)
    await hang(stack, beside, beside._transport.inner._pool, silent_url)
    clients = {
        cases.BARE_CLIENT: bare_alone,
        BARE_BESIDE: bare_beside,
        own.STANDARD: alone,
        BESIDE: beside,
    }
    variants = [cases.make(name, runners.got(client, url)) for name, client in clients.items()]
    return Group(NEIGHBORS, variants)
