"""HTTP/1.1 of a server that is told what to do wrong."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from seawall.testing.exchange import Exchange, Headers
from seawall.testing.request import Request, join_headers

if TYPE_CHECKING:
    from anyio.abc import ByteStream

    from seawall.testing.connection import Connection

_LONGEST_HEAD = 1024 * 1024


class Reader:
    """Lines and counted bytes of a stream."""

    def __init__(self, stream: ByteStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def _more(self) -> None:
        self._buffer += await self._stream.receive()

    async def until(self, mark: bytes) -> bytes:
        """Return the bytes up to and with the mark."""
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > _LONGEST_HEAD:
                raise ValueError(f"no {mark!r} within {_LONGEST_HEAD} bytes")
            await self._more()
        return self._take(at + len(mark))

    async def some(self, most: int) -> bytes:
        """Return at least one byte and at most so many."""
        if not self._buffer:
            await self._more()
        return self._take(most)

    async def exactly(self, count: int) -> bytes:
        """Return so many bytes."""
        while len(self._buffer) < count:
            await self._more()
        return self._take(count)

    def rest(self) -> bytes:
        """Return what was read too far."""
        return self._take(len(self._buffer))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken


class Http1Exchange(Exchange):
    """One request of a connection, and its answer."""

    def __init__(self, connection: Connection, request: Request, reader: Reader) -> None:
        super().__init__(connection)
        self._request = request
        self._reader = reader
        self._chunked = False
        self._silent = request.method == "HEAD"
        self.persistent = (
            request.protocol == "HTTP/1.1" and request.headers.get("connection") != "close"
        )
        request.read_by(self.read_body)

    @property
    def request(self) -> Request:
        """The request."""
        return self._request

    async def read_body(self) -> None:
        """Read what is left of the request's body."""
        request = self._request
        if request.complete:
            return
        if request.headers.get("expect", "").lower() == "100-continue":
            await self.connection.stream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if request.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int((await self._reader.until(b"\r\n")).split(b";")[0], 16):
                await self._read(size)
                await self._reader.until(b"\r\n")
            while await self._reader.until(b"\r\n") != b"\r\n":
                pass
        else:
            await self._read(int(request.headers.get("content-length", "0")) - len(request.body))
        request.complete = True

    async def _read(self, size: int) -> None:
        while size:
            data = await self._reader.some(size)
            self._request.arrived(data)
            size -= len(data)

    async def send_head(
        self, status: int, headers: Headers, *, length: int | None = None, data: bytes = b""
    ) -> None:
        """Begin the answer."""
        self.answered = True
        lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if status < 200 or status in {204, 304}:
            self._silent = True
        elif length is None:
            self._chunked = True
            lines.append("transfer-encoding: chunked")
        elif "content-length" not in join_headers(headers):
            lines.append(f"content-length: {length}")
        if self.persistent and self.connection.script.connection_is_next:
            self.persistent = False
        if not self.persistent:
            lines.append("connection: close")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        await self.connection.stream.send(head + self._framed(data))

    async def send_data(self, data: bytes) -> None:
        """Send some of the answer's body."""
        if framed := self._framed(data):
            await self.connection.stream.send(framed)

    def _framed(self, data: bytes) -> bytes:
        if self._silent or not data:
            return b""
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data

    async def end(self, trailers: Headers | None = None) -> None:
        """End the answer."""
        self.ended = True
        if self._chunked and not self._silent:
            lines = [f"{name}: {value}\r\n" for name, value in trailers or ()]
            last = "".join(["0\r\n", *lines, "\r\n"]).encode("latin-1")
            await self.connection.stream.send(last)

    async def establish(self) -> None:
        """Open the tunnel that was asked for."""
        self.answered = self.ended = self.established = True
        self.persistent = False
        await self.connection.stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        self.connection.wire.put_back(self._reader.rest())


async def serve_http1(connection: Connection) -> None:
    """Answer the requests of a connection, one after another, until one of them is the last."""
    reader = Reader(connection.stream)
    persistent = True
    while persistent:
        try:
            head = await reader.until(b"\r\n\r\n")
            exchange = _begin(connection, head.decode("latin-1"), reader)
        except ValueError:
            await connection.stream.send(
                b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            break
        await connection.answer(exchange)
        persistent = exchange.persistent
    connection.wire.fin()
    while True:
        await connection.wire.receive()


def _begin(connection: Connection, head: str, reader: Reader) -> Http1Exchange:
    first, *lines = head.split("\r\n")[:-2]
    method, target, protocol = first.split(" ")
    pairs: Headers = []
    for line in lines:
        name, value = line.split(":", 1)
        pairs.append((name, value.strip()))
    headers = join_headers(pairs)
    host = headers.get("host", "")
    if "://" in target:
        # What a client asks of a proxy, for plain HTTP.
        host, _, path = target.split("://", 1)[1].partition("/")
        target = f"/{path}"
    request = connection.new_request(
        protocol=protocol, method=method, target=target, host=host, headers=headers
    )
    return Http1Exchange(connection, request, reader)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
