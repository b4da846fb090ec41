"""The estimate behind ``AdaptiveLimit``: each rule with its numbers, and a model of all of them."""

from __future__ import annotations

from math import inf, isnan, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.policies.adaptive_limit.estimate import Estimate


def estimate(initial=10, minimum=1, maximum=1000, *, learning=False):
    made = Estimate(initial, minimum, maximum)
    made.learning = learning
    return made


def answer(target, count, *, start=0.0, end=1.0, latency=0.1, in_flight=None):
    """Let so many answers come, the first at ``start`` and the last at ``end``."""
    for number in range(count):
        at = start + (end - start) * number / max(1, count - 1)
        target.answered(latency, target.limit if in_flight is None else in_flight, at)


# The window.


def test_a_window_lasts_a_second_at_least():
    """Nothing is concluded before, however many answers there are."""
    target = estimate()
    answer(target, 500, end=0.99)
    assert isnan(target.short)
    target.answered(0.1, 10, 1.0)
    assert target.short == pytest.approx(0.1)


@pytest.mark.parametrize("limit, needed", [(10, 10), (500, 10), (3, 3), (1, 1)])
def test_a_window_has_ten_answers_or_as_many_as_the_limit(limit, needed):
    """A limit of three is filled by three calls, so three of them are evidence."""
    target = estimate(limit)
    target.answered(0.1, limit, 0.0)
    for number in range(needed - 1):
        assert isnan(target.short)
        target.answered(0.1, limit, 2.0 + number / 100)
    # Of a limit of one, the first answer of all begins the window and the next one ends it.
    if needed == 1:
        target.answered(0.1, limit, 3.0)
    assert not isnan(target.short)


def test_a_window_of_ten_seconds_without_enough_answers_changes_nothing():
    """What came too seldom is forgotten, and the next window begins."""
    target = estimate()
    for at in range(60):
        target.lost("timeouts", 10, 2.0 * at)
    assert (target.limit, target.reason) == (10, "initial")


def test_what_was_enough_is_used_though_the_next_attempt_comes_late():
    """Fifty answers within a second are evidence, also where nobody called for an hour then."""
    target = estimate()
    answer(target, 50, end=0.9)
    target.answered(7.0, 1, 3600.0)
    assert target.short == pytest.approx(0.1)


# What is concluded.


def test_it_grows_while_latency_is_as_usual():
    """By a fifth of max(4, √limit) in a window."""
    for limit in (10, 100):
        target = estimate(limit)
        for window in range(5):
            answer(target, 20, start=window, end=window + 1.0)
        exact = float(limit)
        for _ in range(5):
            exact += 0.2 * max(4.0, sqrt(exact))
        assert target.limit == int(exact)
        assert target.reason == "grew"


@pytest.mark.parametrize("in_flight, grows", [(49, False), (50, True)])
def test_it_grows_only_if_it_is_used(in_flight, grows):
    """A limit that nobody reaches half of says nothing about the dependency."""
    target = estimate(100)
    for window in range(10):
        answer(target, 20, start=window, end=window + 1.0, in_flight=in_flight)
    assert (target.limit > 100) is grows
    # The usual latency is learned all the same.
    assert target.long == pytest.approx(0.1)


def test_twice_the_usual_latency_is_tolerated():
    """Beyond it the limit goes a fifth of the way to gradient × limit + √limit."""
    target = estimate(100)
    answer(target, 20)
    assert target.limit == 102
    long = 0.1
    answer(target, 20, start=1.0, end=2.0, latency=0.2)
    assert (target.limit, target.reason) == (104, "grew")
    long += 0.05 * (0.2 - long)
    answer(target, 20, start=2.0, end=3.0, latency=0.4)
    exact = 102.0 + 0.2 * sqrt(102.0)
    long += 0.05 * (0.4 - long)
    assert target.long == pytest.approx(long)
    exact += 0.2 * (2 * long / 0.4 * exact + sqrt(exact) - exact)
    assert (target.limit, target.reason) == (int(exact), "latency")
    assert target.short == pytest.approx(0.4)


def test_it_goes_no_faster_than_a_tenth_down():
    """The gradient is a half at least, however slow the answers are."""
    target = estimate(100)
    answer(target, 20)
    answer(target, 20, start=1.0, end=2.0, latency=1000.0)
    assert target.limit == int(102.0 + 0.2 * (0.5 * 102.0 + sqrt(102.0) - 102.0))


def test_the_usual_latency_comes_down_faster():
    """After a slow time, the usual latency is not stuck high: down 5 % more in each window."""
    target = estimate()
    answer(target, 20, latency=10.0)
    answer(target, 20, start=1.0, end=2.0, latency=0.1)
    assert target.long == pytest.approx((10.0 + 0.05 * (0.1 - 10.0)) * 0.95)


def test_answers_at_once():
    """A latency of zero, as a loop of virtual time has it, is a latency."""
    target = estimate()
    answer(target, 20, latency=0.0)
    answer(target, 20, start=1.0, end=2.0, latency=0.0)
    assert (target.limit, target.long) == (11, 0.0)


