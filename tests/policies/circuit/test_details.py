"""Small promises of the circuit, each of which a change of one token would break."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest

from seawall.core.errors import CircuitOpenError
from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Circuit, State
from seawall.policies.circuit.rules import ConsecutiveFailures, FailureRate
from seawall.policies.circuit.slow_calls import SlowCallRate
from tests.doubles import HeardCircuit, believe

SUCCESS, FAILURE, NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL


class Waiter:
    def refuse(self, error):
        self.error = error


def call(circuit, kind, now, *, first=True, cause=None):
    circuit.settle(circuit.admit(now, first), kind, now, cause)


def told(circuit):
    transitions = []
    circuit.on_change = transitions.append
    return transitions


def test_all_successes_are_counted():
    """Those that were handed over in several goes, those that were not, and those of probes."""
    circuit = Circuit(2, open_for=5.0)
    for now in (0.0, 0.1, 0.2):
        for _ in range(10):
            call(circuit, SUCCESS, now)
        call(circuit, FAILURE, now)
    call(circuit, FAILURE, 0.3)
    call(circuit, SUCCESS, 5.3)
    call(circuit, SUCCESS, 5.4)
    assert (circuit.successes, circuit.failures, circuit.neutral) == (32, 4, 0)


def test_each_opening_is_counted():
    """By evidence, by a failed probe, and by hand; nothing else is one."""
    circuit = Circuit(1, open_for=5.0)
    assert circuit.opened == 0
    call(circuit, FAILURE, 0.0)
    call(circuit, FAILURE, 5.0)
    call(circuit, SUCCESS, 10.0)
    circuit.trip(11.0)
    circuit.isolate(12.0)
    circuit.reset(13.0)
    assert circuit.opened == 3


def test_a_sign_of_life_takes_the_place_of_the_oldest_probe():
    """The younger probes keep theirs, as long as they would have had it."""
    circuit = Circuit(1, open_for=1.0, probes=2, close_after=3, probe_lease=60.0)
    for now in (0.0, 0.1, 0.2):
        call(circuit, SUCCESS, now)
    lost = circuit.admit(1.0)
    believe(circuit)
    with pytest.raises(CircuitOpenError):
        circuit.admit(2.5)
    circuit.admit(4.0)
    circuit.admit(5.0)
    assert circuit.retry_after(6.0) == 58.0
    circuit.settle(lost, SUCCESS, 6.0)
    assert circuit.admit(6.0).probe
    assert circuit.retry_after(6.0) == 59.0


def test_a_transition_tells_all_of_it():
    """When, how long the state before lasted, with what evidence, and for how long it is open."""
    circuit = HeardCircuit(1, open_for=5.0)
    transitions = told(circuit)
    circuit.reset(1.0)
    call(circuit, FAILURE, 4.0, cause="OSError")
    opened = transitions[-1]
    assert (opened.before, opened.after, opened.time) == (State.CLOSED, State.OPEN, 4.0)
    assert (opened.lasted, opened.open_for) == (3.0, 5.0)
    assert tuple(opened.opening) == (1, 1, "OSError")
    call(circuit, SUCCESS, 9.5)
    closed = transitions[-1]
    assert (closed.after, closed.lasted, closed.opening) == (State.CLOSED, 0.0, None)
    assert closed.open_for is None


def test_each_transition_has_a_generation_of_its_own():
    """Also the move to another loop, from whatever generation, is one further."""
    circuit = Circuit(1)
    circuit.trip(0.0)
    circuit.reset(0.0)
    assert circuit.generation == 2
    circuit.shift(100.0)
    assert circuit.generation == 3


def test_on_another_loop_no_time_has_passed():
    """Neither since the last change, nor since the last answer, nor for quiet successes."""
    circuit = Circuit(ConsecutiveFailures(2) & FailureRate(0.1, 30.0, 1))
    circuit.reset(10.0)
    for now in (11.0, 11.3, 11.6):
        call(circuit, SUCCESS, now)
    patience = circuit.patience
    circuit.shift(-500.0)
    assert circuit.since == -490.0
    # The lag is 0.3 s, as it was: a sample of 500 s would raise the patience.
    call(circuit, SUCCESS, 11.9 - 500.0)
    assert circuit.patience <= patience
    for now in (12.0, 12.1):
        call(circuit, FAILURE, now - 500.0)
    assert circuit.state is State.OPEN
    assert tuple(circuit.opening)[:2] == (2, 6)


@pytest.mark.parametrize("end", ["stalled", "waiting", "begun"])
def test_the_cause_of_a_probe_that_was_not_in_flight_is_kept(end):
    """A probe that was stalled, waited or had begun says what it failed with, to the parent too."""
    parent = Circuit(1, open_for=5.0)
    circuit = Circuit(1, open_for=5.0, parent=parent)
    for now in (0.0, 0.1, 0.2):
        call(circuit, SUCCESS, now)
    call(circuit, FAILURE, 0.3, cause="first")
    probe = circuit.admit(5.5)
    assert (probe.probe, probe.above.probe) == (True, True)
    if end == "stalled":
        with pytest.raises(CircuitOpenError):
            circuit.admit(6.2)
        assert circuit.admit(6.6).probe
    elif end == "waiting":
        probe.waits(Waiter())
    else:
        circuit.begin(probe, 5.6, answered=False)
    circuit.settle(probe, FAILURE, 6.7, "second")
    assert circuit.opening.cause == parent.opening.cause == "second"


def test_what_begins_is_an_answer_for_the_parent_too_where_it_is_one():
    """A parent learns its patience from the responses that begin well, and from no others."""
    for answered in (True, False):
        parent = Circuit(open_for=5.0)
        circuit = Circuit(parent=parent)
        for now in (0.0, 0.3, 0.6):
            circuit.begin(circuit.admit(now), now + 0.1, answered=answered)
        assert (parent.patience is not None) == answered
        assert (circuit.patience is not None) == answered


def test_a_call_that_goes_on_is_forgotten_by_the_parent_too():
    """A parent that trips later does not refuse who waits no longer."""
    parent = Circuit()
    circuit = Circuit(parent=parent)
    ticket = circuit.admit(0.0)
    waiter = Waiter()
    ticket.waits(waiter)
    ticket.goes_on(waiter, 1.0)
    assert parent.waiting == circuit.waiting == {}


def test_a_retry_of_a_child_is_no_evidence_for_the_parent():
    """Whether it is a first attempt is the same for both."""
    parent = Circuit(1)
    circuit = Circuit(1, parent=parent)
    call(circuit, FAILURE, 0.0, first=False)
    assert parent.state is circuit.state is State.CLOSED
    counting = Circuit(1, count_retries=True, parent=parent)
    call(counting, FAILURE, 0.0, first=False)
    assert (parent.state, counting.state) == (State.CLOSED, State.OPEN)


def test_a_refusal_has_the_key_of_the_call():
    """Also where it is the parent's."""
    parent = Circuit()
    circuit = Circuit(parent=parent)
    parent.trip(0.0)
    assert circuit.refusal(0.5, "host").key == "host"
    circuit.trip(0.0)
    assert circuit.refusal(0.5, "host").key == "host"


