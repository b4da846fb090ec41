"""The race of a kept connection: the server closes it while the next request is on its way."""

from __future__ import annotations

import asyncio
from typing import Any

import httpcore
import httpcore2
import pytest

from seawall import Pipeline, Retry, Verdict, constant
from seawall.http.reuse import WatchedTimeouts
from tests.http.conftest import Family
from tests.http.scripted import Ledger, Server, Step, close, hang, raw, reset, respond

pytestmark = pytest.mark.asyncio

HOUR = constant(3600)


@pytest.mark.parametrize("farewell", [close, reset], ids=["FIN", "RST"])
async def test_a_lost_connection_that_was_kept_is_retried_at_once(
    family: Family, server: Server, farewell: Step
) -> None:
    """Requirement 11: another connection will do, so there is nothing to wait for."""
    server.play(respond(), farewell, respond())
    ledger = Ledger()
    policy = Pipeline(Retry(2, backoff=HOUR), ledger)
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        assert (await client.get(server.url)).status_code == 200
        response = await asyncio.wait_for(client.get(server.url), 30)
    assert response.status_code == 200
    assert [request.connection for request in server.received] == [1, 1, 2]
    assert [verdict.retry_after for verdict in ledger.verdicts] == [None, 0.0, None]
    assert response.extensions["seawall"].waited < 30


@pytest.mark.parametrize("farewell", [close, reset], ids=["FIN", "RST"])
async def test_a_new_connection_that_is_lost_is_a_failure_like_any_other(
    family: Family, server: Server, farewell: Step
) -> None:
    """Requirement 11: a server that hangs up on a fresh connection is given the time to recover."""
    server.play(farewell)
    ledger = Ledger()
    async with family.binding.AsyncClient(policy=ledger, verify=False) as client:
        with pytest.raises((family.client.ReadError, family.client.RemoteProtocolError)):
            await client.get(server.url)
    assert [verdict.retry_after for verdict in ledger.verdicts] == [None]


async def test_other_errors_of_a_kept_connection_wait_as_usual(
    family: Family, server: Server
) -> None:
    """Requirement 11: garbage, or silence, does not come from that race."""
    ledger = Ledger()
    async with family.binding.AsyncClient(policy=ledger, verify=False, timeout=0.5) as client:
        for fault in (raw(b"NONSENSE\r\n\r\n"), hang):
            server.play(respond(), fault)
            assert (await client.get(server.url)).status_code == 200
            with pytest.raises(family.client.TransportError):
                await client.get(server.url)
    assert {verdict.retry_after for verdict in ledger.verdicts} == {None}
    assert [request.connection for request in server.received] == [2, 2]


@pytest.mark.parametrize("farewell", [close, reset], ids=["FIN", "RST"])
async def test_what_is_not_idempotent_is_not_sent_again(
    family: Family, server: Server, farewell: Step
) -> None:
    """Requirement 11: it looks the same when the server has done the work, so no safety in it."""
    server.play(respond(), farewell, respond())
    async with family.binding.AsyncClient(policy=Retry(3, backoff=HOUR), verify=False) as client:
        await client.get(server.url)
        with pytest.raises((family.client.ReadError, family.client.RemoteProtocolError)):
            await client.post(server.url, content=b"order")
    assert [request.method for request in server.received] == ["GET", "POST"]


async def test_the_users_trace_hook_and_timeouts_are_left_alone(
    family: Family, server: Server
) -> None:
    """Requirement 11: the hook hears every event of each attempt, and the timeouts are the same."""
    events: list[str] = []
    seen: list[Any] = []

    async def hook(name: str, info: Any) -> None:
        events.append(name)

    class Looking(family.client.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            seen.append(dict(request.extensions["timeout"]))
            return await super().handle_async_request(request)

    server.play(respond(503), respond())
    transport = family.binding.ResilientTransport(
        Retry(2, backoff=constant(0)), Looking(verify=False)
    )
    async with family.client.AsyncClient(transport=transport, timeout=7) as client:
        await client.get(server.url, extensions={"trace": hook})
    assert events.count("http11.send_request_headers.started") == 2
    assert seen == [{"connect": 7, "read": 7, "write": 7, "pool": 7}] * 2


@pytest.mark.parametrize("core", [httpcore, httpcore2], ids=["httpcore", "httpcore2"])
async def test_a_connection_reads_its_connect_timeout_when_it_is_made(
    core: Any, server: Server
) -> None:
    """What this stands on: a later release that reads it at other times is noticed here."""
    told: list[tuple[bool, bool]] = []
    async with core.AsyncConnectionPool() as pool:
        for _ in range(2):
            timeouts = WatchedTimeouts({"connect": 5.0, "read": 5.0, "write": 5.0, "pool": 5.0})
            async with pool.stream("GET", server.url, extensions={"timeout": timeouts}) as answer:
                await answer.aread()
            told.append((timeouts.connected, timeouts.sent))
    assert told == [(True, True), (False, True)]


async def test_where_nothing_is_known_the_wait_is_the_usual_one(family: Family) -> None:
    """Requirement 11: a transport that reads no timeouts says nothing of its connections."""
    ledger = Ledger()
    mock = family.client.MockTransport(_raise(family.client.ReadError("made up")))
    transport = family.binding.ResilientTransport(ledger, mock)
    async with family.client.AsyncClient(transport=transport) as client:
        with pytest.raises(family.client.ReadError):
            await client.get("http://server/")
    (verdict,) = ledger.verdicts
    assert isinstance(verdict, Verdict)
    assert verdict.retry_after is None


def _raise(error: Exception) -> Any:
    def handle(request: Any) -> Any:
        raise error

    return handle
