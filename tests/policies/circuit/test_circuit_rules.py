"""One test, or a few, for each numbered rule of the circuit."""

from __future__ import annotations

import ast
import gc
import tracemalloc
from itertools import pairwise
from pathlib import Path

import pytest

from seawall.core.errors import CircuitOpenError
from seawall.core.verdict import Kind
from seawall.policies.circuit import core
from seawall.policies.circuit.core import TRANSITIONS, Circuit, State, Ticket, Trigger
from seawall.policies.circuit.rules import ConsecutiveFailures, FailureRate, TripRule
from seawall.policies.circuit.tallies import Tally
from tests.doubles import HeardCircuit

SUCCESS, FAILURE, NEUTRAL = Kind.SUCCESS, Kind.FAILURE, Kind.NEUTRAL


class Waiter:
    def __init__(self):
        self.errors = []

    def refuse(self, error):
        self.errors.append(error)


def opened(trip=1, *, at=0.0, **options):
    """Return a circuit that opened at the given time, by default for 5 s."""
    circuit = Circuit(trip, **{"open_for": 5.0, **options})
    circuit.trip(at)
    return circuit


def call(circuit, kind, now, *, first=True, cause=None):
    ticket = circuit.admit(now, first)
    circuit.settle(ticket, kind, now, cause)
    return ticket


def refusal(circuit, now):
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(now)
    return caught.value


# Rule 1


def test_rule_1_a_ticket_says_what_it_is_and_is_settled_once():
    """A ticket knows its circuit and its start, and counts only the first time it is settled."""
    circuit = Circuit(2)
    ticket = circuit.admit(7.0, False)
    assert (ticket.circuit, ticket.start, ticket.probe, ticket.first) == (
        circuit,
        7.0,
        False,
        False,
    )
    assert ticket.outer is None
    ticket = circuit.admit(7.0)
    circuit.settle(ticket, FAILURE, 7.0)
    circuit.settle(ticket, FAILURE, 7.0)
    assert circuit.state is State.CLOSED
    call(circuit, FAILURE, 7.0)
    assert circuit.state is State.OPEN


def test_rule_1_a_settled_success_cannot_be_settled_again_as_a_failure():
    """The first verdict on a ticket stays, also where it was only counted."""
    circuit = Circuit(1)
    call(circuit, SUCCESS, 0.0)
    ticket = circuit.admit(0.1)
    circuit.settle(ticket, SUCCESS, 0.1)
    circuit.settle(ticket, FAILURE, 0.1)
    assert circuit.state is State.CLOSED
    assert circuit.evidence(0.1) == (0, 0)


# Rule 2


@pytest.mark.parametrize("kind", Kind)
def test_rule_2_a_late_result_of_an_earlier_generation_changes_nothing(kind):
    """A call admitted before the trip says nothing about the half-open or the closed circuit."""
    circuit = Circuit(1, open_for=5.0, close_after=2)
    early, later, last = (circuit.admit(0.0) for _ in range(3))
    call(circuit, FAILURE, 0.0)
    circuit.settle(early, kind, 1.0)
    assert circuit.state is State.OPEN
    probe = circuit.admit(5.0)
    circuit.settle(later, kind, 5.0)
    assert circuit.state is State.HALF_OPEN
    assert refusal(circuit, 5.0).state == "half_open"
    circuit.settle(probe, SUCCESS, 5.0)
    call(circuit, SUCCESS, 5.0)
    circuit.settle(last, kind, 6.0)
    assert circuit.state is State.CLOSED
    assert circuit.evidence(6.0) == (0, 0)


def test_rule_2_the_probe_of_an_earlier_half_open_period_changes_nothing():
    """A slow probe of the period before does not fail the present one."""
    circuit = opened(probe_lease=1.0)
    slow = circuit.admit(5.0)
    call(circuit, FAILURE, 6.0)
    probe = circuit.admit(11.0)
    circuit.settle(slow, FAILURE, 11.0)
    assert circuit.state is State.HALF_OPEN
    assert refusal(circuit, 11.0).retry_after == 1.0
    circuit.settle(probe, SUCCESS, 11.0)
    assert circuit.state is State.CLOSED


def test_rule_2_every_transition_begins_a_new_generation():
    """Each move raises the generation and is told, one that is not in the table is neither."""
    circuit = HeardCircuit(1, open_for=5.0)
    seen = []
    circuit.on_change = lambda told: seen.append((told.before.value, told.after.value))
    call(circuit, FAILURE, 0.0)
    call(circuit, FAILURE, 5.0)
    call(circuit, SUCCESS, 10.0)
    circuit.reset(10.0)
    circuit.isolate(10.0)
    circuit.isolate(10.0)
    circuit.trip(10.0)
    circuit.reset(10.0)
    assert seen == [
        ("closed", "open"),
        ("open", "half_open"),
        ("half_open", "open"),
        ("open", "half_open"),
        ("half_open", "closed"),
        ("closed", "closed"),
        ("closed", "isolated"),
        ("isolated", "closed"),
    ]
    assert circuit.generation == len(seen)


