"""The pure core of the rate limiter: its pace, exactly, over any time."""

from __future__ import annotations

import heapq
from fractions import Fraction
from math import inf
from random import Random
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall.policies.rate_limiter.lows import Lows
from seawall.policies.rate_limiter.pacer import Pacer


def pacer(rate=1.0, per=1.0, burst=1.0):
    return Pacer(rate, per, burst)


def go(pacer, now, cost=1.0):
    """Let a call that has come by then go as soon as it may; return when."""
    now = max(now, pacer.now)
    when = pacer.turn(now, cost)
    assert pacer.admit(when, cost)
    return when


def saturate(pacer, start, seconds, cost=1.0):
    """Count what goes in so many seconds of calls that never stop."""
    now, count = start, 0
    end = start + seconds
    while True:
        now = pacer.turn(now, cost)
        if now > end:
            return count
        assert pacer.admit(now, cost)
        count += 1


# Pace.


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [1e4, pytest.param(1e5, marks=pytest.mark.soak)])
def test_ten_million_calls_in_a_hundred_thousand_seconds(seconds):
    """A rate of 100 grants 1e7 in 1e5 s, give or take the burst; no rounding error grows."""
    count = saturate(pacer(100), 1000.0, seconds)
    assert abs(count - 100 * seconds) <= 1


@pytest.mark.parametrize("start", [0.0, 12345.678, 1e6])
@pytest.mark.parametrize(
    "rate, per, burst",
    [(1 / 3, 1.0, 1), (7, 60.0, 1), (3, 0.7, 5), (1000, 1.0, 50), (0.1, 1.0, 2.5), (90, 7.0, 1.5)],
)
def test_it_is_exact_whatever_the_numbers(rate, per, burst, start):
    """In the time of 20,000 calls it grants these and the burst, not one more or less."""
    count = saturate(pacer(rate, per, burst), start, 20_000 * per / rate)
    assert abs(count - 20_000 - burst) <= 1


@pytest.mark.parametrize("rate", [10, 7, 1 / 3])
def test_no_rounding_error_grows(rate):
    """The turn of the call number n is what n comes to, not the one before it and one more."""
    limit = pacer(rate)
    times = [go(limit, 1000.0) for _ in range(10_000)]
    assert times == [1000.0 + n / rate for n in range(10_000)]


@pytest.mark.parametrize("burst", [1, 3])
def test_calls_are_spaced(burst):
    """The burst goes at once, what follows evenly."""
    limit = pacer(4, burst=burst)
    times = [go(limit, 100.0) for _ in range(burst + 4)]
    assert times == [100.0] * burst + [100.25, 100.5, 100.75, 101.0]


def test_a_quiet_time_earns_the_burst_and_no_more():
    """However long nothing is called, at most the burst goes at once."""
    limit = pacer(1, burst=2)
    assert [go(limit, 1000.0) for _ in range(3)] == [1000.0, 1000.0, 1001.0]
    assert limit.available(1e6) == 2
    assert [go(limit, 1e6) for _ in range(3)] == [1e6, 1e6, 1e6 + 1]


def test_what_cannot_go_takes_nothing():
    """A call that may not go yet changes nothing, however often it asks."""
    limit = pacer(1)
    assert limit.admit(0.0, 1)
    for _ in range(5):
        assert not limit.admit(0.5, 1)
    assert limit.turn(0.5, 1) == 1.0
    assert limit.admit(1.0, 1)


def test_those_ahead_are_counted():
    """The turn of a call in a line comes when those before it have taken theirs."""
    limit = pacer(2, burst=3)
    assert [limit.turn(10.0, units) for units in (1, 3, 4, 6)] == [10.0, 10.0, 10.5, 11.5]
    assert limit.admit(10.0, 3)
    assert [limit.turn(10.0, units) for units in (1, 3, 4)] == [10.5, 11.5, 12.0]


def test_without_a_rate_all_go():
    """Nothing is counted; only a pause holds calls back."""
    limit = Pacer(None, 1.0, 1.0)
    assert all(limit.admit(5.0, 1000) for _ in range(1000))
    assert limit.available(5.0) == inf
    assert limit.pause(5.0, 2.0) == 2.0
    assert not limit.admit(6.999, 0)
    assert limit.turn(6.999, 1e9) == 7.0
    assert all(limit.admit(7.0, 1) for _ in range(1000))
    assert limit.owe(7.0, 5) == limit.give_back(7.0, 1, 5) == 0


