"""Give back what a cancelled attempt has left behind in the client's connection pool.

A cancellation that arrives between two of httpcore's own steps leaves a connection in the pool
that no request holds, that is not idle, and that nothing will ever close: with as many of them as
the pool has places, it is dead (httpcore issue 1093; in httpcore2 the window is smaller). After
an attempt that did not end cleanly:

1. The pool's entry for this attempt is removed, if it is still there. It is known by the
   ``extensions`` dict of its request, which belongs to this one attempt.
2. Every connection that no entry holds, and that is neither idle nor closed, is dropped and closed.
   So is an idle one that takes no request: after an error on HTTP/2, httpcore2 keeps it in its
   place until it expires.
3. Waiting requests are given the places that became free.

This works on private lists, ``_requests`` and ``_connections``. Where they are not found, nothing
is done.
"""

from __future__ import annotations

from typing import Any

import anyio


def repair(pool: Any, extensions: object) -> list[Any]:
    """Remove what an attempt has left in a pool; return the connections that are to be closed.

    Synchronous, so that no cancellation can come between its steps.

    Args:
        pool: a connection pool of httpcore or httpcore2.
        extensions: the ``extensions`` dict of the attempt's request.
    """
    try:
        requests, connections = pool._requests, pool._connections
        changed = False
        for entry in requests:
            if entry.request.extensions is extensions:
                requests.remove(entry)
                changed = True
                break
        held = {id(entry.connection) for entry in requests}
        orphans = [
            connection
            for connection in connections
            if id(connection) not in held
            and not connection.is_closed()
            and not (connection.is_idle() and connection.is_available())
        ]
        if not orphans and not changed:
            return []
        for orphan in orphans:
            connections.remove(orphan)
        return [*orphans, *pool._assign_requests_to_connections()]
    except (AttributeError, TypeError, ValueError):
        # Another httpcore than the known ones. The attempt's own error matters, not this.
        return []


async def close_connections(connections: list[Any]) -> None:
    """Close connections that were dropped; each gets its turn, whatever happens to the others."""
    if not connections:
        return
    interruption: BaseException | None = None
    with anyio.CancelScope(shield=True):
        for connection in connections:
            try:
                await connection.aclose()
            except Exception:  # noqa: S112 - nobody waits for a connection that was dropped
                continue
            except GeneratorExit:
                # Nothing can be awaited any more.
                raise
            except BaseException as error:
                # asyncio's own cancellation passes the shield; the others are closed nevertheless.
                interruption = error
    if interruption is not None:
        try:
            raise interruption
        finally:
            del interruption
