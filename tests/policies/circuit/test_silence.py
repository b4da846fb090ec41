"""Rule 10 of the circuit: silence."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.core.errors import CircuitOpenError
from seawall.core.verdict import Kind
from seawall.policies.circuit.core import Circuit, State
from seawall.policies.circuit.rules import ConsecutiveFailures, FailureRate, TripRule
from seawall.policies.circuit.tallies import Tally
from tests.doubles import HeardCircuit, believe

SUCCESS, FAILURE, NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL

# Counts for ever, and never holds.
NEVER = FailureRate(1.0, window=1e9, minimum_calls=10**9)


class Waiter:
    def refuse(self, error):
        pass


def answer(circuit, start, end):
    circuit.settle(circuit.admit(start), SUCCESS, end)


def learned(trip=NEVER, *, lag=0.1, **options):
    """Return a circuit with two answers, the last to a call sent at 0.0: q is nine times a lag."""
    circuit = HeardCircuit(trip, **{"open_for": 5.0, **options})
    answer(circuit, -lag / 2, 0.0)
    answer(circuit, 0.0, lag / 2)
    assert circuit.patience == pytest.approx(max(1.0, 9 * lag))
    believe(circuit)
    return circuit


def arrive(circuit, now):
    """Let a call arrive that says nothing, and return the failures that were counted till then."""
    try:
        circuit.settle(circuit.admit(now), NEUTRAL, now)
    except CircuitOpenError:
        pass
    return circuit.evidence(now)[0]


def silenced(stalled=3, **options):
    """Return a circuit that silence has opened at 2.5, and the calls that were sent at 1.0."""
    circuit = learned(ConsecutiveFailures(stalled), **options)
    calls = [circuit.admit(1.0) for _ in range(stalled)]
    arrive(circuit, 2.5)
    assert circuit.state is State.OPEN
    return circuit, calls


# How q is learned


@pytest.mark.parametrize("lag", [0.12, 0.5, 4.0, 500.0])
def test_patience_is_unknown_until_the_second_answer(lag):
    """One answer gives no lag; the second gives the first sample, m: q = 3 · (m + 4 · m/2)."""
    circuit = Circuit()
    assert circuit.patience is None
    answer(circuit, 100.0, 100.0 + lag)
    assert circuit.patience is None
    answer(circuit, 100.0 + lag / 2, 100.0 + lag)
    assert circuit.patience == pytest.approx(9 * lag)


def test_patience_is_a_mean_and_four_deviations_of_the_lag():
    """Each sample of the lag moves the mean by an eighth and the deviation by a quarter."""
    circuit = Circuit()
    mean = deviation = 0.0
    for number, took in enumerate([0.3, 0.5, 0.2, 0.9, 0.4, 0.4, 1.1, 0.2]):
        answer(circuit, float(number), number + took)
        if number == 0:
            continue
        # The youngest answered before was sent a second earlier.
        sample = 1.0 + took
        if number == 1:
            mean, deviation = sample, sample / 2
        else:
            error = sample - mean
            mean += error / 8
            deviation += (abs(error) - deviation) / 4
        assert circuit.patience == pytest.approx(3 * (mean + 4 * deviation))


def test_patience_is_at_least_a_second():
    """However fast the answers come, a call is given a second."""
    circuit = learned(lag=0.001)
    for number in range(1000):
        answer(circuit, 1.0 + number * 0.001, 1.0005 + number * 0.001)
    assert circuit.patience == 1.0


def test_only_the_answer_to_a_younger_call_is_a_sample():
    """Of two calls that are answered in the wrong order, the second answer teaches nothing."""
    circuit = learned(lag=0.5)
    older, younger = circuit.admit(1.0), circuit.admit(1.1)
    circuit.settle(younger, SUCCESS, 1.2)
    patience = circuit.patience
    assert patience != pytest.approx(4.5)
    circuit.settle(older, SUCCESS, 3.0)
    assert circuit.patience == patience


@pytest.mark.parametrize("kind", [FAILURE, NEUTRAL])
def test_only_a_success_is_an_answer(kind):
    """A call that failed, or that nothing is known of, neither teaches a lag nor ends a silence."""
    circuit = learned(lag=0.5)
    for number in range(10):
        circuit.settle(circuit.admit(1.0 + number), kind, 1.9 + number)
    assert circuit.patience == pytest.approx(4.5)
    before = circuit.evidence(11.0)[0]
    circuit.admit(11.0)
    circuit.settle(circuit.admit(15.0), kind, 15.0)
    assert arrive(circuit, 15.6) == before + (2 if kind is FAILURE else 1)


def test_an_answer_of_an_earlier_generation_is_an_answer():
    """A success that no rule hears, because the circuit has changed, still ends a silence."""
    circuit = learned()
    early = circuit.admit(4.0)
    circuit.reset(4.0)
    circuit.admit(4.0)
    circuit.settle(early, SUCCESS, 4.9)
    believe(circuit)
    silent = 4.0 + circuit.patience
    assert arrive(circuit, silent) == 0
    assert arrive(circuit, silent + 0.1) == 1


def test_a_sample_is_capped_at_the_patience():
    """After a pause of an hour the lag is huge, but q grows as if it had been q."""
    circuit = learned(lag=1.0)
    answer(circuit, 3600.0, 3600.1)
    mean, deviation = 1.0 + 8.0 / 8, 0.5 + (8.0 - 0.5) / 4
    assert circuit.patience == pytest.approx(3 * (mean + 4 * deviation))


def test_the_unused_knowledge_of_fast_answers_changes_nothing():
    """At the floor, lags that could not raise q may be skipped: they make it no longer, ever."""
    fast, slow = learned(lag=0.06), learned(lag=0.06)
    for number in range(50):
        answer(fast, 1.0 + number * 0.01, 1.001 + number * 0.01)
    assert fast.patience == slow.patience == 1.0
    assert arrive(fast, 2.4) == arrive(slow, 2.4) == 0


# What is counted


def test_in_silence_each_stalled_call_counts_once():
    """A call counts when it has been in flight for longer than q, and never again."""
    circuit = learned()
    calls = [circuit.admit(1.0) for _ in range(3)]
    calls.append(circuit.admit(1.5))
    assert arrive(circuit, 2.0) == 0
    assert arrive(circuit, 2.1) == 3
    assert arrive(circuit, 2.5) == 3
    assert arrive(circuit, 2.6) == 4
    assert arrive(circuit, 100.0) == 4
    for ticket in calls:
        circuit.settle(ticket, FAILURE, 100.0)
    # Beside the two answers.
    assert circuit.evidence(100.0) == (4, 6)
    assert circuit.in_flight == 0


@pytest.mark.parametrize("kind", Kind)
def test_a_stalled_call_stays_a_failure_whatever_becomes_of_it(kind):
    """When it ends at last it is counted among the calls, but is no second piece of evidence."""
    circuit = learned()
    ticket = circuit.admit(1.0)
    assert arrive(circuit, 3.0) == 1
    circuit.settle(ticket, kind, 4.0)
    circuit.settle(ticket, FAILURE, 4.0)
    # Beside the two answers, and the arrival that says nothing.
    assert circuit.evidence(4.0) == (1, 3)
    expected = {SUCCESS: (3, 0, 1), FAILURE: (2, 1, 1), NEUTRAL: (2, 0, 2)}[kind]
    assert (circuit.successes, circuit.failures, circuit.neutral) == expected


def test_stalled_calls_open_the_circuit_at_the_next_arrival():
    """The trip rule hears them, the arrival is refused, and the refusal says what it was."""
    circuit = learned(ConsecutiveFailures(3))
    for number in range(3):
        circuit.admit(1.0 + number * 0.1)
    circuit.admit(2.15)
    assert circuit.state is State.CLOSED
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(2.3)
    assert circuit.opening == (3, 3, "stalled")
    assert (caught.value.failures, caught.value.cause) == (3, "stalled")


def test_a_dead_dependency_is_seen_long_before_its_timeouts():
    """At 100 calls a second without any answer, a circuit without arguments opens in a second."""
    circuit = Circuit()
    now = 0.0
    for _ in range(100):
        now += 0.01
        answer(circuit, now, now + 0.02)
    sent = 0
    while True:
        now += 0.01
        try:
            circuit.admit(now)
        except CircuitOpenError:
            break
        sent += 1
    assert sent <= 110


def test_there_is_no_evidence_before_the_first_answer():
    """A cold start may be as slow as it likes: nothing is known yet."""
    circuit = Circuit(1)
    for number in range(1000):
        circuit.admit(float(number))
    assert circuit.evidence(1000.0) == (0, 0)
    answer(circuit, 1000.0, 1005.0)
    for number in range(1006, 2000):
        circuit.admit(float(number))
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize("count_retries,expected", [(False, 1), (True, 3)])
def test_only_first_attempts_are_counted(count_retries, expected):
    """A stalled retry is no evidence, as a failed one is none, unless all attempts count."""
    circuit = learned(count_retries=count_retries)
    for first in (True, False, False):
        circuit.admit(1.0, first)
    assert arrive(circuit, 3.0) == expected


def test_slow_calls_among_answered_ones_are_never_stalled():
    """A call of an hour beside calls that are answered is only slow."""
    circuit = learned(1)
    slow = [circuit.admit(0.5 + number * 0.01) for number in range(20)]
    now = 1.0
    while now < 3600.0:
        answer(circuit, now, now + 0.05)
        now += 0.9
    for ticket in slow:
        circuit.settle(ticket, SUCCESS, now)
    assert circuit.state is State.CLOSED
    assert circuit.evidence(now)[0] == 0


# A client that was blocked itself


def answered(*, q=1.0):
    """Return a circuit with two answers, the last to a call sent at 0.0; no silence was noticed."""
    circuit = learned(lag=q / 9)
    circuit.settle(circuit.admit(0.0), SUCCESS, 0.0)
    circuit.settle(circuit.admit(0.001), SUCCESS, 0.002)
    return circuit


def test_after_a_pause_silence_is_looked_at_for_as_long():
    """The first to come after 0.6 s in which nobody came finds nothing that counts, for 0.6 s."""
    circuit = answered()
    for _ in range(8):
        circuit.admit(0.5)
    assert arrive(circuit, 1.1) == 0
    assert arrive(circuit, 1.69) == 0
    assert arrive(circuit, 1.71) == 8


def test_silence_is_looked_at_for_the_patience_at_most():
    """After an hour without calls, q is enough."""
    circuit = answered()
    circuit.admit(0.5)
    assert arrive(circuit, 3600.0) == 0
    assert arrive(circuit, 3600.99) == 0
    assert arrive(circuit, 3601.0) == 1


def test_while_calls_come_silence_is_found_at_once():
    """Where the last call came a moment ago, nobody was blocked."""
    circuit = answered()
    now = 0.0
    while now < 1.5:
        now += 0.01
        circuit.admit(now)
    found = circuit.evidence(now)[0]
    assert found == pytest.approx(50, abs=3)


def test_calls_that_wait_show_that_the_client_runs():
    """Where a bulkhead is full nothing more is sent, but each call that comes is a sign."""
    circuit = answered()
    for _ in range(8):
        circuit.admit(0.1)
    for number in range(99):
        circuit.admit(0.11 + number * 0.01).waits(Waiter())
    assert arrive(circuit, 1.11) == 8


def test_an_answer_after_a_pause_takes_the_suspicion_back():
    """The calls of a blocked client are answered when it goes on, and count as slow at most."""
    circuit = answered()
    calls = [circuit.admit(0.5 + number * 0.001) for number in range(20)]
    for number in range(50):
        assert arrive(circuit, 12.0 + number * 0.001) == 0
    for number, ticket in enumerate(calls):
        circuit.settle(ticket, SUCCESS, 12.1 + number * 0.01)
        assert arrive(circuit, 12.1 + number * 0.01) == 0
    assert circuit.state is State.CLOSED


def test_one_answer_ends_the_silence():
    """What was sent within the last q and answered proves the dependency alive for another q."""
    circuit = learned()
    for _ in range(5):
        circuit.admit(1.0)
    alive = circuit.admit(1.9)
    circuit.settle(alive, SUCCESS, 1.95)
    believe(circuit)
    silent = 1.9 + circuit.patience
    assert arrive(circuit, silent) == 0
    assert arrive(circuit, silent + 0.01) == 5


def test_a_pause_of_the_traffic_is_no_silence():
    """Without calls in flight nothing is stalled, however long nobody calls."""
    circuit = learned(1)
    answer(circuit, 7200.0, 7200.5)
    answer(circuit, 9000.0, 9000.9)
    assert circuit.state is State.CLOSED


def test_a_waiting_call_is_not_in_flight():
    """While a call waits for a slot or a turn nothing was sent; its flight begins afterwards."""
    circuit = learned()
    ticket, one, two = circuit.admit(1.0), Waiter(), Waiter()
    ticket.waits(one)
    ticket.waits(two)
    assert arrive(circuit, 50.0) == 0
    ticket.goes_on(one, 60.0)
    assert arrive(circuit, 70.0) == 0
    ticket.goes_on(two, 80.0)
    assert ticket.start == 80.0
    assert arrive(circuit, 81.0) == 0
    assert arrive(circuit, 81.1) == 1
    circuit.settle(ticket, FAILURE, 90.0)
    assert circuit.in_flight == 0


def test_a_call_that_ends_while_it_waits_leaves_nothing():
    """A waiter that is cancelled is settled like any other call."""
    circuit = learned()
    ticket, waiter = circuit.admit(1.0), Waiter()
    ticket.waits(waiter)
    assert circuit.in_flight == 1
    circuit.settle(ticket, NEUTRAL, 2.0)
    assert circuit.in_flight == 0
    assert arrive(circuit, 50.0) == 0


def test_a_response_that_has_begun_is_not_in_flight():
    """A body may be open for hours; its beginning is an answer, and its end is a verdict."""
    circuit = learned()
    stream, other = circuit.admit(1.0), circuit.admit(1.0)
    circuit.begin(stream, 1.2)
    silent = 1.0 + circuit.patience
    circuit.begin(stream, 1.3)
    believe(circuit)
    assert arrive(circuit, silent) == 0
    assert arrive(circuit, silent + 0.1) == 1
    assert circuit.in_flight == 2
    circuit.settle(stream, FAILURE, 3600.0)
    circuit.settle(other, NEUTRAL, 3600.0)
    assert circuit.evidence(3600.0)[0] == 2
    assert circuit.in_flight == 0


@pytest.mark.parametrize("answered,stalled", [(True, 0), (False, 1)])
def test_a_beginning_is_an_answer_if_it_looks_like_a_success(answered, stalled):
    """The head of a response ends a silence; what is neither good nor bad does not."""
    circuit = learned()
    circuit.admit(2.0)
    circuit.begin(circuit.admit(2.5), 2.6, answered=answered)
    assert arrive(circuit, 3.2) == stalled


class Durations(TripRule):
    """A rule that hears how long calls took."""

    def __init__(self):
        self.heard = []

    def start(self):
        return DurationTally(self.heard)


class DurationTally(Tally):
    def __init__(self, heard):
        self.heard = heard

    def record(self, kind, duration, now):
        self.heard.append(duration)
        return False

    def reset(self):
        pass


def test_the_duration_of_a_call_is_its_time_in_flight():
    """Neither its wait for a slot nor how long its body took is a part of what a rule hears."""
    rule = Durations()
    circuit = Circuit(rule)
    ticket, waiter = circuit.admit(1.0), Waiter()
    ticket.waits(waiter)
    ticket.goes_on(waiter, 9.0)
    circuit.begin(ticket, 9.25)
    circuit.settle(ticket, SUCCESS, 60.0)
    assert rule.heard == [0.25]


def test_without_stalls_silence_is_no_evidence():
    """``stalls=False`` waits for results, and learns nothing."""
    circuit = Circuit(1, stalls=False)
    for number in range(20):
        answer(circuit, float(number), number + 0.1)
    for number in range(20, 60):
        circuit.admit(float(number))
    assert circuit.state is State.CLOSED
    assert circuit.patience is None


@pytest.mark.parametrize("delta", [1e6, -1e6])
def test_the_clock_of_another_loop_makes_no_silence(delta):
    """Between two loops no time passes, q is kept, and silence is found there as before."""
    circuit = learned()
    circuit.admit(0.5)
    circuit.shift(delta)
    believe(circuit)
    assert circuit.patience == 1.0
    circuit.admit(delta + 0.6)
    assert arrive(circuit, delta + 1.6) == 0
    assert arrive(circuit, delta + 1.61) == 1


def test_time_that_goes_back_makes_no_silence():
    """A call that seems to be sent in the future is in flight for no time."""
    circuit = learned(1)
    circuit.admit(9.0)
    assert arrive(circuit, 5.0) == 0
    assert arrive(circuit, 9.5) == 0


# A stalled call that answers at last


def test_a_late_success_makes_the_next_arrival_the_probe():
    """The dependency is alive: no open time is waited for, and that probe closes the circuit."""
    circuit, calls = silenced(open_for=3600.0)
    assert circuit.retry_after(3.0) > 3000.0
    circuit.settle(calls[1], SUCCESS, 3.0)
    assert circuit.state is State.OPEN
    assert circuit.retry_after(3.0) == 0.0
    probe = circuit.admit(3.0)
    assert probe.probe
    assert circuit.state is State.HALF_OPEN
    circuit.settle(probe, SUCCESS, 3.1)
    assert circuit.state is State.CLOSED


def test_a_late_beginning_makes_the_next_arrival_the_probe():
    """The head of a stalled response is the same sign of life."""
    circuit, calls = silenced(open_for=3600.0)
    circuit.begin(calls[0], 3.0)
    assert circuit.admit(3.0).probe


@pytest.mark.parametrize("kind", [FAILURE, NEUTRAL])
def test_only_a_success_of_a_stalled_call_is_a_sign_of_life(kind):
    """Stalled calls that fail, or are cancelled, shorten nothing."""
    circuit, calls = silenced()
    for ticket in calls:
        circuit.settle(ticket, kind, 3.0)
    assert circuit.retry_after(3.0) == 4.5
    assert circuit.patience == 1.0


def test_a_success_of_a_call_that_did_not_stall_shortens_nothing():
    """Only what seemed lost is news; a quick answer from before the trip is not."""
    circuit = learned(ConsecutiveFailures(3))
    for _ in range(3):
        circuit.admit(1.0)
    recent = circuit.admit(1.9)
    arrive(circuit, 2.5)
    circuit.settle(recent, SUCCESS, 2.6)
    assert circuit.retry_after(2.6) == pytest.approx(4.9)


def test_a_late_success_makes_room_in_half_open():
    """Where a probe holds the only place, the sign of life gives it to the next arrival."""
    circuit, calls = silenced(probe_lease=100.0)
    hung = circuit.admit(7.5)
    with pytest.raises(CircuitOpenError):
        circuit.admit(8.0)
    circuit.settle(calls[0], SUCCESS, 8.0)
    probe = circuit.admit(8.0)
    assert probe.probe
    with pytest.raises(CircuitOpenError):
        circuit.admit(8.0)
    circuit.settle(hung, NEUTRAL, 8.0)
    circuit.settle(probe, SUCCESS, 8.0)
    assert circuit.state is State.CLOSED


def test_the_late_success_of_a_probe_closes():
    """A probe that stalls is no evidence, and keeps its voice."""
    circuit, _ = silenced(probe_lease=100.0)
    probe = circuit.admit(7.5)
    arrive(circuit, 30.0)
    circuit.settle(probe, SUCCESS, 31.0)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize("found", [True, False])
def test_patience_learns_how_long_a_stalled_call_took(found):
    """Its duration is a sample without a cap, whether an arrival found it stalled or none came."""
    circuit = learned()
    ticket = circuit.admit(1.0)
    if found:
        assert arrive(circuit, 3.0) == 1
    circuit.settle(ticket, SUCCESS, 41.0)
    mean, deviation = 0.1 + 39.9 / 8, 0.05 + (39.9 - 0.05) / 4
    assert circuit.patience == pytest.approx(3 * (mean + 4 * deviation))


def test_what_was_only_slow_is_remembered_for_ten_minutes():
    """Quick answers do not make q forget at once that a call which seemed lost took 5 s."""
    circuit = learned()
    ticket = circuit.admit(1.0)
    assert arrive(circuit, 3.0) == 1
    circuit.settle(ticket, SUCCESS, 6.0)
    for number in range(3000):
        answer(circuit, 7.0 + number * 0.2, 7.05 + number * 0.2)
        if number * 0.2 < 590.0:
            assert circuit.patience >= 7.5
    assert circuit.patience == 1.0


def test_a_client_that_was_blocked_remembers_nothing_for_long():
    """An answer that came late, though no silence was found, is forgotten among quick ones."""
    circuit = answered()
    circuit.settle(circuit.admit(1.0), SUCCESS, 20.0)
    for number in range(100):
        answer(circuit, 20.0 + number * 0.05, 20.04 + number * 0.05)
    assert circuit.patience == 1.0


def test_a_dependency_that_became_slow_trips_once():
    """After a shift from 20 ms to 5 s for good, q has learned: there is no second trip."""
    circuit, trips = HeardCircuit(open_for=5.0), []
    circuit.on_change = lambda told: trips.append(told.time) if told.after is State.OPEN else None
    now, flying = 0.0, []
    for number in range(20_000):
        now += 0.05
        while flying and flying[0][0] <= now:
            end, ticket = flying.pop(0)
            circuit.settle(ticket, SUCCESS, end)
        try:
            ticket = circuit.admit(now)
        except CircuitOpenError:
            continue
        flying.append((now + (0.02 if number < 2000 else 5.0), ticket))
    assert len(trips) == 1
    assert circuit.state is State.CLOSED


# The default lease of a probe


@pytest.mark.parametrize("lag,lease", [(0.1, 1.0), (2.0, 18.0), (50.0, 30.0)])
def test_a_probe_has_a_place_for_the_patience_at_most_30_seconds(lag, lease):
    """Without ``probe_lease``, q decides when a hung probe makes room."""
    circuit = learned(1, lag=lag)
    circuit.trip(10.0)
    circuit.admit(15.0)
    assert circuit.retry_after(15.0) == pytest.approx(lease)


def leases(circuit, now, count):
    """Return the leases of so many probes in a row that all hang."""
    found = []
    for _ in range(count):
        circuit.admit(now)
        found.append(circuit.retry_after(now))
        now += found[-1]
    return found


def test_each_hung_probe_doubles_the_next_lease():
    """A probe that hangs keeps a caller waiting, so the next one is risked later: 30 s at most."""
    circuit = learned(1)
    circuit.trip(10.0)
    assert leases(circuit, 15.0, 8) == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])


def test_a_new_half_open_period_begins_with_the_patience_again():
    """What hung in the last period says nothing of the next."""
    circuit = learned(1)
    circuit.trip(10.0)
    hung = circuit.admit(15.0)
    assert leases(circuit, 16.0, 2) == pytest.approx([2, 4])
    circuit.settle(hung, FAILURE, 22.0)
    assert leases(circuit, 27.0, 2) == pytest.approx([1, 2])


def test_a_probe_that_ends_within_its_lease_doubles_nothing():
    """A cancelled caller says nothing; one that is cancelled after its lease did hang."""
    circuit = learned(1)
    circuit.trip(10.0)
    circuit.settle(circuit.admit(15.0), NEUTRAL, 15.5)
    assert leases(circuit, 15.5, 1) == [1.0]
    circuit = learned(1)
    circuit.trip(10.0)
    circuit.settle(circuit.admit(15.0), NEUTRAL, 16.0)
    assert leases(circuit, 16.0, 1) == [2.0]


def test_where_stalled_calls_are_ended_no_lease_doubles():
    """There few callers wait, and the first probe after an outage shall come soon."""
    circuit = learned(1, end_stalled=True)
    circuit.trip(10.0)
    assert leases(circuit, 15.0, 4) == pytest.approx([1.0] * 4)


def test_a_given_lease_is_the_lease():
    """``probe_lease`` is exact, whatever q has learned, and however many probes have hung."""
    circuit = learned(1, lag=2.0, probe_lease=3.0)
    circuit.trip(10.0)
    assert leases(circuit, 15.0, 4) == [3.0] * 4


# Ending the stalled calls


def ended_by(circuit):
    ended = []
    circuit.on_stalled = ended.append
    return ended


def test_a_trip_by_silence_ends_all_stalled_calls_but_the_oldest():
    """Those that were found before the trip too; the oldest stays, as a sentinel."""
    circuit = learned(ConsecutiveFailures(5), end_stalled=True)
    ended = ended_by(circuit)
    calls = [circuit.admit(1.0 + number * 0.1) for number in range(5)]
    arrive(circuit, 2.25)
    assert circuit.evidence(2.25)[0] == 3
    assert ended == []
    arrive(circuit, 2.45)
    assert circuit.state is State.OPEN
    assert ended == calls[1:]


def test_until_it_closes_each_arrival_ends_what_has_stalled_since():
    """Only calls from before the trip are ended, as they stall, by refused arrivals too."""
    circuit = learned(ConsecutiveFailures(2), end_stalled=True)
    ended = ended_by(circuit)
    first, second = circuit.admit(1.0), circuit.admit(1.0)
    third, fourth = circuit.admit(1.9), circuit.admit(1.95)
    arrive(circuit, 2.5)
    assert ended == [second]
    arrive(circuit, 2.92)
    assert ended == [second, third]
    arrive(circuit, 5.0)
    assert ended == [second, third, fourth]
    probe = circuit.admit(8.0)
    for now in (10.0, 20.0, 40.0):
        arrive(circuit, now)
    assert ended == [second, third, fourth]
    circuit.settle(probe, FAILURE, 50.0)
    arrive(circuit, 56.0)
    assert first not in ended


def test_after_it_has_closed_nothing_from_before_is_ended():
    """A recovered circuit ends nothing until silence trips it again."""
    circuit = learned(ConsecutiveFailures(2), end_stalled=True, open_for=0.2)
    ended = ended_by(circuit)
    circuit.admit(1.0)
    second = circuit.admit(1.0)
    late = circuit.admit(1.9)
    arrive(circuit, 2.5)
    circuit.settle(circuit.admit(2.7), SUCCESS, 2.75)
    assert circuit.state is State.CLOSED
    arrive(circuit, 30.0)
    assert ended == [second]
    assert late not in ended


def test_a_trip_for_another_reason_ends_nothing():
    """Neither failures nor ``trip()`` are a reason to end who waits for an answer."""
    for reason in ("failure", "trip"):
        circuit = learned(ConsecutiveFailures(4), end_stalled=True)
        ended = ended_by(circuit)
        for _ in range(3):
            circuit.admit(1.0)
        arrive(circuit, 2.5)
        if reason == "trip":
            circuit.trip(2.6)
        else:
            circuit.settle(circuit.admit(2.6), FAILURE, 2.6)
        assert circuit.state is State.OPEN
        arrive(circuit, 3.0)
        assert ended == []


def test_by_default_nothing_is_ended():
    """Ending is an opt-in."""
    circuit = learned(ConsecutiveFailures(2))
    ended = ended_by(circuit)
    for _ in range(4):
        circuit.admit(1.0)
    arrive(circuit, 2.5)
    assert circuit.state is State.OPEN
    assert ended == []


@pytest.mark.parametrize("name", ["stalls", "end_stalled"])
@pytest.mark.parametrize("value", [None, 1, "yes"])
def test_flags_are_true_or_false(name, value):
    """Anything else is refused by name."""
    with pytest.raises(TypeError, match=name):
        Circuit(**{name: value})


def test_ending_needs_stalls():
    """A circuit that finds no stalled call cannot end one."""
    with pytest.raises(ValueError, match="needs stalls=True"):
        Circuit(stalls=False, end_stalled=True)


# The rule, said in another way


class Naive:
    """Rule 10 from the whole history of all calls, without any state but q."""

    def __init__(self):
        self.calls = []
        self.failures = 0
        self.mean = self.deviation = 0.0
        self.patience = self.least_until = inf
        self.least = 1.0
        self.suspected = self.believed_from = None

    def youngest(self):
        return max((call["sent"] for call in self.calls if call["answered"]), default=-inf)

    def arrive(self, now):
        if now - self.youngest() > self.patience and self.is_believed(now):
            for call in self.calls:
                flying = call["flying"] and now - call["sent"] > self.patience
                if flying and not call["stalled"]:
                    call["stalled"] = True
                    self.failures += call["first"]

    def is_believed(self, now):
        if not any(call["flying"] and not call["stalled"] for call in self.calls):
            return False
        if self.suspected != self.youngest():
            self.suspected = self.youngest()
            self.believed_from = now + min(now - self.latest, self.patience)
        return now >= self.believed_from

    def send(self, now, first):
        self.latest = now
        self.calls.append(
            {"sent": now, "first": first, "flying": True, "stalled": False, "answered": False}
        )

    def answer(self, number, now):
        call = self.calls[number]
        lag = now - self.youngest()
        took = now - call["sent"]
        if call["stalled"] or (lag > self.patience and took > self.patience):
            if call["stalled"]:
                self.least, self.least_until = max(self.least, 1.5 * took), now + 600
            self.sample(took, now)
        elif call["sent"] > self.youngest() and lag < inf:
            self.sample(min(lag, self.patience), now)
        call["answered"], call["flying"] = True, False

    def sample(self, value, now):
        if now >= self.least_until:
            self.least, self.least_until = 1.0, inf
        if self.patience == inf:
            self.mean, self.deviation = value, value / 2
        else:
            error = value - self.mean
            self.mean += error / 8
            self.deviation += (abs(error) - self.deviation) / 4
        self.patience = max(self.least, 3 * (self.mean + 4 * self.deviation))


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.25, 0.5, 1.0, 1.5, 4.0, 32.0, 500.0]),
        st.sampled_from(["send", "send", "retry", "answer", "answer", "fail", "wait", "begin"]),
        st.integers(0, 30),
    ),
    min_size=5,
    max_size=60,
)


@given(STEPS)
def test_it_counts_what_the_rule_counts(steps):
    """Whatever is sent, answered, begun and waited for, it finds the same stalls and the same q."""
    circuit, naive = Circuit(NEVER), Naive()
    tickets, waiting, failed, now = [], {}, 0, 0.0
    for wait, what, which in steps:
        now += wait
        if what in ("send", "retry") or not tickets:
            first = what != "retry"
            naive.arrive(now)
            naive.send(now, first)
            tickets.append(circuit.admit(now, first))
        else:
            number = which % len(tickets)
            ticket, call = tickets[number], naive.calls[number]
            if number in waiting:
                ticket.goes_on(waiting.pop(number), now)
                call["flying"], call["sent"] = True, now
            elif call["flying"] and what == "answer":
                circuit.settle(ticket, SUCCESS, now)
                naive.answer(number, now)
            elif call["flying"] and what == "begin":
                circuit.begin(ticket, now)
                naive.answer(number, now)
            elif call["flying"] and what == "fail":
                circuit.settle(ticket, FAILURE, now)
                call["flying"] = False
                failed += call["first"] and not call["stalled"]
            elif call["flying"] and what == "wait" and not call["stalled"]:
                waiting[number] = Waiter()
                ticket.waits(waiting[number])
                call["flying"] = False
        # Learning skips what cannot matter at the floor, and may then be off by less than it.
        patience = inf if circuit.patience is None else circuit.patience
        assert patience == pytest.approx(naive.patience)
        assert circuit.evidence(now)[0] == naive.failures + failed


def test_a_stalled_call_that_goes_on_to_wait_is_neither_stalled_nor_evidence_again():
    """A retry that waits for a slot is not in flight: it is not ended, and it was counted once."""
    circuit = learned(ConsecutiveFailures(3), end_stalled=True)
    ended = []
    circuit.on_stalled = ended.append
    oldest, waits = circuit.admit(1.0), circuit.admit(1.0)
    assert arrive(circuit, 2.5) == 2
    waiter = Waiter()
    waits.waits(waiter)
    circuit.admit(2.6)
    assert arrive(circuit, 4.5) == 3
    assert circuit.state is State.OPEN
    assert waits not in ended
    waits.goes_on(waiter, 4.6)
    circuit.settle(waits, SUCCESS, 4.7)
    assert circuit.state is State.OPEN
    circuit.settle(oldest, NEUTRAL, 4.7)
    assert circuit.in_flight == 1


def test_in_shadow_a_call_with_several_waits_would_be_refused_once():
    """What is counted is calls, not their waits."""
    circuit = Circuit(1, shadow=True)
    ticket = circuit.admit(0.0)
    ticket.waits(Waiter())
    ticket.waits(Waiter())
    circuit.trip(1.0)
    assert circuit.would_refuse == 1


def test_each_call_is_ended_once():
    """A second arrival at the moment of the trip ends none again, whatever else is in flight."""
    circuit = learned(ConsecutiveFailures(3), end_stalled=True)
    ended = ended_by(circuit)
    calls = [circuit.admit(1.0) for _ in range(3)]
    circuit.admit(2.0)
    arrive(circuit, 2.5)
    arrive(circuit, 2.5)
    assert circuit.state is State.OPEN
    assert ended == calls[1:]


def test_silence_is_believed_when_all_answers_have_been_read():
    """Whoever reads them is asked to go on, once for each silence, and says when that is done."""
    circuit = learned()
    circuit._silence.suspect(0.0, 0.0)
    circuit.shift(0.0)
    asked = []
    circuit.on_silence = lambda: asked.append(circuit.patience)
    circuit.admit(1.0)
    circuit.admit(2.0)
    assert arrive(circuit, 2.5) == 0
    assert asked == [1.0]
    assert arrive(circuit, 5.0) == 0
    circuit.caught_up()
    assert arrive(circuit, 5.0) == 2
    assert asked == [1.0]


def test_on_another_loop_silence_is_found_anew():
    """What the last loop had not read is void, and so is the question."""
    circuit = learned()
    circuit._silence.shift(0.0)
    circuit.on_silence = lambda: None
    circuit.admit(1.0)
    assert arrive(circuit, 2.5) == 0
    circuit.shift(0.0)
    del circuit.on_silence
    circuit.admit(3.0)
    arrive(circuit, 5.0)
    assert arrive(circuit, 6.5) == 1