def test_the_table_reaches_every_state_and_leaves_it():
    """A diagram drawn from the table has no dead end, and no trigger without a use."""
    assert set(TRANSITIONS.values()) == set(State)
    assert {before for before, _ in TRANSITIONS} == set(State)
    assert {trigger for _, trigger in TRANSITIONS} == set(Trigger)
    assert [state.value for state in State] == ["closed", "open", "half_open", "isolated"]


def test_rule_2_the_probe_of_an_earlier_half_open_period_holds_no_place():
    """A hung probe of the period before does not keep the next from probing."""
    circuit = opened(open_for=1.0)
    circuit.admit(1.0)
    circuit.trip(2.0)
    assert circuit.admit(3.0).probe


# Rule 3


def test_rule_3_neutral_is_no_evidence():
    """NEUTRAL neither counts as a failure nor breaks a row of them."""
    circuit = Circuit(2)
    call(circuit, FAILURE, 0.0)
    for _ in range(10):
        call(circuit, NEUTRAL, 0.0)
    assert circuit.evidence(0.0) == (1, 1)
    call(circuit, FAILURE, 0.0)
    assert circuit.state is State.OPEN


def test_rule_3_only_first_attempts_are_evidence():
    """Repeated attempts neither trip the circuit nor, by success, clear its evidence."""
    circuit = Circuit(2)
    call(circuit, FAILURE, 0.0)
    call(circuit, FAILURE, 0.0, first=False)
    call(circuit, SUCCESS, 0.0, first=False)
    assert circuit.evidence(0.0) == (1, 1)


def test_rule_3_count_retries_counts_every_attempt():
    """With ``count_retries`` a repeated failure, and a repeated success, is evidence."""
    circuit = Circuit(2, count_retries=True)
    call(circuit, FAILURE, 0.0)
    call(circuit, SUCCESS, 0.0, first=False)
    call(circuit, FAILURE, 0.0, first=False)
    assert circuit.state is State.CLOSED
    call(circuit, FAILURE, 0.0, first=False)
    assert circuit.state is State.OPEN


def test_rule_3_a_probes_verdict_counts_although_it_is_a_retry():
    """A retry that becomes the probe can close the circuit and can re-open it."""
    circuit = opened()
    call(circuit, FAILURE, 5.0, first=False)
    assert circuit.state is State.OPEN
    call(circuit, SUCCESS, 10.0, first=False)
    assert circuit.state is State.CLOSED


def test_rule_3_a_dead_dependency_is_seen_after_8_calls_by_default():
    """Eight failures in a row open a circuit without arguments, and seven do not."""
    circuit = Circuit()
    for _ in range(7):
        call(circuit, FAILURE, 0.0)
    assert circuit.state is State.CLOSED
    call(circuit, FAILURE, 0.0, cause="ConnectError")
    assert circuit.state is State.OPEN
    assert circuit.opening == (8, 8, "ConnectError")


def test_rule_3_half_of_20_calls_open_by_default():
    """Failures that alternate with successes open a circuit without arguments at the 20th call."""
    circuit = Circuit()
    for _ in range(9):
        call(circuit, SUCCESS, 0.0)
        call(circuit, FAILURE, 0.0)
    call(circuit, SUCCESS, 0.0)
    assert circuit.state is State.CLOSED
    call(circuit, FAILURE, 0.0)
    assert circuit.state is State.OPEN
    assert circuit.opening == (10, 20, None)


def test_rule_3_a_success_ends_a_row_of_failures():
    """A single success among failures keeps ``ConsecutiveFailures`` from holding."""
    circuit = Circuit(3)
    for kind in (FAILURE, FAILURE, SUCCESS, FAILURE, FAILURE):
        call(circuit, kind, 0.0)
    assert circuit.state is State.CLOSED


def test_rule_3_closing_forgets_the_evidence():
    """Failures from before an outage do not trip the circuit after it."""
    circuit = Circuit(2, open_for=5.0)
    call(circuit, FAILURE, 0.0)
    circuit.trip(0.0)
    call(circuit, SUCCESS, 5.0)
    call(circuit, FAILURE, 5.0)
    assert circuit.state is State.CLOSED


def test_rule_3_two_circuits_of_one_rule_share_no_counts():
    """A rule object is only a specification."""
    rule = ConsecutiveFailures(2) | ConsecutiveFailures(3)
    one, two = Circuit(rule), Circuit(rule)
    call(one, FAILURE, 0.0)
    call(two, FAILURE, 0.0)
    assert (one.state, two.state) == (State.CLOSED, State.CLOSED)


