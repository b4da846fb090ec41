"""The formulas for the numbers of a circuit."""

from __future__ import annotations

from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seawall import CircuitBreaker, FailureCount
from seawall.presets import failure_threshold, open_time


@pytest.mark.parametrize(
    "parts,expected", [((10, 15, 5), 60.0), ((0.5, 0.25, 0), 1.5), ((0, 0, 0), 0.0)]
)
def test_the_open_time_is_twice_a_restart(parts, expected):
    """It is 2 × (deployment + startup + warm-up) seconds, as a float."""
    result = open_time(*parts)
    assert result == expected
    assert type(result) is float


def test_the_parts_of_a_restart_have_names():
    """The arguments can be given by name, and none is left out in silence."""
    assert open_time(deployment=10, startup=15, warm_up=5) == 60.0
    with pytest.raises(TypeError, match="warm_up"):
        open_time(10, 15)


@pytest.mark.parametrize(
    "rate,window,expected",
    [
        (100, 10, 100),  # the chapter's example
        (0, 10, 5),  # never less than five
        (5, 10, 5),
        (5.1, 10, 6),  # rounded up
        (1, 101, 11),
        (70, 10, 70),  # 0.1 * 70 * 10 is more than 70 in binary
        (1.1, 100, 11),  # and so is 1.1 * 100 / 10 more than 11
    ],
)
def test_the_threshold_is_a_tenth_of_the_calls_in_a_window(rate, window, expected):
    """It is max(5, 0.1 × rate × window) as an int; a fraction is rounded up."""
    result = failure_threshold(rate, window)
    assert result == expected
    assert type(result) is int


@given(rate=st.integers(0, 10_000), window=st.integers(1, 600))
def test_the_threshold_in_whole_numbers_is_exact(rate, window):
    """For whole numbers it agrees with integer arithmetic."""
    assert failure_threshold(rate, window) == max(5, -(-rate * window // 10))


def test_the_results_are_arguments():
    """What they return is what a circuit and a rule take."""
    rule = FailureCount(failure_threshold(100, 10), window=10)
    assert rule == FailureCount(100, window=10)
    CircuitBreaker(rule, open_for=open_time(10, 15, 5))


@pytest.mark.parametrize(
    "formula,fixed,parameter,wrong",
    [
        (open_time, {"startup": 1, "warm_up": 1}, "deployment", [-1, nan, inf, "1", None, True]),
        (open_time, {"deployment": 1, "warm_up": 1}, "startup", [-0.1, nan, inf, "1", None]),
        (open_time, {"deployment": 1, "startup": 1}, "warm_up", [-1, nan, inf, "1", None]),
        (failure_threshold, {"window": 10}, "rate", [-1, nan, inf, "1", None, True]),
        (failure_threshold, {"rate": 100}, "window", [0, -1, nan, inf, "1", None, True]),
    ],
)
def test_a_wrong_argument_is_named(formula, fixed, parameter, wrong):
    """The error names the parameter, the value and what is allowed."""
    for value in wrong:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        with pytest.raises(ValueError if number else TypeError) as caught:
            formula(**fixed, **{parameter: value})
        text = str(caught.value)
        assert text.startswith(f"{parameter} must be a number >")
        assert text.endswith(f"not {value!r}")
