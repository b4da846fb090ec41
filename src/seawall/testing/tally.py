"""What a server has seen, and who waits to see it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.testing.request import Request


@dataclass(eq=False)
class Tally:
    """Counts of one server.

    Attributes:
        connections: connections that were accepted.
        requests: all requests in the order in which their heads arrived.
        tunnels: what was asked of the proxies, each as a request.
        bytes_received: bytes that were read from sockets.
        bytes_sent: bytes that were written to them.
        errors: what scripts and faults have raised.
    """

    connections: int = 0
    requests: list[Request] = field(default_factory=list["Request"])
    tunnels: list[Request] = field(default_factory=list["Request"])
    bytes_received: int = 0
    bytes_sent: int = 0
    errors: list[Exception] = field(default_factory=list[Exception])
    _changed: anyio.Event | None = None

    def forget(self) -> None:
        """Count from zero again, and keep the errors."""
        self.connections = self.bytes_received = self.bytes_sent = 0
        self.requests = []
        self.tunnels = []

    def changed(self) -> None:
        """Wake those who wait for something."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once the condition holds; it is asked after each change."""
        while not condition():
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()