def test_rule_3_successes_right_after_a_reset_are_counted():
    """Successes of a new closed period are evidence, even in the same instant."""
    circuit = Circuit(FailureRate(0.5, 30.0, 4))
    call(circuit, SUCCESS, 0.0)
    circuit.reset(0.1)
    for _ in range(5):
        call(circuit, SUCCESS, 0.1)
    assert circuit.evidence(0.1) == (0, 5)
    call(circuit, FAILURE, 0.1)
    assert circuit.evidence(0.1) == (1, 6)


class QuietTally(Tally):
    def __init__(self):
        self.heard = []
        self.until = 0.0

    @property
    def quiet_until(self):
        return self.until

    def record(self, failed, duration, now):
        self.heard.append((failed, now))
        self.until = now + 1.0
        return False

    def add_successes(self, count):
        self.heard.append(count)

    def reset(self):
        pass


def test_rule_3_a_quiet_rule_is_not_asked_about_each_success():
    """Until ``quiet_until`` successes are only counted, and handed over before anything else."""
    tally = QuietTally()

    class Quiet(TripRule):
        def start(self):
            return tally

    circuit = Circuit(Quiet())
    for now in (0.0, 0.1, 0.2, 0.3):
        call(circuit, SUCCESS, now)
    assert tally.heard == [(SUCCESS, 0.0)]
    call(circuit, FAILURE, 0.4)
    call(circuit, SUCCESS, 1.3)
    call(circuit, SUCCESS, 1.5)
    assert tally.heard == [(SUCCESS, 0.0), 3, (FAILURE, 0.4), 1, (SUCCESS, 1.5)]


class SlowTally(Tally):
    """A user's rule: two calls in a row that took longer than a second."""

    def __init__(self):
        self.seen = []

    def record(self, failed, duration, now):
        self.seen.append((failed, duration, now))
        return [seen[1] > 1.0 for seen in self.seen[-2:]] == [True, True]

    def reset(self):
        self.seen.clear()


class Slow(TripRule):
    def start(self):
        return SlowTally()


@pytest.mark.parametrize("trip", [Slow(), Slow() | ConsecutiveFailures(9)])
def test_rule_3_a_rule_of_the_users_hears_every_call_and_its_duration(trip):
    """A rule with only ``record`` and ``reset`` works, also combined, and may trip on success."""
    circuit = Circuit(trip)
    for begin, end in ((0.0, 2.0), (2.0, 2.5), (3.0, 5.0)):
        circuit.settle(circuit.admit(begin), SUCCESS, end)
    assert circuit.state is State.CLOSED
    circuit.settle(circuit.admit(4.0), SUCCESS, 6.0)
    assert circuit.state is State.OPEN


def test_rule_3_a_duration_is_never_negative():
    """A clock that goes back a little gives a duration of 0 s."""
    tally = SlowTally()

    class Fixed(TripRule):
        def start(self):
            return tally

    circuit = Circuit(Fixed())
    circuit.settle(circuit.admit(5.0), SUCCESS, 4.9)
    assert tally.seen == [(SUCCESS, 0.0, 4.9)]


# Rule 4


def test_rule_4_open_refuses_until_the_open_time_and_the_first_arrival_is_the_probe():
    """A number given as ``open_for`` is exact; the state reads open until a probe is admitted."""
    circuit = opened(at=100.0, open_for=5.0)
    assert refusal(circuit, 104.999).retry_after == pytest.approx(0.001)
    assert circuit.state is State.OPEN
    assert circuit.retry_after(105.0) == 0.0
    assert circuit.state is State.OPEN
    assert circuit.admit(105.0).probe
    assert circuit.state is State.HALF_OPEN


def paced_open_time(gaps, random):
    circuit = Circuit(random=lambda: random)
    now = 1000.0
    for gap in gaps:
        now += gap
        call(circuit, SUCCESS, now)
    circuit.trip(now)
    return circuit.retry_after(now)


@pytest.mark.parametrize(
    "gap,expected",
    [(0.0, 1.0), (0.01, 1.0), (0.05, 1.0), (0.1, 2.0), (0.5, 10.0), (1.5, 30.0), (60.0, 30.0)],
)
@pytest.mark.parametrize("random,factor", [(0.0, 0.75), (0.5, 1.0), (1.0, 1.25)])
@pytest.mark.parametrize("number", [2, 64, 300])
def test_rule_4_without_open_for_the_traffic_paces_the_probes(
    gap, expected, random, factor, number
):
    """It is open for the time of 20 calls, from 1 s to 30 s, times 0.75 to 1.25."""
    assert paced_open_time([gap] * number, random) == pytest.approx(expected * factor)


@pytest.mark.parametrize("number", [0, 1])
def test_rule_4_an_unknown_rate_means_one_second(number):
    """Before a second admission there is no gap to learn from: it is open for about 1 s."""
    assert paced_open_time([5.0] * number, 0.5) == 1.0


