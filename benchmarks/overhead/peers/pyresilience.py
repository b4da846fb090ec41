from __future__ import annotations

from pyresilience import (
    BulkheadConfig,
    CircuitBreakerConfig,
    FallbackConfig,
    RetryConfig,
    TimeoutConfig,
    resilient,
)

from benchmarks.overhead.peers import BASE, OPEN_FOR, TRANSIENT, Peer

RETRY = RetryConfig(max_attempts=3, delay=BASE, max_delay=10.0, retry_on=TRANSIENT)
BREAKER = CircuitBreakerConfig(recovery_timeout=OPEN_FOR)
BULKHEAD = BulkheadConfig(max_concurrent=100)
TIMEOUT = TimeoutConfig(seconds=10.0)


def four(function):
    return resilient(retry=RETRY, circuit_breaker=BREAKER, bulkhead=BULKHEAD, timeout=TIMEOUT)(
        function
    )


def five(function):
    return resilient(timeout=TimeoutConfig(seconds=30.0))(four(function))


PEER = Peer(
    name="pyresilience",
    distributions=("pyresilience",),
    policies="all four, in another order",
    composition="`@resilient(retry=, circuit_breaker=, bulkhead=, timeout=)`: breaker and bulkhead "
    "are asked before the retry, and again after each backoff; the fifth is another `@resilient`",
    timeout=resilient(timeout=TIMEOUT),
    retry=resilient(retry=RETRY),
    breaker=resilient(circuit_breaker=BREAKER),
    bulkhead=resilient(bulkhead=BULKHEAD),
    fallback=resilient(fallback=FallbackConfig(handler="fallback")),
    four=four,
    five=five,
)
