"""Events: what policies do. See :func:`seawall.subscribe` and ``Policy.subscribe``."""

from seawall.core.events import (
    AttemptFailed,
    CallFinished,
    CallQueued,
    CallRefused,
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitIsolated,
    CircuitOpened,
    Event,
    FallbackUsed,
    RetryNotMade,
    RetryScheduled,
    TimedOut,
)

__all__ = [
    "AttemptFailed",
    "CallFinished",
    "CallQueued",
    "CallRefused",
    "CircuitClosed",
    "CircuitEvent",
    "CircuitHalfOpened",
    "CircuitIsolated",
    "CircuitOpened",
    "Event",
    "FallbackUsed",
    "RetryNotMade",
    "RetryScheduled",
    "TimedOut",
]
