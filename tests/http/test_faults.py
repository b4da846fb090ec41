"""What each fault of a server becomes: its class, its verdict, and whether it is tried again."""

from __future__ import annotations

import asyncio
import gzip
import socket

import pytest

from seawall import Pipeline, Retry, constant
from tests.http.conftest import Family
from tests.http.scripted import (
    Ledger,
    Server,
    Step,
    close,
    drip,
    hang,
    head,
    raw,
    reset,
    respond,
)

pytestmark = pytest.mark.asyncio


def policies() -> tuple[Pipeline, Ledger]:
    ledger = Ledger()
    return Pipeline(Retry(2, backoff=constant(0), budget=None), ledger), ledger


@pytest.mark.parametrize(
    "fault, error",
    [
        (close, "RemoteProtocolError"),
        (raw(b"HTTP/1.1 200 OK\r\nConte", close), "RemoteProtocolError"),
        (reset, "ReadError"),
        (raw(b"HTTP/1.1 200 OK\r\nConte", reset), "ReadError"),
        (hang, "ReadTimeout"),
        (raw(b"HTTP/1.1 200 OK\r\nConte", hang), "ReadTimeout"),
        (raw(b"NONSENSE\r\n\r\n", hang), "RemoteProtocolError"),
        (raw(b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", hang), "RemoteProtocolError"),
        (raw(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000, hang), "RemoteProtocolError"),
    ],
    ids=[
        "FIN",
        "cut head",
        "RST",
        "RST in head",
        "silence",
        "stalled head",
        "garbage",
        "bad header",
        "huge header",
    ],
)
async def test_a_fault_before_the_headers(
    family: Family, server: Server, fault: Step, error: str
) -> None:
    """It counts as a failure; a GET is tried again, and a POST is not."""
    timeout = family.client.Timeout(5, read=0.1)
    for method, attempts in (("GET", 2), ("POST", 1)):
        server.play(fault)
        policy, ledger = policies()
        async with family.binding.AsyncClient(
            policy=policy, verify=False, timeout=timeout
        ) as client:
            with pytest.raises(getattr(family.client, error)) as caught:
                await client.request(method, server.url)
            assert type(caught.value).__name__ == error
            server.play(fault, respond())
            if method == "GET":
                assert (await client.get(server.url)).status_code == 200
        assert ledger.kinds[:attempts] == ["failure"] * attempts
        assert ledger.held == 0


@pytest.mark.parametrize(
    "fault, error",
    [
        (raw(head(200, {}, 100) + b"half", close), "RemoteProtocolError"),
        (raw(head(200, {}, None) + b"4\r\nhalf\r\n", close), "RemoteProtocolError"),
        (raw(head(200, {}, None) + b"zz\r\nhalf\r\n", hang), "RemoteProtocolError"),
        (raw(head(200, {}, 100) + b"half", reset), "ReadError"),
        (raw(head(200, {}, 100) + b"half", hang), "ReadTimeout"),
    ],
    ids=["truncated", "chunked cut", "bad chunk", "RST", "stalled"],
)
async def test_a_fault_in_the_body(family: Family, server: Server, fault: Step, error: str) -> None:
    """The response was handed out, so it is not tried again; the attempt failed all the same."""
    server.play(fault)
    policy, ledger = policies()
    timeout = family.client.Timeout(5, read=0.1)
    async with family.binding.AsyncClient(policy=policy, verify=False, timeout=timeout) as client:
        with pytest.raises(getattr(family.client, error)) as caught:
            await client.get(server.url)
        assert type(caught.value).__name__ == error
        assert (ledger.kinds, ledger.held) == (["failure"], 0)
        assert len(server.received) == 1
        pool = client._transport.inner._pool
        assert pool._requests == []
        assert pool._connections == []


@pytest.mark.parametrize(
    "answer",
    [
        drip(5, every=0.01),
        raw(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", close),
        raw(b"HTTP/1.1 100 Continue\r\n\r\n" + head(200, {}, 2) + b"ok"),
    ],
    ids=["dripping", "ended by FIN", "interim"],
)
async def test_what_is_slow_or_old_is_no_fault(
    family: Family, server: Server, answer: Step
) -> None:
    """A body that comes in drops, or ends with the connection, is a success."""
    server.play(answer)
    policy, ledger = policies()
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        assert (await client.get(server.url)).status_code == 200
    assert (ledger.kinds, ledger.held) == (["success"], 0)


async def test_a_body_that_cannot_be_decoded_is_not_the_transports_fault(
    family: Family, server: Server
) -> None:
    """Bad gzip surfaces above the transport, which has closed the body by then."""
    body = gzip.compress(b"x" * 1000)[:-20] + b"y" * 20
    server.play(respond(body=body, headers={"content-encoding": "gzip"}))
    policy, ledger = policies()
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        with pytest.raises(family.client.DecodingError):
            await client.get(server.url)
    assert (len(ledger.kinds), ledger.held, len(server.received)) == (1, 0, 1)


async def test_a_port_where_nobody_listens(family: Family) -> None:
    """A refused connection is a failure, and safe to try again with every method."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    policy, ledger = policies()
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        with pytest.raises(family.client.ConnectError) as caught:
            await client.post(url, content=b"body")
    assert [verdict.unprocessed for verdict in ledger.verdicts] == [True, True]
    assert ledger.kinds == ["failure", "failure"]
    assert (
        "gave up after 2 attempts: ConnectError, slept 0 s, ConnectError"
        in (caught.value.__notes__[0])
    )


async def test_a_hung_pool_says_nothing_about_the_dependency(
    family: Family, server: Server
) -> None:
    """A ``PoolTimeout`` is neutral, and the request was never sent."""
    server.play(hang)
    policy, ledger = policies()
    inner = family.client.AsyncHTTPTransport(
        verify=False, limits=family.client.Limits(max_connections=1)
    )
    transport = family.binding.ResilientTransport(policy, inner)
    timeout = family.client.Timeout(0.3, pool=0.02)
    async with family.client.AsyncClient(transport=transport, timeout=timeout) as client:
        holder = asyncio.create_task(client.get(server.url))
        await asyncio.sleep(0.1)
        with pytest.raises(family.client.PoolTimeout):
            await client.post(server.url)
        holder.cancel()
        await asyncio.wait({holder})
    assert ledger.kinds == ["neutral", "neutral", "neutral"]
    assert all(verdict.unprocessed for verdict in ledger.verdicts[:2])


@pytest.mark.parametrize("farewell", [close, reset], ids=["FIN", "RST"])
async def test_a_kept_connection_that_the_server_gave_up(
    family: Family, server: Server, farewell: Step
) -> None:
    """The race of a reused connection is a failure that a GET survives."""
    policy, ledger = policies()
    async with family.binding.AsyncClient(policy=policy, verify=False) as client:
        server.play(respond(), farewell, respond())
        assert (await client.get(server.url)).status_code == 200
        assert (await client.get(server.url)).status_code == 200
    assert ledger.kinds == ["success", "failure", "success"]
    assert [request.connection for request in server.received] == [1, 1, 2]


async def test_a_tunnel_that_fails_costs_the_pool_no_place(family: Family, server: Server) -> None:
    """Requirement 7: both families lose a place where TLS fails inside a proxy's tunnel."""
    server.play(raw(b"HTTP/1.1 200 Connection established\r\n\r\nthis is no TLS", close))
    policy, ledger = policies()
    inner = family.client.AsyncHTTPTransport(
        verify=False, proxy=server.url, limits=family.client.Limits(max_connections=2)
    )
    transport = family.binding.ResilientTransport(policy, inner)
    timeout = family.client.Timeout(2, pool=0.5)
    async with family.client.AsyncClient(transport=transport, timeout=timeout) as client:
        for _ in range(4):
            with pytest.raises(family.client.ConnectError):
                await client.post("https://server.example/")
    assert len(server.received) == 8
    assert ledger.kinds == ["failure"] * 8
    assert inner._pool._connections == []


@pytest.mark.parametrize("status, kind, attempts", [(407, "neutral", 1), (503, "failure", 2)])
async def test_a_proxy_that_refuses(
    family: Family, server: Server, status: int, kind: str, attempts: int
) -> None:
    """A 407 asks for credentials and is not tried again; anything else was never sent on."""
    server.play(respond(status))
    policy, ledger = policies()
    inner = family.client.AsyncHTTPTransport(verify=False, proxy=server.url)
    transport = family.binding.ResilientTransport(policy, inner)
    async with family.client.AsyncClient(transport=transport) as client:
        with pytest.raises(family.client.ProxyError):
            await client.post("https://server.example/")
    assert ledger.kinds == [kind] * attempts
