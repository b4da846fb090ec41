"""Resilience for asyncio: circuit breaker, timeout, retry and bulkhead in one pipeline."""

from seawall.core.attempts import Attempt, Attempts
from seawall.core.call import Call, Proceed
from seawall.core.deadline import deadline
from seawall.core.errors import (
    BulkheadFullError,
    CallTimeoutError,
    CircuitOpenError,
    DeadlineError,
    RejectedError,
    SeawallError,
    UsageError,
)
from seawall.core.pipeline import Pipeline
from seawall.core.policy import Policy
from seawall.core.verdict import Classifier, Kind, Outcome, Verdict
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import (
    Calls,
    Circuit,
    CircuitBreaker,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    State,
    TripRule,
)
from seawall.policies.fallback import Fallback
from seawall.policies.keyed import Keyed
from seawall.policies.retry import Retry, RetryBudget, constant, exponential, linear
from seawall.policies.timeout import Timeout

__all__ = [
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
    "DeadlineError",
    "FailureCount",
    "FailureRate",
    "Fallback",
    "Keyed",
    "Kind",
    "Outcome",
    "Pipeline",
    "Policy",
    "Proceed",
    "RejectedError",
    "Retry",
    "RetryBudget",
    "SeawallError",
    "State",
    "Timeout",
    "TripRule",
    "UsageError",
    "Verdict",
    "constant",
    "deadline",
    "exponential",
    "linear",
]
