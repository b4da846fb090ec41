"""The transport inside: the one that is made by default, and what is said of one that is given."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from seawall.core.errors import UsageError
from seawall.http.pool import find_pools

if TYPE_CHECKING:
    from seawall.core.policy import Policy
    from seawall.http.family import Family


def unlimited(client: Any) -> Any:
    """Return the client's usual limits without one on connections; a bulkhead per origin has it.

    With one limit for all origins, a hung origin takes the places of its neighbors.
    """
    return client.Limits(max_connections=None, max_keepalive_connections=20)


def default_transport(client: Any, policy: Policy | None) -> Any:
    """Return a new transport, without a limit of its own where the policy is the standard one."""
    if policy is not None:
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
    if any(getattr(pool, "_retries", 0) for pool in find_pools(inner)):
        warnings.warn(
            "the transport inside has retries of its own, and they multiply those of the policy; "
            f"give it none: {name}.AsyncHTTPTransport(retries=0)",
            RuntimeWarning,
            stacklevel=3,
        )
