"""The circuit breaker: a pure state machine, its trip rules, and the policy around them."""

from seawall.policies.circuit.adaptive import AdaptiveFailureCount
from seawall.policies.circuit.breaker import CircuitBreaker
from seawall.policies.circuit.core import Circuit, State
from seawall.policies.circuit.cusum import Cusum
from seawall.policies.circuit.rules import ConsecutiveFailures, FailureCount, FailureRate
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.tallies import Tally
from seawall.policies.circuit.trip_rule import TripRule
from seawall.policies.circuit.windows import Calls

__all__ = [
    "AdaptiveFailureCount",
    "Calls",
    "Circuit",
    "CircuitBreaker",
    "ConsecutiveFailures",
    "Cusum",
    "FailureCount",
    "FailureRate",
    "SlowCallRate",
    "State",
    "Tally",
    "TripRule",
]
