"""The circuit: a state machine that takes the time from its caller and never waits."""

# The rules (the numbers are those of the design; 10 and 11 are not here):
#
#  1. Every admitted call holds one ticket. Settling it a second time does nothing.
#  2. Every transition begins a new generation, and a ticket of an older one changes nothing.
#  3. CLOSED: the trip rule hears the SUCCESS and FAILURE of first attempts; of repeated ones only
#     with `count_retries`. NEUTRAL is no evidence. A probe always counts.
#  4. OPEN: all are refused until the open time has passed; the first to arrive after it is the
#     probe. No timer: until then the state reads OPEN. The open time is `open_for` exactly, or
#     else it is the time in which about 20 calls came before the trip. With `max_open_for` it
#     doubles as long as the circuit re-opens before it was closed for as long as the last one.
#  5. HALF_OPEN: at most `probes` tickets hold a place at a time. `close_after` successes in a row
#     close the circuit, one failure re-opens it. Opening also refuses the admitted calls that wait.
#  6. A NEUTRAL probe frees its place at once, and proves nothing.
#  7. A probe that is older than its lease has lost its place, but its verdict counts as long as
#     the half-open period lasts.
#  8. A refusal says when to come back, in seconds from now; only ISOLATED does not know.
#  9. ISOLATED refuses all until reset. Shadow is a mode beside the states: the state moves as it
#     would, and who would be refused is admitted with a ticket that counts for nothing.
# 12. Every operation costs O(1) on average, and there is no clock.
#
# Theory of operation: a healthy circuit hears little but successes, and no success makes a rule
# trip before `quiet_until` of its tally. Until then they are only counted here, and handed over
# together when something else happens.

from __future__ import annotations

import random as random_module
from enum import Enum
from math import inf, isnan, nan
from typing import TYPE_CHECKING, Final

from seawall.core.checks import check_count, check_number, check_type
from seawall.core.errors import NO_EVIDENCE, CircuitOpenError, Opening
from seawall.core.verdict import Kind
from seawall.policies.circuit.open_time import OpenTime
from seawall.policies.circuit.rules import as_rule
from seawall.policies.circuit.ticket import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.policies.circuit.rules import TripRule
    from seawall.policies.circuit.ticket import Waiter

__all__ = ["TRANSITIONS", "Circuit", "State", "Ticket", "Trigger"]


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

_new = BaseException.__new__
_CLOSED, _OPEN, _HALF_OPEN, _ISOLATED = State
_SUCCESS, _FAILURE, _NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL

# Generations that no ticket and no circuit has.
_SPENT: Final = -1
_NONE: Final = -2

_DEFAULT_LEASE: Final = 30.0
# Seconds after its open time for which an open circuit is worth remembering.
_MEMORY: Final = 60.0


