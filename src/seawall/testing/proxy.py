"""Proxies in front of the server: HTTP, with CONNECT and without, and SOCKS5.

They hand their own connection on to the server, so that what a fault does to it reaches the client
as it is, and so that no name leads anywhere else.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from seawall.testing.exchange import Exchange, Headers
from seawall.testing.http1 import Reader, serve_http1

if TYPE_CHECKING:
    from seawall.testing.connection import Connection
    from seawall.testing.request import Request

_VERSION = 5
_NO_CREDENTIALS = 0
_USERNAME_AND_PASSWORD = 2
_NO_METHOD = 0xFF
_IPV4 = 1
_NAME = 3
_SUCCEEDED = 0
_NOT_ALLOWED = 2
_REFUSED = 5


async def serve_proxy(connection: Connection) -> None:
    """Do to the new connection what the script says; then speak SOCKS5 or HTTP, as it does."""
    fault = connection.server.proxy_script.for_connection()
    if fault is not None:
        await fault(Exchange(connection))
    if (await connection.peek())[0] == _VERSION:
        await _serve_socks(connection)
    else:
        await serve_http1(connection)


class SocksExchange(Exchange):
    """What a client asks of a SOCKS5 proxy (RFC 1928)."""

    def __init__(self, connection: Connection, request: Request, reader: Reader) -> None:
        super().__init__(connection)
        self._request = request
        self._reader = reader

    @property
    def request(self) -> Request:
        """What was asked: a CONNECT."""
        return self._request

    async def read_body(self) -> None:
        """There is none."""
        self._request.complete = True

    async def send_head(
        self, status: int, headers: Headers, *, length: int | None = None, data: bytes = b""
    ) -> None:
        """Open the tunnel, or refuse it for what comes closest to the status."""
        del headers, length, data
        if status < 300:
            await self.establish()
        else:
            await self._reply(_NOT_ALLOWED if status in {401, 403, 407} else _REFUSED)

    async def send_data(self, data: bytes) -> None:
        """There is no body."""

    async def end(self, trailers: Headers | None = None) -> None:
        """Send away a client that was refused."""
        del trailers
        if not self.established:
            await self.fin()

    async def establish(self) -> None:
        """Open the tunnel that was asked for."""
        self.established = self.ended = True
        await self._reply(_SUCCEEDED)
        self.connection.wire.put_back(self._reader.rest())

    async def _reply(self, code: int) -> None:
        self.answered = True
        await self.connection.stream.send(bytes([_VERSION, code, 0, _IPV4, 0, 0, 0, 0, 0, 0]))


async def _serve_socks(connection: Connection) -> None:
    reader = Reader(connection.stream)
    _, count = await reader.exactly(2)
    methods = await reader.exactly(count)
    if _NO_CREDENTIALS in methods:
        await connection.stream.send(bytes([_VERSION, _NO_CREDENTIALS]))
    elif _USERNAME_AND_PASSWORD in methods:
        # RFC 1929; whoever comes is let in.
        await connection.stream.send(bytes([_VERSION, _USERNAME_AND_PASSWORD]))
        _, length = await reader.exactly(2)
        await reader.exactly(length)
        await reader.exactly((await reader.exactly(1))[0])
        await connection.stream.send(bytes([1, 0]))
    else:
        await connection.stream.send(bytes([_VERSION, _NO_METHOD]))
        await Exchange(connection).fin()
    _, _, _, kind = await reader.exactly(4)
    if kind == _NAME:
        host = (await reader.exactly((await reader.exactly(1))[0])).decode("latin-1")
    else:
        family, length = (socket.AF_INET, 4) if kind == _IPV4 else (socket.AF_INET6, 16)
        host = socket.inet_ntop(family, await reader.exactly(length))
    port = int.from_bytes(await reader.exactly(2))
    request = connection.new_request(
        protocol="SOCKS5", method="CONNECT", target=f"{host}:{port}", host=host, headers={}
    )
    await connection.answer(SocksExchange(connection, request, reader))
