"""Requests that are hedged: what is sent twice, what never is, and what becomes of the loser."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

from seawall import Bulkhead, Hedge, Pipeline
from tests.http.conftest import Family
from tests.http.scripted import Ledger, Server, drip, hang, respond

pytestmark = pytest.mark.asyncio


def hedged() -> tuple[Hedge, Ledger, Pipeline]:
    hedge, ledger = Hedge(0.05, budget=None), Ledger()
    return hedge, ledger, Pipeline(hedge, Bulkhead(2), ledger)


async def test_the_hedge_of_a_request_wins(family: Family, server: Server) -> None:
    """It is sent twice, on two connections; the loser is neutral, and holds nothing."""
    hedge, ledger, pipeline = hedged()
    server.play(hang, respond(200, b"second"))
    async with family.binding.AsyncClient(policy=pipeline, verify=False) as client:
        response = await client.put(server.url, content=b"body")
        assert (response.status_code, response.content) == (200, b"second")
        assert [request.body for request in server.received] == [b"body", b"body"]
        assert len({request.connection for request in server.received}) == 2
        assert sorted(ledger.kinds) == ["neutral", "success"]
        assert (ledger.held, ledger.given_back) == (0, 2)
        assert hedge.snapshot().won == 1


async def test_the_winner_may_be_streamed(family: Family, server: Server) -> None:
    """Its body is read after the race, and holds its slot until then; the loser's slot is free."""
    hedge, ledger, pipeline = hedged()
    server.play(hang, drip(3, every=0.01))
    async with (
        family.binding.AsyncClient(policy=pipeline, verify=False) as client,
        client.stream("GET", server.url) as response,
    ):
        assert (ledger.held, ledger.given_back) == (1, 1)
        assert await response.aread() == b"xxx"
    assert (ledger.held, ledger.given_back) == (0, 2)
    assert hedge.snapshot().in_flight == 0


async def test_a_failed_first_response_is_closed(family: Family, server: Server) -> None:
    """A 503 does not win against a hedge that still runs; its body is closed, not leaked."""
    _, ledger, pipeline = hedged()
    server.play(respond(503, b"busy", delay=0.1), respond(200, b"second", delay=0.2))
    async with family.binding.AsyncClient(policy=pipeline, verify=False) as client:
        response = await client.get(server.url)
        assert (response.status_code, response.content) == (200, b"second")
        assert sorted(ledger.kinds) == ["failure", "success"]
        assert (ledger.held, ledger.given_back) == (0, 2)


async def test_if_all_fail_the_first_response_is_returned(family: Family, server: Server) -> None:
    """The caller can read it, and the other one is closed."""
    _, ledger, pipeline = hedged()
    server.play(respond(503, b"first", delay=0.1), respond(500, b"second", delay=0.1))
    async with family.binding.AsyncClient(policy=pipeline, verify=False) as client:
        response = await client.get(server.url)
        assert (response.status_code, response.content) == (503, b"first")
        assert (ledger.held, ledger.given_back) == (0, 2)


class Iterated:
    """A body that is no generator."""

    async def __aiter__(self) -> Any:
        yield b"once"


@pytest.mark.parametrize(
    "how",
    [
        {"method": "POST", "content": b"body"},
        {"method": "PUT", "content": Iterated()},
        {"method": "PUT", "files": {"file": io.BytesIO(b"file")}},
    ],
    ids=["not idempotent", "an iterator", "a file"],
)
async def test_what_must_not_be_sent_twice_at_a_time_is_not(
    family: Family, server: Server, how: dict[str, Any]
) -> None:
    """What is not idempotent, and bodies that are read while they are sent, as a file is."""
    hedge, _, pipeline = hedged()
    server.play(respond(200, b"first", delay=0.15), respond(200, b"second"))
    async with family.binding.AsyncClient(policy=pipeline, verify=False) as client:
        response = await client.request(url=server.url, **how)
        assert response.content == b"first"
        await asyncio.sleep(0)
    assert len(server.received) == 1
    assert hedge.snapshot().not_repeatable == 1
