"""Resilience for asyncio: circuit breaker, timeout, retry and bulkhead in one pipeline."""

import importlib
import typing

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
from seawall.policies.bulkhead import Bulkhead
from seawall.policies.circuit import (
    Calls,
    Circuit,
    CircuitBreaker,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    State,
    Tally,
    TripRule,
)
from seawall.policies.retry import Retry, RetryBudget, constant, exponential, linear
from seawall.policies.timeout import Timeout

if typing.TYPE_CHECKING:
    from seawall.policies.adaptive_limit import AdaptiveLimit
    from seawall.policies.circuit.adaptive import AdaptiveFailureCount
    from seawall.policies.circuit.cusum import Cusum
    from seawall.policies.circuit.slow_calls import SlowCallRate
    from seawall.policies.fallback import Fallback
    from seawall.policies.hedge import Hedge, Percentile
    from seawall.policies.keyed import Keyed
    from seawall.policies.last_good import LastGood
    from seawall.policies.load_shedder import LoadShedder
    from seawall.policies.rate_limiter import RateLimiter
else:
    # What most programs do not need is imported when it is first asked for.
    _LATE = {
        "AdaptiveFailureCount": "circuit.adaptive",
        "AdaptiveLimit": "adaptive_limit",
        "Cusum": "circuit.cusum",
        "Fallback": "fallback",
        "Hedge": "hedge",
        "Keyed": "keyed",
        "LastGood": "last_good",
        "LoadShedder": "load_shedder",
        "Percentile": "hedge",
        "RateLimiter": "rate_limiter",
        "SlowCallRate": "circuit.slow_calls",
    }

    def __getattr__(name: str) -> object:
        if name not in _LATE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = importlib.import_module(f".policies.{_LATE[name]}", __name__)
        globals()[name] = value = getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_LATE})


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
