"""The policies that suit most HTTP clients, and timeouts that never undercut the caller's."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, Final

from seawall.core.pipeline import Pipeline
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.keyed import Keyed
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry, exponential
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from seawall.core.call import Call
    from seawall.core.policy import Policy
    from seawall.policies.timeout.running import Lane

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
        if asked <= ATTEMPT_SECONDS:
            return self.seconds
        return self.seconds + asked - ATTEMPT_SECONDS

    def _find_lane(self, call: Call[Any], loop: AbstractEventLoop) -> Lane:
        lane = self._usual
        if lane is None or lane.loop is not loop or getattr(call, "asks_for_time", True):
            return super()._find_lane(call, loop)
        return lane


class DefaultTotal(DefaultTimeout):
    """A timeout of the whole call that nobody asked for; the request's own ``timeout`` is instead.

    What enforces that one stands further outside.
    """

    def seconds_for(self, call: Call[Any]) -> float:
        """Return the limit for this call."""
        asked: float | None = getattr(call, "asked_total", None)
        return inf if asked is not None else super().seconds_for(call)


class ForOrigin:
    """Makes the policies that each origin has of its own.

    Args:
        limit: requests at a time, ``None`` for no limit.
        name: shown in errors.
    """

    def __init__(self, limit: int | None, name: str | None) -> None:
        self.limit = limit
        self.name = name

    def __repr__(self) -> str:
        return f"ForOrigin({self.limit!r}, {self.name!r})"

    def __call__(self, origin: Any) -> Pipeline:  # noqa: ARG002 - refusals show the key of the call
        """Return the policies for one origin."""
        policies: list[Policy] = [RateLimiter(None), CircuitBreaker(name=self.name)]
        if self.limit is not None:
            policies.append(Bulkhead(self.limit, queue=inf))
        return Pipeline(*policies)


def limits_each_origin(policy: Policy) -> bool:
    """Say whether this is a ``standard()`` that limits the requests of each origin."""
    if not isinstance(policy, Pipeline):
        return False
    try:
        made_by = policy.find(Keyed).factory
    except LookupError:
        return False
    return isinstance(made_by, ForOrigin) and made_by.limit is not None


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
    ``RateLimiter(None)``, which only obeys ``Retry-After`` (for 60 s at most, and for all requests
    to the origin), ``CircuitBreaker()`` and ``Bulkhead(100)``, whose queue waits as long as the
    deadline, then ``Timeout(10)`` for each attempt.

    Args:
        timeout: seconds for the whole call: queueing, attempts, waits and the body of the
            response. Default: 30, and longer where the request's own read timeout is longer than
            10 s, by as much as that; or what the request's settings say.
        attempts: attempts at most, the first one counted.
        attempt_timeout: seconds until the headers of one attempt. Default: 10, or the request's
            own read timeout if that is longer.
        limit: requests at a time for each origin, ``None`` for no limit.
        name: shown in errors.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """
    for_origin = ForOrigin(limit, name)
    # A wrong limit is told here, not by the first request.
    for_origin(None)
    total = DefaultTotal(TOTAL_SECONDS, name=name)
    of_attempt = DefaultTimeout(ATTEMPT_SECONDS, name=name)
    return Pipeline(
        total if timeout is None else Timeout(timeout, name=name),
        Retry(attempts, backoff=exponential(0.25, cap=8.0), max_retry_after=30.0),
        Keyed(for_origin),
        of_attempt if attempt_timeout is None else Timeout(attempt_timeout, name=name),
        name=name,
    )
