"""The circuit: a state machine that takes the time from its caller and never waits."""

# The rules (the numbers are those of the design):
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
#     the half-open period lasts. The next lease is then twice as long, but with a given
#     `probe_lease`, or `end_stalled`.
#  8. A refusal says when to come back, in seconds from now; only ISOLATED does not know.
#  9. ISOLATED refuses all until reset. Shadow is a mode beside the states: the state moves as it
#     would, and who would be refused is admitted with a ticket that counts for nothing.
# 10. CLOSED: when an admission finds silence, and still finds it after as long as none had come
#     before (the client may have been blocked itself), each call in flight for too long is a
#     failure, once. A call that waits for a slot, or whose response has begun, is not in flight.
#     The late success of a stalled call is the one verdict of an older generation that counts: the
#     next to arrive is the probe. With `end_stalled` the stalled calls are ended too, from the trip
#     until it closes, but for the oldest.
# 11. A child is refused while its parent refuses; what is admitted holds a ticket of both, and both
#     hear the verdict.
# 12. Every operation costs O(1) on average, and there is no clock.

from __future__ import annotations

import random as random_module
from math import inf, nan
from typing import TYPE_CHECKING, Any, Final

from seawall.core.checks import check_count, check_number, check_type
from seawall.core.errors import NO_EVIDENCE, CircuitOpenError, Opening
from seawall.core.verdict import Kind
from seawall.policies.circuit.empty import EMPTY
from seawall.policies.circuit.evidence import Evidence
from seawall.policies.circuit.flight import Flight
from seawall.policies.circuit.open_time import OpenTime
from seawall.policies.circuit.places import NO_PLACES, Places
from seawall.policies.circuit.rules import as_rule
from seawall.policies.circuit.silence import Silence
from seawall.policies.circuit.state import TRANSITIONS, State, Transition, Trigger
from seawall.policies.circuit.ticket import Ticket
from seawall.policies.circuit.times import NEVER, moved
from seawall.policies.circuit.traffic import STEADY_WEIGHT, Traffic

if TYPE_CHECKING:
    from collections.abc import Callable

    from seawall.policies.circuit.rules import TripRule
    from seawall.policies.circuit.ticket import Waiter

__all__ = ["TRANSITIONS", "Circuit", "State", "Ticket", "Transition", "Trigger"]

_new = BaseException.__new__
_CLOSED, _OPEN, _HALF_OPEN, _ISOLATED = State
_SUCCESS, _FAILURE, _NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL

# Generations that no circuit has: of tickets that would have been refused, and of no ticket.
_SHADOWED: Final = -1
_NONE: Final = -2

_LONGEST_LEASE: Final = 30.0
# From a patience of 1 s, the least that there is, these lead to the longest lease.
_MOST_DOUBLINGS: Final = 5
# Seconds after its open time for which an open circuit is worth remembering.
_MEMORY: Final = 60.0

