"""Proxies in front of the fault server."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from socksio.exceptions import ProtocolError

from seawall.testing import Fault, FaultServer
from seawall.testing.steps import fin, send_raw

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[httpx, httpx2], ids=["httpx", "httpx2"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


@pytest.fixture(params=["proxy_url", "socks_url"], ids=["HTTP", "SOCKS5"])
def proxy(request: pytest.FixtureRequest) -> str:
    return request.param


# Where SOCKS fails, both clients lose their socket, and socksio's errors cross them as they are.
lose_sockets = pytest.mark.filterwarnings("ignore:unclosed (<socket|transport):ResourceWarning")


@pytest.fixture
def lost_sockets() -> Iterator[None]:
    """What the client has lost is found within the test that filters the warning."""
    yield
    gc.collect()


def through(library: ModuleType, server: FaultServer, proxy: str, **options: Any) -> Any:
    return library.AsyncClient(proxy=getattr(server, proxy), verify=server.ssl_context, **options)


@pytest.mark.parametrize("http2", [False, True], ids=["HTTP/1.1", "HTTP/2"])
async def test_a_tunnel_leads_to_the_server_whatever_name_is_asked_for(
    library: ModuleType, proxy: str, http2: bool
) -> None:
    """The certificate is good for the names in ``hosts``, and nothing else is connected to."""
    async with FaultServer(hosts=["api.example"]) as server:
        async with through(library, server, proxy, http2=http2) as client:
            for url in (server.tls_url, "https://api.example/v1"):
                response = await client.post(url, content=b"body")
                assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
        assert [tunnel.target for tunnel in server.tunnels][1] == "api.example:443"
        assert [request.host for request in server.requests][1] == "api.example"
        assert server.bodies() == [b"body", b"body"]
        assert all(request.proxied and request.secure for request in server.requests)
        assert server.connections == 2


async def test_plain_http_through_a_proxy(library: ModuleType, proxy: str) -> None:
    """An HTTP proxy is asked for the whole URL, a SOCKS proxy for a tunnel."""
    async with FaultServer([201, "reset_after_request"]) as server:
        async with through(library, server, proxy) as client:
            assert (await client.get("http://api.example/a?b=1")).status_code == 201
            with pytest.raises(library.ReadError):
                await client.get("http://api.example/a")
        request = server.requests[0]
        assert (request.host, request.target, request.proxied) == ("api.example", "/a?b=1", True)
        assert not request.secure
        assert len(server.tunnels) == (proxy == "socks_url")


@pytest.mark.parametrize("fault, error", [("tls_reset", "ConnectError"), (503, None)])
async def test_faults_reach_through_a_tunnel(
    library: ModuleType, proxy: str, fault: Any, error: str | None
) -> None:
    """A fault of a connection befalls the tunnel, and one of a request the request in it."""
    async with FaultServer([fault]) as server:
        async with through(library, server, proxy) as client:
            if error is None:
                assert (await client.get(server.tls_url)).status_code == fault
            else:
                with pytest.raises(getattr(library, error)):
                    await client.get(server.tls_url)
        assert len(server.tunnels) == 1


@lose_sockets
@pytest.mark.usefixtures("lost_sockets")
@pytest.mark.parametrize("status", [407, 503])
async def test_a_proxy_that_refuses(library: ModuleType, proxy: str, status: int) -> None:
    """A status refuses the tunnel on both kinds, and the next one is let through."""
    async with FaultServer(proxy=[status]) as server:
        async with through(library, server, proxy) as client:
            with pytest.raises(library.ProxyError):
                await client.get(server.tls_url)
            assert server.requests == []
            assert (await client.get(server.tls_url)).status_code == 200
        assert len(server.tunnels) == 2


@lose_sockets
@pytest.mark.usefixtures("lost_sockets")
async def test_a_proxy_that_fails(library: ModuleType, proxy: str) -> None:
    """Any fault can befall the question for a tunnel."""
    garbage = Fault("garbage", send_raw(b"HTTP/1.1 200 Yes\r\n\r\nthis is no TLS"), fin)
    async with FaultServer() as server:
        server.play_proxy("reset_after_request", garbage)
        async with through(library, server, proxy) as client:
            for _ in range(2):
                with pytest.raises((library.TransportError, ProtocolError)):
                    await client.get(server.tls_url)
        assert (len(server.tunnels), server.requests) == (2, [])


@lose_sockets
@pytest.mark.usefixtures("lost_sockets")
@pytest.mark.parametrize("fault", ["fin_on_accept", "reset_on_accept"])
async def test_a_proxy_that_ends_the_connection_at_once(
    library: ModuleType, proxy: str, fault: str
) -> None:
    """A fault of a connection befalls the next one to the proxy, and none of the server."""
    async with FaultServer(proxy=[fault]) as server:
        async with through(library, server, proxy) as client:
            with pytest.raises((library.TransportError, ProtocolError)):
                await client.get(server.tls_url)
            assert (await client.get(server.tls_url)).status_code == 200
        assert (len(server.tunnels), server.connections) == (1, 2)


async def test_credentials_are_let_in_and_recorded(library: ModuleType) -> None:
    """With a name and a password, both proxies open the tunnel."""
    async with FaultServer() as server:
        for scheme in ("http", "socks5"):
            url = server.proxy_url.replace("http://", f"{scheme}://user:word@")
            async with library.AsyncClient(proxy=url, verify=server.ssl_context) as client:
                assert (await client.get(server.tls_url)).status_code == 200
        assert server.tunnels[0].headers["proxy-authorization"].startswith("Basic ")
        assert [tunnel.protocol for tunnel in server.tunnels] == ["HTTP/1.1", "SOCKS5"]


async def test_socks_of_addresses_and_of_no_method() -> None:
    """An IPv6 address is understood, and a client without a method in common is sent away."""
    async with FaultServer() as server:
        port = int(server.socks_url.rpartition(":")[2])
        async with await anyio.connect_tcp("127.0.0.1", port) as tcp:
            await tcp.send(b"\x05\x01\x00\x05\x01\x00\x04" + bytes(15) + b"\x01\x00\x50")
            await server.until(lambda: len(server.tunnels) == 1)
            assert server.tunnels[0].target == "::1:80"
        async with await anyio.connect_tcp("127.0.0.1", port) as tcp:
            await tcp.send(b"\x05\x01\x7f")
            assert await tcp.receive() == b"\x05\xff"
            with pytest.raises(anyio.EndOfStream):
                await tcp.receive()
