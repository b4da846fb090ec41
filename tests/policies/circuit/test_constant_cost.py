"""What a call costs, in steps and in memory, whatever the windows hold."""

from __future__ import annotations

import sys
from array import array

import pytest

from seawall.core.verdict import Kind
from seawall.policies.circuit.adaptive import AdaptiveFailureCount
from seawall.policies.circuit.cusum import Cusum
from seawall.policies.circuit.rules import ConsecutiveFailures, FailureCount, FailureRate
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.windows import BUCKETS, Calls, CallWindow, TimeWindow

GOOD, BAD = Kind.SUCCESS, Kind.FAILURE
SMALL, LARGE = 10, 10**6


def lines_of(function, *arguments):
    """Return how many lines of the library a call executes."""
    lines = 0

    def trace(frame, event, argument):
        nonlocal lines
        # The garbage collector may call anything at any time.
        if "seawall" not in frame.f_code.co_filename:
            return None
        lines += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        function(*arguments)
    finally:
        sys.settrace(before)
    return lines


def by_time(size):
    return float(size)


RULES = {
    "streak": ConsecutiveFailures,
    "count of calls": lambda size: FailureCount(size, Calls(size)),
    "count in time": lambda size: FailureCount(size, by_time(size)),
    "rate of calls": lambda size: FailureRate(1.0, Calls(size)),
    "rate in time": lambda size: FailureRate(1.0, by_time(size)),
    "slow of calls": lambda size: SlowCallRate(1.0, 1.0, Calls(size)),
    "slow in time": lambda size: SlowCallRate(1.0, 1.0, by_time(size)),
    "cusum": lambda size: Cusum(false_trip_every=float(size)),
    "adaptive of calls": lambda size: AdaptiveFailureCount(size, Calls(size)),
    "adaptive in time": lambda size: AdaptiveFailureCount(size, by_time(size)),
    "combined": lambda size: FailureRate(1.0, by_time(size)) | FailureCount(size, Calls(size)),
}


@pytest.mark.slow
@pytest.mark.parametrize("make", RULES.values(), ids=RULES)
def test_a_call_costs_as_many_steps_in_a_window_of_10_as_of_a_million(make):
    """Recording and telling executes as many lines when a window holds 10 calls or 1,000,000."""
    most = {}
    for size in (SMALL, LARGE):
        tally = make(size).start()
        tally.record(GOOD, 0.0, 0.0)
        if tally.quiet_until > 0.0:
            tally.add_successes(size)
        else:
            for _ in range(size):
                tally.record(GOOD, 0.0, 0.0)
        # Once, room is made for a bucket that holds so many.
        tally.record(GOOD, 0.0, size / BUCKETS)
        # Gaps of 1/64 of the window, so that the buckets change as often.
        recorded = [
            lines_of(tally.record, kind, 2.0 * (number % 2), (number + 2) * size / 64)
            for number, kind in enumerate([GOOD, BAD] * 100)
        ]
        told = lines_of(tally.evidence, 202 * size / 64)
        most[size] = max(recorded), told
    assert most[LARGE] <= most[SMALL]
    assert most[LARGE][0] > 2


def test_any_number_of_successes_is_handed_over_in_one_step():
    """What waits until the next failure costs the same for 10 successes and for a million."""
    rules = [ConsecutiveFailures(5), FailureCount(5, 60.0), FailureRate(0.5), Cusum()]
    tally = (rules[0] | rules[1] | rules[2] | rules[3] | AdaptiveFailureCount(5)).start()
    tally.record(GOOD, 0.0, 0.0)
    assert lines_of(tally.add_successes, SMALL) == lines_of(tally.add_successes, LARGE)


def counting(kind):
    """Return a subclass of a sequence that counts the items which are read and written."""

    class Counting(kind):
        touched = 0

        def touch(self, index):
            self.touched += len(range(*index.indices(len(self)))) if type(index) is slice else 1

        def __getitem__(self, index):
            self.touch(index)
            return super().__getitem__(index)

        def __setitem__(self, index, value):
            self.touch(index)
            super().__setitem__(index, value)

        def __iter__(self):
            self.touch(slice(None))
            return super().__iter__()

    return Counting


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_window_of_calls_touches_one_place_a_call(size):
    """Each call reads one byte and writes at most one, however many the window has."""
    window = CallWindow(size)
    window._ring = counting(bytearray)(window._ring)
    for number in range(1000):
        window.record(0.0, bad=number % 2 == 0)
        window.advance(0.0)
    assert 1000 < window._ring.touched <= 2000


@pytest.mark.parametrize("length", [1e-3, float(SMALL), float(LARGE)])
@pytest.mark.parametrize("calls", [1, SMALL, LARGE])
def test_a_window_of_time_touches_only_the_buckets_that_it_leaves(length, calls):
    """Within a bucket nothing is touched; a step touches one bucket, and no jump more than all."""
    window = TimeWindow(length)
    window._ring = counting(array)("Q", window._ring)
    window.record(0.0, bad=True)
    window._ring.touched = 0
    window.add_good(calls)
    for _ in range(100):
        window.record(0.0, bad=True)
    assert window._ring.touched == 0
    now = 0.0
    for steps in (1, 2, 5, BUCKETS - 1):
        now += steps * length / BUCKETS
        window.record(now, bad=True)
        assert window._ring.touched == 4 * steps
        window._ring.touched = 0
    for jump in (length * 1.02, length * 1.5, length * 1e9):
        now += jump
        window.record(now, bad=True)
        assert window._ring.touched <= 4 * (BUCKETS + 1)
        window._ring.touched = 0


def memory(window):
    return sum(
        sys.getsizeof(getattr(window, name))
        for name in type(window).__slots__
        if hasattr(window, name)
    ) + sys.getsizeof(window)


def test_a_window_of_time_takes_less_than_a_kilobyte_and_a_half():
    """Its memory depends neither on its length nor on what it holds."""
    for length in (0.01, 1e6):
        window = TimeWindow(length)
        for number in range(1000):
            window.record(number * length / 100, bad=number % 3 == 0)
            window.add_good(10**9)
        assert memory(window) < 1500


@pytest.mark.parametrize("size", [1, SMALL, LARGE])
def test_a_window_of_calls_takes_a_byte_a_call(size):
    """Its memory is one byte for each call that it can hold, and less than 400 bytes more."""
    window = CallWindow(size)
    for number in range(2000):
        window.record(0.0, bad=number % 3 == 0)
    assert memory(window) < size + 400
    window.reset()
    assert memory(window) < size + 400
