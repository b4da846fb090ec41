"""HTTP/2 of a server that is told what to do wrong."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import anyio

from seawall.testing.exchange import Exchange, Headers
from seawall.testing.extra import need
from seawall.testing.request import Request, join_headers

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from seawall.testing.connection import Connection


async def serve_http2(connection: Connection) -> None:
    """Answer the requests of a connection, each in a task of its own."""
    async with anyio.create_task_group() as tasks:
        http2 = Http2Connection(connection, tasks)
        tasks.start_soon(connection.guard, http2.write)
        await connection.guard(http2.read)
        tasks.cancel_scope.cancel()


class Http2Connection:
    """The frames of one connection.

    One task alone writes: where a stream ends in the middle of a write, the others would get half a
    frame.
    """

    def __init__(self, connection: Connection, tasks: TaskGroup) -> None:
        self.connection = connection
        self._tasks = tasks
        self.errors = need("h2.exceptions")
        self._events = need("h2.events")
        self._outgoing = bytearray()
        self._queued = self._sent = 0
        self._due = anyio.Event()
        self._written = anyio.Event()
        self._window_opened = anyio.Event()
        self._next_bytes: anyio.Event | None = None
        self.exchanges: dict[int, Http2Exchange] = {}
        # What goes out may be wrong; what comes in is checked.
        self.state: Any = need("h2.connection").H2Connection(
            need("h2.config").H2Configuration(
                client_side=False, header_encoding="utf-8", validate_outbound_headers=False
            )
        )

    async def read(self) -> None:
        """Read frames until the client ends the connection, or breaks the protocol."""
        self.state.initiate_connection()
        self.queue()
        while True:
            data = await self.connection.stream.receive()
            try:
                events = self.state.receive_data(data)
            except self.errors.ProtocolError:
                await self.flush()
                return
            for event in events:
                self._handle(event)
            self.queue()

    async def write(self) -> None:
        """Send what is queued, until the connection ends."""
        while True:
            await self._due.wait()
            self._due = anyio.Event()
            data, self._outgoing = bytes(self._outgoing), bytearray()
            await self.connection.stream.send(data)
            self._sent += len(data)
            self._written.set()
            self._written = anyio.Event()

    def queue(self, raw: bytes = b"") -> None:
        """Let the frames that are due be sent, and then bytes that are none of ``h2``'s."""
        data = self.state.data_to_send() + raw
        if data:
            self._outgoing += data
            self._queued += len(data)
            self._due.set()

    async def flush(self, raw: bytes = b"") -> None:
        """Do the same, and return when they are sent."""
        self.queue(raw)
        mark = self._queued
        while self._sent < mark:
            await self._written.wait()

    async def window_opened(self) -> None:
        """Wait until the client takes more."""
        await self._window_opened.wait()

    async def next_bytes(self) -> None:
        """Wait until a request or a part of one arrives; if a request, nobody answers it."""
        if self._next_bytes is None:
            self._next_bytes = anyio.Event()
        await self._next_bytes.wait()

    def _handle(self, event: Any) -> None:
        events = self._events
        exchange = self.exchanges.get(getattr(event, "stream_id", None) or 0)
        awaited, arrived = self._next_bytes, events.RequestReceived | events.DataReceived
        if awaited is not None and isinstance(event, arrived):
            self._next_bytes = None
            awaited.set()
            if isinstance(event, events.RequestReceived):
                return
        if isinstance(event, events.RequestReceived):
            self._begin(event.stream_id, event.headers)
        elif isinstance(event, events.WindowUpdated | events.RemoteSettingsChanged):
            self._window_opened.set()
            self._window_opened = anyio.Event()
        elif isinstance(event, events.ConnectionTerminated):
            # From now on h2 sends no more; whoever says this is leaving.
            for each in self.exchanges.values():
                each.scope.cancel()
        elif isinstance(event, events.DataReceived):
            if exchange is None:
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            else:
                exchange.arrived(event.data, event.flow_controlled_length)
        elif exchange is None:
            return
        elif isinstance(event, events.StreamEnded):
            exchange.complete()
        elif isinstance(event, events.StreamReset):
            exchange.scope.cancel()

    def _begin(self, stream: int, pairs: Headers) -> None:
        pseudo = {name: value for name, value in pairs if name.startswith(":")}
        request = self.connection.new_request(
            protocol="HTTP/2",
            method=pseudo[":method"],
            target=pseudo.get(":path", ""),
            host=pseudo.get(":authority", ""),
            headers=join_headers([pair for pair in pairs if pair[0] not in pseudo]),
        )
        exchange = self.exchanges[stream] = Http2Exchange(self, stream, request)
        self._tasks.start_soon(exchange.run)


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
