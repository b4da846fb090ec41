"""The retry budget: what earns, what costs, and what comes back by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import RetryBudget


def test_it_begins_full():
    """A new budget pays for as many retries as its capacity says."""
    budget = RetryBudget(capacity=3, floor=0)
    assert [budget.spend(0.0) for _ in range(5)] == [True, True, True, False, False]


def test_ten_successes_earn_one_retry():
    """With a ratio of 0.1, ten successes pay for one retry, in spite of binary fractions."""
    budget = RetryBudget(0.1, capacity=1, floor=0)
    assert budget.spend(0.0)
    for _ in range(9):
        budget.earn()
    assert not budget.spend(0.0)
    budget.earn()
    assert budget.spend(0.0)
    assert not budget.spend(0.0)


def test_retries_are_a_share_of_healthy_traffic():
    """Over 10,000 successes and a retry whenever there is a token, retries are one in ten."""
    budget = RetryBudget(0.1, capacity=10, floor=0)
    retries = 0
    for _ in range(10_000):
        budget.earn()
        retries += budget.spend(0.0)
    assert 1000 <= retries <= 1010


def test_it_never_holds_more_than_its_capacity():
    """However long it earns or waits, it is no fuller than full."""
    budget = RetryBudget(1.0, capacity=2, floor=1.0)
    for _ in range(100):
        budget.earn()
    assert budget.tokens == 2
    assert budget.spend(0.0)
    assert budget.spend(1e6)
    assert budget.spend(1e6)
    assert not budget.spend(1e6)


def test_some_come_back_in_any_case():
    """With a floor of 1/30, one retry comes back every half a minute."""
    budget = RetryBudget(capacity=1)
    assert budget.spend(100.0)
    assert not budget.spend(129.9)
    assert budget.spend(130.1)
    assert not budget.spend(159.0)


def test_asking_often_drips_as_much():
    """The drip is by the time alone, not by how often it is asked."""
    budget = RetryBudget(capacity=5, floor=0.5)
    paid = sum(budget.spend(step / 100) for step in range(10_001))
    assert paid in (5 + 49, 5 + 50)


def test_time_that_goes_back_gives_nothing():
    """A clock that jumps back neither drips nor takes tokens away."""
    budget = RetryBudget(capacity=1, floor=1.0)
    assert budget.spend(100.0)
    assert not budget.spend(50.0)
    assert budget.tokens == 0


def test_it_moves_to_another_clock():
    """Between two loops no time passes for it."""
    budget = RetryBudget(capacity=1, floor=1.0)
    assert budget.spend(5.0)
    budget.follow("another clock", 1e9)
    assert not budget.spend(1e9 + 0.5)
    assert budget.spend(1e9 + 1.1)


@given(
    ratio=st.floats(0, 1),
    capacity=st.floats(1, 100),
    floor=st.floats(0, 2),
    steps=st.lists(st.tuples(st.booleans(), st.floats(0, 10)), max_size=200),
)
def test_it_never_pays_more_than_it_was_given(ratio, capacity, floor, steps):
    """Retries are at most the capacity, what was earned and what came back, whatever the order."""
    budget = RetryBudget(ratio, capacity=capacity, floor=floor)
    now = earned = paid = 0.0
    start = None
    for earns, gap in steps:
        now += gap
        if earns:
            budget.earn()
            earned += ratio
        else:
            start = now if start is None else start
            paid += budget.spend(now)
        assert 0 <= budget.tokens <= capacity
        drip = 0.0 if start is None else floor * (now - start)
        assert paid <= capacity + earned + drip + 1e-6


def test_it_shows_its_settings():
    """Its repr is what was asked for."""
    assert repr(RetryBudget()) == "RetryBudget(0.1, capacity=10, floor=0.03333)"


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_the_ratio_is_a_share(value):
    """A ratio is from 0 to 1."""
    with pytest.raises(ValueError, match="ratio"):
        RetryBudget(value)