@pytest.mark.parametrize("lost, shrinks", [(1, False), (2, True)])
@pytest.mark.parametrize("loss", ["timeouts", "throttled"])
def test_more_than_one_loss_in_twenty(lost, shrinks, loss):
    """5 % of the attempts may be lost; with more, three tenths of the limit are."""
    target = estimate(100)
    for _ in range(lost):
        target.lost(loss, 10, 0.0)
    answer(target, 20 - lost, in_flight=10)
    assert (target.limit, target.reason) == ((70, loss) if shrinks else (100, "initial"))


def test_what_was_sent_before_it_shrank_says_nothing_new():
    """The calls that hung in an outage time out long after it, and are no further outage."""
    target = estimate(100)
    for _ in range(20):
        target.lost("timeouts", 100, 30.0, sent=0.0)
    target.lost("timeouts", 100, 31.0, sent=1.0)
    assert target.limit == 70
    for number in range(100):
        target.lost("timeouts", 69, 31.0 + number / 4, sent=1.0 + number / 4)
    assert target.limit == 70
    for number in range(20):
        target.lost("timeouts", 69, 61.0 + number / 4, sent=31.0 + number / 4)
    assert target.limit == 49


def test_the_reason_is_the_loss_there_was_most_of():
    """Of both kinds in a window."""
    for timeouts, throttled, reason in [(6, 4, "timeouts"), (4, 6, "throttled")]:
        target = estimate(100)
        for _ in range(timeouts):
            target.lost("timeouts", 10, 0.0)
        for _ in range(throttled):
            target.lost("throttled", 10, 1.0)
        assert (target.limit, target.reason) == (70, reason)


def test_latency_in_a_window_of_loss_is_not_usual():
    """What took long because of overload must not become what is compared with."""
    target = estimate(100)
    answer(target, 20)
    for _ in range(5):
        target.lost("timeouts", 100, 1.0)
    answer(target, 20, start=1.0, end=2.0, latency=9.0)
    assert (target.long, target.short) == (pytest.approx(0.1), pytest.approx(0.1))


def test_fast_errors_say_nothing_about_queues():
    """Errors alone move nothing, and among losses they are attempts that were not lost."""
    target = estimate(100)
    for number in range(1000):
        target.failed(100, number / 100)
    assert (target.limit, isnan(target.short)) == (100, True)
    target = estimate(100)
    for number in range(200):
        target.failed(100, number / 200)
    for _ in range(10):
        target.lost("timeouts", 100, 1.0)
    assert target.limit == 100


def test_a_response_that_breaks_off_is_lost_but_no_further_attempt():
    """It was counted when it began, in this window or in one before."""
    target = estimate(100)
    answer(target, 20, end=0.5, in_flight=10)
    for _ in range(2):
        target.lost("timeouts", 10, 0.6, counted=True)
    target.saw(3)
    target.failed(10, 1.0)
    assert (target.limit, target.reason) == (70, "timeouts")
    target = estimate(10)
    for _ in range(11):
        target.lost("timeouts", 10, 0.0, counted=True)
    target.lost("timeouts", 10, 1.0, counted=True)
    assert target.limit == 7


def test_who_leaves_without_a_word_was_in_flight():
    """A call that was cancelled says nothing, but that it was there."""
    target = estimate(100)
    target.saw(50)
    target.answered(0.1, 1, 0.0)
    target.saw(50)
    answer(target, 20, start=0.1, in_flight=1)
    assert target.limit == 102


# The start.


def test_it_learns_fast_at_the_start():
    """By one with each answer once the limit was reached, to twice its size in a window."""
    target = estimate(learning=True)
    answer(target, 5, end=0.5, in_flight=9)
    assert target.limit == 10
    target.answered(0.1, 10, 0.6)
    assert (target.limit, target.reason) == (11, "grew")
    # Those that were sent together with it are answered too, while others are not yet sent.
    for in_flight in (9, 8, 7):
        target.answered(0.1, in_flight, 0.7)
    assert target.limit == 14
    answer(target, 100, start=0.7, end=0.9)
    assert target.limit == 20
    target.answered(0.1, 1, 1.0)
    assert target.limit == 20
    answer(target, 100, start=1.0, end=1.9, in_flight=19)
    assert target.limit == 20
    answer(target, 100, start=1.9, end=1.99, in_flight=20)
    assert target.limit == 40


@pytest.mark.parametrize("sign", ["loss", "latency"])
def test_the_first_sign_of_overload_ends_that(sign):
    """From then on it grows by one or two in a window."""
    target = estimate(learning=True)
    answer(target, 20)
    assert target.learning
    if sign == "loss":
        for _ in range(20):
            target.lost("timeouts", target.limit, 1.0)
        target.lost("timeouts", target.limit, 2.0)
    else:
        answer(target, 20, start=1.0, end=2.0, latency=0.5)
    assert not target.learning
    before = target.limit
    answer(target, 200, start=2.0, end=3.0)
    assert before <= target.limit <= before + 1


def test_a_lost_call_now_and_then_is_no_sign():
    """As long as no more than 5 % are lost."""
    target = estimate(learning=True)
    target.lost("timeouts", 10, 0.0)
    answer(target, 50, in_flight=5)
    assert target.learning