def test_rule_4_the_rate_is_a_mean_first_and_then_an_average_with_a_gain_of_one_in_64():
    """The learned gap is what the formula says, with gaps capped at 10 s."""
    gaps = [0.3 + 0.01 * (number % 37) for number in range(40)] + [3600.0]
    assert paced_open_time([0.0, *gaps], 0.5) == pytest.approx(20 * (sum(gaps[:40]) + 10.0) / 41)
    gaps += [0.2 + 0.03 * (number % 11) for number in range(100)] + [500.0, 0.25]
    mean = 0.0
    for number, gap in enumerate(gaps, 1):
        mean += (min(gap, 10.0) - mean) / min(number, 64)
    assert paced_open_time([0.0, *gaps], 0.5) == pytest.approx(20 * mean)


@pytest.mark.parametrize("number", [9, 99])
def test_rule_4_time_that_goes_back_a_little_does_not_spoil_the_rate(number):
    """Ten steps back of a tenth of a second, each made up for, leave the rate about the same."""
    gaps = [0.5] * number + [-0.1, 1.1] * 10
    assert paced_open_time(gaps, 0.5) == pytest.approx(10.0, rel=0.1)


def test_rule_4_the_rate_is_that_of_the_closed_periods():
    """The silence of an outage, and what is admitted in it, is no part of the rate."""
    circuit = Circuit(random=lambda: 0.5)
    for number in range(11):
        call(circuit, SUCCESS, number * 0.2)
    circuit.trip(2.0)
    assert circuit.retry_after(2.0) == pytest.approx(4.0)
    call(circuit, FAILURE, 3600.0)
    call(circuit, SUCCESS, 7200.0)
    call(circuit, SUCCESS, 7204.0)
    circuit.trip(7204.0)
    assert circuit.retry_after(7204.0) == pytest.approx(4.0)


def reopen_times(circuit, number):
    """Return the open times of that many openings, each ended by a probe that fails."""
    now, times = 0.0, []
    circuit.trip(now)
    for _ in range(number):
        times.append(circuit.retry_after(now))
        now += times[-1]
        call(circuit, FAILURE, now)
    return times


def test_rule_4_a_given_number_never_grows():
    """Without ``max_open_for`` every re-opening is as long as the first."""
    assert reopen_times(Circuit(open_for=3.0), 20) == [3.0] * 20


@pytest.mark.parametrize(
    "random,expected",
    [
        (0.0, [2.0, 3.0, 6.0, 7.5, 7.5]),
        (0.5, [2.0, 4.0, 8.0, 8.75, 8.75]),
        (1.0, [2.0, 5.0, 10.0, 10.0, 10.0]),
    ],
)
def test_rule_4_max_open_for_doubles_each_reopening_with_jitter(random, expected):
    """The first is exact; the others double, spread by a quarter, and never exceed the maximum."""
    circuit = Circuit(open_for=2.0, max_open_for=10.0, random=lambda: random)
    assert reopen_times(circuit, 5) == pytest.approx(expected)


def test_rule_4_doubling_for_ever_overflows_nothing():
    """The two-thousandth re-opening is like the tenth."""
    times = reopen_times(Circuit(open_for=1.0, max_open_for=300.0), 2000)
    assert all(225.0 <= time <= 300.0 for time in times[12:])


def test_rule_4_a_maximum_below_a_second_bounds_paced_openings_too():
    """No open time is longer than ``max_open_for``, though paced ones begin at a second."""
    assert reopen_times(Circuit(max_open_for=0.5, random=lambda: 1.0), 2) == [0.5, 0.5]
    assert reopen_times(Circuit(max_open_for=0.5, random=lambda: 0.0), 2) == [0.375, 0.375]


def test_rule_4_max_open_for_also_bounds_paced_openings():
    """Paced open times begin below the maximum and double up to it."""
    circuit = Circuit(max_open_for=3.0, random=lambda: 0.5)
    assert reopen_times(circuit, 3) == pytest.approx([1.0, 2.0, 2.625])


@pytest.mark.parametrize("closed_for,expected", [(7.9, 8.75), (8.0, 2.0)])
def test_rule_4_it_starts_anew_once_closed_for_as_long_as_it_was_open(closed_for, expected):
    """A trip soon after closing is a re-opening; later it is a first one."""
    circuit = Circuit(1, open_for=2.0, max_open_for=10.0, random=lambda: 0.5)
    reopen_times(circuit, 2)
    assert circuit.retry_after(6.0) == 8.0
    call(circuit, SUCCESS, 100.0)
    call(circuit, FAILURE, 100.0 + closed_for)
    assert circuit.retry_after(100.0 + closed_for) == pytest.approx(expected)


def test_rule_4_reset_starts_anew():
    """After ``reset`` the next opening is a first one, however soon it comes."""
    circuit = Circuit(1, open_for=2.0, max_open_for=10.0)
    reopen_times(circuit, 3)
    circuit.reset(50.0)
    call(circuit, FAILURE, 50.0)
    assert circuit.retry_after(50.0) == 2.0


