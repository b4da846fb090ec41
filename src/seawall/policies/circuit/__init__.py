"""The circuit breaker: a pure state machine, its trip rules, and the policy around them."""

from seawall.policies.circuit.breaker import CircuitBreaker
from seawall.policies.circuit.core import Circuit, State
from seawall.policies.circuit.rules import ConsecutiveFailures, FailureCount, FailureRate
from seawall.policies.circuit.tallies import Tally
from seawall.policies.circuit.trip_rule import TripRule
from seawall.policies.circuit.windows import Calls

__all__ = [
    "Calls",
    "Circuit",
    "CircuitBreaker",
    "ConsecutiveFailures",
    "FailureCount",
    "FailureRate",
    "State",
    "Tally",
    "TripRule",
]
