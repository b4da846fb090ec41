"""A connection pool for each origin, in the place of the one that a client has for all of them.

In one pool, origins get in each other's way even where nothing limits its connections. For each
request, httpcore looks at every connection of the pool; and httpcore 1.0 closes an idle connection
as soon as there are more than 20 in the pool, the busy ones included. So beside 20 requests that
hang, each request to a healthy origin had to open a connection of its own.

The pools are copies of the client's, so they do what its options say. As httpcore does it for one
pool, each request tidies up, here the pools that were not looked at for some time: connections that
have expired are closed. Where there are too many pools, all connections of the one that was looked
at the longest ago are. A pool that is in use stays.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Self

from seawall.core.clock import current_loop
from seawall.http.pool import close_connections

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

# As many connections as a client has at most by default, where each origin has one.
_MOST: Final = 100
# After as long, an unused connection of httpx has expired.
_SECONDS: Final = 5.0
# What of a pool each has to have for itself.
_CONTAINERS: Final[Any] = (list, dict, set, deque)


class OriginPools:
    """The pools of one transport, made when their origins are first asked.

    Args:
        template: the transport's own pool, which has not been used.

    Attributes:
        template: the same; all pools are copies of it.
    """

    __slots__ = ("_pools", "template")

    def __init__(self, template: Any) -> None:
        self.template = template
        # The one that was looked at the longest ago first.
        self._pools: OrderedDict[Hashable, _OriginPool] = OrderedDict()

    def __repr__(self) -> str:
        return f"OriginPools({list(self)!r})"

    def __iter__(self) -> Iterator[Any]:
        """Iterate over the pools that there are."""
        return iter([each.pool for each in self._pools.values()])

    @property
    def connections(self) -> list[Any]:
        """The connections of all pools."""
        return [connection for pool in self for connection in pool.connections]

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request through the pool of its origin."""
        url = request.url
        key = url.scheme, url.host, url.port
        found = self._pools.get(key)
        if found is None or len(self._pools) > 1:
            now = current_loop().time()
            found = self._use(key, now)
            closing = self._tidy(now)
            if closing:
                await close_connections(closing)
                # Anew: the pool, as yet unused, may have been dropped meanwhile.
                found = self._use(key, current_loop().time())
        return await found.pool.handle_async_request(request)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections that there are now."""
        closing = self.connections
        for key, each in list(self._pools.items()):
            each.pool._connections.clear()
            # A request on its way may get another connection even now: its pool is kept, so that
            # the repair finds it, and so does whoever closes once more.
            if not each.pool._requests:
                del self._pools[key]
        await close_connections(closing)

    def _use(self, key: Hashable, now: float) -> _OriginPool:
        found = self._pools.get(key)
        if found is None:
            found = self._pools[key] = _OriginPool(_twin_of(self.template))
        else:
            self._pools.move_to_end(key)
        found.seen = now
        return found

    def _tidy(self, now: float) -> list[Any]:
        """Look at the pools that it is time for; return the connections that are to be closed."""
        pools = self._pools
        closing: list[Any] = []
        crowded = len(pools) > _MOST
        while True:
            key, first = next(iter(pools.items()))
            # It ends with the pool of this very request. One from a later time was looked at on an
            # earlier loop.
            if not crowded and 0.0 <= now - first.seen < _SECONDS:
                return closing
            first.seen = now
            pools.move_to_end(key)
            pool = first.pool
            if not pool._requests:
                closing += pool._connections if crowded else pool._assign_requests_to_connections()
                if crowded or not pool._connections:
                    del pools[key]
            crowded = False


class _OriginPool:
    """The pool of one origin.

    Attributes:
        pool: a connection pool of httpcore or httpcore2.
        seen: loop time at which it was used or tidied.
    """

    __slots__ = ("pool", "seen")

    def __init__(self, pool: Any) -> None:
        self.pool = pool
        self.seen = 0.0


def _twin_of(template: Any) -> Any:
    """Return a pool with the same options and nothing in it."""
    pool: Any = copy(template)
    for name, value in dict[str, Any](pool.__dict__).items():
        if isinstance(value, _CONTAINERS):
            setattr(pool, name, copy(value))
    return pool
