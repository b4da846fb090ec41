"""What a step of a fault can do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

from seawall.core.errors import UsageError

if TYPE_CHECKING:
    from seawall.testing.connection import Connection
    from seawall.testing.request import Request

Headers = list[tuple[str, str]]


class Exchange:
    """A connection, and from the head of a request on that request and the answer to it.

    A step uses the parts of an answer (``send_head``, ``send_data``, ``end``), which mean the same
    on HTTP/1.1 and HTTP/2, or goes beneath HTTP (``send_raw``, ``fin``, ``reset``, ``close``).

    Attributes:
        connection: the connection, with its stream and its wire.
        answered: whether anything was sent.
        ended: whether the answer is complete.
        established: whether it became a tunnel.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.answered = False
        self.established = False
        self.ended = False

    @property
    def request(self) -> Request:
        """The request; its body is there once it was read.

        Raises:
            UsageError: the connection was only just accepted.
        """
        raise self._too_early("request")

    async def read_body(self) -> None:
        """Read what is left of the request's body."""
        raise self._too_early("read_body()")

    async def send_head(
        self, status: int, headers: Headers, *, length: int | None = None, data: bytes = b""
    ) -> None:
        """Begin the answer, with a body of so many bytes or, by default, of unknown length.

        Args:
            status: the status code.
            headers: its headers; the framing is added.
            length: bytes of the body; ``None`` makes it chunked on HTTP/1.1.
            data: the first bytes of the body, sent together with the head.
        """
        raise self._too_early("send_head()")

    async def send_data(self, data: bytes) -> None:
        """Send some of the answer's body: one chunk where it is chunked."""
        raise self._too_early("send_data()")

    async def end(self, trailers: Headers | None = None) -> None:
        """End the answer."""
        raise self._too_early("end()")

    async def establish(self) -> None:
        """Open the tunnel that was asked for."""
        raise UsageError("only a CONNECT can become a tunnel; play_proxy() says what to do to it")

    async def finish(self) -> None:
        """Read what is left of the request, and end its answer."""
        await self.read_body()
        if not self.ended:
            await self.end()

    async def reset_stream(self, code: int) -> None:
        """End this stream alone, with an RST_STREAM of HTTP/2."""
        raise UsageError(f"reset_stream({code}) needs HTTP/2")

    async def goaway(self, *, processed: bool, code: int) -> None:
        """Announce the end of the connection with a GOAWAY of HTTP/2.

        Args:
            processed: whether this stream still counts as received.
            code: the error code.
        """
        raise UsageError(f"goaway(processed={processed}, code={code}) needs HTTP/2")

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are: beneath HTTP, and inside of TLS where there is TLS."""
        self.answered = self.ended = True
        await self.connection.stream.send(data)

    async def receive(self) -> bytes:
        """Return bytes of the client that nothing else has read."""
        return await self.connection.wire.receive()

    async def fin(self) -> None:
        """Send no more on this connection, and read on until the client ends it too."""
        self.connection.wire.fin()
        await self.hang()

    async def reset(self) -> None:
        """End the connection with a RST, once the client has all that was sent before."""
        await self.connection.wire.delivered()
        self.connection.wire.reset_on_close()
        await self.close()

    async def close(self) -> None:
        """Close the socket: a RST, where the client sent what was not read, and else a FIN."""
        self.connection.scope.cancel()
        await anyio.sleep_forever()

    async def hang(self) -> None:
        """Say nothing, until the client ends the connection."""
        while True:
            await self.connection.wire.receive()

    def _too_early(self, what: str) -> UsageError:
        return UsageError(
            f"a fault at 'accept' has no {what}: no request has arrived.\n"
            "  wrong: Fault('mine', reset_in(...), at='accept')\n"
            "  right: Fault('mine', ...), which runs when a request has arrived"
        )
