"""Pipelines that act like well-known libraries, with the defaults of these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seawall.advice.presets import limits
from seawall.core.checks import check_name, check_number
from seawall.core.pipeline import Pipeline
from seawall.policies.circuit import Calls, CircuitBreaker, FailureRate
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.timeout import Timeout

if TYPE_CHECKING:
    from seawall.core.policy import Policy
    from seawall.policies.circuit import TripRule


def hystrix(
    *,
    timeout: float = 1.0,
    limit: int | Policy | None = 10,
    trip: TripRule | float | None = None,
    open_for: float | None = 5.0,
    name: str | None = None,
) -> Pipeline:
    """Return a pipeline that acts like a Hystrix command with that library's defaults.

    ``CircuitBreaker``, ``Bulkhead(10)``, ``Timeout(1)``. The circuit opens at half of at least 20
    calls in 10 s, for 5 s, and 1 success closes it. There is no retry, for Hystrix has none. These
    numbers are for moving from Hystrix; they do refuse healthy traffic, the 11th call at a time.

    What differs from Hystrix: a call refused by the bulkhead, or by the open circuit, is no
    failure; nor is a programming error or a 4xx status. Only a failure opens the circuit, and it
    does so at once, not at the next snapshot of the counts (every 0.5 s there). Calls are limited
    by counting them, as with semaphore isolation, not by a pool of threads, and a call that times
    out is cancelled. A fallback is a policy around it: ``Pipeline(Fallback(...), hystrix())``.

    Args:
        timeout: seconds for a call.
        limit: calls at a time, or a policy that limits them; ``None`` for no limit.
        trip: when the circuit opens, instead of the above: a rule, an ``int`` (failures in a row)
            or a ``float`` (share of failures in 30 s).
        open_for: seconds for which the circuit stays open (the sleep window); ``None`` to let the
            traffic decide.
        name: shown in errors, and the name of each policy in it.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """
    check_name(name)
    check_number("timeout", timeout, above=0)
    breaker = CircuitBreaker(
        FailureRate(0.5, window=10.0, minimum_calls=20) if trip is None else trip,
        open_for=open_for,
        count_retries=True,
        stalls=False,
        name=name,
    )
    return Pipeline(breaker, *limits(limit, name), Timeout(timeout, name=name), name=name)


def resilience4j(
    *,
    trip: TripRule | float | None = None,
    open_for: float | None = 60.0,
    probes: int = 10,
    close_after: int = 10,
    name: str | None = None,
) -> Pipeline:
    """Return a pipeline that acts like a Resilience4j circuit breaker with that library's defaults.

    One ``CircuitBreaker``: it opens at half of the last 100 calls, or when all of the last 100 were
    slower than 60 s, in both cases once there were 100; for 60 s; then 10 calls are permitted. The
    other modules are separate there too; with their defaults and in their order that is
    ``Pipeline(Retry(3, backoff=0.5, budget=None), resilience4j(), Timeout(1), Bulkhead(25))``.

    What differs from Resilience4j: half-open, the circuit closes after 10 successes in a row and
    one failure opens it again, while there 10 calls are judged together, and six successes are
    enough: a dependency that still fails now and then takes longer to close here. A place that a
    success leaves is taken by the next call, so that up to 19 calls are permitted; and a probe that
    does not end makes room for another. A success that completes the 100 calls does not open it
    by their failures. A programming error or a 4xx status is no failure.

    Args:
        trip: when the circuit opens, instead of the above: a rule, an ``int`` (failures in a row)
            or a ``float`` (share of failures in 30 s).
        open_for: seconds for which the circuit stays open; ``None`` to let the traffic decide.
        probes: calls at a time that may try whether the dependency is back.
        close_after: successes of probes in a row that close the circuit.
        name: shown in errors, and the name of the breaker.

    Raises:
        ValueError: a number is out of range.
        TypeError: an argument is of the wrong type.
    """
    last = Calls(100)
    if trip is None:
        slow = SlowCallRate(1.0, slower_than=60.0, window=last, minimum_calls=100)
        trip = FailureRate(0.5, window=last, minimum_calls=100) | slow
    breaker = CircuitBreaker(
        trip,
        open_for=open_for,
        probes=probes,
        close_after=close_after,
        count_retries=True,
        stalls=False,
        name=name,
    )
    return Pipeline(breaker, name=name)