def test_rule_4_trip_again_makes_an_open_circuit_open_longer():
    """``trip`` while open begins a whole open time, and never a shorter one."""
    circuit = Circuit(1, open_for=2.0, max_open_for=10.0, random=lambda: 0.5)
    reopen_times(circuit, 2)
    circuit.trip(6.0)
    assert circuit.retry_after(6.0) == 8.75


# Rule 5


@pytest.mark.parametrize("probes", [1, 2, 7])
def test_rule_5_a_hundred_callers_at_once_let_exactly_the_probes_through(probes):
    """Half-open admits ``probes`` of a hundred simultaneous callers and refuses the others."""
    circuit = opened(probes=probes, close_after=100)
    admitted, refused = [], []
    for _ in range(100):
        try:
            admitted.append(circuit.admit(5.0))
        except CircuitOpenError as error:
            refused.append(error.state)
    assert len(admitted) == probes
    assert refused == ["half_open"] * (100 - probes)
    assert all(ticket.probe for ticket in admitted)
    circuit.settle(admitted[0], SUCCESS, 5.0)
    assert circuit.admit(5.0).probe
    refusal(circuit, 5.0)


def test_rule_5_close_after_successes_in_a_row_close():
    """It closes at the last of ``close_after`` successes, and not before."""
    circuit = opened(close_after=3)
    for _ in range(2):
        call(circuit, SUCCESS, 5.0)
        assert circuit.state is State.HALF_OPEN
    call(circuit, SUCCESS, 5.0)
    assert circuit.state is State.CLOSED
    assert not circuit.admit(5.0).probe


def test_rule_5_one_failure_reopens_and_the_row_begins_anew():
    """A failure re-opens for a whole open time, and earlier successes are forgotten."""
    circuit = opened(close_after=3)
    call(circuit, SUCCESS, 5.0)
    call(circuit, SUCCESS, 5.0)
    call(circuit, FAILURE, 6.0, cause="ReadTimeout")
    assert circuit.state is State.OPEN
    error = refusal(circuit, 6.0)
    assert (error.failures, error.calls, error.cause) == (1, 3, "ReadTimeout")
    assert error.retry_after == 5.0
    call(circuit, SUCCESS, 11.0)
    call(circuit, SUCCESS, 11.0)
    assert circuit.state is State.HALF_OPEN


def test_rule_5_a_trip_refuses_the_calls_that_wait():
    """Each waiting call of the circuit gets an error of its own, with the one record."""
    circuit = Circuit(1, open_for=5.0)
    waiters = [Waiter() for _ in range(3)]
    tickets = [circuit.admit(0.0) for _ in waiters]
    for ticket, waiter in zip(tickets, waiters, strict=True):
        ticket.waits(waiter)
    tickets[2].goes_on(waiters[2], 0.0)
    running = circuit.admit(0.0)
    circuit.settle(running, FAILURE, 1.0, "OSError")
    assert [len(waiter.errors) for waiter in waiters] == [1, 1, 0]
    one, two = waiters[0].errors[0], waiters[1].errors[0]
    assert one is not two
    assert one.opening is two.opening is circuit.opening
    assert (one.state, one.retry_after, one.cause) == ("open", 5.0, "OSError")
    assert not circuit.waiting
    circuit.trip(2.0)
    assert len(waiters[0].errors) == 1


def test_rule_5_all_waiters_of_one_ticket_are_refused():
    """A call that waits twice at a time, as a hedged one does, is refused both times."""
    circuit = Circuit(1)
    ticket = circuit.admit(0.0)
    waiters = [Waiter(), Waiter()]
    for waiter in waiters:
        ticket.waits(waiter)
    circuit.trip(1.0)
    assert [len(waiter.errors) for waiter in waiters] == [1, 1]


def test_rule_5_isolating_refuses_the_calls_that_wait():
    """Who waits inside an isolated circuit is refused like who arrives."""
    circuit = Circuit()
    waiter = Waiter()
    circuit.admit(0.0).waits(waiter)
    circuit.isolate(10.0)
    (error,) = waiter.errors
    assert (error.state, error.retry_after) == ("isolated", None)


def test_rule_5_a_probe_that_waits_is_refused_when_the_circuit_reopens():
    """With two probes, the failure of one refuses the other that has not begun."""
    circuit = opened(probes=2)
    waiting, failing = circuit.admit(5.0), circuit.admit(5.0)
    waiter = Waiter()
    waiting.waits(waiter)
    circuit.settle(failing, FAILURE, 5.0)
    assert len(waiter.errors) == 1


def test_rule_5_only_calls_of_this_circuit_are_refused():
    """The trip of one circuit does not touch those who wait inside another."""
    one, two = Circuit(1), Circuit(1)
    waiter = Waiter()
    two.admit(0.0).waits(waiter)
    call(one, FAILURE, 0.0)
    assert waiter.errors == []


