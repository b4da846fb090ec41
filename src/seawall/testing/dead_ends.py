"""Ports where a connection cannot be made."""

from __future__ import annotations

import socket
from contextlib import ExitStack

_LOOPBACK = "127.0.0.1"


class DeadEnds:
    """Opens such ports when they are first asked for."""

    def __init__(self) -> None:
        self._sockets = ExitStack()
        self._refusing = 0
        self._full = 0

    def refusing(self) -> int:
        """Return a port that is bound, so that nobody else listens there, and refuses."""
        if self._refusing == 0:
            _, self._refusing = self._bind()
        return self._refusing

    def full(self) -> int:
        """Return a port whose backlog is full: the handshake of TCP is never answered."""
        if self._full == 0:
            listener, self._full = self._bind()
            listener.listen(0)
            # A backlog of 0 holds one connection on Linux, and a few on other systems.
            for _ in range(8):
                filler = self._sockets.enter_context(socket.socket())
                filler.settimeout(0)
                filler.connect_ex((_LOOPBACK, self._full))
        return self._full

    def close(self) -> None:
        """Close them all."""
        self._sockets.close()
        self._refusing = self._full = 0

    def _bind(self) -> tuple[socket.socket, int]:
        bound = self._sockets.enter_context(socket.socket())
        bound.bind((_LOOPBACK, 0))
        port: int = bound.getsockname()[1]
        return bound, port
