"""Where the fault server listens, and what is left of it when it is closed."""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
import pytest_asyncio

from seawall.testing import FaultServer

pytest_plugins = ["seawall.testing.pytest_plugin"]

BUSY = ["silence", "stalled_body", "unread_upload", "keep_alive_fin", "tls_silence"]


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[Any, ...]]]:
    """Every address that something is bound to, or connects to."""
    seen: list[tuple[Any, ...]] = []

    class Watched(socket.socket):
        def bind(self, address: Any) -> None:
            seen.append(address)
            super().bind(address)

        def connect(self, address: Any) -> None:
            seen.append(address)
            super().connect(address)

        def connect_ex(self, address: Any) -> int:
            seen.append(address)
            return super().connect_ex(address)

    monkeypatch.setattr(socket, "socket", Watched)
    return seen


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def keep_busy(server: FaultServer, client: httpx.AsyncClient) -> None:
    """Leave requests in flight, one in each fault that hangs."""
    for item in BUSY:
        url = server.tls_url if item.startswith("tls") else server.url
        try:
            await client.post(url, content=b"x" * 3_000_000)
        except httpx.TransportError:
            pass


@pytest.mark.anyio
async def test_it_listens_on_loopback_only(sockets: list[tuple[Any, ...]]) -> None:
    """All that it binds and connects to is 127.0.0.1, also where a proxy is asked for a name."""
    async with FaultServer([*BUSY, "reset_on_accept"]) as server:
        assert server.url != server.proxy_url
        assert server.refused_url != server.full_url
        with socket.create_connection(
            ("127.0.0.1", int(server.proxy_url.rpartition(":")[2]))
        ) as tcp:
            tcp.sendall(b"CONNECT example.org:80 HTTP/1.1\r\n\r\n")
            await server.until(lambda: len(server.tunnels) == 1)
    assert len(sockets) > 4
    assert {address[0] for address in sockets} == {"127.0.0.1"}


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts what Linux lists")
@pytest.mark.filterwarnings("ignore:Async generator 'http(x|core)[.]:ResourceWarning")
@pytest.mark.anyio
async def test_closing_leaves_no_task_no_socket_and_no_warning() -> None:
    """Also with connections in the middle of everything, and with those not accepted yet."""

    async def round_trip() -> None:
        async with FaultServer(BUSY) as server:
            assert server.full_url
            assert server.refused_url
            timeout = httpx.Timeout(30, read=0.05, write=0.05, connect=0.05)
            client = httpx.AsyncClient(timeout=timeout, verify=server.ssl_context)
            await keep_busy(server, client)
            tcp = [socket.create_connection(("127.0.0.1", int(server.url[17:]))) for _ in range(5)]
        assert server.open_connections == 0
        for each in tcp:
            each.close()
        await client.aclose()

    await round_trip()
    gc.collect()
    before = open_files()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            await round_trip()
        gc.collect()
    # What trio says of the client's own generators is no matter of the server.
    assert [str(each.message) for each in told if "Async generator" not in str(each.message)] == []
    assert open_files() <= before


@pytest.mark.asyncio
async def test_no_task_is_left() -> None:
    """When the block ends, only the caller's own task is there."""
    before = asyncio.all_tasks()
    async with FaultServer(then="silence") as server:
        async with httpx.AsyncClient(timeout=0.05) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(server.url)
            assert len(asyncio.all_tasks()) > len(before)
    assert asyncio.all_tasks() == before


@pytest.mark.anyio
async def test_a_cancelled_block_closes_it_too() -> None:
    """Whatever ends the block, its ports are free."""
    with anyio.CancelScope() as scope:
        async with FaultServer() as server:
            port = int(server.url.rpartition(":")[2])
            scope.cancel()
            await anyio.sleep_forever()
    with pytest.raises(OSError):
        await anyio.connect_tcp("127.0.0.1", port)


@pytest.mark.asyncio
async def test_a_task_that_is_cancelled_while_it_closes_the_server_closes_it_first() -> None:
    """Once, twice, and at any moment: the cancellation arrives when nothing is left."""
    for turns in range(8):
        before = asyncio.all_tasks()
        closed: list[FaultServer] = []

        async def use() -> None:
            async with FaultServer(then="silence") as server:
                closed.append(server)
                async with httpx.AsyncClient(timeout=30) as client:
                    await client.get(server.url)

        task = asyncio.create_task(use())
        while not closed:
            await asyncio.sleep(0)
        await closed[0].until(lambda: closed[0].requests)
        for _ in range(2):
            task.cancel()
            for _ in range(turns):
                await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert closed[0].open_connections == 0
        assert asyncio.all_tasks() == before


@pytest.mark.anyio
async def test_what_ends_the_server_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot accept any more says so when it is closed, and leaves nothing."""

    def broken(accepted: socket.socket, *args: Any, **fields: Any) -> None:
        accepted.close()
        raise MemoryError

    with pytest.raises(ExceptionGroup) as caught:
        async with FaultServer() as server:
            monkeypatch.setattr("seawall.testing.server.Connection", broken)
            port = int(server.url.rpartition(":")[2])
            async with await anyio.connect_tcp("127.0.0.1", port) as tcp:
                with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError)):
                    await tcp.receive()
    assert caught.group_contains(MemoryError)
    monkeypatch.undo()
    async with server, httpx.AsyncClient() as client:
        assert (await client.get(server.url)).status_code == 200


@pytest_asyncio.fixture
async def server() -> AsyncIterator[FaultServer]:
    """Begun in one task and ended in another."""
    async with FaultServer([503]) as running:
        yield running


@pytest.mark.asyncio
async def test_it_may_be_a_fixture_of_pytest_asyncio(server: FaultServer) -> None:
    """A fixture whose end runs in another task than its beginning."""
    async with httpx.AsyncClient() as client:
        assert (await client.get(server.url)).status_code == 503


@pytest.mark.anyio
async def test_the_fixture_of_the_plugin(fault_server: FaultServer) -> None:
    """The server in its thread is scripted, counted and waited for like the other."""
    fault_server.play(503, "no_response")
    async with httpx.AsyncClient(verify=fault_server.ssl_context) as client:
        assert (await client.get(fault_server.tls_url)).status_code == 503
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(fault_server.tls_url)
    await fault_server.until(lambda: fault_server.open_connections == 0)
    assert len(fault_server.requests) == 2


def test_the_fixture_serves_tests_without_a_loop(fault_server: FaultServer) -> None:
    """A plain client of a plain test; the thread ends with the test."""
    assert httpx.get(fault_server.url).status_code == 200
    assert httpx2.post(fault_server.url, content=b"body").status_code == 200
    assert fault_server.bodies() == [b"", b"body"]


def test_the_thread_ends_with_the_block() -> None:
    """Also where the block raises; what a script raised arrives here too."""
    before = threading.active_count()
    with pytest.raises(KeyError):
        with FaultServer():
            raise KeyError

    async def broken(exchange: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with FaultServer([broken]) as server:
            with pytest.raises(httpx.TransportError):
                httpx.get(server.url)
    assert threading.active_count() <= before + 1