def test_rule_5_nobody_is_refused_when_a_circuit_half_opens_or_closes():
    """Recovery and ``reset`` leave alone who waits."""
    circuit = opened(close_after=1)
    waiter = Waiter()
    probe = circuit.admit(5.0)
    probe.waits(waiter)
    circuit.reset(5.0)
    assert waiter.errors == []
    circuit.trip(6.0)
    assert len(waiter.errors) == 1


def test_rule_5_a_call_that_goes_on_waits_no_longer():
    """A call that is cancelled while it waits leaves nothing behind."""
    circuit = Circuit()
    waiter = Waiter()
    ticket = circuit.admit(0.0)
    ticket.waits(waiter)
    ticket.goes_on(waiter, 5.0)
    circuit.settle(ticket, NEUTRAL, 0.0)
    circuit.trip(0.0)
    assert waiter.errors == []


def test_rule_5_a_waiter_that_settles_at_once_disturbs_nothing():
    """A refused waiter may give its ticket back within the call that refuses it."""
    circuit = Circuit(1)
    refused = []

    class Hasty:
        def __init__(self):
            self.ticket = circuit.admit(0.0)
            self.ticket.waits(self)

        def refuse(self, error):
            refused.append(error)
            self.ticket.goes_on(self, 0.0)
            circuit.settle(self.ticket, NEUTRAL, 0.0)

    for _ in range(3):
        Hasty()
    call(circuit, FAILURE, 0.0)
    assert len(refused) == 3
    assert circuit.state is State.OPEN


# Rule 6


def test_rule_6_a_neutral_probe_frees_its_place_at_once():
    """A cancelled probe proves nothing, and the next caller probes without waiting for a lease."""
    circuit = opened(close_after=2)
    probe = circuit.admit(5.0)
    refusal(circuit, 5.0)
    circuit.settle(probe, NEUTRAL, 5.0)
    assert circuit.state is State.HALF_OPEN
    assert circuit.retry_after(5.0) == 0.0
    call(circuit, SUCCESS, 5.0)
    call(circuit, NEUTRAL, 5.0)
    call(circuit, SUCCESS, 5.0)
    assert circuit.state is State.CLOSED


# Rule 7


def test_rule_7_a_hung_probe_never_holds_the_circuit():
    """When the lease ends, the next caller may probe and can close the circuit."""
    circuit = opened(probe_lease=2.0)
    circuit.admit(5.0)
    assert refusal(circuit, 6.5).retry_after == 0.5
    call(circuit, SUCCESS, 7.0)
    assert circuit.state is State.CLOSED


@pytest.mark.parametrize("kind,state", [(SUCCESS, State.CLOSED), (FAILURE, State.OPEN)])
def test_rule_7_a_slow_probe_keeps_its_voice(kind, state):
    """A verdict that comes after the lease still counts while the half-open period lasts."""
    circuit = opened(probe_lease=2.0)
    slow = circuit.admit(5.0)
    circuit.admit(8.0)
    circuit.settle(slow, kind, 9.0)
    assert circuit.state is state


def test_rule_7_the_end_of_a_slow_probe_frees_no_place_of_another():
    """A probe that lost its place does not give the place of its successor away."""
    circuit = opened(probe_lease=2.0)
    slow = circuit.admit(5.0)
    circuit.admit(7.0)
    circuit.settle(slow, NEUTRAL, 7.0)
    assert refusal(circuit, 7.0).retry_after == 2.0


def test_rule_7_the_default_lease_is_30_seconds():
    """Without ``probe_lease`` a hung probe holds its place for 30 s."""
    circuit = opened()
    circuit.admit(5.0)
    assert refusal(circuit, 34.0).retry_after == 1.0
    assert circuit.admit(35.0).probe


def test_rule_7_with_several_probes_the_oldest_lease_ends_first():
    """Each place has its own lease, and one that was freed has none."""
    circuit = opened(probes=2, probe_lease=10.0, close_after=9)
    first = circuit.admit(5.0)
    circuit.admit(7.0)
    circuit.settle(first, SUCCESS, 8.0)
    circuit.admit(9.0)
    assert refusal(circuit, 10.0).retry_after == 7.0
    circuit.admit(17.0)
    assert refusal(circuit, 17.0).retry_after == 2.0


# Rule 8


def test_rule_8_every_refusal_is_a_new_error_with_the_one_record():
    """Errors are fresh, so that no traceback grows; the record of the opening is shared."""
    circuit = Circuit(1, open_for=5.0)
    call(circuit, FAILURE, 0.0, cause="OSError")
    one, two = refusal(circuit, 1.0), refusal(circuit, 3.0)
    assert one is not two
    assert one.opening is two.opening
    assert (one.retry_after, two.retry_after) == (4.0, 2.0)
    assert (one.state, one.failures, one.calls, one.cause) == ("open", 1, 1, "OSError")
    call(circuit, FAILURE, 5.0)
    assert refusal(circuit, 6.0).opening is not one.opening
    assert refusal(circuit, 6.0).cause is None


