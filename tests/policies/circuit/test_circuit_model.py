"""The circuit against a simple model of its numbered rules, written with naive lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from seawall.core.errors import CircuitOpenError
from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Ticket
from seawall.policies.circuit.rules import ConsecutiveFailures, FailureCount, FailureRate, TripRule
from seawall.policies.circuit.windows import Calls
from tests.doubles import HeardCircuit

# Times are multiples of 0.5 s and this window is none: no call is of an age between 7.75 s and
# 33/32 of it, where a window of buckets may still count it or not.
WINDOW = 7.75


@dataclass
class Setting:
    trip: TripRule
    holds: Any
    open_for: float = 5.0
    probes: int = 1
    close_after: int = 1
    lease: float = 30.0
    count_retries: bool = False


def streak(n):
    def holds(history, now):
        tail = 0
        while tail < len(history) and history[-1 - tail][1]:
            tail += 1
        return tail >= n, tail, tail

    return holds


def last_calls(size):
    return lambda history, now: history[-size:]


def last_seconds(length):
    return lambda history, now: [entry for entry in history if now - entry[0] < length]


def count(n, window):
    def holds(history, now):
        seen = window(history, now)
        bad = sum(failed for _, failed in seen)
        return history[-1][1] and bad >= n, bad, len(seen)

    return holds


def rate(percent, minimum, window):
    def holds(history, now):
        seen = window(history, now)
        bad = sum(failed for _, failed in seen)
        enough = len(seen) >= minimum and 100 * bad >= percent * len(seen)
        return history[-1][1] and enough, bad, len(seen)

    return holds


def either(*parts):
    def holds(history, now):
        answers = [part(history, now) for part in parts]
        return next((answer for answer in answers if answer[0]), (False, 0, 0))

    return holds


def both(*parts):
    def holds(history, now):
        answers = [part(history, now) for part in parts]
        _, bad, calls = max(answers, key=lambda answer: answer[2])
        return all(answer[0] for answer in answers), bad, calls

    return holds


SETTINGS = {
    "streak": Setting(ConsecutiveFailures(2), streak(2)),
    "two probes": Setting(ConsecutiveFailures(1), streak(1), probes=2, close_after=2, lease=3.0),
    "three probes": Setting(
        FailureCount(3, Calls(5)),
        count(3, last_calls(5)),
        open_for=1.0,
        probes=3,
        close_after=3,
        lease=4.0,
    ),
    "one of three": Setting(
        FailureCount(2, WINDOW), count(2, last_seconds(WINDOW)), probes=3, lease=1.5
    ),
    "three of one": Setting(
        FailureRate(0.5, WINDOW, 3), rate(50, 3, last_seconds(WINDOW)), close_after=3, lease=4.0
    ),
    "retries": Setting(
        FailureRate(0.4, Calls(6), 4),
        rate(40, 4, last_calls(6)),
        close_after=2,
        open_for=0.5,
        count_retries=True,
    ),
    "any": Setting(
        FailureRate(0.5, WINDOW, 4) | ConsecutiveFailures(3),
        either(rate(50, 4, last_seconds(WINDOW)), streak(3)),
        probes=2,
        lease=2.5,
    ),
    "all": Setting(
        FailureRate(0.3, Calls(8), 3) & ConsecutiveFailures(2),
        both(rate(30, 3, last_calls(8)), streak(2)),
        open_for=2.0,
    ),
}


@dataclass(eq=False)
class Held:
    """A ticket, as the model knows it."""

    real: Ticket
    period: int
    since: float
    probe: bool
    first: bool
    counts: bool = True
    shadowed: bool = False
    settled: bool = False
    waits: bool = False
    refusals: list[BaseException] = field(default_factory=list)

    def refuse(self, error):
        self.refusals.append(error)


class Model:
    """Rules 1-9: everything is found again from lists whenever it is asked for."""

    def __init__(self, setting):
        self.setting = setting
        self.state = "closed"
        self.period = 0
        self.history = []
        self.row = 0
        self.until = 0.0
        self.shadow = False
        self.would_refuse = 0
        self.opening = (0, 0, None)
        self.held = []

    def probing(self, now):
        return [
            held
            for held in self.held
            if held.probe
            and not held.settled
            and held.period == self.period
            and now < held.since + self.setting.lease
        ]

    def admits(self, now):
        if self.state == "open" and now >= self.until:
            self.begin("half_open")
        if self.state == "closed":
            return True
        return self.state == "half_open" and len(self.probing(now)) < self.setting.probes

    def begin(self, state):
        self.state = state
        self.period += 1
        self.row = 0
        self.history = []

    def open(self, now, state, opening):
        self.begin(state)
        self.until = now + self.setting.open_for
        self.opening = opening
        refused = [held for held in self.held if held.waits]
        for held in refused:
            held.waits = False
        if self.shadow:
            # Once for each call, also where it has been let pass in shadow before.
            self.would_refuse += sum(not held.shadowed for held in refused)
            for held in refused:
                held.counts, held.shadowed = False, True
            return []
        return refused

    def settle(self, held, kind, now, cause):
        """Return those who wait and are refused."""
        current = held.counts and not held.settled and held.period == self.period
        held.settled = True
        held.waits = False
        if not current or kind is Kind.NEUTRAL:
            return []
        failed = kind is Kind.FAILURE
        if held.probe:
            if failed:
                return self.open(now, "open", (1, self.row + 1, cause))
            self.row += 1
            if self.row == self.setting.close_after:
                self.begin("closed")
            return []
        if not (held.first or self.setting.count_retries):
            return []
        self.history.append((now, failed))
        holds, bad, calls = self.setting.holds(self.history, now)
        return self.open(now, "open", (bad, calls, cause)) if holds else []

    def retry_after(self, now):
        if self.state == "isolated":
            return None
        if self.state == "open":
            return max(0.0, self.until - now)
        if self.state == "half_open":
            ends = [held.since + self.setting.lease - now for held in self.probing(now)]
            if len(ends) >= self.setting.probes:
                return min(ends)
        return 0.0

    def shift(self, delta):
        for held in self.held:
            held.counts = held.waits = False
            held.period = -1
        self.until += delta
        self.history = [(when + delta, failed) for when, failed in self.history]


class Comparison(RuleBasedStateMachine):
    @initialize(name=st.sampled_from(sorted(SETTINGS)), shadow=st.booleans())
    def begin(self, name, shadow):
        setting = SETTINGS[name]
        self.now = 1000.0
        self.model = Model(setting)
        self.model.shadow = shadow
        self.changes = 0
        self.circuit = HeardCircuit(
            setting.trip,
            open_for=setting.open_for,
            probes=setting.probes,
            close_after=setting.close_after,
            probe_lease=setting.lease,
            count_retries=setting.count_retries,
            stalls=False,
            shadow=shadow,
        )
        self.circuit.on_change = self.changed

    def changed(self, transition):
        self.changes += 1

    def see_refused(self, refused):
        for held in self.model.held:
            assert len(held.refusals) == (held in refused)
            for error in held.refusals:
                self.see_error(error)
            held.refusals.clear()

    def see_error(self, error):
        assert isinstance(error, CircuitOpenError)
        assert error.state == self.model.state
        assert error.retry_after == self.model.retry_after(self.now)
        assert tuple(error.opening) == self.model.opening

    @rule(first=st.sampled_from([True, True, True, False]))
    def admit(self, first):
        model = self.model
        admitted = model.admits(self.now)
        try:
            ticket = self.circuit.admit(self.now, first)
        except CircuitOpenError as error:
            assert not admitted
            assert not model.shadow
            self.see_error(error)
            return
        assert admitted or model.shadow
        probe = admitted and model.state == "half_open"
        assert (ticket.probe, ticket.first, ticket.start) == (probe, first, self.now)
        model.would_refuse += not admitted
        held = Held(ticket, model.period, self.now, probe, first, counts=admitted)
        held.shadowed = not admitted
        model.held.append(held)

    @precondition(lambda self: self.model.held)
    @rule(
        back=st.integers(0, 12),
        kind=st.sampled_from(
            [Kind.SUCCESS, Kind.SUCCESS, Kind.FAILURE, Kind.FAILURE, Kind.NEUTRAL]
        ),
        cause=st.sampled_from([None, "OSError"]),
    )
    def settle(self, back, kind, cause):
        """Settle a recent ticket, which may be stale, or settled before."""
        held = self.model.held[max(0, len(self.model.held) - 1 - back)]
        if held.waits:
            # Only a call that goes on can end.
            held.real.goes_on(held, self.now)
        self.circuit.settle(held.real, kind, self.now, cause)
        self.see_refused(self.model.settle(held, kind, self.now, cause))

    @rule()
    def arrive_when_told(self):
        """Come back exactly when the circuit says so."""
        self.now += self.model.retry_after(self.now) or 0.0
        self.admit(True)

    @rule(kind=st.sampled_from([Kind.SUCCESS, Kind.FAILURE, Kind.FAILURE]))
    def call(self, kind):
        self.admit(True)
        if self.model.held:
            self.settle(0, kind, None)

    @precondition(lambda self: self.model.held)
    @rule(back=st.integers(0, 5))
    def wait(self, back):
        held = self.model.held[max(0, len(self.model.held) - 1 - back)]
        if not held.settled:
            held.real.waits(held)
            held.waits = True

    @precondition(lambda self: self.model.held)
    @rule(back=st.integers(0, 5))
    def go_on(self, back):
        held = self.model.held[max(0, len(self.model.held) - 1 - back)]
        held.real.goes_on(held, self.now)
        held.waits = False

    @rule(seconds=st.sampled_from([0.5, 0.5, 1.0, 2.0, 5.0, 8.0, 1e5]))
    def time_passes(self, seconds):
        self.now += seconds

    @rule()
    def trip(self):
        self.circuit.trip(self.now)
        if self.model.state != "isolated":
            self.see_refused(self.model.open(self.now, "open", (0, 0, None)))

    @rule()
    def reset(self):
        self.circuit.reset(self.now)
        self.model.begin("closed")
        self.see_refused([])

    @rule()
    def isolate(self):
        self.circuit.isolate(self.now)
        if self.model.state != "isolated":
            self.see_refused(self.model.open(self.now, "isolated", (0, 0, None)))

    @rule(on=st.booleans())
    def set_shadow(self, on):
        self.circuit.shadow = self.model.shadow = on

    @rule(delta=st.sampled_from([-900.0, 64.5]))
    def another_loop(self, delta):
        self.circuit.shift(delta)
        self.model.shift(delta)
        self.now += delta

    @invariant()
    def same(self):
        circuit, model, now = self.circuit, self.model, self.now
        assert circuit.state.value == model.state
        assert circuit.retry_after(now) == model.retry_after(now)
        assert circuit.would_refuse == model.would_refuse
        assert self.changes == model.period
        late = model.state == "open" and now >= model.until + 60.0
        assert circuit.matters(now) == (model.state != "closed" and not late)
        assert set(circuit.waiting) == {held for held in model.held if held.waits}


Comparison.TestCase.settings = settings(max_examples=250, stateful_step_count=60, deadline=None)


class TestModel(Comparison.TestCase):
    """The circuit does what the model does, whatever happens in whatever order."""


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_model_trips_where_the_rule_does(name):
    """Ten failures in a row open every circuit of the comparison, and its model."""
    machine = Comparison()
    machine.begin(name, False)
    for _ in range(10):
        machine.call(Kind.FAILURE)
    assert machine.model.state == machine.circuit.state.value == "open"
