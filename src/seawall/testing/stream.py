"""One stream of HTTP/2, and what can be done wrong on it."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import anyio

from seawall.testing.exchange import Exchange, Headers
from seawall.testing.request import join_headers

if TYPE_CHECKING:
    from seawall.testing.http2 import Http2Connection
    from seawall.testing.request import Request


class Http2Exchange(Exchange):
    """One stream: a request and its answer."""

    def __init__(self, http2: Http2Connection, stream: int, request: Request) -> None:
        super().__init__(http2.connection)
        self.scope = anyio.CancelScope()
        self._http2 = http2
        self._stream = stream
        self._request = request
        self._unacknowledged: int | None = 0
        self._complete = anyio.Event()
        self._silent = request.method == "HEAD"
        self._is_reset = False
        request.read_by(self.read_body)

    async def run(self) -> None:
        """Do what the script says."""
        try:
            with self.scope:
                await self.connection.guard(self._answer)
        finally:
            del self._http2.exchanges[self._stream]

    async def _answer(self) -> None:
        try:
            await self.connection.answer(self)
        except self._http2.errors.ProtocolError:
            # The client may have ended the stream just before something was sent on it.
            if not self.scope.cancel_called:
                raise

    @property
    def request(self) -> Request:
        """The request."""
        return self._request

    def arrived(self, data: bytes, size: int) -> None:
        """Take note of a part of the body; the client may send more only if somebody reads."""
        self._request.arrived(data)
        if self._unacknowledged is None:
            self._http2.state.acknowledge_received_data(size, self._stream)
        else:
            self._unacknowledged += size

    def complete(self) -> None:
        """Take note that the request is complete."""
        self._request.complete = True
        self._complete.set()

    async def read_body(self) -> None:
        """Read what is left of the request's body."""
        if self._unacknowledged:
            self._http2.state.acknowledge_received_data(self._unacknowledged, self._stream)
        self._unacknowledged = None
        await self._http2.flush()
        await self._complete.wait()

    async def send_head(
        self, status: int, headers: Headers, *, length: int | None = None, data: bytes = b""
    ) -> None:
        """Begin the answer."""
        self.answered = True
        pairs = [(":status", str(status)), *((name.lower(), value) for name, value in headers)]
        if status < 200 or status in {204, 304}:
            self._silent = True
        elif length is not None and "content-length" not in join_headers(headers):
            pairs.append(("content-length", str(length)))
        self._http2.state.send_headers(self._stream, pairs)
        await self._http2.flush()
        await self.send_data(data)

    async def send_data(self, data: bytes) -> None:
        """Send some of the answer's body, as the client takes it."""
        state = self._http2.state
        while data and not self._silent:
            room = min(state.local_flow_control_window(self._stream), state.max_outbound_frame_size)
            if room > 0:
                state.send_data(self._stream, data[:room])
                data = data[room:]
                await self._http2.flush()
            else:
                await self._http2.window_opened()

    async def end(self, trailers: Headers | None = None) -> None:
        """End the answer."""
        self.ended = True
        if trailers:
            self._http2.state.send_headers(self._stream, trailers, end_stream=True)
        else:
            self._http2.state.end_stream(self._stream)
        if self.connection.script.connection_is_next and len(self._http2.exchanges) == 1:
            await self._http2.flush(self._goaway(self._stream, 0))
            self.connection.wire.fin()
        else:
            await self._http2.flush()

    async def finish(self) -> None:
        """Read what is left of the request, and end its answer, unless it was reset."""
        if not self._is_reset:
            await super().finish()

    async def reset_stream(self, code: int) -> None:
        """End this stream alone, with an RST_STREAM."""
        self.answered = self.ended = self._is_reset = True
        self._http2.state.reset_stream(self._stream, code)
        await self._http2.flush()

    async def goaway(self, *, processed: bool, code: int) -> None:
        """Announce the end of the connection with a GOAWAY; what was begun may go on."""
        last = self._stream if processed else max(self._stream - 2, 0)
        await self._http2.flush(self._goaway(last, code))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are, between two frames."""
        self.answered = self.ended = True
        await self._http2.flush(data)

    def _goaway(self, last: int, code: int) -> bytes:
        # By hand: h2 sends nothing more after a GOAWAY of its own (RFC 9113, 6.8 and 4.1).
        return struct.pack(">HBBBLLL", 0, 8, 7, 0, 0, last, code)

    async def receive(self) -> bytes:
        """Wait for a request, or a part of one, that nothing else reads."""
        await self._http2.next_bytes()
        return b""

    async def hang(self) -> None:
        """Say nothing, until the client ends the connection or the stream."""
        await anyio.sleep_forever()