def test_rule_8_who_comes_back_when_told_is_admitted():
    """``retry_after`` is the truth: a refused caller that waits for it probes."""
    circuit = opened(probe_lease=2.0)
    now = 1.0
    now += refusal(circuit, now).retry_after
    circuit.admit(now)
    now += 0.5
    now += refusal(circuit, now).retry_after
    assert circuit.admit(now).probe


def test_rule_8_retry_after_is_never_negative():
    """Long after an open time or a lease ended, and when closed, it is 0."""
    circuit = opened(probe_lease=1.0)
    assert circuit.retry_after(1e6) == 0.0
    circuit.admit(1e6)
    assert circuit.retry_after(2e6) == 0.0
    circuit.reset(2e6)
    assert circuit.retry_after(2e6) == 0.0


def test_rule_8_a_manual_trip_has_no_evidence():
    """After ``trip()`` a refusal tells of no failures and of no cause."""
    assert refusal(opened(), 0.0).opening == (0, 0, None)


# Rule 9


def test_rule_9_isolated_refuses_all_until_reset():
    """No time ends isolation, no trip weakens it; ``reset`` closes the circuit."""
    circuit = opened()
    circuit.isolate(10.0)
    for now in (0.0, 5.0, 1e9):
        error = refusal(circuit, now)
        assert (error.state, error.retry_after) == ("isolated", None)
    circuit.trip(1e9)
    assert circuit.state is State.ISOLATED
    circuit.reset(1e9)
    assert circuit.state is State.CLOSED
    assert not circuit.admit(1e9).probe


def test_rule_9_shadow_admits_all_and_counts_what_it_would_refuse():
    """A shadow circuit moves as a real one would, and refuses nobody."""
    circuit = Circuit(1, open_for=5.0, shadow=True)
    call(circuit, FAILURE, 0.0)
    assert circuit.state is State.OPEN
    assert circuit.would_refuse == 0
    for _ in range(3):
        call(circuit, FAILURE, 1.0)
    assert circuit.would_refuse == 3
    probe = circuit.admit(5.0)
    beside = circuit.admit(5.0)
    assert (probe.probe, beside.probe, circuit.would_refuse) == (True, False, 4)
    circuit.settle(beside, SUCCESS, 5.0)
    assert circuit.state is State.HALF_OPEN
    circuit.settle(probe, SUCCESS, 5.0)
    assert circuit.state is State.CLOSED
    circuit.isolate(10.0)
    circuit.admit(6.0)
    assert (circuit.state, circuit.would_refuse) == (State.ISOLATED, 5)


def test_rule_9_shadow_refuses_nobody_who_waits():
    """Waiting calls go on when a shadow circuit trips, and count as what it would refuse."""
    circuit = Circuit(1, shadow=True)
    waiter = Waiter()
    circuit.admit(0.0).waits(waiter)
    call(circuit, FAILURE, 0.0)
    assert waiter.errors == []
    assert circuit.would_refuse == 1


def test_rule_9_reset_does_not_leave_the_shadow_mode():
    """``reset`` closes the circuit but it must not silently begin to enforce."""
    circuit = Circuit(1, shadow=True)
    call(circuit, FAILURE, 0.0)
    circuit.reset(0.0)
    assert circuit.shadow
    call(circuit, FAILURE, 0.0)
    circuit.admit(0.0)
    assert circuit.would_refuse == 1
    circuit.shadow = False
    refusal(circuit, 0.0)


# Rule 12


PURE = [
    "adaptive",
    "combined",
    "core",
    "cusum",
    "empty",
    "evidence",
    "flight",
    "open_time",
    "places",
]
PURE += ["rules", "silence", "slow_calls", "state", "tallies", "ticket", "traffic", "trip_rule"]
PURE += ["times", "windows"]