# Pauses.


def test_pauses_overlap():
    """The pause that ends last counts; each says by how much later all turns now come."""
    limit = pacer(10)
    assert limit.pause(0.0, 5.0) == 5.0
    assert limit.pause(1.0, 2.0) == 0.0
    assert limit.pause(1.0, 4.0) == 0.0
    assert limit.pause(2.0, 4.0) == 1.0
    assert limit.paused_for(2.0) == 4.0
    assert limit.turn(2.0, 1) == 6.0
    assert limit.pause(8.0, 1.0) == 1.0
    assert limit.pause(20.0, 0.0) == 0.0


def test_the_bucket_empties_in_a_pause():
    """After a pause the burst may go, then the pace holds."""
    limit = pacer(1, burst=2)
    go(limit, 0.0)
    go(limit, 0.0)
    limit.pause(0.0, 5.0)
    assert [limit.turn(0.0, units) for units in (1, 2, 3)] == [5.0, 5.0, 6.0]
    assert [go(limit, 0.0) for _ in range(3)] == [5.0, 5.0, 6.0]


def test_a_short_pause_does_not_hasten():
    """A pause that ends before the turn would have come changes nothing."""
    limit = pacer(0.1)
    go(limit, 0.0)
    limit.pause(0.0, 3.0)
    assert limit.turn(1.0, 1) == 10.0


# Debts, and what is given back.


def test_a_debt_moves_later_turns_back():
    """What was taken too little is waited for, beyond the burst if need be."""
    limit = pacer(2, burst=4)
    assert limit.admit(0.0, 4)
    assert limit.owe(1.0, 10) == 5.0
    assert limit.available(1.0) == 4 - 12
    assert limit.turn(1.0, 1) == 1.0 + (12 - 3) / 2
    assert limit.turn(1.0, 0) == 1.0 + (12 - 4) / 2


def test_what_is_given_back_never_exceeds_the_burst():
    """A full bucket stays as it is."""
    limit = pacer(1, burst=5)
    number = limit.admit(0.0, 5)
    assert limit.give_back(2.0, number, 5) == 3
    assert limit.available(2.0) == 5


def test_what_has_regenerated_is_not_given_back():
    """Of 3 units taken, 2 have come back by themselves: 1 is given back, not 3."""
    limit = pacer(1, burst=5)
    number = limit.admit(0.0, 3)
    assert limit.admit(2.0, 1)
    assert limit.give_back(2.0, number, 3) == 1
    # As if nothing had been taken but the 1.
    assert limit.available(2.0) == 4


def test_nothing_is_given_back_once_the_bucket_was_full():
    """What others took later is theirs."""
    limit = pacer(1, burst=5)
    number = limit.admit(0.0, 5)
    assert limit.admit(10.0, 5)
    assert limit.give_back(10.5, number, 5) == 0


def test_under_load_all_is_given_back():
    """Where all that regenerates is taken at once, nothing of a take is lost, however long ago."""
    limit = pacer(1, burst=10)
    number = limit.admit(0.0, 10)
    for second in range(1, 101):
        assert limit.admit(float(second), 1)
    assert limit.give_back(100.0, number, 8) == 8
    assert limit.available(100.0) == 8


def test_two_take_and_both_give_back():
    """The second one gets what the first one left."""
    limit = pacer(1, burst=5)
    first = limit.admit(0.0, 2)
    second = limit.admit(1.0, 3)
    assert limit.give_back(2.0, first, 2) == 1
    assert limit.give_back(2.0, second, 3) == 2
    assert limit.available(2.0) == 5


def test_what_one_gives_back_is_gone_for_the_others():
    """A level that was lowered once cannot be given back a second time."""
    limit = pacer(1, burst=10)
    first = limit.admit(0.0, 4)
    second = limit.admit(0.0, 4)
    assert limit.admit(5.0, 6)
    # 3 of the 8 are left before the last take: for both together, not for each.
    assert limit.give_back(5.0, first, 4) == 3
    assert limit.give_back(5.0, second, 4) == 0
    assert limit.available(5.0) == 4


def test_the_levels_that_are_kept_are_few():
    """A load that rises for long keeps 64 levels; what is given back is less then, never more."""
    exact, bounded = [], Lows()
    for number in range(1, 1001):
        bounded.note(number, float(number))
        exact.append(float(number))
        assert len(bounded._levels) <= 64
    for number in range(1000):
        low = bounded.since(number, 2000.0)
        assert 0 < low <= exact[number]
    assert bounded.since(1000, 2000.0) == 2000.0
    assert bounded.since(999, 2000.0) >= 900


