"""Pipelines with numbers that suit a kind of service.

The numbers of the circuits come from a table of ranges: so many failures open it, for so long, and
so many successes close it. Three rules choose among them:

1. Of each range a preset takes the end that refuses less: the most failures, the shortest open
   time, the fewest successes.
2. Less than ten failures in a row prove nothing on a busy service: of a healthy one that fails one
   call in five, five in a row come every 40 s at 100 calls/s. So fewer than ten open the circuit
   only where also half of the calls of the last 30 s have failed.
3. Half of the calls of 30 s opens it too, once they are twice as many as the failures in a row, so
   that never fewer failures open it than the table says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from seawall.core.checks import check_name, check_number
from seawall.core.pipeline import Pipeline
from seawall.core.policy import Policy
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import CircuitBreaker, ConsecutiveFailures, FailureRate
from seawall.policies.retry import Retry, exponential
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from seawall.policies.circuit import TripRule

# Failures in a row that are evidence by themselves, whatever the traffic.
_ENOUGH: Final = 10
_WINDOW: Final = 30.0


def rest_api(
    *,
    timeout: float = 30.0,
    attempts: int = 3,
    attempt_timeout: float = 10.0,
    limit: int | Policy | None = None,
    trip: TripRule | float | None = None,
    open_for: float | None = 30.0,
    close_after: int = 2,
    name: str | None = None,
) -> Pipeline:
    """Return a pipeline for an API of somebody else's, over a network that you do not control.

    ``Timeout(30)``, ``Retry(3)`` from 0.25 s to 8 s, ``CircuitBreaker``, ``Bulkhead(limit)`` if a
    limit is given, ``Timeout(10)`` for each attempt. The circuit opens after 10 failures in a row,
    or half of at least 20 calls in 30 s; for 30 s; and 2 successes close it.

    Args:
        timeout: seconds for the whole call, waits and retries included.
        attempts: attempts at most, the first one counted; 1 for no retries.
        attempt_timeout: seconds for one attempt.
        limit: calls at a time, or a policy that limits them; by default there is no limit.
        trip: when the circuit opens, instead of the above: a rule, an ``int`` (failures in a row)
            or a ``float`` (share of failures in 30 s).
        open_for: seconds for which the circuit stays open, exactly; ``None`` to let the traffic
            decide, from 1 s to 30 s, as in ``Pipeline.standard()``.
        close_after: successes of probes in a row that close the circuit.
        name: shown in errors, and the name of each policy in it.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """
    return _pipeline(
        timeout=timeout,
        retry=Retry(attempts, backoff=exponential(0.25, cap=8.0)),
        attempt_timeout=attempt_timeout,
        limit=limit,
        trip=_after(10) if trip is None else trip,
        open_for=open_for,
        close_after=close_after,
        name=name,
    )


def database(
    *,
    timeout: float = 30.0,
    attempts: int = 3,
    attempt_timeout: float = 10.0,
    limit: int | Policy | None = None,
    trip: TripRule | float | None = None,
    open_for: float | None = 10.0,
    close_after: int = 1,
    name: str | None = None,
) -> Pipeline:
    """Return a pipeline for a database.

    ``Timeout(30)``, ``Retry(3)`` from 0.05 s to 1 s, ``CircuitBreaker``, ``Bulkhead(limit)`` if a
    limit is given, ``Timeout(10)`` for each attempt. The circuit opens after 5 failures in a row if
    also half of the calls of 30 s have failed, after 10 in a row, or half of at least 20 calls in
    30 s; for 10 s; and 1 success closes it.

    A statement whose connection was lost may have been carried out, and is then run again. Where
    that does harm, call ``database().bind(idempotent=False)``.

    Arguments and errors are those of :func:`rest_api`.
    """
    return _pipeline(
        timeout=timeout,
        retry=Retry(attempts, backoff=exponential(0.05, cap=1.0)),
        attempt_timeout=attempt_timeout,
        limit=limit,
        trip=_after(5) if trip is None else trip,
        open_for=open_for,
        close_after=close_after,
        name=name,
    )


def internal_service(
    *,
    timeout: float = 15.0,
    attempts: int = 2,
    attempt_timeout: float = 5.0,
    limit: int | Policy | None = None,
    trip: TripRule | float | None = None,
    open_for: float | None = 15.0,
    close_after: int = 3,
    name: str | None = None,
) -> Pipeline:
    """Return a pipeline for another service of your own.

    ``Timeout(15)``, ``Retry(2)`` from 0.05 s to 1 s, ``CircuitBreaker``, ``Bulkhead(limit)`` if a
    limit is given, ``Timeout(5)`` for each attempt. The circuit opens after 15 failures in a row,
    or half of at least 30 calls in 30 s; for 15 s; and 3 successes close it. Two attempts, because
    the services behind it retry too, and attempts multiply along a chain.

    Arguments and errors are those of :func:`rest_api`.
    """
    return _pipeline(
        timeout=timeout,
        retry=Retry(attempts, backoff=exponential(0.05, cap=1.0)),
        attempt_timeout=attempt_timeout,
        limit=limit,
        trip=_after(15) if trip is None else trip,
        open_for=open_for,
        close_after=close_after,
        name=name,
    )


def cache(
    *,
    timeout: float = 1.0,
    attempts: int = 2,
    attempt_timeout: float = 0.5,
    limit: int | Policy | None = None,
    trip: TripRule | float | None = None,
    open_for: float | None = 5.0,
    close_after: int = 5,
    name: str | None = None,
) -> Pipeline:
    """Return a pipeline for a cache, which the caller can do without.

    ``Timeout(1)``, ``Retry(2)`` from 0.01 s to 0.1 s, ``CircuitBreaker``, ``Bulkhead(limit)`` if a
    limit is given, ``Timeout(0.5)`` for each attempt. The circuit opens after 30 failures in a row,
    or half of at least 60 calls in 30 s; for 5 s; and 5 successes close it. A miss must be a
    result, not an exception: it is no failure.

    Arguments and errors are those of :func:`rest_api`.
    """
    return _pipeline(
        timeout=timeout,
        retry=Retry(attempts, backoff=exponential(0.01, cap=0.1)),
        attempt_timeout=attempt_timeout,
        limit=limit,
        trip=_after(30) if trip is None else trip,
        open_for=open_for,
        close_after=close_after,
        name=name,
    )


def ml_service(
    *,
    timeout: float = 600.0,
    attempts: int = 2,
    attempt_timeout: float = 300.0,
    limit: int | Policy | None = None,
    trip: TripRule | float | None = None,
    open_for: float | None = 60.0,
    close_after: int = 1,
    name: str | None = None,
) -> Pipeline:
    """Return a pipeline for a model behind an API, whose answers take long and are billed.

    ``Timeout(600)``, ``Retry(2)`` from 1 s to 30 s that waits up to 120 s where the server asks for
    it, ``CircuitBreaker``, ``Bulkhead(limit)`` if a limit is given, ``Timeout(300)`` for each
    attempt: more than two would not fit. The circuit opens after 5 failures in a row if also half
    of the calls of 30 s have failed, after 10 in a row, or half of at least 20 calls in 30 s; for
    60 s; and 1 success closes it.

    **A call may be billed twice**: an attempt that timed out or lost its connection may have been
    carried out, and is then repeated. To repeat only what never reached the service, call
    ``ml_service().bind(idempotent=False)``.

    Arguments and errors are those of :func:`rest_api`.
    """
    return _pipeline(
        timeout=timeout,
        retry=Retry(attempts, backoff=exponential(1.0, cap=30.0), max_retry_after=120.0),
        attempt_timeout=attempt_timeout,
        limit=limit,
        trip=_after(5) if trip is None else trip,
        open_for=open_for,
        close_after=close_after,
        name=name,
    )


def message_broker(
    *,
    timeout: float = 30.0,
    attempts: int = 3,
    attempt_timeout: float = 10.0,
    limit: int | Policy | None = None,
    trip: TripRule | float | None = None,
    open_for: float | None = 20.0,
    close_after: int = 2,
    name: str | None = None,
) -> Pipeline:
    """Return a pipeline for publishing to a queue or a message broker.

    ``Timeout(30)``, ``Retry(3)`` from 0.25 s to 8 s, ``CircuitBreaker``, ``Bulkhead(limit)`` if a
    limit is given, ``Timeout(10)`` for each attempt. The circuit opens after 10 failures in a row,
    or half of at least 20 calls in 30 s; for 20 s; and 2 successes close it.

    A message whose acknowledgement was lost is sent again, so it may arrive twice. Where consumers
    cannot bear that, call ``message_broker().bind(idempotent=False)``.

    Arguments and errors are those of :func:`rest_api`.
    """
    return _pipeline(
        timeout=timeout,
        retry=Retry(attempts, backoff=exponential(0.25, cap=8.0)),
        attempt_timeout=attempt_timeout,
        limit=limit,
        trip=_after(10) if trip is None else trip,
        open_for=open_for,
        close_after=close_after,
        name=name,
    )


def _after(failures: int) -> TripRule:
    """Return the rule that opens a circuit after so many failures, and never after fewer."""
    in_a_row = max(failures, _ENOUGH)
    rate = FailureRate(0.5, window=_WINDOW, minimum_calls=2 * in_a_row)
    rule = rate | ConsecutiveFailures(in_a_row)
    if failures == in_a_row:
        return rule
    half = FailureRate(0.5, window=_WINDOW, minimum_calls=1)
    return rule | (ConsecutiveFailures(failures) & half)


def _pipeline(
    *,
    timeout: float,
    retry: Retry,
    attempt_timeout: float,
    limit: int | Policy | None,
    trip: TripRule | float,
    open_for: float | None,
    close_after: int,
    name: str | None,
) -> Pipeline:
    # Named here as the caller knows them: to a Timeout both are `seconds`.
    check_number("timeout", timeout, above=0)
    check_number("attempt_timeout", attempt_timeout, above=0)
    check_name(name)
    retry.name = name
    return Pipeline(
        Timeout(timeout, name=name),
        retry,
        CircuitBreaker(trip, open_for=open_for, close_after=close_after, name=name),
        *limits(limit, name),
        Timeout(attempt_timeout, name=name),
        name=name,
    )


def limits(limit: int | Policy | None, name: str | None) -> tuple[Policy, ...]:
    """Return the policy that an argument ``limit`` stands for, if there is one."""
    if limit is None:
        return ()
    if isinstance(limit, Policy):
        return (limit,)
    bulkhead = Bulkhead(limit)
    bulkhead.name = name
    return (bulkhead,)
