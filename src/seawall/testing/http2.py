"""HTTP/2 of a server that is told what to do wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from seawall.testing.extra import need
from seawall.testing.request import join_headers
from seawall.testing.stream import Http2Exchange

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from seawall.testing.connection import Connection
    from seawall.testing.exchange import Headers


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
