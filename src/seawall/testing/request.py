"""What a client sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(eq=False, kw_only=True)
class Request:
    """One request as it arrived; its body grows while it is being read.

    Attributes:
        number: the how many-th request of the server, from 1.
        connection: the how many-th connection it came on, from 1.
        protocol: ``"HTTP/1.1"``, ``"HTTP/1.0"``, ``"HTTP/2"``, or ``"SOCKS5"`` for a tunnel.
        secure: whether it came over TLS.
        proxied: whether it came through a proxy.
        method: ``"GET"``; ``"CONNECT"`` for a tunnel.
        target: path and query as they were sent; ``host:port`` for a tunnel.
        host: what the client believes it speaks to.
        headers: by lower-case name; repeated ones are joined by a comma.
        body: what has arrived of the body, byte for byte.
        complete: whether the whole of it has arrived.
    """

    number: int
    connection: int
    protocol: str
    secure: bool
    proxied: bool
    method: str
    target: str
    host: str
    headers: dict[str, str]
    complete: bool = False
    _body: bytearray = field(default_factory=bytearray, repr=False)
    _read: Callable[[], Awaitable[None]] | None = field(default=None, repr=False)

    @property
    def body(self) -> bytes:
        """What has arrived of the body."""
        return bytes(self._body)

    @property
    def path(self) -> str:
        """The path without the query."""
        return urlsplit(self.target).path or "/"

    @property
    def query(self) -> dict[str, str]:
        """The query, the last value of each name."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    async def read(self) -> bytes:
        """Wait for the whole body and return it."""
        if not self.complete and self._read is not None:
            await self._read()
        return self.body

    def read_by(self, read: Callable[[], Awaitable[None]]) -> None:
        """Let ``read`` wait for the body by this."""
        self._read = read

    def arrived(self, data: bytes) -> None:
        """Take note of a part of the body."""
        self._body += data


def join_headers(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return headers by lower-case name, repeated ones joined as RFC 9110 joins them."""
    joined: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined
