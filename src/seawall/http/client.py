"""Whole clients behind policies: wrapping the transports that a client already has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from seawall.core.errors import UsageError
from seawall.http.standard import standard

if TYPE_CHECKING:
    from seawall.core.policy import Policy
    from seawall.http.transport import Resilience


def wrap_transports(
    client: Any, policy: Policy | None, kind: type[Resilience], **options: Any
) -> None:
    """Put a client's transport, and each of its mounts, behind one policy; twice is once.

    Args:
        client: an async client of the binding's library.
        policy: the policy; by default a ``standard()`` of the client's own.
        kind: the binding's transport.
        options: further arguments for it.

    Raises:
        UsageError: the client is no async client of this library, or is behind another policy.
    """
    _check_client(client, kind)
    transports = [client._transport, *client._mounts.values()]
    present = [found.policy for found in transports if isinstance(found, kind)]
    if present and policy is not None and any(found is not policy for found in present):
        raise UsageError(
            "this client is behind another policy already; protect a client once.\n"
            "  right: client = protect(httpx.AsyncClient(), policy)"
        )
    if policy is None:
        policy = present[0] if present else standard()

    def wrapped(transport: Any) -> Any:
        if transport is None or isinstance(transport, kind):
            return transport
        return kind(policy, transport, **options)

    client._transport = wrapped(client._transport)
    client._mounts = {pattern: wrapped(mount) for pattern, mount in client._mounts.items()}


def _check_client(client: Any, kind: type[Resilience]) -> None:
    name = kind.family.name
    if isinstance(client, kind.family.client.AsyncClient):
        return
    raise UsageError(
        f"protect() needs an AsyncClient of {name}, not {client!r}.\n"
        f"  right: client = protect({name}.AsyncClient())\n"
        f"  right: AsyncOpenAI(http_client=protect(DefaultAsyncHttpxClient()), max_retries=0)"
    )
