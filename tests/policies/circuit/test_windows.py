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


# Lengths that give exact times again; the gaps are 256ths of a second.
@given(
    lengths=st.tuples(LENGTHS, LENGTHS),
    calls=st.lists(
        st.tuples(st.one_of(st.integers(0, 300), st.integers(0, 10**4)), st.booleans()),
        max_size=80,
    ),
    later=st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=20),
)
def test_a_window_of_time_takes_over_from_one_of_any_length(lengths, calls, later):
    """What surely fits is kept, none is invented, and none stays longer than 33/32 of it."""
    before, after = lengths
    old, new = TimeWindow(before), TimeWindow(after)
    now, history = 100.0, []
    for gap, bad in calls:
        now += gap / 256
        old.record(now, bad=bad)
        history.append((now, bad))
    counted = (old.calls, old.bad)
    # Older than the previous window means that it was forgotten there.
    history = history[len(history) - old.calls :]
    assert new.take_over(old)
    assert (old.calls, old.bad) == counted
    for number, (gap, bad) in enumerate([(0, None), *later]):
        now += gap / 256
        new.advance(now)
        if number:
            new.record(now, bad=bad)
            history.append((now, bad))
        kept = [
            was_bad
            for index, (when, was_bad) in enumerate(history)
            if now - when < after - (before / BUCKETS if index < counted[0] else 0.0)
        ]
        maybe = [was_bad for when, was_bad in history if now - when < after * (1 + 1 / BUCKETS)]
        assert len(kept) <= new.calls <= len(maybe)
        assert sum(kept) <= new.bad <= sum(maybe)


@pytest.mark.parametrize("after", [0.5, 4.0, 31.0, 33.0, 128.0])
def test_what_was_taken_over_leaves_in_time(after):
    """A call leaves at 33/32 of the new length, or sooner by no more than 1/32 of the old one."""
    for age in range(32):
        old, new = TimeWindow(32.0), TimeWindow(after)
        old.record(100.0, bad=False)
        old.record(131.5 - age, bad=True)
        old.advance(131.5)
        assert new.take_over(old)
        for now in [131.5 + quarter / 4 for quarter in range(600)]:
            new.advance(now)
            since = now - (131.5 - age)
            if since < after - 1.0:
                assert new.bad == 1
            if since >= after * 33 / 32:
                assert new.bad == 0


@given(length=LENGTHS, calls=CALLS)
def test_a_window_of_the_same_length_goes_on_exactly(length, calls):
    """Between windows of one length nothing is lost, and the first is left as it was."""
    old, new = TimeWindow(length), TimeWindow(length)
    now = 100.0
    for number, (gap, bad) in enumerate(calls):
        if number == len(calls) // 2:
            assert new.take_over(old)
        now += gap * length / 64
        old.record(now, bad=bad)
        if number >= len(calls) // 2:
            new.record(now, bad=bad)
            assert (new.calls, new.bad) == (old.calls, old.bad)


@given(
    sizes=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    calls=st.lists(st.booleans(), max_size=40),
    later=st.lists(st.booleans(), max_size=30),
)
def test_a_window_of_calls_takes_over_the_latest(sizes, calls, later):
    """Of another window of calls the latest are kept, as many as both windows hold."""
    old, new = CallWindow(sizes[0]), CallWindow(sizes[1])
    for bad in calls:
        old.record(0.0, bad=bad)
    assert new.take_over(old)
    history = calls[-sizes[0] :]
    for bad in [None, *later]:
        if bad is not None:
            new.record(0.0, bad=bad)
            history.append(bad)
        latest = history[-sizes[1] :]
        assert (new.calls, new.bad) == (len(latest), sum(latest))


@pytest.mark.parametrize(
    "old,new", [(TimeWindow(9.0), CallWindow(9)), (CallWindow(9), TimeWindow(9.0))]
)
def test_a_window_of_another_kind_begins_empty(old, new):
    """A number of calls says nothing about their age, and a bucket nothing about their order."""
    old.record(1.0, bad=True)
    assert not new.take_over(old)
    assert (new.calls, new.bad) == (0, 0)


def test_make_window():
    """A number makes a window of seconds, ``Calls`` one of calls, and no two are the same."""
    assert isinstance(make_window(3), TimeWindow)
    one, two = make_window(Calls(3)), make_window(Calls(3))
    one.record(0.0, bad=True)
    assert (one.calls, two.calls) == (1, 0)