# The bounds, and the clock.


def test_it_stays_within_its_bounds():
    """Whatever comes, it is at least the minimum and at most the maximum."""
    target = estimate(10, 4, 12, learning=True)
    answer(target, 1000, end=50.0)
    assert target.limit == 12
    for number in range(100):
        target.lost("throttled", 12, 60.0 + number)
    assert target.limit == 4


def test_from_one_clock_to_another():
    """The limit and what is usual are kept; the window begins anew, by the new clock."""
    target = estimate(100)
    answer(target, 20)
    answer(target, 20, start=1.0, end=1.5)
    assert target.moved == 1.0
    target.restart(-1000.0)
    assert (target.limit, target.long, target.moved) == (102, pytest.approx(0.1), -1000.0)
    answer(target, 20, start=-1000.0, end=-999.5)
    assert target.limit == 102
    target.answered(0.1, 102, -999.0)
    assert target.limit == 104


class Model:
    """The rules again, from a list of all that came in a window."""

    def __init__(self, initial, minimum, maximum):
        self.bounds = minimum, maximum
        self.exact = self.began_with = float(initial)
        self.learning, self.long, self.shrank = True, None, -inf
        self.events, self.start, self.inside = [], None, 0

    @property
    def limit(self):
        return int(self.exact)

    def add(self, kind, value, in_flight, now, sent):
        if kind == "loss" and sent < self.shrank:
            self.inside = max(self.inside, in_flight)
            return
        if self.start is None or now - self.start > 10:
            self.end(now)
            self.start, self.inside = now, in_flight
        self.events.append((kind, value, in_flight))
        reached = self.peak() >= int(self.began_with)
        if kind == "answer" and self.learning and reached:
            self.set(min(self.exact + 1, 2 * int(self.began_with)))
        if now - self.start >= 1 and self.enough():
            self.end(now)
            self.start, self.inside = now, in_flight

    def peak(self):
        return max(self.inside, *(in_flight for _, _, in_flight in self.events))

    def enough(self):
        return sum(kind in ("answer", "loss") for kind, _, _ in self.events) >= min(10, self.limit)

    def end(self, now):
        events, self.events = self.events, []
        if events:
            self.events = events
            if self.enough():
                self.conclude(events, now)
            self.events = []
        self.began_with = self.exact

    def conclude(self, events, now):
        latencies = [value for kind, value, _ in events if kind == "answer"]
        lost = sum(kind == "loss" for kind, _, _ in events)
        if lost > 0.05 * len(events):
            self.learning, self.shrank = False, now
            self.set(self.exact * 0.7)
        elif latencies:
            short = sum(latencies) / len(latencies)
            self.long = short if self.long is None else 0.95 * self.long + 0.05 * short
            if self.long > 2 * short:
                self.long *= 0.95
            if 2 * self.peak() >= self.limit:
                gradient = max(0.5, min(1.0, 2 * self.long / short if short else 1.0))
                self.learning &= gradient == 1.0
                aim = gradient * self.exact + max(4.0, sqrt(self.exact))
                self.set(0.8 * self.exact + 0.2 * aim)

    def set(self, exact):
        minimum, maximum = self.bounds
        self.exact = max(minimum, min(maximum, exact))


SAMPLES = st.lists(
    st.tuples(
        st.sampled_from(["answer"] * 6 + ["loss", "error"]),
        # Fractions of two are exact, so the model may add them up in another order.
        st.sampled_from([0.0, 0.125, 0.25, 1.0, 8.0]),
        st.sampled_from([0.25, 0.5, 1.0]),
        st.sampled_from([0.0, 0.0, 0.5, 5.0]),
        st.sampled_from([0.0, 0.0, 0.0625, 0.125, 0.5, 1.0, 4.0, 12.0]),
    ),
    max_size=300,
)


@given(SAMPLES, st.integers(1, 40), st.integers(1, 40), st.integers(1, 1000))
def test_it_does_what_the_rules_say(samples, initial, minimum, maximum):
    """Whatever comes, at whatever times: the limit is that of the model."""
    minimum, maximum = min(minimum, initial), max(maximum, initial)
    target, model = Estimate(initial, minimum, maximum), Model(initial, minimum, maximum)
    now = 0.0
    for kind, latency, share, age, gap in samples:
        now += gap
        in_flight = max(1, int(share * target.limit))
        before = target.limit
        if kind == "answer":
            moved = target.answered(latency, in_flight, now)
        elif kind == "loss":
            moved = target.lost("timeouts", in_flight, now, sent=now - age)
        else:
            moved = target.failed(in_flight, now)
        model.add(kind, latency, in_flight, now, now - age)
        assert target._exact == pytest.approx(model.exact)
        if abs(model.exact - round(model.exact)) > 1e-6:
            assert target.limit == model.limit
        else:
            # The two add up in another order: one may be a little below a whole number.
            model.exact = target._exact
        assert target.learning == model.learning
        assert minimum <= target.limit <= maximum
        assert moved or target.limit == before
        assert target.long == pytest.approx(model.long) or (isnan(target.long) and not model.long)
    assert target.limit < inf
