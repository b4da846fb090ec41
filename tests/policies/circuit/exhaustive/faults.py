"""Circuits with typical faults, which the enumeration must find.

They are made from outside, of what is public: the enumeration shall not depend on how the circuit
works inside, nor its proof.
"""

from __future__ import annotations

from seawall import CircuitOpenError
from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Circuit, State


class StaleCounts(Circuit):
    """A late result counts in whatever period it comes (rule 2)."""

    def settle(self, ticket, kind, now, cause=None):
        ticket.generation = self.generation
        super().settle(ticket, kind, now, cause)


class StaleSuccessCloses(Circuit):
    """A late success closes a half-open circuit (rule 2)."""

    def settle(self, ticket, kind, now, cause=None):
        super().settle(ticket, kind, now, cause)
        if kind is Kind.SUCCESS and self.state is State.HALF_OPEN:
            self.reset(now)


class RetryCounts(Circuit):
    """A retry is evidence (rule 3)."""

    def admit(self, now, first=True):
        return super().admit(now)


class NeutralCounts(Circuit):
    """A neutral verdict ends a row of failures (rule 3)."""

    def settle(self, ticket, kind, now, cause=None):
        if kind is Kind.NEUTRAL and self.state is State.CLOSED:
            kind = Kind.SUCCESS
        super().settle(ticket, kind, now, cause)


class OpensLate(Circuit):
    """At the very end of the open time it still refuses (rule 4)."""

    def admit(self, now, first=True):
        if self.state is State.OPEN and self.retry_after(now) == 0 and self.retry_after(now - 1e-9):
            raise self.refusal(now)
        return super().admit(now, first)


class StateLooksAhead(Circuit):
    """``.state`` reads half-open before the probe arrives (rule 4)."""

    _asked = 0.0

    def retry_after(self, now):
        self._asked = now
        return super().retry_after(now)

    @property
    def state(self):
        state = super().state
        if state is State.OPEN and super().retry_after(self._asked) == 0:
            return State.HALF_OPEN
        return state


class DoublesUnasked(Circuit):
    """Each re-opening doubles the open time, without ``max_open_for`` (rule 4)."""

    def __init__(self, *args, max_open_for=None, **more):
        super().__init__(*args, max_open_for=max_open_for or 300.0, **more)


class TwoProbes(Circuit):
    """One probe more is admitted than there are places (rule 5)."""

    def __init__(self, *args, probes=1, **more):
        super().__init__(*args, probes=probes + 1, **more)


class ClosesAtOnce(Circuit):
    """``close_after`` is ignored (rule 5)."""

    def __init__(self, *args, close_after=1, **more):
        super().__init__(*args, close_after=1, **more)


class LetsWait(Circuit):
    """A trip does not refuse those who wait (rule 5)."""

    def pause(self, ticket, waiter):
        pass


class NeutralKeepsPlace(Circuit):
    """A probe whose caller went away keeps its place until its lease ends (rule 6)."""

    def settle(self, ticket, kind, now, cause=None):
        if not (ticket.probe and kind is Kind.NEUTRAL):
            super().settle(ticket, kind, now, cause)


class LeaseTakesVoice(Circuit):
    """A probe that lost its place is not heard any more (rule 7)."""

    def settle(self, ticket, kind, now, cause=None):
        if ticket.probe and now - ticket.start >= self.probe_lease:
            kind = Kind.NEUTRAL
        super().settle(ticket, kind, now, cause)


class NoLease(Circuit):
    """A hung probe keeps its place for good (rule 7)."""

    def __init__(self, *args, probe_lease=None, **more):
        super().__init__(*args, probe_lease=1e9, **more)


class ComesBackInThePast(Circuit):
    """A refusal's ``retry_after`` is negative (rule 8)."""

    def admit(self, now, first=True):
        try:
            return super().admit(now, first)
        except CircuitOpenError as error:
            if error.retry_after is not None:
                error.retry_after = -error.retry_after
            raise


class UnknownInHalfOpen(Circuit):
    """While half-open, nobody is told when to come back (rule 8)."""

    def retry_after(self, now):
        return 0.0 if self.state is State.HALF_OPEN else super().retry_after(now)


class ResetEnforces(Circuit):
    """``reset`` leaves the shadow mode (rule 9)."""

    def reset(self, now):
        super().reset(now)
        self.shadow = False


class ShadowTeaches(Circuit):
    """In shadow, the verdict on a call that would be refused is evidence (rule 9)."""

    def admit(self, now, first=True):
        ticket = super().admit(now, first)
        if ticket.generation < 0 and self.state is State.HALF_OPEN:
            ticket.generation = self.generation
            ticket.probe = True
        return ticket


class SilentForever(Circuit):
    """Stalled calls are not found (rule 10)."""

    def __init__(self, *args, stalls=True, **more):
        super().__init__(*args, stalls=False, **more)


class LateAnswerIsNothing(Circuit):
    """A stalled call's late success changes nothing (rule 10)."""

    def settle(self, ticket, kind, now, cause=None):
        if ticket.generation != self.generation and kind is Kind.SUCCESS:
            kind = Kind.NEUTRAL
        super().settle(ticket, kind, now, cause)


class WaitersStall(Circuit):
    """A call that waits is in flight (rule 10)."""

    def pause(self, ticket, waiter):
        self.waiting[waiter] = ticket

    def resume(self, ticket, waiter, now):
        self.waiting.pop(waiter, None)


class AsksParentFirst(Circuit):
    """A call that the child refuses takes the parent's probe with it (rule 11)."""

    def admit(self, now, first=True):
        if self.parent is not None and self.refuses(now) and not self.parent.refuses(now):
            self.parent.admit(now, first)
        return super().admit(now, first)


class KeepsToItself(Circuit):
    """A child's failures are not told to its parent (rule 11)."""

    def settle(self, ticket, kind, now, cause=None):
        if ticket.above is not None:
            ticket.above.generation = -1
        super().settle(ticket, kind, now, cause)


# The world in which each must be found, and how many calls and control actions it takes.
FAULTS: dict[type[Circuit], tuple[str, int, int]] = {
    StaleCounts: ("probes-1-1-4", 2, 1),
    StaleSuccessCloses: ("probes-1-1-4", 2, 1),
    RetryCounts: ("rule-streak-first", 2, 0),
    NeutralCounts: ("rule-streak-first", 3, 0),
    OpensLate: ("exact", 1, 1),
    StateLooksAhead: ("exact", 1, 1),
    DoublesUnasked: ("exact", 2, 1),
    TwoProbes: ("probes-1-1-4", 2, 1),
    ClosesAtOnce: ("probes-1-2-4", 2, 1),
    LetsWait: ("waits", 2, 1),
    NeutralKeepsPlace: ("probes-1-1-4", 2, 1),
    LeaseTakesVoice: ("probes-1-1-4", 2, 1),
    NoLease: ("probes-1-1-4", 2, 1),
    ComesBackInThePast: ("exact", 1, 1),
    UnknownInHalfOpen: ("probes-1-1-4", 2, 1),
    ResetEnforces: ("shadow", 2, 2),
    ShadowTeaches: ("shadow", 2, 1),
    SilentForever: ("silence", 2, 0),
    LateAnswerIsNothing: ("silence", 2, 0),
    WaitersStall: ("silence-waits", 2, 0),
    AsksParentFirst: ("child-slow", 1, 2),
    KeepsToItself: ("child-slow", 1, 0),
}
