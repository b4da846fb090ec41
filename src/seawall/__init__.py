"""Resilience for asyncio: circuit breaker, timeout, retry and bulkhead in one pipeline."""

from seawall.core.attempts import Attempt, Attempts
from seawall.core.call import Call, Proceed
from seawall.core.deadline import deadline
from seawall.core.errors import (
    BulkheadFullError,
    CallTimeoutError,
    CircuitOpenError,
    DeadlineError,
    LoadShedError,
    RateLimitedError,
    RejectedError,
    SeawallError,
    UsageError,
)
from seawall.core.listeners import Subscription, subscribe
from seawall.core.observe import tell
from seawall.core.pipeline import Pipeline
from seawall.core.policy import Policy
from seawall.core.stream import Stream
from seawall.core.verdict import Classifier, Kind, Outcome, Verdict
from seawall.core.waiting import Waiter
from seawall.policies.adaptive_limit import AdaptiveLimit
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import (
    AdaptiveFailureCount,
    Calls,
    Circuit,
    CircuitBreaker,
    ConsecutiveFailures,
    Cusum,
    FailureCount,
    FailureRate,
    SlowCallRate,
    State,
    Tally,
    TripRule,
)
from seawall.policies.fallback import Fallback
from seawall.policies.hedge import Hedge, Percentile
from seawall.policies.keyed import Keyed
from seawall.policies.last_good import LastGood
from seawall.policies.load_shedder import LoadShedder
from seawall.policies.rate_limiter import RateLimiter
from seawall.policies.retry import Retry, RetryBudget, constant, exponential, linear
from seawall.policies.timeout import Timeout

__all__ = [
    "AdaptiveFailureCount",
    "AdaptiveLimit",
    "Attempt",
    "Attempts",
    "Bulkhead",
    "BulkheadFullError",
    "Call",
    "CallTimeoutError",
    "Calls",
    "Circuit",
    "CircuitBreaker",
    "CircuitOpenError",
    "Classifier",
    "ConsecutiveFailures",
    "Cusum",
    "DeadlineError",
    "FailureCount",
    "FailureRate",
    "Fallback",
    "Hedge",
    "Keyed",
    "Kind",
    "LastGood",
    "LoadShedError",
    "LoadShedder",
    "Outcome",
    "Percentile",
    "Pipeline",
    "Policy",
    "Proceed",
    "RateLimitedError",
    "RateLimiter",
    "RejectedError",
    "Retry",
    "RetryBudget",
    "SeawallError",
    "SlowCallRate",
    "State",
    "Stream",
    "Subscription",
    "Tally",
    "Timeout",
    "TripRule",
    "UsageError",
    "Verdict",
    "Waiter",
    "constant",
    "deadline",
    "exponential",
    "linear",
    "subscribe",
    "tell",
]
