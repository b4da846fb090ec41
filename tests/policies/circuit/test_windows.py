"""Windows against exact counting."""

from __future__ import annotations

from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.policies.circuit.windows import (
    BUCKETS,
    Calls,
    CallWindow,
    TimeWindow,
    make_window,
)

# Gaps are 64ths of these lengths: every sum of times is exact, and so is the promise.
LENGTHS = st.sampled_from([0.5, 1.0, 2.0, 30.0, 7.75])
CALLS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 5), st.integers(50, 70), st.sampled_from([0, 1, 63, 64, 10**9])),
        st.booleans(),
    ),
    max_size=120,
)


@given(length=LENGTHS, calls=CALLS)
def test_a_window_of_time_counts_all_that_is_young_and_nothing_that_is_old(length, calls):
    """Every call younger than the length counts, and none as old as 33/32 of it."""
    window = TimeWindow(length)
    now, history = 100.0, []
    for gap, bad in calls:
        now += gap * length / 64
        window.record(now, bad=bad)
        history.append((now, bad))
        young = [was_bad for when, was_bad in history if now - when < length]
        maybe = [was_bad for when, was_bad in history if now - when < length * (1 + 1 / BUCKETS)]
        assert len(young) <= window.calls <= len(maybe)
        assert sum(young) <= window.bad <= sum(maybe)


@given(length=LENGTHS, calls=CALLS)
def test_good_calls_may_be_added_together(length, calls):
    """Adding the good calls late, but before ``quiet_until``, gives the same counts."""
    one, other = TimeWindow(length), TimeWindow(length)
    now, late = 100.0, 0
    for gap, bad in calls:
        now += gap * length / 64
        one.record(now, bad=bad)
        if not bad and now < other.quiet_until:
            late += 1
            continue
        other.add_good(late)
        late = 0
        other.record(now, bad=bad)
        assert (one.calls, one.bad) == (other.calls, other.bad)


@given(length=LENGTHS, calls=CALLS, delta=st.integers(-(10**6), 10**6))
def test_a_shifted_window_counts_as_if_no_time_had_passed(length, calls, delta):
    """Moving the window and all later times along changes no count."""
    still, moved = TimeWindow(length), TimeWindow(length)
    now = 100.0
    for number, (gap, bad) in enumerate(calls):
        if number == len(calls) // 2:
            moved.shift(delta)
        now += gap * length / 64
        still.record(now, bad=bad)
        moved.record(now + (delta if number >= len(calls) // 2 else 0), bad=bad)
        assert (still.calls, still.bad) == (moved.calls, moved.bad)


@given(
    size=st.integers(1, 40),
    calls=st.lists(st.one_of(st.booleans(), st.just("reset")), max_size=200),
)
def test_a_window_of_calls_is_exact(size, calls):
    """The last ``size`` calls are counted, no more and no fewer."""
    window = CallWindow(size)
    history = []
    for bad in calls:
        if bad == "reset":
            window.reset()
            history.clear()
        else:
            window.record(0.0, bad=bad)
            history.append(bad)
        latest = history[-size:]
        assert (window.calls, window.bad) == (len(latest), sum(latest))


@pytest.mark.parametrize("window", [TimeWindow(30.0), CallWindow(10)])
def test_reset_forgets_everything(window):
    """After ``reset`` a window is as if new, also for what is recorded then."""
    for number in range(100):
        window.record(number, bad=True)
    window.reset()
    assert (window.calls, window.bad) == (0, 0)
    for number in range(101, 107):
        window.record(number, bad=number % 2 == 0)
    assert (window.calls, window.bad) == (6, 3)
    window.advance(1000.0)
    assert window.calls == (0 if isinstance(window, TimeWindow) else 6)


@pytest.mark.parametrize("length", [1e-3, 0.05, 1.0, 3600.0, 1e9])
@pytest.mark.parametrize("start", [-1e6, 0.0, 1e6])
def test_windows_of_any_length_forget(length, start):
    """Very short and very long windows hold what is young and drop what is old."""
    window = TimeWindow(length)
    window.record(start, bad=True)
    window.record(start + 0.9 * length, bad=False)
    assert (window.calls, window.bad) == (2, 1)
    window.record(start + 1.1 * length, bad=False)
    assert (window.calls, window.bad) == (2, 0)
    window.record(start + 3.0 * length, bad=False)
    assert (window.calls, window.bad) == (1, 0)


@pytest.mark.parametrize("length,jump", [(0.001, 1e9), (1e-300, 1e300), (30.0, 86_400.0)])
def test_a_jump_of_days_costs_no_more_than_the_buckets(length, jump):
    """A leap over any number of windows clears at once, where bucket by bucket would take days."""
    window = TimeWindow(length)
    began = perf_counter()
    now = 0.0
    for _ in range(100):
        window.record(now, bad=True)
        now += jump
    assert perf_counter() - began < 30.0
    assert window.calls == 1


@pytest.mark.parametrize("back", [0.0, 1e-9, 0.5, 29.0, 1e6])
def test_time_that_goes_back_is_counted_now(back):
    """A call with an earlier time counts as a call of the current bucket."""
    window = TimeWindow(30.0)
    window.record(1e5, bad=True)
    window.record(1e5 - back, bad=True)
    window.record(1e5, bad=False)
    assert (window.calls, window.bad) == (3, 2)
    window.record(1e5 + 31.0, bad=False)
    assert (window.calls, window.bad) == (1, 0)


def test_make_window():
    """A number makes a window of seconds, ``Calls`` one of calls, and no two are the same."""
    assert isinstance(make_window(3), TimeWindow)
    one, two = make_window(Calls(3)), make_window(Calls(3))
    one.record(0.0, bad=True)
    assert (one.calls, two.calls) == (1, 0)
