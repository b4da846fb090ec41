"""Small promises about silence, each of which a change of one token would break."""

from __future__ import annotations

import pytest

from seawall.core.errors import CircuitOpenError
from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Circuit, State
from seawall.policies.circuit.rules import FailureRate
from seawall.policies.circuit.tallies import Tally
from seawall.policies.circuit.trip_rule import TripRule
from tests.doubles import HeardCircuit, believe

SUCCESS, FAILURE, NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL


class Waiter:
    def refuse(self, error):
        self.error = error


def call(circuit, kind, now):
    circuit.settle(circuit.admit(now), kind, now)


def stalled(circuit, *, sent, found):
    """Return a call that an arrival has found stalled."""
    late = circuit.admit(sent)
    believe(circuit)
    circuit.settle(circuit.admit(found), NEUTRAL, found)
    return late


def learned():
    """Return a circuit that believes in silence after a second, and never trips by evidence."""
    circuit = Circuit(FailureRate(1.0, window=1e6, minimum_calls=10**6), open_for=5.0)
    for now in (0.0, 0.0625):
        call(circuit, SUCCESS, now)
    assert circuit.patience == 1.0
    return circuit


def test_a_stalled_call_that_waits_is_counted_once():
    """Its failure after the wait is the same failure."""
    circuit = learned()
    late = stalled(circuit, sent=1.0, found=2.5)
    assert circuit.evidence(2.5)[0] == 1
    waiter = Waiter()
    late.waits(waiter)
    late.goes_on(waiter, 2.6)
    circuit.settle(late, FAILURE, 2.7)
    assert circuit.evidence(2.7)[0] == 1


def test_a_stalled_probe_that_waits_is_still_a_probe():
    """What comes of it decides whether the circuit opens again."""
    circuit = learned()
    circuit.trip(1.0)
    probe = circuit.admit(6.0)
    believe(circuit)
    with pytest.raises(CircuitOpenError):
        circuit.admit(6.5)
    circuit.admit(7.5)
    waiter = Waiter()
    probe.waits(waiter)
    probe.goes_on(waiter, 7.6)
    circuit.settle(probe, FAILURE, 7.7)
    assert circuit.state is State.OPEN


def test_a_late_beginning_is_remembered_like_a_late_end():
    """A response that begins after its call was found stalled may be as late again."""
    circuit = learned()
    late = stalled(circuit, sent=1.0, found=2.5)
    circuit.begin(late, 5.0)
    for number in range(200):
        now = 6.0 + number / 16
        call(circuit, SUCCESS, now)
    assert circuit.patience == 6.0


def test_what_was_only_slow_is_remembered_on_another_loop():
    """The ten minutes go on there from where they were."""
    circuit = learned()
    circuit.settle(stalled(circuit, sent=1.0, found=2.5), SUCCESS, 5.0)
    circuit.shift(1e6)
    for begin, patience in ((6.0, 6.0), (590.0, 6.0), (606.0, 1.0)):
        for number in range(200):
            call(circuit, SUCCESS, 1e6 + begin + number / 16)
        assert circuit.patience == patience


def test_an_answer_at_the_end_of_patience_is_no_late_one():
    """Neither the lag nor the age of the call exceeds it: an open circuit stays open as it was."""
    circuit = learned()
    lagging, aged = circuit.admit(0.03125), circuit.admit(0.25)
    circuit.trip(0.5)
    circuit.settle(lagging, SUCCESS, 1.0625)
    assert circuit.retry_after(1.0625) == 4.4375
    circuit.settle(aged, SUCCESS, 1.25)
    assert circuit.retry_after(1.25) == 4.25


def test_of_two_calls_sent_at_one_moment_the_first_answer_teaches():
    """The second is not the answer to a younger call."""
    circuit = learned()
    first, second = circuit.admit(1.0), circuit.admit(1.0)
    circuit.settle(first, SUCCESS, 1.5)
    patience = circuit.patience
    circuit.settle(second, SUCCESS, 2.0)
    assert circuit.patience == patience


