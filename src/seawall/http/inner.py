"""The transport inside: the one that is made by default, and what is said of one that is given."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Final

from seawall.core.errors import UsageError
from seawall.http.origin_pools import OriginPools
from seawall.http.pools import find_pools, is_pool
from seawall.http.standard import limits_each_origin

if TYPE_CHECKING:
    from seawall.core.policy import Policy
    from seawall.http.family import Family


# Connections at most, and idle ones, of a client's own choice and of `unlimited`.
_NO_LIMITS: Final = frozenset({(100, 20), (sys.maxsize, 20)})


def unlimited(client: Any) -> Any:
    """Return the client's usual limits without one on connections; a bulkhead per origin has it.

    With one limit for all origins, a hung origin takes the places of its neighbors.
    """
    return client.Limits(max_connections=None, max_keepalive_connections=20)


def separate_origins(transport: Any) -> None:
    """Give each origin a pool of its own, where a transport has one that nobody has limited.

    A pool that has been used stays: it has connections that only it knows.
    """
    pool: Any = getattr(transport, "_pool", None)
    if is_pool(pool) and not (pool._requests or pool._connections) and _limits(pool) in _NO_LIMITS:
        transport._pool = OriginPools(pool)


def _limits(pool: Any) -> tuple[object, object]:
    return (
        getattr(pool, "_max_connections", None),
        getattr(pool, "_max_keepalive_connections", None),
    )


def default_transport(client: Any, policy: Policy) -> Any:
    """Return a new transport, without a limit where the policy has one for each origin."""
    if not limits_each_origin(policy):
        return client.AsyncHTTPTransport()
    return client.AsyncHTTPTransport(limits=unlimited(client))


def check_inner(inner: Any, family: Family) -> None:
    """Refuse what cannot send the attempts.

    Raises:
        UsageError: it is a transport of the other family, or no async one.
    """
    name = family.name
    if not family.has(inner):
        raise UsageError(
            f"{inner!r} is no transport of {name}: the two families do not mix.\n"
            f"  right: seawall.{name} around the transports of {name}"
        )
    if not callable(getattr(inner, "handle_async_request", None)):
        raise UsageError(
            f"transport must be an async transport, not {inner!r}.\n"
            f"  right: ResilientTransport(policy, {name}.AsyncHTTPTransport())"
        )


def warn_of_retries(inner: Any, name: str) -> None:
    """Warn of a transport that repeats what is repeated here already."""
    pools = [
        pool
        for found in find_pools(inner)
        for pool in ([found.template] if isinstance(found, OriginPools) else found)
    ]
    if any(getattr(pool, "_retries", 0) for pool in pools):
        warnings.warn(
            "the transport inside has retries of its own, and they multiply those of the policy; "
            f"give it none: {name}.AsyncHTTPTransport(retries=0)",
            RuntimeWarning,
            stacklevel=3,
        )