# The clock.


def test_time_that_runs_backward_stands_still():
    """Nobody waits for the clock to come back to where it was."""
    limit = pacer(1, burst=2)
    limit.admit(1000.0, 1)
    limit.admit(1000.0, 1)
    limit.pause(1000.0, 3.0)
    assert limit.turn(10.0, 1) == 13.0
    assert limit.paused_for(10.0) == 3.0
    assert limit.available(10.0) == 0
    assert limit.turn(9.0, 3) == 12.0 + 1


def test_a_leap_earns_the_burst_and_no_more():
    """After a leap of the clock it is as after a quiet time."""
    limit = pacer(1, burst=2)
    limit.admit(0.0, 2)
    limit.pause(0.0, 60.0)
    limit.owe(0.0, 100)
    assert [go(limit, 1e9) for _ in range(3)] == [1e9, 1e9, 1e9 + 1]


def test_another_clock():
    """From one clock to another no time passes."""
    limit = pacer(1)
    limit.follow(50.0)
    assert limit.turn(50.0, 1) == 50.0
    limit.admit(50.0, 1)
    limit.pause(50.0, 5.0)
    limit.follow(7e6)
    assert limit.turn(7e6, 1) == 7e6 + 5
    assert limit.available(7e6) == 0
    limit.follow(3.0)
    assert limit.paused_for(3.0) == 5.0


# Against a model: the bucket as a plain history of takes, replayed each time.


class Model:
    """The naive exact model: all takes with what they came to, replayed in fractions."""

    def __init__(self, rate, burst):
        self.rate, self.burst = Fraction(rate), Fraction(burst)
        self.takes = []
        self.resume = Fraction(-1)

    def level(self, now):
        level, last = Fraction(0), Fraction(now)
        for at, units in self.takes:
            level = max(Fraction(0), level - self.rate * (at - last)) if at > last else level
            level, last = level + units, at
        if self.takes:
            level = max(Fraction(0), level - self.rate * (now - last))
        return level

    def may_go(self, now, cost):
        return now >= self.resume and self.level(now) + cost <= self.burst


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 16)),
        st.tuples(st.just("wait"), st.integers(1, 40)),
        st.tuples(st.just("less"), st.integers(0, 100), st.integers(0, 16)),
        st.tuples(st.just("more"), st.integers(0, 100), st.integers(1, 30)),
        st.tuples(st.just("pause"), st.integers(0, 40)),
    ),
    max_size=60,
)


@settings(max_examples=400)
@given(STEPS, st.sampled_from([1, 2, 4]), st.sampled_from([1, 2, 4]), st.sampled_from([4, 6, 16]))
def test_it_is_what_the_replayed_history_says(steps, rate, per, burst):
    """Each decision is that of a model which knows all takes, and what they came to in the end.

    What is less is less from the beginning on; what is more is taken when it is known.
    """
    limit = Pacer(rate, per, burst)
    model = Model(Fraction(rate, per), burst)
    now = Fraction(0)
    flying = []
    for step in steps:
        kind, *numbers = step
        if kind == "wait":
            now += Fraction(numbers[0], 8)
        elif kind == "pause":
            seconds = Fraction(numbers[0], 8)
            limit.pause(float(now), float(seconds))
            model.resume = max(model.resume, now + seconds)
        elif kind == "call":
            cost = Fraction(min(numbers[0], burst * 4), 4)
            turn = Fraction(limit.turn(float(now), float(cost)))
            may = model.may_go(now, cost)
            assert (turn == now) is may
            assert model.may_go(turn, cost)
            # A unit takes a quarter of a second at least.
            assert may or turn > now
            assert turn == now or not model.may_go(max(now, turn - Fraction(1, 256)), cost)
            number = limit.admit(float(now), float(cost))
            assert bool(number) is may
            if may:
                model.takes.append((now, cost))
                flying.append((number, len(model.takes) - 1))
        elif flying:
            number, index = flying.pop(numbers[0] % len(flying))
            at, cost = model.takes[index]
            if kind == "less":
                units = min(cost, Fraction(numbers[1], 4))
                before = model.level(now)
                model.takes[index] = (at, cost - units)
                given_back = limit.give_back(float(now), number, float(units))
                assert given_back == before - model.level(now)
            else:
                limit.owe(float(now), numbers[1] / 4)
                model.takes.append((now, Fraction(numbers[1], 4)))
        assert limit.available(float(now)) == burst - model.level(now)
        assert limit.paused_for(float(now)) == max(0, model.resume - now)


