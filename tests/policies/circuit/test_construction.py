"""Wrong arguments are refused where they are given."""

from __future__ import annotations

from math import inf, nan

import pytest

from seawall.policies.circuit.core import Circuit, State
from seawall.policies.circuit.rules import (
    AllOf,
    AnyOf,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
)
from seawall.policies.circuit.windows import Calls

SECONDS = [
    (0, ValueError),
    (-1.0, ValueError),
    (nan, ValueError),
    (inf, ValueError),
    (-inf, ValueError),
    (True, TypeError),
    ("5", TypeError),
]
WHOLE = [
    (0, ValueError),
    (-3, ValueError),
    (1.0, TypeError),
    (True, TypeError),
    (None, TypeError),
    ("1", TypeError),
]
RATIO = [
    (0.0, ValueError),
    (-0.1, ValueError),
    (1.01, ValueError),
    (nan, ValueError),
    (inf, ValueError),
    (False, TypeError),
    ("0.5", TypeError),
]
WRONG = [
    *[(Circuit, "open_for", value, error) for value, error in SECONDS],
    *[(Circuit, "max_open_for", value, error) for value, error in SECONDS],
    *[(Circuit, "probe_lease", value, error) for value, error in SECONDS],
    *[(Circuit, "probes", value, error) for value, error in WHOLE],
    *[(Circuit, "close_after", value, error) for value, error in WHOLE],
    *[(Circuit, "count_retries", value, TypeError) for value in (None, 1, "yes")],
    *[(Circuit, "shadow", value, TypeError) for value in (None, 1, "yes")],
    *[(Circuit, "stalls", value, TypeError) for value in (None, 1, "yes")],
    *[(Circuit, "end_stalled", value, TypeError) for value in (None, 1, "yes")],
    *[(Circuit, "parent", value, TypeError) for value in (1, "parent", Circuit)],
    *[(Circuit, "random", value, TypeError) for value in (None, 0.5)],
    *[(Circuit, "trip", value, TypeError) for value in (True, False, "5", [5], FailureRate)],
    *[(Circuit, "trip", value, ValueError) for value in (0, -1, 0.0, 1.5, nan, inf, -0.5)],
    *[(ConsecutiveFailures, "n", value, error) for value, error in WHOLE],
    *[(Calls, "count", value, error) for value, error in WHOLE],
    *[(lambda n: FailureCount(n, 10.0), "n", value, error) for value, error in WHOLE],
    *[(lambda window: FailureCount(1, window), "window", value, error) for value, error in SECONDS],
    (lambda n: FailureCount(n, Calls(3)), "n", 4, ValueError),
    (lambda window: FailureCount(1, window), "window", None, TypeError),
    *[(FailureRate, "ratio", value, error) for value, error in RATIO],
    *[
        (lambda window: FailureRate(0.5, window), "window", value, error)
        for value, error in SECONDS
    ],
    *[
        (lambda minimum_calls: FailureRate(0.5, minimum_calls=minimum_calls), "minimum_calls", *row)
        for row in WHOLE
    ],
]


@pytest.mark.parametrize("make,parameter,value,error", WRONG)
def test_a_wrong_value_is_named_with_what_is_allowed(make, parameter, value, error):
    """The error is a ValueError or a TypeError and names the parameter, the value and the range."""
    with pytest.raises(error) as caught:
        make(**{parameter: value})
    assert type(caught.value) is error
    text = str(caught.value)
    assert text.startswith(f"{parameter} must be ")
    assert repr(value) in text


def test_max_open_for_is_not_below_open_for():
    """A maximum below the first open time is a mistake."""
    with pytest.raises(ValueError, match="max_open_for must be at least open_for"):
        Circuit(open_for=10.0, max_open_for=9.0)
    assert Circuit(open_for=10, max_open_for=10).max_open_for == 10


@pytest.mark.parametrize("combine", [AnyOf, AllOf])
def test_only_rules_combine(combine):
    """A combination takes rules, at least one, and nothing that only means a rule."""
    with pytest.raises(ValueError, match="at least one"):
        combine()
    with pytest.raises(TypeError, match="takes rules, not 5"):
        combine(ConsecutiveFailures(1), 5)
    with pytest.raises(TypeError):
        ConsecutiveFailures(1) | 5
    with pytest.raises(TypeError):
        ConsecutiveFailures(1) & 0.5


def test_a_new_circuit_is_closed_and_keeps_what_it_was_given():
    """The settings can be read back, and the defaults are those of the reference."""
    circuit = Circuit(3, open_for=4, max_open_for=8, probes=2, close_after=5, probe_lease=6)
    assert (circuit.open_for, circuit.max_open_for, circuit.probes) == (4, 8, 2)
    assert (circuit.close_after, circuit.probe_lease) == (5, 6)
    assert circuit.rule == ConsecutiveFailures(3)
    assert circuit.state is State.CLOSED
    default = Circuit()
    assert (default.open_for, default.max_open_for, default.probe_lease) == (None, None, None)
    assert (default.probes, default.close_after) == (1, 1)
    assert (default.count_retries, default.shadow) == (False, False)
    assert (default.opening, default.would_refuse, default.retry_after(0.0)) == (None, 0, 0.0)


@pytest.mark.parametrize(
    "parameter, allowed",
    [
        *[(name, "True or False") for name in ("count_retries", "stalls", "end_stalled", "shadow")],
        ("parent", "a Circuit or None"),
    ],
)
def test_what_is_allowed_is_said(parameter, allowed):
    """The message is a sentence that says what the parameter may be."""
    with pytest.raises(TypeError) as caught:
        Circuit(**{parameter: 1})
    assert str(caught.value) == f"{parameter} must be {allowed}, not 1"


def test_ending_what_is_stalled_needs_stalls():
    """Where silence is no evidence nothing is ever stalled, so the two together are a mistake."""
    with pytest.raises(ValueError) as caught:
        Circuit(stalls=False, end_stalled=True)
    message = "end_stalled=True needs stalls=True: no other call is ever stalled"
    assert str(caught.value) == message


def test_a_new_circuit_has_nobody_to_name():
    """Alone, a circuit has no owner, no name, and a refusal says so."""
    circuit = Circuit()
    assert (circuit.owner, circuit.name) == (None, None)
