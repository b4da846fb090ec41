"""What the faults are made of, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anyio

if TYPE_CHECKING:
    from seawall.testing.exchange import Exchange
    from seawall.testing.fault import Step


async def fin(exchange: Exchange) -> None:
    """Send no more on this connection: the client sees it end."""
    await exchange.fin()


async def reset(exchange: Exchange) -> None:
    """End the connection with a RST, once all that was sent before has arrived."""
    await exchange.reset()


async def close(exchange: Exchange) -> None:
    """Close the socket as a careless server does: with a RST, where not everything was read."""
    await exchange.connection.wire.delivered()
    await exchange.close()


async def hang(exchange: Exchange) -> None:
    """Say nothing, until the client ends the connection."""
    await exchange.hang()


async def read_nothing(exchange: Exchange) -> None:
    """Neither read nor write, until the server is closed."""
    del exchange
    await anyio.sleep_forever()


async def await_bytes(exchange: Exchange) -> None:
    """Wait until the client sends something more on this connection."""
    await exchange.receive()


async def end(exchange: Exchange) -> None:
    """End the answer that was begun."""
    await exchange.end()


def wait(seconds: float) -> Step:
    """Return a step that waits."""

    async def wait(exchange: Exchange) -> None:
        del exchange
        await anyio.sleep(seconds)

    return wait


def send_raw(data: bytes, *, piece: int | None = None, every: float = 0.0) -> Step:
    """Return a step that sends bytes as they are, beneath HTTP.

    Args:
        data: the bytes.
        piece: bytes at a time; by default all.
        every: seconds after each piece, by default 0.
    """

    async def send_raw(exchange: Exchange) -> None:
        size = piece or len(data)
        for start in range(0, len(data), size):
            await exchange.send_raw(data[start : start + size])
            if every:
                await anyio.sleep(every)

    return send_raw


def send_head(status: int = 200, *, length: int | None = None, **headers: str) -> Step:
    """Return a step that begins an answer.

    Args:
        status: the status code.
        length: bytes of the body that are announced; by default it is chunked.
        headers: headers, with ``_`` for ``-``.
    """
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]

    async def send_head(exchange: Exchange) -> None:
        await exchange.send_head(status, list(pairs), length=length)

    return send_head


def send_data(data: bytes) -> Step:
    """Return a step that sends a part of the body: one chunk where it is chunked."""

    async def send_data(exchange: Exchange) -> None:
        await exchange.send_data(data)

    return send_data


def show_certificate(kind: Literal["expired", "other host", "untrusted"]) -> Step:
    """Return a step that begins TLS with a certificate that no client should accept."""

    async def show_certificate(exchange: Exchange) -> None:
        connection = exchange.connection
        await connection.handshake(connection.server.certificates.bad(kind))

    return show_certificate


def reset_stream(code: int) -> Step:
    """Return a step that ends one stream of HTTP/2, with such an error code (RFC 9113, 7)."""

    async def reset_stream(exchange: Exchange) -> None:
        await exchange.reset_stream(code)

    return reset_stream


def goaway(*, processed: bool, code: int = 0) -> Step:
    """Return a step that announces the end of an HTTP/2 connection.

    Args:
        processed: whether the stream of this request counts among those that were received.
        code: the error code (RFC 9113, 7), by default none.
    """

    async def goaway(exchange: Exchange) -> None:
        await exchange.goaway(processed=processed, code=code)

    return goaway