@pytest.mark.parametrize("name", PURE)
def test_rule_12_no_clock_and_no_event_loop(name):
    """The pure modules import nothing at run time that could tell the time or wait."""
    source = Path(core.__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    banned = {"time", "datetime", "asyncio", "anyio", "trio", "threading"}
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        assert not banned & {part.split(".")[0] for part in names}


def test_rule_12_a_busy_circuit_takes_at_most_2_kib():
    """A default circuit is small, whatever its window of 30 s holds."""

    def busy():
        circuit = Circuit()
        for number in range(5000):
            call(circuit, FAILURE if number % 3 == 0 else SUCCESS, 0.5 + number * 0.01)
        assert circuit.evidence(50.5)[1] > 2900
        return circuit

    busy()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        circuits = [busy() for _ in range(10)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(circuits) <= 2048


def test_rule_12_settled_tickets_leave_nothing_behind():
    """Whatever the verdicts, and whoever waited, a circuit keeps no ticket that is settled."""
    circuit = opened(probes=3, close_after=3)
    for kind in (NEUTRAL, SUCCESS, SUCCESS, SUCCESS, SUCCESS, FAILURE):
        ticket = circuit.admit(5.0)
        waiter = Waiter()
        ticket.waits(waiter)
        ticket.goes_on(waiter, 5.0)
        circuit.settle(ticket, kind, 5.0)
        assert not [item for item in kept_by(circuit) if isinstance(item, Ticket)]
    assert circuit.state is State.OPEN


def kept_by(circuit):
    return [
        item
        for held in gc.get_referents(circuit)
        for item in [held, *([*held, *held.values()] if isinstance(held, dict) else [])]
    ]


# What a shell around it needs


def test_another_event_loop_forgets_the_holders_and_lets_no_time_pass():
    """After ``shift`` open times and evidence are as old as before, and old tickets are void."""
    circuit = Circuit(2, open_for=5.0)
    call(circuit, FAILURE, 1000.0)
    stale = circuit.admit(1000.0)
    waiter = Waiter()
    stale.waits(waiter)
    circuit.shift(-990.0)
    circuit.settle(stale, FAILURE, 10.0)
    assert circuit.state is State.CLOSED
    call(circuit, FAILURE, 10.0)
    assert circuit.state is State.OPEN
    assert waiter.errors == []
    circuit.shift(500.0)
    assert circuit.retry_after(511.0) == 4.0


@pytest.mark.parametrize("delta", [100.0, -1e6])
def test_another_event_loop_frees_the_places_of_probes(delta):
    """A probe of the closed loop holds no place on the next, and its verdict changes nothing."""
    circuit = opened(close_after=2)
    lost = circuit.admit(5.0)
    circuit.shift(delta)
    probe = circuit.admit(5.0 + delta)
    assert refusal(circuit, 5.0 + delta).retry_after == 30.0
    circuit.settle(lost, FAILURE, 5.0 + delta)
    circuit.settle(probe, SUCCESS, 5.0 + delta)
    assert circuit.state is State.HALF_OPEN


@pytest.mark.parametrize("kind", Kind)
def test_another_event_loop_hears_nothing_of_the_calls_of_the_last(kind):
    """Whatever comes of a call of the closed loop, also a success, is no evidence."""
    circuit = Circuit(2)
    call(circuit, SUCCESS, 0.0)
    call(circuit, FAILURE, 0.0)
    stale = circuit.admit(0.0)
    circuit.shift(7.0)
    circuit.settle(stale, kind, 7.0)
    assert circuit.evidence(7.0) == (1, 1)


def test_another_event_loop_counts_successes_at_their_own_time():
    """A success long after a move to a clock that shows less is in the window of its own time."""
    circuit = Circuit(0.5)
    call(circuit, SUCCESS, 1e6)
    circuit.shift(-1e6)
    call(circuit, SUCCESS, 31.0)
    assert circuit.evidence(40.0) == (0, 1)


def test_another_event_loop_keeps_windows_rates_and_doubling():
    """Evidence in a window of time, the mean gap and the last closing move along too."""
    circuit = Circuit(0.5, max_open_for=100.0, random=lambda: 0.5)
    for number in range(19):
        call(circuit, FAILURE, 1000.0 + number)
    circuit.shift(-1e6)
    now = 1018.0 - 1e6
    assert circuit.evidence(now) == (19, 19)
    call(circuit, FAILURE, now + 1.0)
    assert circuit.retry_after(now + 1.0) == pytest.approx(20.0)
    call(circuit, SUCCESS, now + 21.0)
    circuit.shift(2e6)
    circuit.trip(now + 2e6 + 30.0)
    assert circuit.retry_after(now + 2e6 + 30.0) == pytest.approx(40.0)


def test_a_closed_circuit_does_not_matter_and_an_open_one_does_for_a_minute_more():
    """``matters`` says whether forgetting the circuit would lose something."""
    circuit = Circuit(1, open_for=5.0)
    assert not circuit.matters(0.0)
    call(circuit, FAILURE, 0.0)
    assert circuit.matters(64.9)
    assert not circuit.matters(65.0)
    circuit.admit(65.0)
    assert circuit.matters(1e9)
    circuit.isolate(10.0)
    assert circuit.matters(1e9)


def test_time_that_stands_still_or_goes_back_is_harmless():
    """Calls that end before they began are counted, and none is lost."""
    circuit = Circuit(0.5)
    for earlier, later in pairwise(number * 0.001 for number in range(100, 0, -1)):
        circuit.settle(circuit.admit(earlier), SUCCESS, later)
    assert circuit.evidence(0.0) == (0, 99)