def test_while_it_is_closed_none_is_ended():
    """However many stall, also of an earlier closed period, as long as the rule does not hold."""
    circuit = HeardCircuit(
        FailureRate(1.0, window=1e6, minimum_calls=10**6), open_for=1.0, end_stalled=True
    )
    ended = []
    circuit.on_stalled = ended.append
    for now in (0.0, 0.1, 0.2):
        call(circuit, SUCCESS, now)
    for _ in range(2):
        circuit.admit(0.9)
    circuit.trip(1.0)
    circuit.reset(1.5)
    for _ in range(2):
        circuit.admit(1.6)
    believe(circuit)
    circuit.settle(circuit.admit(3.0), NEUTRAL, 3.0)
    assert circuit.evidence(3.0)[0] == 2
    assert ended == []


@pytest.mark.parametrize("before", ["a retry", "an earlier period"])
def test_what_is_no_evidence_is_not_ended_while_it_is_closed(before):
    """Stalled retries, and stalled calls of an earlier closed period, are left alone as well."""
    circuit = HeardCircuit(2, open_for=1.0, end_stalled=True)
    ended = []
    circuit.on_stalled = ended.append
    for now in (0.0, 0.1, 0.2):
        call(circuit, SUCCESS, now)
    for _ in range(3):
        circuit.admit(0.9, first=before != "a retry")
    if before == "an earlier period":
        circuit.trip(1.0)
        circuit.reset(1.5)
    believe(circuit)
    circuit.settle(circuit.admit(3.0), NEUTRAL, 3.0)
    assert circuit.state is State.CLOSED
    assert ended == []


def test_what_is_settled_neither_waits_nor_goes_on():
    """A turn that comes to a call which has been given up finds nothing to change."""
    circuit = learned()
    ticket, waiter = circuit.admit(1.0), Waiter()
    circuit.settle(ticket, NEUTRAL, 1.1)
    circuit.pause(ticket, waiter)
    circuit.resume(ticket, waiter, 1.2)
    assert (circuit.in_flight, circuit.waiting) == (0, {})


def test_silence_tells_how_long_a_call_was_in_flight():
    """The duration of a stalled call is that from when it was sent to when it was found."""
    heard = []

    class Listens(Tally):
        def record(self, kind, duration, now):
            heard.append((kind, duration))
            return False

        def reset(self):
            pass

    class ListensRule(TripRule):
        def start(self):
            return Listens()

    circuit = Circuit(ListensRule())
    for now in (0.0, 0.125, 0.25):
        call(circuit, SUCCESS, now)
    circuit.admit(1.0)
    believe(circuit)
    circuit.settle(circuit.admit(3.0), NEUTRAL, 3.0)
    assert heard[3:] == [(FAILURE, 2.0)]


def test_only_calls_from_before_the_trip_are_ended():
    """A probe that is as old as silence is not among them."""
    circuit = HeardCircuit(2, open_for=1.0, end_stalled=True, probes=5, probe_lease=60.0)
    ended = []
    circuit.on_stalled = ended.append
    for now in (0.0, 0.1, 0.2):
        call(circuit, SUCCESS, now)
    before = [circuit.admit(1.0) for _ in range(3)]
    believe(circuit)
    with pytest.raises(CircuitOpenError):
        circuit.admit(2.5)
    assert ended == before[1:]
    probe = circuit.admit(3.6)
    assert probe.probe
    circuit.settle(circuit.admit(5.5), NEUTRAL, 5.5)
    assert ended == before[1:]


def test_a_place_is_made_by_a_sign_of_life_of_another_call_only():
    """The late success of a probe itself frees no other probe's place."""
    circuit = Circuit(1, open_for=1.0, close_after=3, probes=2, probe_lease=60.0)
    for now in (0.0, 0.1, 0.2):
        call(circuit, SUCCESS, now)
    call(circuit, FAILURE, 0.3)
    other, late = circuit.admit(1.5), circuit.admit(1.5)
    with pytest.raises(CircuitOpenError):
        circuit.admit(3.5)
    circuit.settle(late, SUCCESS, 3.6)
    assert circuit.admit(3.7).probe
    with pytest.raises(CircuitOpenError):
        circuit.admit(3.8)
    circuit.settle(other, NEUTRAL, 3.9)
