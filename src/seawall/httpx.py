"""Resilience for ``httpx``: clients and a transport that run each request behind policies.

    import seawall.httpx

    async with seawall.httpx.AsyncClient() as client:
        response = await client.get("https://example.org/")

The errors are both seawall's and httpx's, so that code around a client catches them as before::

    httpx.TransportError
    ├── RejectedError            also seawall.RejectedError: the request was not sent
    │   ├── CircuitOpenError
    │   ├── BulkheadFullError
    │   ├── LoadShedError
    │   ├── RateLimitedError
    │   └── DeadlineError        also httpx.TimeoutException
    └── CallTimeoutError         also httpx.TimeoutException and TimeoutError
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, TypeVar, Unpack

import httpx

from seawall.core import errors
from seawall.http.client import check_options, policy_for, wrap_transports
from seawall.http.family import Family
from seawall.http.inner import unlimited
from seawall.http.settings import origin
from seawall.http.standard import limits_each_origin, standard
from seawall.http.transport import Resilience

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping

    from httpx import _types

    from seawall.core.policy import Policy
    from seawall.http.settings import Idempotent
    from seawall.http.transport import Classify, Release

__all__ = [
    "AsyncClient",
    "BulkheadFullError",
    "CallTimeoutError",
    "CircuitOpenError",
    "ClientOptions",
    "DeadlineError",
    "LoadShedError",
    "RateLimitedError",
    "RejectedError",
    "ResilientTransport",
    "origin",
    "protect",
    "standard",
]

Client = TypeVar("Client", bound=httpx.AsyncClient)


class RejectedError(errors.RejectedError, httpx.TransportError):
    """A policy refused the request before it was sent, so it is safe to repeat."""

    _request: httpx.Request | None = None


class CircuitOpenError(errors.CircuitOpenError, RejectedError):
    """The circuit of the request's origin is open."""


class BulkheadFullError(errors.BulkheadFullError, RejectedError):
    """Every slot for the request's origin is taken, and so is the queue."""


class LoadShedError(errors.LoadShedError, RejectedError):
    """The request's origin refuses or fails too many requests already."""


class RateLimitedError(errors.RateLimitedError, RejectedError):
    """The turn of the request at its origin's rate limiter would come too late."""


class DeadlineError(errors.DeadlineError, RejectedError, httpx.TimeoutException):
    """Not enough time was left to begin the request."""


class CallTimeoutError(errors.CallTimeoutError, httpx.TimeoutException):
    """A seawall ``Timeout`` ended the request, or its response."""

    _request: httpx.Request | None = None


class ResilientTransport(Resilience, httpx.AsyncBaseTransport):
    """A transport of httpx around another one; see :class:`seawall.http.transport.Resilience`."""

    family: ClassVar[Family] = Family(
        httpx,
        {
            errors.RejectedError: RejectedError,
            errors.CircuitOpenError: CircuitOpenError,
            errors.BulkheadFullError: BulkheadFullError,
            errors.LoadShedError: LoadShedError,
            errors.RateLimitedError: RateLimitedError,
            errors.DeadlineError: DeadlineError,
            errors.CallTimeoutError: CallTimeoutError,
        },
    )


class ClientOptions(TypedDict, total=False):
    """What ``httpx.AsyncClient`` takes."""

    auth: _types.AuthTypes | None
    params: _types.QueryParamTypes | None
    headers: _types.HeaderTypes | None
    cookies: _types.CookieTypes | None
    verify: ssl.SSLContext | str | bool
    cert: _types.CertTypes | None
    http1: bool
    http2: bool
    proxy: _types.ProxyTypes | None
    mounts: Mapping[str, httpx.AsyncBaseTransport | None] | None
    timeout: _types.TimeoutTypes
    follow_redirects: bool
    limits: httpx.Limits
    max_redirects: int
    event_hooks: Mapping[str, list[Callable[..., Any]]] | None
    base_url: httpx.URL | str
    transport: httpx.AsyncBaseTransport | None
    trust_env: bool
    default_encoding: str | Callable[[bytes], str]


class AsyncClient(httpx.AsyncClient):
    """An ``httpx.AsyncClient`` whose requests, through proxies and mounts too, are protected.

    It takes all that httpx's takes. Where the policy is a ``standard()`` and no ``limits`` are
    given, each origin has a connection pool of its own with no limit: the policy has one.

    Args:
        policy: a policy or pipeline; by default a ``standard()`` of its own.
        options: what ``httpx.AsyncClient`` takes.

    Raises:
        UsageError: beside ``transport`` there is something that would have no effect with it.
    """

    def __init__(self, *, policy: Policy | None = None, **options: Unpack[ClientOptions]) -> None:
        check_options(options, "httpx")
        if limits_each_origin(policy_for(policy, options, ResilientTransport)):
            options.setdefault("limits", unlimited(httpx))
        super().__init__(**options)
        wrap_transports(self, policy, ResilientTransport)


def protect(
    client: Client,
    policy: Policy | None = None,
    *,
    key: Callable[[httpx.Request], Any] = origin,
    idempotent: Idempotent = None,
    classify: Classify | None = None,
    release: Release = "body",
    deadline_header: str | None = None,
    buffer_response: int | None = None,
    idle_timeout: float | None = None,
) -> Client:
    """Put the requests of a client behind policies, and return that same client.

    Its transport and each of its mounts are wrapped, so that proxies do not bypass the policies.
    Protecting a client twice is the same as once. It works for the subclasses that SDKs bring::

        AsyncOpenAI(http_client=protect(DefaultAsyncHttpxClient()), max_retries=0)

    Args:
        client: an ``httpx.AsyncClient``, or a subclass of it.
        policy: a policy or pipeline; by default a ``standard()`` of the client's own.
        key: called with the request, returns the key of its policies. Default: its origin.
        idempotent: whether requests may be processed twice; see :class:`ResilientTransport`.
        classify: what outcomes mean; see :class:`ResilientTransport`.
        release: when an attempt is settled, at the end of the ``"body"`` or at its ``"headers"``.
        deadline_header: header that tells the server what is left; see :class:`ResilientTransport`.
        buffer_response: bytes that are read inside an attempt; see :class:`ResilientTransport`.
        idle_timeout: seconds that a read of an event stream may wait; see
            :class:`ResilientTransport`.

    Raises:
        UsageError: it is no async client of httpx, or it is behind another policy already.
    """
    wrap_transports(
        client,
        policy,
        ResilientTransport,
        key=key,
        idempotent=idempotent,
        classify=classify,
        release=release,
        deadline_header=deadline_header,
        buffer_response=buffer_response,
        idle_timeout=idle_timeout,
    )
    return client
