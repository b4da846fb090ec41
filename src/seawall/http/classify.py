"""What a response or an exception of an HTTP client means.

The verdicts here say what a status or an error means as such: ``retryable`` is whether a further
try could help, ``unprocessed`` whether the request is known not to have been worked on. Whether
*this* request may be sent again, by its method and its body, is :func:`permit`'s to say.

The client library is a parameter: httpx and httpx2 have the same names, and disjoint classes.
"""

from __future__ import annotations

import json
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

from seawall.core.retry_after import read_retry_after
from seawall.core.verdict import PROGRAMMING_ERRORS, Kind, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

THROTTLING: Final = frozenset({429, 529})
"""Refused before it was processed: every method may be repeated."""

TRANSIENT: Final = frozenset({408, 425, 502, 503, 504, *range(520, 525)})
"""Repeated where the method is idempotent: a proxy's 503 may come after the work was done."""

ANSWERS: Final = frozenset({501, 505})
"""Above 500, and yet the answer of a healthy server to a request that it cannot serve."""

EXHAUSTED: Final = frozenset({"insufficient_quota"})
"""``error.code`` or ``error.type`` of a 429 that no waiting heals (OpenAI: no credit is left)."""

_REFUSED_STREAM: Final = 7
_DEEPEST_CAUSE: Final = 8


def judge_response(status: int, headers: Mapping[str, str], now: float | None = None) -> Verdict:
    """Judge the head of a response.

    Args:
        status: the status code.
        headers: a mapping whose ``get`` ignores case.
        now: wall-clock seconds since the epoch, compared with a ``Retry-After`` date;
            ``time.time()`` by default.
    """
    if status < 400:
        return Verdict(Kind.SUCCESS)
    kind = Kind.SUCCESS
    throttled = status in THROTTLING
    if throttled:
        kind = Kind.NEUTRAL
    elif status >= 500 and status not in ANSWERS:
        kind = Kind.FAILURE
    retryable = throttled or status in TRANSIENT
    asked = headers.get("x-should-retry")
    if asked is not None:
        retryable = {"true": True, "false": False}.get(asked.strip().lower(), retryable)
    seconds = read_retry_after(headers, time.time() if now is None else now)
    return Verdict(
        kind,
        retryable=retryable,
        throttled=throttled or (status == 503 and seconds is not None),
        retry_after=seconds,
        unprocessed=throttled,
    )


def is_exhausted(status: int, content: bytes) -> bool:
    """Say whether the body of a 429 tells that the quota is used up, which no retry heals.

    Args:
        status: the status code of the response.
        content: its decoded body, or the beginning of it.
    """
    if status != 429 or not content:
        return False
    try:
        error = json.loads(content)["error"]
        return error.get("code") in EXHAUSTED or error.get("type") in EXHAUSTED
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def permit(verdict: Verdict, *, idempotent: bool, replayable: bool) -> Verdict:
    """Take back ``retryable`` where this request must not be sent again.

    Args:
        verdict: what the outcome means as such.
        idempotent: whether the request may be processed twice.
        replayable: whether its body can be sent again.
    """
    if verdict.retryable and not (replayable and (idempotent or verdict.unprocessed)):
        return verdict._replace(retryable=False)
    return verdict


class ErrorRules:
    """What the exceptions of one client library mean, and those that cross it.

    Args:
        client: the client library's module, httpx or httpx2.
    """

    def __init__(self, client: ModuleType) -> None:
        unsent = Verdict(Kind.FAILURE, retryable=True, unprocessed=True)
        late = Verdict(Kind.FAILURE, retryable=True, timed_out=True)
        # The first match counts, so the special comes before the general.
        self._rules: tuple[tuple[type[BaseException], Verdict], ...] = (
            (client.ConnectError, unsent),
            (client.ConnectTimeout, unsent._replace(timed_out=True)),
            (client.ProxyError, unsent),
            # One pool serves all origins: a hung one must not open its neighbors' circuits.
            (client.PoolTimeout, unsent._replace(kind=Kind.NEUTRAL)),
            (client.UnsupportedProtocol, Verdict(Kind.NEUTRAL)),
            (client.LocalProtocolError, Verdict(Kind.NEUTRAL)),
            *((kind, late) for kind in (client.TimeoutException, TimeoutError)),
            (client.TransportError, Verdict(Kind.FAILURE, retryable=True)),
            (client.StreamError, Verdict(Kind.NEUTRAL)),
            (client.InvalidURL, Verdict(Kind.NEUTRAL)),
            *((kind, Verdict(Kind.NEUTRAL)) for kind in PROGRAMMING_ERRORS),
            (Exception, Verdict(Kind.FAILURE, retryable=True)),
        )
        self._connect: type[BaseException] = client.ConnectError
        self._proxy: type[BaseException] = client.ProxyError
        self._remote: type[BaseException] = client.RemoteProtocolError

    def judge(self, error: BaseException) -> Verdict:
        """Judge one exception; a cancellation, and whatever is no ``Exception``, is NEUTRAL."""
        matching = (verdict for kind, verdict in self._rules if isinstance(error, kind))
        verdict = next(matching, Verdict(Kind.NEUTRAL))
        if type(error).__name__ == "LocalProtocolError":
            # Also that of h11 or h2, which a client may let through as it is.
            return Verdict(Kind.NEUTRAL)
        if isinstance(error, self._connect) and is_certificate_failure(error):
            return Verdict(Kind.FAILURE)
        if isinstance(error, self._proxy) and str(error).lstrip().startswith("407"):
            # A 4xx of the proxy: it answered, and asks for credentials.
            return Verdict(Kind.NEUTRAL)
        if isinstance(error, self._remote) and is_refused_by_http2(error):
            return verdict._replace(unprocessed=True)
        return verdict


def is_certificate_failure(error: BaseException) -> bool:
    """Say whether the peer's certificate was not accepted, which no retry heals."""
    cause: BaseException | None = error
    for _ in range(_DEEPEST_CAUSE):
        if cause is None:
            break
        for found in (cause, *cause.args):
            if isinstance(found, ssl.SSLCertVerificationError):
                return True
        cause = cause.__cause__ or cause.__context__
    return False


def is_refused_by_http2(error: BaseException) -> bool:
    """Say whether an HTTP/2 event tells that the server never worked on the request.

    That is a stream reset with ``REFUSED_STREAM``, or a ``GOAWAY`` that took in no stream at all
    (RFC 9113, section 8.7). Streams above the last one taken in are sent again by the pool itself.
    """
    cause = error.__cause__
    event: Any = cause.args[0] if cause is not None and cause.args else None
    match type(event).__name__:
        case "StreamReset":
            return getattr(event, "error_code", None) == _REFUSED_STREAM
        case "ConnectionTerminated":
            return getattr(event, "last_stream_id", None) == 0
        case _:
            return False