def test_a_stalled_call_took_as_long_as_it_has_been_in_flight():
    """A rule about slow calls hears how long, and so it hears of what began late, or waited."""
    circuit = Circuit(SlowCallRate(1.0, slower_than=5.0, window=100.0, minimum_calls=1))
    for now in (0.0, 0.1, 0.2):
        call(circuit, SUCCESS, now)
    circuit.admit(1.0)
    believe(circuit)
    circuit.settle(circuit.admit(3.0), NEUTRAL, 3.0)
    assert circuit.evidence(3.0) == (0, 4)
    begun = circuit.admit(3.0)
    circuit.begin(begun, 3.5)
    circuit.settle(begun, SUCCESS, 90.0)
    waited = circuit.admit(3.0)
    waited.waits(Waiter())
    circuit.settle(waited, FAILURE, 3.1)
    assert circuit.evidence(3.1) == (0, 6)


def bodies(seed, end):
    """Return all that is seen of a circuit, and its parent, whose responses have bodies."""
    rng = random.Random(seed)
    parent = HeardCircuit(FailureRate(0.5, 3.0, minimum_calls=4), open_for=2.0)
    rule = FailureRate(0.5, window=2.0, minimum_calls=4) | ConsecutiveFailures(3)
    retries = rng.random() < 0.5
    circuit = HeardCircuit(
        rule, open_for=2.0, count_retries=retries, parent=rng.choice([None, parent])
    )
    now, begun, seen = 0.0, [], []
    for _ in range(60):
        now += rng.choice([0.0, 0.05, 0.3, 2.0])
        choice = rng.random()
        if choice < 0.5:
            with suppress(CircuitOpenError):
                ticket = circuit.admit(now, rng.random() < 0.7)
                circuit.begin(ticket, now + 0.02)
                begun.append(ticket)
        elif choice < 0.52:
            circuit.reset(now)
        elif begun:
            ticket = begun.pop(rng.randrange(len(begun)))
            end(circuit, ticket, rng.choice([SUCCESS, SUCCESS, SUCCESS, FAILURE, NEUTRAL]), now)
            if rng.random() < 0.1:
                end(circuit, ticket, SUCCESS, now)
        for each in (circuit, parent):
            seen.append((each.state, each.evidence(now), each.retry_after(now), each.rejected))
    return seen


