"""A small HTTP/1.1 server on loopback that follows the script.

1. A request meets the phase that runs when its head has been read.
2. A request that nobody waits for any more is served all the same, as in most real servers.
3. A request that hangs is held until its client gives up, whatever phase comes next.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter
from typing import TYPE_CHECKING, Self

from benchmarks.demo.capacity import Capacity, Full

if TYPE_CHECKING:
    from random import Random

    from benchmarks.demo.script import Script

QUEUE = 20
RETRY_AFTER = 1
REASONS = {
    200: "OK",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}
PARTIAL_FAULTS = (502, 503, None)
TOTAL_FAULTS = (500, 502, 503, None)


class Server:
    """One server with its own capacity and its own account of the load on it."""

    def __init__(self, script: Script, random: Random) -> None:
        self.script = script
        self.requests: Counter[int] = Counter()
        self.in_progress = 0
        self._random = random
        self._capacity = Capacity(script.phases[0].workers, QUEUE)
        self._zero: float | None = None
        self._listener: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where the server listens."""
        if self._listener is None:
            raise RuntimeError("the server has not been started")
        host, port = self._listener.sockets[0].getsockname()
        return f"http://{host}:{port}/"

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listener is not None:
            self._listener.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def begin(self) -> None:
        """Start the script and the account now; until then the server is in its first phase."""
        self.requests.clear()
        self._zero = asyncio.get_running_loop().time()

    def _elapsed(self) -> float:
        return 0.0 if self._zero is None else asyncio.get_running_loop().time() - self._zero

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client that is gone ends its connection, not the server.
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    if not await self._answer(reader, writer):
                        break
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Deal with one request and say whether the connection can be used again."""
        index = self.script.index_at(self._elapsed())
        phase = self.script.phases[index]
        self.requests[index] += 1
        self.in_progress += 1
        try:
            if phase.hangs:
                await reader.read(1)
                return False
            if self._random.random() < phase.errors:
                faults = PARTIAL_FAULTS if phase.errors < 1 else TOTAL_FAULTS
                fault = self._random.choice(faults)
                if fault is None:
                    _reset(writer)
                    return False
                await _write(writer, fault)
                return True
            self._capacity.workers = phase.workers
            try:
                await self._capacity.take()
            except Full:
                await _write(writer, 503, f"Retry-After: {RETRY_AFTER}\r\n")
                return True
            try:
                await asyncio.sleep(phase.service * self._random.uniform(0.5, 1.5))
            finally:
                self._capacity.give_back()
            await _write(writer, 200)
            return True
        finally:
            self.in_progress -= 1


async def _write(writer: asyncio.StreamWriter, status: int, headers: str = "") -> None:
    body = REASONS[status].encode()
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    # A linger time of zero turns the close into a reset.
    writer.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
    )
    writer.transport.abort()
