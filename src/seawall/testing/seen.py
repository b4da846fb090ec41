"""What a test asks of a server afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.testing.tally import Tally

if TYPE_CHECKING:
    from seawall.testing.connection import Connection
    from seawall.testing.request import Request


class Seen:
    """Everything that has reached a server."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.live: set[Connection] = set()

    @property
    def requests(self) -> list[Request]:
        """All requests, in the order in which their heads arrived."""
        return self.tally.requests

    @property
    def tunnels(self) -> list[Request]:
        """What was asked of the proxies."""
        return self.tally.tunnels

    @property
    def connections(self) -> int:
        """How many connections were accepted, those to the proxies included."""
        return self.tally.connections

    @property
    def open_connections(self) -> int:
        """How many of them have not ended on both sides."""
        return len(self.live)

    @property
    def bytes_received(self) -> int:
        """Bytes read from sockets, TLS and framing included."""
        return self.tally.bytes_received

    @property
    def bytes_sent(self) -> int:
        """Bytes written to sockets, TLS and framing included."""
        return self.tally.bytes_sent

    def requests_to(self, path: str) -> list[Request]:
        """Return the requests to a path, whatever their query."""
        return [request for request in self.requests if request.path == path]

    def bodies(self, path: str | None = None) -> list[bytes]:
        """Return what has arrived of the bodies of all requests, or of those to a path."""
        asked = self.requests if path is None else self.requests_to(path)
        return [request.body for request in asked]

    def forget(self) -> None:
        """Count from zero again; connections that are open stay open."""
        self.tally.forget()