def test_the_end_of_a_body_is_a_verdict_like_any_other():
    """Whatever has happened meanwhile, it counts as a settled call does, once, and no otherwise."""
    states = set()
    for seed in range(300):
        ended = bodies(seed, Circuit.end)
        assert ended == bodies(seed, Circuit.settle), f"seed {seed}"
        states |= {state for state, *_ in ended}
    assert states == {State.CLOSED, State.OPEN, State.HALF_OPEN}


def test_settings_that_were_changed_can_be_read_back():
    """What was reconfigured is what the circuit says, and an unknown name is told all names."""
    circuit = Circuit()
    circuit.reconfigure(stalls=False)
    assert circuit.stalls is False
    circuit.reconfigure(stalls=True, end_stalled=True)
    assert (circuit.stalls, circuit.end_stalled) == (True, True)
    with pytest.raises(TypeError) as caught:
        circuit.reconfigure(more=1, less=2)
    assert str(caught.value) == (
        "reconfigure() takes close_after, count_retries, end_stalled, max_open_for, open_for, "
        "probe_lease, probes, stalls, trip, not less, more"
    )


def test_in_shadow_each_call_that_waits_would_be_refused():
    """They are counted together, and on top of those from before."""
    circuit = Circuit(1, shadow=True)
    circuit.trip(0.0)
    call(circuit, SUCCESS, 0.5)
    circuit.reset(0.6)
    for _ in range(2):
        circuit.admit(0.7).waits(Waiter())
    circuit.trip(0.8)
    assert (circuit.would_refuse, circuit.would_refuse_succeeded) == (3, 1)


def test_a_shorter_lease_ends_before_an_earlier_one():
    """An answer may make the next lease shorter: its place is then the first to be free."""
    circuit = Circuit(1, open_for=1.0, probes=2, close_after=9)
    call(circuit, SUCCESS, 0.0)
    call(circuit, SUCCESS, 2.0)
    call(circuit, FAILURE, 2.5)
    circuit.admit(4.0)
    assert circuit.patience == 18.0
    call(circuit, SUCCESS, 4.0)
    assert circuit.patience == 15.0
    circuit.admit(4.5)
    assert circuit.retry_after(4.5) == 15.0
    assert circuit.admit(19.5).probe


def test_a_call_that_a_listener_let_in_is_evidence():
    """Where a listener closes the circuit as the first probe comes, that is a call like others."""
    circuit = HeardCircuit(2, open_for=1.0)
    circuit.on_change = lambda transition: (
        circuit.reset(transition.time) if transition.after is State.HALF_OPEN else None
    )
    circuit.trip(0.0)
    first = circuit.admit(1.0)
    assert (circuit.state, first.probe) == (State.CLOSED, False)
    circuit.settle(first, FAILURE, 1.1)
    assert circuit.evidence(1.1) == (1, 1)
