"""Whether an attempt went over a connection that had been used before.

A server closes a connection that was idle for long, and at that very moment the next request is
sent on it. What comes of it is the error of any lost connection, but it says nothing about the
server: another connection will do, and there is no reason to wait.

httpcore tells the one from the other through its ``trace`` extension, which costs some 5 % of a
request on loopback. This costs nothing to speak of: a connection reads its ``connect`` timeout when
it is made, and no more. Only the wait depends on it. Whether the request may be sent again is
decided as ever; where nothing is read, or something else reads it, the wait is the usual one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

# Read five times by each request; `super()` would take twice as long as the rest.
_get = dict[str, Any].get


class WatchedTimeouts(dict[str, Any]):
    """The ``timeout`` extension of one attempt, which notes what is read of it.

    Attributes:
        connected: whether a connection was made for the attempt.
        sent: whether it was begun to send the request.
    """

    # Not set by an `__init__`, which would take longer than all else here.
    connected = False
    sent = False

    def get(self, key: str, default: Any = None, /) -> Any:
        """Return one timeout."""
        if key == "connect":
            self.connected = True
        elif key == "write":
            self.sent = True
        return _get(self, key, default)

    def was_reused(self) -> bool:
        """Say whether the attempt is known to have had a connection that was used before."""
        return self.sent and not self.connected


def is_lost_connection(error: BaseException, client: ModuleType) -> bool:
    """Say whether an error can be that of a kept connection which the server has closed.

    Args:
        error: what the attempt raised.
        client: the client library's module, httpx or httpx2.
    """
    if isinstance(error, client.RemoteProtocolError):
        # Of HTTP/1.1; with HTTP/2 the server says in a GOAWAY which requests it has not seen.
        return str(error).startswith("Server disconnected without sending a response")
    return isinstance(error, client.ReadError)
