"""Whole clients behind policies: wrapping the transports that a client already has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from seawall.core.errors import UsageError
from seawall.http.standard import standard

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seawall.core.policy import Policy
    from seawall.http.transport import Resilience

_OF_THE_TRANSPORT: Final = ("verify", "cert", "http1", "http2", "limits")
_PAST_THE_TRANSPORT: Final = ("proxy", "proxies")


def check_options(options: Mapping[str, Any], name: str) -> None:
    """Refuse what a client would silently ignore, or lead past a transport that was given.

    Args:
        options: what a client is made with.
        name: the name of the client library.

    Raises:
        UsageError: beside ``transport`` there is something that has no effect with it.
    """
    if options.get("transport") is None:
        return
    ignored = [option for option in _OF_THE_TRANSPORT if option in options]
    if ignored:
        raise UsageError(
            f"with a transport of your own, {name} ignores {', '.join(ignored)}.\n"
            f"  wrong: AsyncClient(transport=..., {ignored[0]}=...)\n"
            f"  right: AsyncClient(transport={name}.AsyncHTTPTransport({ignored[0]}=...))"
        )
    past = [option for option in _PAST_THE_TRANSPORT if options.get(option) is not None]
    if past:
        raise UsageError(
            f"with {past[0]}, {name} sends all requests past the transport that you gave it.\n"
            f"  wrong: AsyncClient(transport=..., {past[0]}=...)\n"
            f"  right: AsyncClient(transport={name}.AsyncHTTPTransport(proxy=...))"
        )


def policy_for(policy: Policy | None, options: Mapping[str, Any], kind: type[Resilience]) -> Policy:
    """Return the policy that the transports will have which a new client makes itself.

    Args:
        policy: the one that the client is given.
        options: what it is made with; a transport among them may have a policy already.
        kind: the binding's transport.
    """
    if policy is not None:
        return policy
    mounts: Mapping[Any, Any] = options.get("mounts") or {}
    given: list[Any] = [options.get("transport"), *mounts.values()]
    present = [transport.policy for transport in given if isinstance(transport, kind)]
    return present[0] if present else standard()


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