@given(
    st.lists(st.tuples(st.floats(0, 3), st.floats(0, 5)), min_size=1, max_size=80),
    st.floats(0.1, 50),
    st.floats(0.1, 60),
    st.floats(5, 20),
)
def test_no_window_gets_more_than_its_share(calls, rate, per, burst):
    """Between any two calls at most rate · time / per + burst is taken, whenever they come."""
    limit = Pacer(rate, per, burst)
    now, taken = 0.0, []
    for gap, cost in calls:
        now = go(limit, now + gap, cost)
        taken.append((now, cost))
    for first, (start, _) in enumerate(taken):
        total = 0.0
        for end, cost in taken[first:]:
            total += cost
            assert total <= rate * (end - start) / per + burst + 1e-6


class Flight(NamedTuple):
    """One call: when it went and ended, what it took, and what it really cost."""

    began: float
    ended: float
    cost: float
    actual: float


def fly(limit, arrivals):
    """Let calls go in order of arrival, and settle each when it ends."""
    flying: list[tuple[float, int, Flight]] = []
    flights: list[Flight] = []
    now = 0.0

    def settle_until(time):
        while flying and flying[0][0] <= time:
            at, number, flight = heapq.heappop(flying)
            if flight.actual < flight.cost:
                limit.give_back(at, number, flight.cost - flight.actual)
            elif flight.actual > flight.cost:
                limit.owe(at, flight.actual - flight.cost)

    for arrival, duration, cost, actual in arrivals:
        now = max(now, arrival)
        settle_until(now)
        while (turn := limit.turn(now, cost)) > now:
            # What ends meanwhile may hasten it, or move it back.
            now = min(turn, flying[0][0]) if flying else turn
            settle_until(now)
        flight = Flight(now, now + duration, cost, actual)
        flights.append(flight)
        number = limit.admit(now, cost)
        assert number
        heapq.heappush(flying, (flight.ended, number, flight))
    return flights


def check_windows(flights, rate, burst, every=1):
    """Check the bound on each window that begins and ends with a call.

    That is rate · time + burst, and by how much those cost more than they took that were in flight
    when the last call went. A call counts when it began, with what it really cost.
    """
    for first in range(0, len(flights), every):
        start = flights[first].began
        total = 0.0
        for last in range(first, len(flights)):
            end = flights[last].began
            total += flights[last].actual
            unknown = sum(
                max(0.0, each.actual - each.cost)
                for each in flights[: last + 1]
                if end < each.ended
            )
            assert total <= rate * (end - start) + burst + unknown + 1e-6


@given(
    st.lists(
        st.tuples(st.floats(0, 2), st.floats(0.01, 8), st.floats(0, 5), st.floats(0.2, 5)),
        min_size=1,
        max_size=50,
    ),
    st.floats(0.5, 20),
    st.floats(5, 20),
)
def test_costs_that_turn_out_otherwise(calls, rate, burst):
    """With costs of 0.2 to 5 times the estimate, a window gets rate + burst + what was unknown."""
    arrivals, now = [], 0.0
    for gap, duration, cost, factor in calls:
        now += gap
        arrivals.append((now, duration, cost, cost * factor))
    check_windows(fly(Pacer(rate, 1.0, burst), arrivals), rate, burst)


@pytest.mark.parametrize("bias", [-1, 0, 1])
@pytest.mark.parametrize("seed", range(4))
def test_nearly_all_of_the_rate_is_used(seed, bias):
    """Estimates that are too high, too low or both by turns cost nothing under load."""
    chance = Random(f"{seed} {bias}")
    rate, burst = 10.0, 40.0
    arrivals, now = [], 0.0
    for _ in range(600):
        now += chance.expovariate(30.0)
        cost = chance.uniform(1, 8)
        spread = chance.uniform(-1, 1) if bias == 0 else bias * chance.random()
        arrivals.append((now, chance.expovariate(0.5), cost, cost * 5**spread))
    flights = fly(Pacer(rate, 1.0, burst), arrivals)
    check_windows(flights, rate, burst, every=23)
    used = sum(flight.actual for flight in flights)
    assert used >= 0.98 * rate * (flights[-1].began - flights[0].began)