# What reconfigure() may change beside the trip rule and the open times.
_PLAIN: Final = ("probes", "close_after", "probe_lease", "count_retries", "end_stalled")


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
        probe_lease: seconds after which an unsettled probe makes room for the next. Default: the
            time after which a call is stalled, at most 30 s; without ``end_stalled`` twice as long
            after each probe that has lost its place so.
        count_retries: count all attempts instead of the first of each call. Default ``False``.
        stalls: whether calls that are in flight for too long, while nothing is answered, are
            failures. Default ``True``.
        end_stalled: whether to end them too, by ``on_stalled``, when that trips the circuit.
            Default ``False``.
        parent: a circuit that refuses the calls of this one while it is open, and that hears the
            verdicts on all of them. Default ``None``.
        shadow: refuse nothing, only count in ``would_refuse``. Default ``False``.
        random: where jitter comes from: a function that returns 0.0 to 1.0.

    Attributes:
        owner: what refusals name as their policy.
        name: what refusals name as its name.
        generation: number of the current generation; every transition raises it.
        since: when the present state began; ``-inf`` if it never changed.
        opening: what is known of the latest opening; ``None`` before the first.
        failures: calls that failed, in all states; stalled ones not before they end.
        opened: how often it has opened.
        neutral: calls that ended without being evidence.
        rejected: calls that were refused.
        would_refuse: calls that the shadow mode let pass and that would have been refused.
        would_refuse_succeeded: how many of those succeeded.
        waiting: what admitted calls wait with, each with the ticket of its call.

    Whoever wants to hear what it does overrides :meth:`on_change`, :meth:`on_room`,
    :meth:`on_silence` and :meth:`on_stalled`.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: an argument is out of range.
    """

    __slots__ = (
        "_closed_generation",
        "_evidence",
        "_flight",
        "_heard",
        "_latest",
        "_open_time",
        "_open_until",
        "_places",
        "_row",
        "_sent",
        "_silence",
        "_silenced",
        "_state",
        "_traffic",
        "_unread",
        "close_after",
        "count_retries",
        "end_stalled",
        "failures",
        "generation",
        "name",
        "neutral",
        "opened",
        "opening",
        "owner",
        "parent",
        "probe_lease",
        "probes",
        "rejected",
        "shadow",
        "since",
        "stalls",
        "waiting",
        "would_refuse",
        "would_refuse_succeeded",
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
        stalls: bool = True,
        end_stalled: bool = False,
        parent: Circuit | None = None,
        shadow: bool = False,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._evidence = Evidence(as_rule(trip))
        self._open_time: OpenTime = OpenTime(open_for, max_open_for, random)
        check_count("probes", probes, at_least=1)
        check_count("close_after", close_after, at_least=1)
        check_number("probe_lease", probe_lease, above=0, optional=True)
        check_type("count_retries", count_retries, bool, "True or False")
        check_type("stalls", stalls, bool, "True or False")
        check_type("end_stalled", end_stalled, bool, "True or False")
        check_type("parent", parent, Circuit, "a Circuit or None", optional=True)
        check_type("shadow", shadow, bool, "True or False")
        if end_stalled and not stalls:
            raise ValueError("end_stalled=True needs stalls=True: no other call is ever stalled")
        self.probes = probes
        self.close_after = close_after
        self.probe_lease = probe_lease
        self.count_retries = count_retries
        self.stalls = stalls
        self.end_stalled = end_stalled
        self.parent = parent
        self.shadow = shadow

        self.owner: Any = None
        self.name: str | None = None
        self.generation = 0
        self.since = NEVER
        self.opening: Opening | None = None
        self.failures = self.neutral = self.rejected = self.opened = 0
        self.would_refuse = self.would_refuse_succeeded = 0
        self.waiting: dict[Waiter, Ticket] = EMPTY
        self._state = _CLOSED
        # The generation whose successes need only be counted; no generation unless CLOSED.
        self._closed_generation = 0
        # Successes of probes in a row.
        self._row = 0
        # Successes that did not come by way of the quiet ones.
        self._heard = 0
        self._open_until = NEVER
        self._flight = Flight()
        self._sent = self._flight.sent
        self._silence = Silence(enabled=stalls)
        # Whether answers may be there that have not been read.
        self._unread = False
        # The generation that began when silence tripped the circuit, until it closes.
        self._silenced = _NONE
        self._places = NO_PLACES
        self._traffic: Traffic | None = None if open_for is not None else Traffic()
        # When a call was last admitted. NaN before the first, also of a closed period: the gap
        # across an outage says nothing about the traffic.
        self._latest = nan

    @property
    def rule(self) -> TripRule:
        """The rule that ``trip`` stands for."""
        return self._evidence.rule

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

    @property
    def successes(self) -> int:
        """Calls that succeeded, in all states."""
        return self._heard + self._evidence.handed_over + self._evidence.quiet

    @property
    def in_flight(self) -> int:
        """Calls that are admitted and not settled."""
        return len(self._flight)

    @property
    def patience(self) -> float | None:
        """Seconds in flight from which on a call is stalled in silence; ``None`` if unknown."""
        patience = self._silence.patience
        return None if patience == inf else patience

    def on_change(self, transition: Transition) -> None:
        """Hear of a transition, at its end. It must not raise."""

    def on_room(self) -> None:
        """Hear that a call may be admitted now, without a transition. It must not raise."""

    def on_silence(self) -> None:
        """Hear that silence was found.

        It is believed only when, by :meth:`caught_up`, all answers have been read that were there:
        without a loop they have.
        """
        self.caught_up()

    def on_stalled(self, ticket: Ticket) -> None:
        """Hear that the call of this ticket is to be ended."""

    def admit(self, now: float, first: bool = True) -> Ticket:  # noqa: FBT001, FBT002 - hot path
        """Admit a call and return its ticket, which must be settled whatever happens.

        Args:
            now: the time.
            first: whether this is the first attempt of the call.

        Raises:
            CircuitOpenError: the call is refused, by this circuit or by its parent.
        """
        silence = self._silence
        if self._sent and now - silence.youngest > silence.patience:
            self._find_stalled(now)
        above = None if self.parent is None else self._admit_above(self.parent, now, first)
        if self._state is _CLOSED:
            ticket = self._let_pass(now, first)
        else:
            probe = self._takes_probe(now)
            # Where it is closed now, a listener has reset it meanwhile.
            shadowed = not probe and self._state is not _CLOSED
            if shadowed:
                if not self.shadow:
                    if self.parent is not None and above is not None:
                        self.parent.settle(above, _NEUTRAL, now)
                    raise self.refusal(now)
                self.would_refuse += 1
            self._latest = nan
            ticket = self._let_pass(now, first)
            if shadowed:
                ticket.generation = _SHADOWED
            elif probe:
                ticket.probe = True
                self._places.take(ticket, now + self._lease())
        ticket.above = above
        return ticket

    def _let_pass(self, now: float, first: bool) -> Ticket:  # noqa: FBT001 - hot path
        """Return the ticket of a call that nothing keeps from being admitted."""
        traffic = self._traffic
        if traffic is not None:
            gap = now - self._latest
            if gap <= traffic.usual:
                # Written out: `learn` does the same.
                traffic.mean_gap += (gap - traffic.mean_gap) * STEADY_WEIGHT
            else:
                traffic.learn(gap)
        ticket = Ticket()
        ticket.circuit = self
        ticket.generation = self.generation
        ticket.start = self._latest = now
        ticket.probe = False
        ticket.first = first
        ticket.above = None
        ticket.outer = None
        self._sent[ticket] = None
        return ticket

    def settle(self, ticket: Ticket, kind: Kind, now: float, cause: str | None = None) -> None:
        """Give a ticket back, with the verdict on its call.

        Args:
            ticket: what :meth:`admit` returned. Only the first time counts.
            kind: the verdict.
            now: the time.
            cause: type name of the error, if the call failed with one.
        """
        try:
            del self._sent[ticket]
        except KeyError:
            self._settle_apart(ticket, kind, now, cause)
            return
        if ticket.above is not None:
            ticket.above.circuit.settle(ticket.above, kind, now, cause)
        if kind is _SUCCESS:
            start = ticket.start
            silence = self._silence
            lag = now - silence.youngest
            if lag > silence.usual_lag:
                self._answer(ticket, lag, now)
            elif start > silence.youngest:
                silence.youngest = start
            evidence = self._evidence
            if (
                ticket.generation == self._closed_generation
                and now < evidence.quiet_until
                and ticket.first
            ):
                evidence.quiet += 1
                return
        self._settle(ticket, kind, now - ticket.start, now, cause)

    def pause(self, ticket: Ticket, waiter: Waiter) -> None:
        """Hear that a call waits for its turn: it is not in flight, and a trip refuses it."""
        if not self.waiting:
            self.waiting = {}
        self.waiting[waiter] = ticket
        if self._flight.pause(ticket) and not ticket.probe:
            # It has been a failure already, and whatever comes of it now is no further evidence.
            ticket.generation = _NONE

    def resume(self, ticket: Ticket, waiter: Waiter, now: float) -> None:
        """Hear that a call goes on: its time in flight begins now."""
        self.waiting.pop(waiter, None)
        self._flight.resume(ticket, now)

    def begin(self, ticket: Ticket, now: float, *, answered: bool = True) -> None:
        """Hear that a response has begun: the call is in flight no longer, but not settled.

        Args:
            ticket: the ticket of the call.
            now: the time.
            answered: whether what has begun looks like a success.
        """
        flight = self._flight
        if ticket in flight.sent:
            del flight.sent[ticket]
            if answered:
                silence = self._silence
                lag = now - silence.youngest
                if lag > silence.usual_lag:
                    self._answer(ticket, lag, now)
                elif ticket.start > silence.youngest:
                    silence.youngest = ticket.start
        elif ticket in flight.stalled:
            del flight.stalled[ticket]
            if answered:
                self._answer_late(ticket, now, found=True)
        else:
            return
        flight.set_apart(ticket, now - ticket.start)
        if ticket.above is not None:
            ticket.above.circuit.begin(ticket.above, now, answered=answered)

    def end(self, ticket: Ticket, kind: Kind, now: float) -> None:
        """Settle a ticket whose response has begun, with the verdict on the whole of it."""
        evidence, apart = self._evidence, self._flight.apart
        # As in `settle`: for a healthy circuit, one success more is counted and no more.
        if (
            kind is _SUCCESS
            and ticket.generation == self._closed_generation
            and now < evidence.quiet_until
            and ticket.first
            and ticket.above is None
            and apart.get(ticket) is not None
        ):
            del apart[ticket]
            evidence.quiet += 1
        else:
            self.settle(ticket, kind, now)

    def caught_up(self) -> None:
        """Hear that all answers have been read that were there when silence was found."""
        self._unread = False

    def trip(self, now: float) -> None:
        """Open now, for the whole open time. An isolated circuit stays isolated."""
        self._move(Trigger.TRIP, now, NO_EVIDENCE)

    def reset(self, now: float) -> None:
        """Close now, from any state, without memory of failures. The shadow mode stays as it is."""
        self._open_time.forget()
        self._move(Trigger.RESET, now)

    def isolate(self, now: float) -> None:
        """Refuse all calls until :meth:`reset`."""
        self._move(Trigger.ISOLATE, now, NO_EVIDENCE)

    def reconfigure(self, **changes: Any) -> None:
        """Change arguments of the constructor, all or none; the state and the evidence are kept.

        What a new trip rule can use of what the last one counted, it takes over. An open circuit
        stays open for as long as it was going to.

        Args:
            changes: any arguments of the constructor but ``parent``, ``shadow`` and ``random``.

        Raises:
            TypeError: an argument is of the wrong type, or there is none of that name.
            ValueError: an argument is out of range.
        """
        settings: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        settings |= {
            "trip": self.rule,
            "open_for": self.open_for,
            "max_open_for": self.max_open_for,
            "stalls": self.stalls,
        }
        unknown = sorted(changes.keys() - settings.keys())
        if unknown:
            known = ", ".join(sorted(settings))
            raise TypeError(f"reconfigure() takes {known}, not {', '.join(unknown)}")
        if changes.get("stalls") is False:
            settings["end_stalled"] = False
        # What is refused is refused here, before anything has changed.
        other = Circuit(**(settings | changes), random=self._open_time.random)
        if other.rule != self.rule:
            # First: a rule of the user's own may raise.
            self._evidence.change_rule(other.rule)
        for name in _PLAIN:
            setattr(self, name, getattr(other, name))
        self._open_time = other._open_time.take_over(self._open_time)
        if (other._traffic is None) is not (self._traffic is None):
            self._traffic = other._traffic
        if other.stalls is not self.stalls:
            self.stalls = other.stalls
            self._silence.enable(other.stalls)

    def retry_after(self, now: float) -> float | None:
        """Return the seconds, never below 0, until a call may be admitted; ``None`` if isolated."""
        longest = self._retry_after(now)
        circuit = self.parent
        while circuit is not None and longest is not None:
            if not circuit.shadow:
                above = circuit._retry_after(now)
                longest = None if above is None else max(longest, above)
            circuit = circuit.parent
        return longest

    def refuses(self, now: float) -> bool:
        """Say whether a call that comes now would be refused; asking changes nothing."""
        if self._state is _OPEN and now < self._open_until and not self.shadow:
            # By far the most, in an outage.
            return True
        if self.parent is not None and self.parent.refuses(now):
            return True
        return self._refuses_alone(now)

    def refusal(self, now: float, key: object = None) -> CircuitOpenError:
        """Return a new error that tells why a call is refused now, with the key of that call.

        The call counts as rejected. Where only the parent refuses, the error is the parent's.
        """
        state = self._state
        if self.parent is not None and not self._refuses_alone(now):
            return self.parent.refusal(now, key)
        self.rejected += 1
        # Written out, without the constructor: a refusal must cost little.
        error: CircuitOpenError = _new(CircuitOpenError)
        error.state = state._value_
        error.opening = self.opening or NO_EVIDENCE
        wait = self._open_until - now
        if state is not _OPEN or wait <= 0.0 or self.parent is not None:
            error.retry_after = self.retry_after(now)
        else:
            error.retry_after = wait
        error.policy = self.owner
        error.name = self.name
        error.key = key
        return error

    def evidence(self, now: float) -> tuple[int, int]:
        """Return the failures, and the calls among which they were, of the closed period."""
        return self._evidence.read(now)

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
        self._flight.clear()
        self._places.clear()
        self._silence.shift(delta)
        self._unread = False
        self._open_until = moved(self._open_until, delta)
        self.since = moved(self.since, delta)
        self._latest = moved(self._latest, delta)
        self._evidence.shift(delta)

    def _admit_above(self, parent: Circuit, now: float, first: bool) -> Ticket:  # noqa: FBT001
        # Not before it is clear that this circuit lets the call pass: a place of the parent's
        # probes must not be taken for a call that is refused here.
        if self._refuses_alone(now):
            raise self.refusal(now)
        return parent.admit(now, first)

    def _refuses_alone(self, now: float) -> bool:
        state = self._state
        if state is _CLOSED or self.shadow:
            return False
        if state is _OPEN:
            return now < self._open_until
        if state is _ISOLATED:
            return True
        return self._places.wait(self.probes, now) > 0.0

    def _retry_after(self, now: float) -> float | None:
        state = self._state
        if state is _ISOLATED:
            return None
        if state is _OPEN:
            return max(0.0, self._open_until - now)
        return self._places.wait(self.probes, now) if state is _HALF_OPEN else 0.0

    def _lease(self) -> float:
        if self.probe_lease is not None:
            return self.probe_lease
        # Each probe that hangs keeps a caller waiting, so the next one comes later. Where the calls
        # from before the trip are ended few wait, and a quick recovery is worth more.
        doublings = 0 if self.end_stalled else min(self._places.lost, _MOST_DOUBLINGS)
        return min(self._silence.patience * 2.0**doublings, _LONGEST_LEASE)

    def _takes_probe(self, now: float) -> bool:
        if self._state is _OPEN and now >= self._open_until:
            self._move(Trigger.ARRIVAL, now)
        return self._state is _HALF_OPEN and self._places.has_room(self.probes, now)

    def _settle_apart(self, ticket: Ticket, kind: Kind, now: float, cause: str | None) -> None:
        """Settle a ticket that is not in flight, if it is unsettled at all."""
        flight = self._flight
        stalled = ticket in flight.stalled
        if not stalled and ticket not in flight.apart:
            return
        took: float | None = None
        if stalled:
            del flight.stalled[ticket]
        else:
            took = flight.apart.pop(ticket)
        if ticket.above is not None:
            ticket.above.circuit.settle(ticket.above, kind, now, cause)
        if stalled and kind is _SUCCESS:
            self._answer_late(ticket, now, found=True)
        if stalled and self._state is _CLOSED and ticket.generation != _SHADOWED:
            # It has been a failure already.
            self._count(kind)
            return
        duration = now - ticket.start if took is None else took
        self._settle(ticket, kind, duration, now, cause)

    def _settle(
        self, ticket: Ticket, kind: Kind, duration: float, now: float, cause: str | None
    ) -> None:
        self._count(kind)
        generation = ticket.generation
        if generation != self.generation:
            if generation == _SHADOWED and kind is _SUCCESS:
                self.would_refuse_succeeded += 1
        elif self._state is _HALF_OPEN:
            self._settle_probe(ticket, kind, now, cause)
        elif kind is not _NEUTRAL and (ticket.first or self.count_retries):
            self._record(kind, duration, now, cause)

    def _settle_probe(self, ticket: Ticket, kind: Kind, now: float, cause: str | None) -> None:
        self._places.free(ticket, now)
        if kind is _SUCCESS:
            self._row += 1
            if self._row >= self.close_after:
                self._move(Trigger.RECOVERED, now)
        elif kind is _FAILURE:
            self._move(Trigger.RELAPSED, now, Opening(1, self._row + 1, cause))
        self.on_room()

    def _record(self, kind: Kind, duration: float, now: float, cause: str | None) -> None:
        if self._evidence.record(kind, duration, now):
            self._move(Trigger.EVIDENCE, now, Opening(*self._evidence.read(now), cause))

    def _count(self, kind: Kind) -> None:
        if kind is _SUCCESS:
            self._heard += 1
        elif kind is _FAILURE:
            self.failures += 1
        else:
            self.neutral += 1

    def _answer(self, ticket: Ticket, lag: float, now: float) -> None:
        """Learn from an answer how long answers take."""
        silence = self._silence
        if lag > silence.patience and now - ticket.start > silence.patience:
            # Stalled, though no arrival has found it so.
            self._answer_late(ticket, now, found=False)
        elif ticket.start > silence.youngest:
            silence.learn(lag, now)
            silence.youngest = ticket.start

    def _answer_late(self, ticket: Ticket, now: float, *, found: bool) -> None:
        """Take the late success of a stalled call for a sign of life: the next call may probe."""
        silence = self._silence
        silence.learn_stall(now - ticket.start, now, found=found)
        silence.youngest = max(silence.youngest, ticket.start)
        if self._state is _OPEN:
            self._open_until = min(self._open_until, now)
        else:
            self._places.free_one(self.probes, ticket, now)
        self.on_room()

    def _find_stalled(self, now: float) -> None:
        """In silence, count what has been in flight for too long; end it, where that is asked."""
        flight = self._flight
        if self._silence.suspect(now - self._latest, now):
            self._unread = True
            self.on_silence()
        if self._unread or not self._silence.is_believed(now):
            return
        before = self.generation
        found = flight.find_stalled(now - self._silence.patience)
        for ticket in found:
            is_evidence = ticket.first or self.count_retries
            if self._state is _CLOSED and ticket.generation == self.generation and is_evidence:
                self._record(_FAILURE, now - ticket.start, now, "stalled")
                self._silenced = _NONE if self._state is _CLOSED else self.generation
        if self.end_stalled and self._silenced != _NONE:
            # Those that were found before the trip too, if it was now. The oldest is left alone:
            # its answer would be the first sign of life.
            tripped = self.generation != before
            sentinel = next(iter(flight.stalled), None)
            for ticket in list(flight.stalled) if tripped else found:
                if ticket is not sentinel and 0 <= ticket.generation < self._silenced:
                    self.on_stalled(ticket)

    def _move(self, trigger: Trigger, now: float, opening: Opening | None = None) -> None:
        before = self._state
        after = TRANSITIONS.get((before, trigger))
        if after is None:
            return
        lasted, self.since = now - self.since, now
        self._state = after
        self.generation += 1
        self._closed_generation = self.generation if after is _CLOSED else _NONE
        self._row = 0
        self._places = Places() if after is _HALF_OPEN else NO_PLACES
        open_for: float | None = None
        if after is _CLOSED:
            self._evidence.forget()
            self._silenced = _NONE
            self._latest = nan
        elif after is _OPEN:
            again = before is not _CLOSED or lasted < self._open_time.last
            mean_gap = 0.0 if self._traffic is None else self._traffic.mean_gap
            open_for = self._open_time.draw(mean_gap, again=again)
            self._open_until = now + open_for
            self.opened += 1
        if opening is not None:
            self.opening = opening
            self._refuse_waiting(now)
        self.on_change(Transition(before, after, trigger, now, lasted, opening, open_for))

    def _refuse_waiting(self, now: float) -> None:
        waiting, self.waiting = self.waiting, EMPTY
        for waiter, ticket in waiting.items():
            if self.shadow:
                self.would_refuse += ticket.generation != _SHADOWED
                ticket.generation = _SHADOWED
            else:
                waiter.refuse(self.refusal(now))
