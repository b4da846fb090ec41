"""The circuit again, as naive as it can be, written from rules 1 to 10 of the design alone.

Nothing here is fast and little is shared with the code: a list of verdicts is kept and judged anew,
a dict holds the calls in flight, and every question is answered by looking at all of them. Where
the rules are silent, a comment begins with "Open:".
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

from seawall.core.verdict import Kind
from tests.policies.circuit.exhaustive.evidence import (
    Verdict,
    judge,
    moments,
    relevant,
)
from tests.policies.circuit.exhaustive.setups import Setup
from tests.policies.circuit.exhaustive.silence import Silence

CLOSED, OPEN, HALF_OPEN, ISOLATED = "closed", "open", "half_open", "isolated"


class Opening(NamedTuple):
    """The evidence that opened the circuit."""

    failures: int
    calls: int
    cause: str | None


class Refusal(NamedTuple):
    """What a refused caller is told."""

    by: int
    state: str
    retry_after: float | None
    opening: Opening | None


class Call(NamedTuple):
    """What the circuit knows of a call in flight (rule 1).

    ``generation`` is ``None`` if the call counts for nothing: the shadow mode let it pass.
    ``told`` is whether it was refused while it waited, ``would`` whether it would have been.
    """

    number: int
    generation: int | None
    born: str
    probe: bool
    first: bool
    sent: float
    waits: bool = False
    told: bool = False
    would: bool = False
    begun: bool = False
    stalled: bool = False
    counted: bool = False
    ended: bool = False


class Place(NamedTuple):
    """One of the places for probes, and when it is lost."""

    number: int
    until: float


class Model:
    """One circuit.

    Attributes:
        index: its number in its world, which refusals name.
        told: what waiters were refused with in the present step, by the numbers of their calls.
        ended: numbers of the calls that were to be ended in the present step.
    """

    def __init__(self, index: int, setup: Setup, jitter: float) -> None:
        self.index = index
        self.setup = setup
        self.jitter = jitter
        self.state = CLOSED
        self.generation = 0
        self.since: float | None = None
        self.shadow = setup.shadow
        self.calls: dict[int, Call] = {}
        self.evidence: tuple[Verdict, ...] = ()
        self.opening: Opening | None = None
        self.open_until = 0.0
        self.wait: float | None = None
        self.base = 0.0
        self.places: tuple[Place, ...] = ()
        self.lost = 0
        self.successes = 0
        self.gaps: tuple[float, ...] = ()
        self.last_admission: float | None = None
        self.latest: float | None = None
        self.silence = Silence()
        self.rejected = self.would_refuse = self.would_refuse_succeeded = 0
        self.told: dict[int, Refusal] = {}
        self.ended: tuple[int, ...] = ()
        self.ends_before: int | None = None

    def copy(self) -> Model:
        twin = object.__new__(Model)
        twin.__dict__.update(self.__dict__)
        twin.calls = dict(self.calls)
        if self.setup.stalls:
            twin.silence = self.silence.copy()
        twin.told = {}
        twin.ended = ()
        return twin

    # ------------------------------------------------------------------ questions

    def refusal(self, now: float) -> Refusal | None:
        """Return what an arrival is refused with now, in whatever mode (rules 4, 5, 8 and 9)."""
        if self.state == CLOSED:
            return None
        if self.state == ISOLATED:
            return Refusal(self.index, ISOLATED, None, self.opening)
        comes = self.open_until if self.state == OPEN else self._place_free_at(now)
        if comes <= now:
            return None
        return Refusal(self.index, self.state, comes - now, self.opening)

    def _place_free_at(self, now: float) -> float:
        taken = self._taken(now)
        if len(taken) < self.setup.probes:
            return now
        # With more taken than there are places (their number was lowered), several must end.
        return sorted(place.until for place in taken)[len(taken) - self.setup.probes]

    def _taken(self, now: float) -> list[Place]:
        return [place for place in self.places if now < place.until]

    def seen(self, now: float) -> tuple[int, int]:
        """Return the failures and calls of the evidence."""
        finding = judge(self.setup.trip, self.evidence, now)
        return finding.failures, finding.calls

    # ------------------------------------------------------------------ calls

    def arrive(self, now: float) -> Refusal | None:
        """Do what every arrival does first, and return why it is refused, if it is (rule 10)."""
        before = self.generation
        self._look_for_stalled(now)
        if self.generation != before:
            self.ends_before = self.generation if self.setup.end_stalled else None
        if self.ends_before is not None:
            self._end_stalled(self.ends_before)
        return self.refusal(now)

    def refuse(self) -> None:
        """Count a refused call."""
        self.rejected += 1

    def admit(self, number: int, now: float, *, first: bool, refusal: Refusal | None) -> bool:
        """Admit a call, refused or not, and return whether it is a probe (rules 4, 5 and 9)."""
        born = self.state
        self.latest = now
        if refusal is not None:
            self.would_refuse += 1
            self.calls[number] = Call(
                number, None, born, probe=False, first=first, sent=now, would=True
            )
            return False
        if self.state == CLOSED:
            if self.last_admission is not None:
                self.gaps += (min(now - self.last_admission, 10.0),)
            self.last_admission = now
        elif self.state == OPEN:
            self._move(HALF_OPEN, now)
            self.successes = 0
        probe = self.state == HALF_OPEN
        if probe:
            self.places += (Place(number, now + self._lease(now)),)
        self.calls[number] = Call(number, self.generation, born, probe, first, sent=now)
        return probe

    def _lease(self, now: float) -> float:
        if self.setup.probe_lease is not None:
            return self.setup.probe_lease
        q = self.silence.q
        # Open: which probes have lost their place. Those whose lease ended before they did.
        lost = self.lost + len(self.places) - len(self._taken(now))
        if self.setup.end_stalled:
            lost = 0
        return 30.0 if q is None else min(q * 2.0**lost, 30.0)

    def _remove_place(self, number: int, now: float) -> None:
        for place in self.places:
            if place.number == number:
                self.lost += place.until <= now
        self.places = tuple(place for place in self.places if place.number != number)

    def settle(self, number: int, kind: Kind, now: float) -> None:
        """Hear how a call ended (rules 2, 3, 5, 6 and 7)."""
        call = self.calls.pop(number)
        if call.would and kind is Kind.SUCCESS:
            self.would_refuse_succeeded += 1
        late = False
        if kind is Kind.SUCCESS and self.setup.stalls:
            late = call.stalled or self._overdue(call, now)
            if late:
                self.silence.answer_late(call.sent, now, found=call.stalled)
            elif not call.begun:
                self.silence.answer(call.sent, now)
        self._remove_place(number, now)
        if call.generation == self.generation:
            if call.probe:
                self._hear_probe(kind, now)
            elif self.state == CLOSED and not call.counted and self._is_evidence(call):
                self._record(kind, now, "E")
        if late:
            self._answered_late(now)

    def _is_evidence(self, call: Call) -> bool:
        return call.first or self.setup.count_retries

    def _record(self, kind: Kind, now: float, cause: str | None) -> None:
        if kind is Kind.NEUTRAL:
            return
        self.evidence += (Verdict(now, kind is Kind.FAILURE),)
        if kind is Kind.FAILURE:
            finding = judge(self.setup.trip, self.evidence, now)
            if finding.holds:
                self._open(now, Opening(finding.failures, finding.calls, cause))

    def _hear_probe(self, kind: Kind, now: float) -> None:
        if kind is Kind.SUCCESS:
            self.successes += 1
            if self.successes >= self.setup.close_after:
                self._move(CLOSED, now)
                self.evidence = ()
        elif kind is Kind.FAILURE:
            # Open: of what it is one. Of the verdicts of probes since the circuit was half-open.
            self._open(now, Opening(1, self.successes + 1, "E"))

    def wait_begins(self, number: int) -> None:
        """Hear that a call waits for a slot or a turn. Open: one that had stalled has not then."""
        call = self.calls[number]
        self.calls[number] = call._replace(waits=True, told=False, stalled=False)

    def wait_ends(self, number: int, now: float) -> None:
        """Hear that it goes on: its time in flight begins anew (rule 10)."""
        self.calls[number] = self.calls[number]._replace(waits=False, sent=now)

    def begin(self, number: int, now: float) -> None:
        """Hear that a response has begun: its call is not in flight for rule 10.

        Open: whether the beginning of a late answer is a late success. It is, but a probe keeps its
        own place.
        """
        call = self.calls[number]
        if self.setup.stalls:
            if call.stalled or self._overdue(call, now):
                self.silence.answer_late(call.sent, now, found=call.stalled)
                if all(place.number != number for place in self._taken(now)):
                    self._answered_late(now)
            else:
                self.silence.answer(call.sent, now)
        self.calls[number] = call._replace(begun=True, stalled=False)

    # ------------------------------------------------------------------ controls

    def trip(self, now: float) -> None:
        """Open by hand. Open: what it does when isolated (nothing), or open (opens anew)."""
        if self.state != ISOLATED:
            self._open(now, Opening(0, 0, None))

    def reset(self, now: float) -> None:
        """Close by hand, with no evidence; the shadow mode stays as it is (rule 9).

        Open: whether the open time starts anew as well. It does.
        """
        self._move(CLOSED, now)
        self.evidence = ()
        self.wait = None

    def isolate(self, now: float) -> None:
        """Refuse all. Open: whether those too that wait, and of what evidence. Yes, and of none."""
        if self.state != ISOLATED:
            self._move(ISOLATED, now)
            self.opening = Opening(0, 0, None)
            self._refuse_waiting(Refusal(self.index, ISOLATED, None, self.opening))

    def reconfigure(self, changes: dict[str, Any]) -> None:
        """Change the arguments; state and evidence stay, and no open time changes."""
        self.setup = replace(self.setup, **changes)

    # ------------------------------------------------------------------ transitions

    def _move(self, state: str, now: float) -> None:
        self.state = state
        self.generation += 1
        self.since = now
        self.places = ()
        self.lost = 0
        if state == CLOSED:
            self.ends_before = None
            # Open: whether the time without admissions is a gap between two. It is not.
            self.last_admission = self.latest = None

    def _open(self, now: float, opening: Opening) -> None:
        self._set_wait(now)
        self.opening = opening
        self._move(OPEN, now)
        assert self.wait is not None
        self.open_until = now + self.wait
        self._refuse_waiting(Refusal(self.index, OPEN, self.wait, opening))

    def _refuse_waiting(self, refusal: Refusal) -> None:
        """Refuse the calls that wait for a slot or a turn (rule 5)."""
        for call in self.calls.values():
            if not call.waits or call.told:
                continue
            self.calls[call.number] = call._replace(told=True, would=call.would or self.shadow)
            if self.shadow:
                # Once for each call, also where it has been let pass in shadow before.
                self.would_refuse += not call.would
            else:
                self.rejected += 1
                self.told[call.number] = refusal

    def _set_wait(self, now: float) -> None:
        """Choose how long to stay open (rule 4)."""
        setup = self.setup
        spread = setup.open_for is None
        base = setup.open_for
        if base is None:
            mean = sum(self.gaps) / len(self.gaps) if self.gaps else 0.0
            base = min(max(20.0 * mean, 1.0), 30.0)
        again = self.wait is not None and (
            self.state != CLOSED or now - self._closed_at() < self.wait
        )
        if setup.max_open_for is not None and again:
            # Open: whether it doubles the last open time or one of the present rate. The last.
            base, spread = 2.0 * self.base, True
        most = math.inf if setup.max_open_for is None else setup.max_open_for
        self.base = base = min(base, most)
        if spread:
            # Open: how jitter and cap combine. It is spread evenly over what the cap leaves.
            low, high = 0.75 * base, min(1.25 * base, most)
            base = low + (high - low) * self.jitter
        self.wait = base

    def _closed_at(self) -> float:
        assert self.since is not None
        return self.since

    # ------------------------------------------------------------------ silence

    def _overdue(self, call: Call, now: float) -> bool:
        q = self.silence.q
        if q is None or not self.silence.silent(now) or call.waits or call.begun:
            return False
        return now - call.sent > q

    def _look_for_stalled(self, now: float) -> None:
        flying = [c.sent for c in self.calls.values() if not (c.waits or c.begun or c.stalled)]
        if not (self.setup.stalls and flying and self.silence.silent(now)):
            return
        if not self.silence.believed(self.latest, now):
            return
        overdue = [call for call in self.calls.values() if self._overdue(call, now)]
        for call in sorted(overdue, key=lambda call: call.sent):
            counts = (
                self.state == CLOSED
                and call.generation == self.generation
                and self._is_evidence(call)
                and not call.counted
            )
            self.calls[call.number] = call._replace(stalled=True, counted=call.counted or counts)
            if counts:
                self._record(Kind.FAILURE, now, "stalled")

    def _end_stalled(self, before: int) -> None:
        """End the calls that have stalled since before the trip, but the oldest."""
        stalled = [
            call
            for call in self.calls.values()
            if call.stalled and call.generation is not None and call.generation < before
        ]
        for call in sorted(stalled, key=lambda call: (call.sent, call.number))[1:]:
            if not call.ended:
                self.ended += (call.number,)
                self.calls[call.number] = call._replace(ended=True)

    def _answered_late(self, now: float) -> None:
        """The next arrival is the probe (rule 10)."""
        if self.state == OPEN:
            self.open_until = min(self.open_until, now)
        elif self.state == HALF_OPEN:
            taken = self._taken(now)
            if len(taken) >= self.setup.probes:
                self._remove_place(min(taken, key=lambda place: place.until).number, now)

    # ------------------------------------------------------------------ for the enumeration

    def moments(self) -> list[float]:
        """Return from when on something is different with nothing but the time."""
        found = []
        if self.state == OPEN:
            found.append(self.open_until)
        elif self.state == HALF_OPEN:
            found += [place.until for place in self.places]
        elif self.state == CLOSED:
            found += moments(self.setup.trip, self.evidence)
            if self.setup.max_open_for is not None and self.wait is not None:
                found.append(self._closed_at() + self.wait)
        return found

    def limits(self) -> list[float]:
        """Return after when something is different: the times of rule 10 are to be exceeded."""
        q = self.silence.q if self.setup.stalls else None
        if q is None or self.silence.youngest is None:
            return []
        flying = [call.sent + q for call in self.calls.values() if not call.begun]
        if self.silence.suspected == self.silence.youngest:
            flying.append(self.silence.believed_from)
        return [self.silence.youngest + q, *flying] if flying else []

    def key(self, now: float) -> tuple:
        """Return all that its future depends on, with times relative to now."""
        closed_for = None
        if self.setup.max_open_for is not None and self.state == CLOSED and self.wait is not None:
            closed_for = min(now - self._closed_at(), self.wait)
        return (
            self.setup.key,
            self.state,
            self.shadow,
            relevant(self.setup.trip, self.evidence, now) if self.state == CLOSED else (),
            self.opening,
            max(self.open_until - now, 0.0) if self.state == OPEN else None,
            (self.wait, self.base, closed_for) if self.setup.max_open_for else None,
            self.successes if self.state == HALF_OPEN else None,
            min(self.lost, 5) if self.setup.probe_lease is None else None,
            self._traffic(now),
            self._silence(now) if self.setup.stalls else None,
            None if self.ends_before is None else self.generation - self.ends_before,
        )

    def _silence(self, now: float) -> tuple:
        latest = None if self.latest is None else now - self.latest
        return latest, self.silence.key(now)

    def _traffic(self, now: float) -> tuple | None:
        if self.setup.open_for is not None:
            return None
        last = self.last_admission
        return len(self.gaps), sum(self.gaps), None if last is None else min(now - last, 10.0)

    def part(self, number: int, now: float) -> tuple:
        """Return what is known of one call, for a key. A place is kept while it can be lost."""
        call = self.calls[number]
        place = next((place.until for place in self.places if place.number == number), None)
        return (
            -1 if call.generation is None else min(self.generation - call.generation, 2),
            call.born,
            call.probe,
            call.first,
            call.waits,
            call.told,
            call.would,
            call.begun,
            call.stalled,
            call.counted,
            call.ended,
            None if place is None else max(place - now, 0.0),
            now - call.sent if self.setup.stalls else None,
        )
