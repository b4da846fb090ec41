"""Which policies are fused: neighbours in the advised order, each one optional.

``Timeout`` for the whole call, ``Retry``, ``RateLimiter`` without a rate, ``CircuitBreaker``,
``Bulkhead``, ``Timeout`` per attempt. A subclass is a policy of its own, and stays a step of its
own; but for a timeout that only says other seconds.
"""

from __future__ import annotations

from asyncio import _get_running_loop as _running_loop
from typing import TYPE_CHECKING, Any, Final, TypeVar

from seawall.core.call import invoke
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker
from seawall.policies.fused.row import FusedRow
from seawall.policies.keyed import Keyed
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from seawall.core.call import Proceed
    from seawall.core.policy import Policy

T = TypeVar("T")

_ORDER: Final[dict[str, type[Policy]]] = {
    "total": Timeout,
    "retry": Retry,
    "limiter": RateLimiter,
    "breaker": CircuitBreaker,
    "bulkhead": Bulkhead,
    "timeout": Timeout,
}


def link_all(policies: Sequence[Policy], proceed: Proceed[T]) -> Proceed[T]:
    """Put policies around the rest of a pipeline, the first one outermost."""
    rest = list(policies)
    while rest:
        row = _last_row(rest)
        end = len(rest) - len(row)
        keyed = rest[end - 1] if end else None
        if type(keyed) is Keyed:
            # What each key has is fused with what is around it.
            start = _begin_around(rest[: end - 1]) if keyed.is_by_call else end - 1
            proceed = keyed.link_around(rest[start : end - 1], rest[end:], proceed)
            del rest[start:]
        elif row:
            proceed = FusedRow(proceed, **row).step
            del rest[-len(row) :]
        else:
            proceed = rest.pop().link(proceed)
    return proceed


def _begin_around(policies: Sequence[Policy]) -> int:
    """Return where the timeout and the retry begin that stand last, if they do."""
    start = len(policies)
    for kind in (Retry, Timeout):
        if start and _is_plain(policies[start - 1], kind):
            start -= 1
    return start


def whole_row(chain: Proceed[Any]) -> FusedRow | None:
    """Return the row that is all of a chain, if it can run a call that is not made yet.

    Only where asyncio runs: elsewhere it could not.
    """
    row = FusedRow(invoke) if chain is invoke else getattr(chain, "__self__", None)
    if _running_loop() is None or not isinstance(row, FusedRow):
        return None
    return row if row.is_whole() else None


def _last_row(policies: Sequence[Policy]) -> dict[str, Any]:
    """Return the longest row at the end of these policies, each with its place."""
    row: dict[str, Any] = {}
    places = list(_ORDER)
    for policy in reversed(policies):
        while places and not _is_plain(policy, _ORDER[places[-1]]):
            places.pop()
        if not places:
            break
        row[places.pop()] = policy
    return row


def _is_plain(policy: Policy, kind: type[Policy]) -> bool:
    """Say whether a policy does just what this kind does."""
    if type(policy) is kind:
        # With a rate, it takes part of a bucket for each call.
        return not isinstance(policy, RateLimiter) or policy.rate is None
    # A timeout may have other seconds for each call.
    own: Any = type(policy)
    return (
        kind is Timeout
        and issubclass(own, Timeout)
        and own.run is Timeout.run
        and own.link is Timeout.link
    )
