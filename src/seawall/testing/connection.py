"""One connection, from accept to its end."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any, TypeVarTuple

import anyio
from anyio.streams.tls import TLSAttribute, TLSStream

from seawall.core.errors import UsageError
from seawall.testing.answer import Answer
from seawall.testing.exchange import Exchange
from seawall.testing.http1 import serve_http1
from seawall.testing.http2 import serve_http2
from seawall.testing.proxy import serve_proxy
from seawall.testing.request import Request
from seawall.testing.wire import Wire

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from anyio.abc import ByteStream

    from seawall.testing.script import Script
    from seawall.testing.server import FaultServer

Arguments = TypeVarTuple("Arguments")

_TLS_HANDSHAKE = 0x16
_HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# How a client leaves; none of them is the fault of a script.
GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, ssl.SSLError)


class Connection:
    """What one client connected to, and what became of it.

    Attributes:
        number: the how many-th connection of the server, from 1.
        wire: the socket.
        stream: where HTTP is spoken: TLS over the wire, or the wire itself.
        scope: cancelled, it ends the connection.
        server: whose connection it is.
    """

    def __init__(self, accepted: socket.socket, server: FaultServer, *, at_proxy: bool) -> None:
        self.server = server
        server.tally.connections += 1
        server.live.add(self)
        server.tally.changed()
        self.number = server.tally.connections
        self.wire = Wire(accepted, server.tally)
        self.stream: ByteStream = self.wire
        self.scope = anyio.CancelScope()
        self._at_proxy = at_proxy

    @property
    def script(self) -> Script:
        """What is to be done now."""
        return self.server.script

    async def run(self) -> None:
        """Serve the client until either side ends the connection."""
        try:
            with self.scope:
                await self.guard(serve_proxy if self._at_proxy else Connection.serve, self)
        finally:
            self.wire.close()
            self.server.live.discard(self)
            self.server.tally.changed()

    async def guard(
        self, serve: Callable[[*Arguments], Awaitable[None]], *args: *Arguments
    ) -> None:
        """Do something, and let its failure end the connection; an error of a script is kept."""
        try:
            await serve(*args)
        except GONE:
            self.scope.cancel()
        except Exception as error:
            self.server.tally.errors.append(error)
            self.wire.reset_on_close()
            self.scope.cancel()

    async def serve(self) -> None:
        """Do to the new connection what the script says, and then answer its requests."""
        fault = self.script.for_connection()
        if fault is not None:
            await fault(Exchange(self))
        if self.stream is self.wire and (await self.peek())[0] == _TLS_HANDSHAKE:
            await self.handshake(self.server.certificates.server())
        if await self._speaks_http2():
            await serve_http2(self)
        else:
            await serve_http1(self)

    async def _speaks_http2(self) -> bool:
        if self.stream is not self.wire:
            return self.stream.extra(TLSAttribute.alpn_protocol, None) == "h2"  # noqa: S610 - no database
        return (await self.peek()).startswith(_HTTP2_PREFACE)

    async def peek(self) -> bytes:
        """Return the next bytes of the client and leave them unread."""
        first = await self.wire.receive()
        self.wire.put_back(first)
        return first

    async def handshake(self, context: ssl.SSLContext) -> None:
        """Begin TLS.

        Raises:
            UsageError: the client speaks no TLS.
        """
        if (await self.peek())[0] != _TLS_HANDSHAKE:
            raise UsageError(
                "a certificate can only be shown over TLS.\n"
                "  wrong: client.get(server.url)\n"
                "  right: client.get(server.tls_url)"
            )
        self.stream = await TLSStream.wrap(
            self.wire, server_side=True, ssl_context=context, standard_compatible=False
        )

    def new_request(self, **fields: Any) -> Request:
        """Count a request of this connection, or what it asks of a proxy."""
        tally = self.server.tally
        counted = tally.tunnels if fields["method"] == "CONNECT" else tally.requests
        request = Request(
            number=len(counted) + 1,
            connection=self.number,
            secure=self.stream is not self.wire,
            proxied=self._at_proxy,
            **fields,
        )
        counted.append(request)
        tally.changed()
        return request

    async def answer(self, exchange: Exchange) -> None:
        """Do what the script says about a request, and what it leaves undone."""
        request = exchange.request
        tunnel = request.method == "CONNECT"
        item = await (self.server.proxy_script if tunnel else self.script).for_request(request)
        if item.at == "request":
            await exchange.read_body()
        await item(exchange)
        if not exchange.answered:
            await (exchange.establish() if tunnel else Answer()(exchange))
        await exchange.finish()
        self.server.tally.changed()
        if exchange.established:
            await self.serve()