class Circuit:
    """A circuit breaker without a clock: a pure state machine.

    Times are seconds of one monotonic clock, given by the caller.

    Args:
        trip: when to open: a rule, an ``int`` (failures in a row) or a ``float`` (share of
            failures). Default: half of at least 20 calls in 30 s, or 8 failures in a row.
        open_for: seconds for which it refuses all calls, exactly. Default: the time of about 20
            calls at the rate before the trip, from 1 s to 30 s (1 s if the rate is unknown), times
            a random 0.75 to 1.25; so probes are at most about 5 % of the usual load.
        max_open_for: if given, each re-opening doubles the open time up to this many seconds,
            spread at random between 3/4 and 5/4 but never above it. Once the circuit was closed for
            at least as long as it was last open, it starts anew. Default: no doubling.
        probes: how many calls at a time may try whether the dependency is back. Default 1.
        close_after: successes of probes in a row that close the circuit. Default 1.
        probe_lease: seconds after which an unsettled probe makes room for the next. Default 30 s.
        count_retries: count all attempts instead of the first of each call. Default ``False``.
        shadow: refuse nothing, only count in ``would_refuse``. Default ``False``.
        random: where jitter comes from: a function that returns 0.0 to 1.0.

    Attributes:
        rule: the rule that ``trip`` stands for.
        owner: what refusals name as their policy.
        name: what refusals name as its name.
        generation: number of the current generation; every transition raises it.
        opening: what is known of the latest opening; ``None`` before the first.
        would_refuse: how many calls the shadow mode let pass that would have been refused.
        waiting: what admitted calls wait with, each with the ticket of its call.
        on_change: if set, it is called as ``on_change(before, after)`` after each transition,
            before anything that waits is refused. It must not raise.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of range.
    """

    __slots__ = (
        "_closed_generation",
        "_closed_since",
        "_gaps",
        "_last_admission",
        "_lease",
        "_mean_gap",
        "_open_time",
        "_open_until",
        "_places",
        "_quiet_until",
        "_state",
        "_successes",
        "_tally",
        "_usual_gap",
        "close_after",
        "count_retries",
        "generation",
        "name",
        "on_change",
        "opening",
        "owner",
        "probe_lease",
        "probes",
        "rule",
        "shadow",
        "waiting",
        "would_refuse",
    )

    def __init__(
        self,
        trip: TripRule | float | None = None,
        *,
        open_for: float | None = None,
        max_open_for: float | None = None,
        probes: int = 1,
        close_after: int = 1,
        probe_lease: float | None = None,
        count_retries: bool = False,
        shadow: bool = False,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.rule = as_rule(trip)
        self._open_time = OpenTime(open_for, max_open_for, random)
        check_count("probes", probes, at_least=1)
        check_count("close_after", close_after, at_least=1)
        check_number("probe_lease", probe_lease, above=0, optional=True)
        check_type("count_retries", count_retries, bool, "True or False")
        check_type("shadow", shadow, bool, "True or False")
        self.probes = probes
        self.close_after = close_after
        self.probe_lease = probe_lease
        self.count_retries = count_retries
        self.shadow = shadow

        self.owner: object = None
        self.name: str | None = None
        self.generation = 0
        self.opening: Opening | None = None
        self.would_refuse = 0
        self.waiting: dict[Waiter, Ticket] = {}
        self.on_change: Callable[[State, State], object] | None = None
        self._state = _CLOSED
        # The generation whose successes need only be counted; no generation unless CLOSED.
        self._closed_generation = 0
        self._closed_since = -inf
        # CLOSED: successes not yet handed to the tally. HALF_OPEN: those in a row.
        self._successes = 0
        self._tally = self.rule.start()
        self._quiet_until = self._tally.quiet_until
        self._open_until = -inf
        # Tickets of probes with the end of their lease, the earliest first.
        self._places: dict[Ticket, float] = {}
        self._lease = _DEFAULT_LEASE if self.probe_lease is None else self.probe_lease
        # Longest gap that needs no care in learning the rate; None if it is not learned at all.
        self._usual_gap = -inf if open_for is None else None
        self._last_admission = nan
        self._mean_gap = 0.0
        self._gaps = 0

    @property
    def open_for(self) -> float | None:
        """Seconds for which it stays open; ``None`` if the traffic decides."""
        return self._open_time.fixed

    @property
    def max_open_for(self) -> float | None:
        """Seconds up to which re-openings double the open time, if they do."""
        return self._open_time.longest

    @property
    def state(self) -> State:
        """The state; OPEN is left only when a probe is admitted."""
        return self._state

    def admit(self, now: float, first: bool = True) -> Ticket:  # noqa: FBT001, FBT002 - hot path
        """Admit a call and return its ticket, which must be settled whatever happens.

        Args:
            now: the time.
            first: whether this is the first attempt of the call.

        Raises:
            CircuitOpenError: the call is refused.
        """
        probe = False
        if self._state is _CLOSED:
            generation = self.generation
            longest = self._usual_gap
            if longest is not None:
                gap = now - self._last_admission
                self._last_admission = now
                if gap <= longest:
                    mean = self._mean_gap
                    self._mean_gap = mean + (gap - mean) * 0.015625
                else:
                    self._learn_gap(gap)
        elif self._takes_probe(now):
            generation, probe = self.generation, True
        elif self.shadow:
            self.would_refuse += 1
            generation = _SPENT
        else:
            raise self.refusal(now)
        ticket = Ticket()
        ticket.circuit = self
        ticket.generation = generation
        ticket.start = now
        ticket.probe = probe
        ticket.first = first
        ticket.outer = None
        if probe:
            self._places[ticket] = now + self._lease
        return ticket

    def settle(self, ticket: Ticket, kind: Kind, now: float, cause: str | None = None) -> None:
        """Give a ticket back, with the verdict on its call.

        Args:
            ticket: what :meth:`admit` returned. Only the first time counts.
            kind: the verdict.
            now: the time.
            cause: type name of the error, if the call failed with one.
        """
        if (
            kind is _SUCCESS
            and ticket.generation == self._closed_generation
            and now < self._quiet_until
            and ticket.first
        ):
            ticket.generation = _SPENT
            self._successes += 1
            return
        generation, ticket.generation = ticket.generation, _SPENT
        if generation != self.generation:
            return
        if self._state is _HALF_OPEN:
            self._settle_probe(ticket, kind, now, cause)
        elif kind is not _NEUTRAL and (ticket.first or self.count_retries):
            self._hand_over_successes()
            duration = max(0.0, now - ticket.start)
            tripped = self._tally.record(kind is _FAILURE, duration, now)
            self._quiet_until = self._tally.quiet_until
            if tripped:
                self._move(Trigger.EVIDENCE, now, Opening(*self._tally.evidence(now), cause))

    def trip(self, now: float) -> None:
        """Open now, for the whole open time. An isolated circuit stays isolated."""
        self._move(Trigger.TRIP, now, NO_EVIDENCE)

    def reset(self, now: float) -> None:
        """Close now, from any state, without memory of failures. The shadow mode stays as it is."""
        self._open_time.forget()
        self._move(Trigger.RESET, now)

    def isolate(self) -> None:
        """Refuse all calls until :meth:`reset`."""
        self._move(Trigger.ISOLATE, 0.0, NO_EVIDENCE)

    def retry_after(self, now: float) -> float | None:
        """Return the seconds, never below 0, until a call may be admitted; ``None`` if isolated."""
        state = self._state
        if state is _ISOLATED:
            return None
        if state is _OPEN:
            return max(0.0, self._open_until - now)
        if state is _HALF_OPEN and len(self._places) >= self.probes:
            return max(0.0, next(iter(self._places.values())) - now)
        return 0.0

    def refuses(self, now: float) -> bool:
        """Say whether a call that comes now would be refused; asking changes nothing."""
        state = self._state
        if state is _CLOSED or self.shadow:
            return False
        if state is _OPEN:
            return now < self._open_until
        if state is _ISOLATED:
            return True
        places = self._places
        return len(places) >= self.probes and now < next(iter(places.values()))

    def refusal(self, now: float, key: object = None) -> CircuitOpenError:
        """Return a new error that tells why a call is refused now, with the key of that call."""
        # Written out, without the constructor: a refusal must cost little.
        error: CircuitOpenError = _new(CircuitOpenError)
        state = self._state
        error.state = state._value_
        error.opening = self.opening or NO_EVIDENCE
        wait = self._open_until - now
        error.retry_after = wait if wait > 0.0 and state is _OPEN else self.retry_after(now)
        error.policy = self.owner
        error.name = self.name
        error.key = key
        return error

    def evidence(self, now: float) -> tuple[int, int]:
        """Return the failures, and the calls among which they were, of the closed period."""
        if self._state is _CLOSED:
            self._hand_over_successes()
        return self._tally.evidence(now)

    def matters(self, now: float) -> bool:
        """Say whether forgetting the circuit would lose something.

        It would if it is open, until 60 s after the open time, half-open or isolated.
        """
        if self._state is _OPEN:
            return now < self._open_until + _MEMORY
        return self._state is not _CLOSED

    def shift(self, delta: float) -> None:
        """Move to another event loop, whose clock is ``delta`` seconds ahead of the last one's.

        No time passes for the circuit. The calls of the last loop are forgotten: their tickets
        are void, their places free, and who waits is not refused any more.
        """
        self.generation += 1
        if self._state is _CLOSED:
            self._closed_generation = self.generation
        self.waiting.clear()
        self._places.clear()
        self._open_until += delta
        self._closed_since += delta
        self._last_admission += delta
        self._tally.shift(delta)
        self._quiet_until += delta

    def _learn_gap(self, gap: float) -> None:
        # A bias-corrected EWMA: the plain mean of the first 64 gaps, then with a gain of 1/64.
        if isnan(gap):
            return
        self._gaps = count = min(self._gaps + 1, 64)
        self._mean_gap += (min(max(gap, 0.0), 10.0) - self._mean_gap) / count
        if count == 64:
            self._usual_gap = 10.0

    def _takes_probe(self, now: float) -> bool:
        if self._state is _OPEN and now >= self._open_until:
            self._move(Trigger.ARRIVAL, now)
        if self._state is not _HALF_OPEN:
            return False
        places = self._places
        while places:
            oldest = next(iter(places))
            if now < places[oldest]:
                break
            del places[oldest]
        return len(places) < self.probes

    def _settle_probe(self, ticket: Ticket, kind: Kind, now: float, cause: str | None) -> None:
        self._places.pop(ticket, None)
        if kind is _SUCCESS:
            self._successes += 1
            if self._successes >= self.close_after:
                self._move(Trigger.RECOVERED, now)
        elif kind is _FAILURE:
            self._move(Trigger.RELAPSED, now, Opening(1, self._successes + 1, cause))

    def _hand_over_successes(self) -> None:
        if self._successes:
            self._tally.add_successes(self._successes)
            self._successes = 0

    def _move(self, trigger: Trigger, now: float, opening: Opening | None = None) -> None:
        before = self._state
        after = TRANSITIONS.get((before, trigger))
        if after is None:
            return
        self._state = after
        self.generation += 1
        self._closed_generation = self.generation if after is _CLOSED else _NONE
        self._successes = 0
        self._places.clear()
        if after is _CLOSED:
            self._tally.reset()
            self._quiet_until = self._tally.quiet_until
            self._closed_since = now
            # The gap across the outage says nothing about the traffic.
            self._last_admission = nan
        elif after is _OPEN:
            again = before is not _CLOSED or now - self._closed_since < self._open_time.last
            self._open_until = now + self._open_time.draw(self._mean_gap, again=again)
        if opening is not None:
            self.opening = opening
        if self.on_change is not None:
            self.on_change(before, after)
        if opening is not None:
            self._refuse_waiting(now)

    def _refuse_waiting(self, now: float) -> None:
        if not self.waiting:
            return
        waiters = list(self.waiting)
        self.waiting.clear()
        if self.shadow:
            self.would_refuse += len(waiters)
            return
        for waiter in waiters:
            waiter.refuse(self.refusal(now))
