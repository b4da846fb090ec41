"""The ratio behind ``LoadShedder``: the formula, the window, and a model that keeps every call."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall.policies.load_shedder.acceptance import BUCKETS, Acceptance


def acceptance(draw=0.0, *, k=2.0, window=10.0, max_reject=0.9):
    return Acceptance(k, window, max_reject, lambda: draw)


def count(target, accepted, refused, now=0.0):
    for _ in range(accepted):
        target.count(now, accepted=True)
    for _ in range(refused):
        target.count(now, accepted=False)


@pytest.mark.parametrize(
    "accepted, refused, share",
    [
        (0, 0, 0.0),
        (10, 0, 0.0),
        (10, 10, 0.0),
        (10, 11, 1 / 22),
        (10, 30, 20 / 41),
        (0, 1, 0.5),
        (0, 8, 8 / 9),
        (0, 9, 0.9),
        (0, 1000, 0.9),
    ],
)
def test_the_formula(accepted, refused, share):
    """(requests - k · accepts) / (requests + 1), not below 0 and not above the cap."""
    target = acceptance()
    count(target, accepted, refused)
    assert target.at(0.0) == (accepted + refused, accepted, pytest.approx(share))


def test_k_says_how_many_may_pass():
    """With k = 1.1 it begins to refuse much earlier than with 2."""
    for k, share in [(1.1, 9 / 21), (2.0, 0.0)]:
        target = acceptance(k=k)
        count(target, 10, 10)
        assert target.at(0.0)[2] == pytest.approx(share)


@pytest.mark.parametrize("draw, refused", [(0.0, True), (0.4, True), (0.49, False), (0.99, False)])
def test_chance_decides(draw, refused):
    """A call is refused if the number drawn is below the share."""
    target = acceptance(draw)
    count(target, 10, 30)
    assert target.refuses(0.0) is refused


def test_it_does_not_draw_while_all_is_well():
    """A call costs no random number unless there is something to refuse."""

    def draw():
        raise AssertionError

    target = Acceptance(2.0, 10.0, 0.9, draw)
    count(target, 10, 10)
    assert not target.refuses(0.0)


def test_what_it_refuses_is_a_request():
    """It keeps the share up while callers keep asking, as the formula has it."""
    target = acceptance()
    count(target, 10, 11)
    assert target.refuses(0.0)
    assert target.at(0.0)[:2] == (22, 10)


def passes(accepts):
    """Return the share that passes of 20,000 calls at 100 a second."""
    random = Random(1)
    target = Acceptance(2.0, 10.0, 0.9, random.random)
    passed = 0
    for number in range(20_000):
        now = number / 100
        if not target.refuses(now):
            passed += 1
            target.count(now, accepted=accepts(now, random))
    return passed / 20_000


def test_twice_of_what_is_accepted_passes():
    """A dependency that takes 20 of 100 calls a second is asked about 40 times."""
    taken = {}

    def accepts(now, random):
        second = int(now)
        taken[second] = taken.get(second, 0) + 1
        return taken[second] <= 20

    assert passes(accepts) == pytest.approx(0.4, rel=0.1)


def test_one_in_ten_passes_when_all_else_fails():
    """Of a dependency that accepts nothing, as much as the cap of .9 leaves."""
    assert passes(lambda now, random: False) == pytest.approx(0.1, rel=0.15)


def test_a_dependency_that_fails_one_call_in_five_is_left_alone():
    """With k = 2, what is accepted may fall to a half; but for the first calls, by chance."""
    assert passes(lambda now, random: random.random() < 0.8) > 0.999


# The window.


def test_a_call_counts_for_the_window():
    """For at least 19/20 of it, and no longer than it."""
    target = acceptance(window=10.0)
    count(target, 1, 2, now=100.0)
    assert target.at(109.4)[:2] == (3, 1)
    assert target.at(110.0)[:2] == (0, 0)
    # Looking at it changes nothing.
    assert target.at(100.0)[:2] == (3, 1)


def test_a_long_pause_is_cheap():
    """A year of silence is one step, and forgets everything."""
    target = acceptance()
    count(target, 0, 50)
    assert not target.refuses(3e7)
    assert target.at(3e7)[:2] == (0, 0)
    assert not target.refuses(1e300)


def test_time_that_goes_back_is_harmless():
    """What comes with an older time is counted as if it came now."""
    target = acceptance()
    count(target, 0, 1, now=50.0)
    count(target, 0, 1, now=40.0)
    assert target.at(50.0)[0] == 2


def test_from_one_clock_to_another():
    """No time passes between them, in either direction."""
    for later in (-1e6, 1e6):
        target = acceptance()
        target.follow(5.0)
        count(target, 0, 5, now=100.0)
        target.follow(later)
        assert target.at(later + 9.0)[0] == 5
        assert target.at(later + 10.5)[0] == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["accepted", "refused", "asks"]),
            st.one_of(
                st.integers(0, 3).map(lambda n: n / 64),
                st.integers(0, 12).map(float),
                st.sampled_from([0.0, 0.5, 100.0]),
            ),
        ),
        max_size=200,
    ),
    st.sampled_from([1.0, 2.0, 3.0]),
    st.sampled_from([1.25, 10.0, 60.0]),
)
def test_it_counts_what_a_list_of_all_calls_counts(steps, k, window):
    """At any time: at least what is younger than 19/20 of the window, nothing older than it."""
    target, now = Acceptance(k, window, 0.9, lambda: 0.0), 1000.0
    calls = []
    for what, gap in steps:
        now += gap
        if what == "asks":
            requests, _, share = target.at(now)
            refused = target.refuses(now)
            assert refused is (share > 0)
            assert target.requests == requests + refused
            if refused:
                calls.append((now, False))
        else:
            target.count(now, accepted=what == "accepted")
            calls.append((now, what == "accepted"))
        requests, accepts, share = target.at(now)
        young = [fine for at, fine in calls if now - at < window * (BUCKETS - 1) / BUCKETS - 1e-9]
        all_of_it = [fine for at, fine in calls if now - at <= window + 1e-9]
        assert len(young) <= requests <= len(all_of_it)
        assert sum(young) <= accepts <= sum(all_of_it)
        assert share == pytest.approx(min(0.9, max(0.0, (requests - k * accepts) / (requests + 1))))
        assert (requests, accepts) == (target.requests, target.accepts) or what == "asks"
