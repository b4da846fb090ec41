"""The policies that suit most HTTP clients, and timeouts that never undercut the caller's."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from seawall.core.pipeline import Pipeline
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.keyed import Keyed
from seawall.policies.retry import Retry, exponential
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from seawall.core.call import Call
    from seawall.core.policy import Policy

TOTAL_SECONDS: Final = 30.0
ATTEMPT_SECONDS: Final = 10.0


class DefaultTimeout(Timeout):
    """A timeout that nobody asked for, so it gives way to what the caller did ask for.

    Where a request carries a longer ``read`` timeout than an attempt gets by default (clients of
    language models wait 600 s), the attempt may take that long, and the total as much more.
    """

    def seconds_for(self, call: Call[Any]) -> float:
        """Return the limit for this call."""
        asked: float = getattr(call, "asked_seconds", 0.0)
        return self.seconds + max(0.0, asked - ATTEMPT_SECONDS)


def standard(
    *,
    timeout: float | None = None,
    attempts: int = 3,
    attempt_timeout: float | None = None,
    limit: int | None = 100,
    name: str | None = None,
) -> Pipeline:
    """Return the pipeline that suits most HTTP clients.

    ``Timeout(30)``, ``Retry(3)`` with full jitter from 0.25 s to 8 s, then for each origin
    ``CircuitBreaker()`` and ``Bulkhead(100)``, whose queue waits as long as the deadline, then
    ``Timeout(10)`` for each attempt.

    Args:
        timeout: seconds for the whole call: queueing, attempts, waits and the body of the
            response. Default: 30, and longer where the request's own read timeout is longer than
            10 s, by as much as that.
        attempts: attempts at most, the first one counted.
        attempt_timeout: seconds until the headers of one attempt. Default: 10, or the request's
            own read timeout if that is longer.
        limit: requests at a time for each origin, ``None`` for no limit.
        name: shown in errors.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """

    def for_origin(origin: Any) -> Pipeline:  # noqa: ARG001 - refusals show the key of the call
        policies: list[Policy] = [CircuitBreaker(name=name)]
        if limit is not None:
            policies.append(Bulkhead(limit, queue=inf))
        return Pipeline(*policies)

    # A wrong limit is told here, not by the first request.
    for_origin(None)
    return Pipeline(
        _timeout(timeout, TOTAL_SECONDS, name),
        Retry(attempts, backoff=exponential(0.25, cap=8.0), max_retry_after=30.0),
        Keyed(for_origin),
        _timeout(attempt_timeout, ATTEMPT_SECONDS, name),
        name=name,
    )


def _timeout(given: float | None, default: float, name: str | None) -> Timeout:
    if given is None:
        return DefaultTimeout(default, name=name)
    return Timeout(given, name=name)
