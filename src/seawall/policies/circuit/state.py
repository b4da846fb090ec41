"""The states of a circuit, and the table of its transitions."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from seawall.core.errors import Opening


class State(Enum):
    """What a circuit does with the next call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    ISOLATED = "isolated"


class Trigger(Enum):
    """What makes a circuit change its state; the values are the labels of the diagram."""

    EVIDENCE = "the trip rule holds"
    ARRIVAL = "a call arrives after the open time"
    RECOVERED = "close_after probes in a row succeeded"
    RELAPSED = "a probe failed"
    TRIP = "trip()"
    RESET = "reset()"
    ISOLATE = "isolate()"


TRANSITIONS: Final[dict[tuple[State, Trigger], State]] = {
    (State.CLOSED, Trigger.EVIDENCE): State.OPEN,
    (State.CLOSED, Trigger.TRIP): State.OPEN,
    (State.CLOSED, Trigger.RESET): State.CLOSED,
    (State.CLOSED, Trigger.ISOLATE): State.ISOLATED,
    (State.OPEN, Trigger.ARRIVAL): State.HALF_OPEN,
    (State.OPEN, Trigger.TRIP): State.OPEN,
    (State.OPEN, Trigger.RESET): State.CLOSED,
    (State.OPEN, Trigger.ISOLATE): State.ISOLATED,
    (State.HALF_OPEN, Trigger.RECOVERED): State.CLOSED,
    (State.HALF_OPEN, Trigger.RELAPSED): State.OPEN,
    (State.HALF_OPEN, Trigger.TRIP): State.OPEN,
    (State.HALF_OPEN, Trigger.RESET): State.CLOSED,
    (State.HALF_OPEN, Trigger.ISOLATE): State.ISOLATED,
    (State.ISOLATED, Trigger.RESET): State.CLOSED,
}


class Transition(NamedTuple):
    """One transition, as it is told to whoever listens.

    Attributes:
        before: the state before.
        after: the state after; the same where a closed circuit is reset or an open one tripped.
        trigger: what made it.
        time: when, in seconds of the circuit's clock.
        lasted: seconds that the state before lasted.
        opening: what is known of the opening, where ``after`` is OPEN.
        open_for: seconds until a probe may be let through, where ``after`` is OPEN.
    """

    before: State
    after: State
    trigger: Trigger
    time: float
    lasted: float
    opening: Opening | None
    open_for: float | None
