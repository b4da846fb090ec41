"""A small HTTP/1.1 server on loopback that does exactly what a test's script says."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.http.ledger import Ledger

__all__ = ["Ledger"]


@dataclass
class Received:
    """One request as the server got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


@dataclass
class Exchange:
    """What a step of a script may use: the request, and the connection it came on."""

    request: Received
    writer: asyncio.StreamWriter
    server: Server

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection with a RST."""
        handle: socket.socket = self.writer.get_extra_info("socket")
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Step = Callable[[Exchange], Awaitable[None]]


class Server:
    """Plays one step of its script for each request; the last step is played again and again."""

    def __init__(self) -> None:
        self.script: list[Step] = [respond()]
        self.received: list[Received] = []
        self.connections = 0
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._played = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def play(self, *script: Step) -> None:
        """Begin a new script."""
        self.script = list(script)
        self.received.clear()
        self._played = 0

    async def start(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._listener.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._listener is not None
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A transport that was closed lets go of its socket in a later turn of the loop.
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._converse(reader, writer, self.connections)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        while not writer.is_closing():
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
            pairs = (line.split(":", 1) for line in head[1:] if line)
            headers = {name.lower(): value.strip() for name, value in pairs}
            body = await _read_body(reader, headers)
            received = Received(method, target, headers, body, connection)
            self.received.append(received)
            step = self.script[min(self._played, len(self.script) - 1)]
            self._played += 1
            await step(Exchange(received, writer, self))


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while True:
        size = int(await reader.readuntil(b"\r\n"), 16)
        body += (await reader.readexactly(size + 2))[:-2]
        if size == 0:
            return body


def head(status: int, headers: dict[str, str], length: int | None) -> bytes:
    """Return the head of a response; without a length its body is chunked."""
    framing = (
        {"transfer-encoding": "chunked"} if length is None else {"content-length": str(length)}
    )
    lines = [f"HTTP/1.1 {status} Said"]
    lines += [f"{name}: {value}" for name, value in (framing | headers).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def respond(
    status: int = 200,
    body: bytes = b"ok",
    headers: dict[str, str] | None = None,
    *,
    delay: float = 0.0,
) -> Step:
    """Answer in full, after a delay in seconds."""

    async def step(exchange: Exchange) -> None:
        if delay:
            await asyncio.sleep(delay)
        content = b"" if exchange.request.method == "HEAD" else body
        await exchange.send(head(status, headers or {}, len(body)) + content)

    return step


def drip(
    chunks: int,
    *,
    every: float,
    status: int = 200,
    headers: dict[str, str] | None = None,
    size: int = 1,
    then: Step | None = None,
) -> Step:
    """Answer with so many chunks, one each so many seconds; then end, or play another step."""

    async def step(exchange: Exchange) -> None:
        await exchange.send(head(status, headers or {}, None))
        for _ in range(chunks):
            await exchange.send(f"{size:x}\r\n".encode() + b"x" * size + b"\r\n")
            await asyncio.sleep(every)
        if then is None:
            await exchange.send(b"0\r\n\r\n")
        else:
            await then(exchange)

    return step


def raw(data: bytes, then: Step | None = None) -> Step:
    """Send these bytes, then play another step."""

    async def step(exchange: Exchange) -> None:
        await exchange.send(data)
        if then is not None:
            await then(exchange)

    return step


async def hang(exchange: Exchange) -> None:
    """Never answer."""
    del exchange
    await asyncio.sleep(3600)


async def close(exchange: Exchange) -> None:
    """Close the connection."""
    exchange.writer.close()


async def reset(exchange: Exchange) -> None:
    """Reset the connection, once what was sent has had the time to arrive."""
    await asyncio.sleep(0.02)
    exchange.reset()
