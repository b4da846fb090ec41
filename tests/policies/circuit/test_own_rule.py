"""A rule of the user's own."""

from __future__ import annotations

import inspect
from textwrap import dedent

import pytest

import seawall
from seawall import Circuit, CircuitOpenError, ConsecutiveFailures, Kind, State, Tally, TripRule


def example():
    """Return the rule that the documentation of ``TripRule`` shows."""
    text = inspect.getdoc(TripRule)
    names = vars(seawall).copy()
    exec(dedent(text.partition("::\n")[2]), names)
    return names["SlowFailures"]()


def test_the_example_of_the_documentation_works():
    """It hears the kind and the duration of each call, and says when to trip."""
    tally = example().start()
    calls = [(Kind.FAILURE, 2.0), (Kind.SUCCESS, 2.0), *[(Kind.FAILURE, 2.0)] * 2]
    calls += [(Kind.FAILURE, 0.5), *[(Kind.FAILURE, 1.5)] * 3]
    assert [tally.record(*call, now=0.0) for call in calls] == [False] * 7 + [True]
    assert tally.evidence(0.0) == (3, 3)
    tally.reset()
    assert tally.evidence(0.0) == (0, 0)


@pytest.mark.parametrize("combine", [lambda rule: rule, lambda rule: rule | ConsecutiveFailures(9)])
def test_it_trips_a_circuit_and_tells_its_evidence(combine):
    """A circuit opens by it, alone and combined, and the refusal tells what it counted."""
    circuit = Circuit(combine(example()))
    for number in range(3):
        assert circuit.state is State.CLOSED
        circuit.settle(circuit.admit(number * 3.0), Kind.FAILURE, number * 3.0 + 2.0)
    with pytest.raises(CircuitOpenError) as caught:
        circuit.admit(8.0)
    assert (caught.value.failures, caught.value.calls) == (3, 3)


def test_the_least_that_a_rule_needs():
    """``record`` and ``reset`` are enough; the rest of the protocol does nothing by default."""

    class Least(Tally):
        def record(self, kind, duration, now):
            return duration > 1.0

        def reset(self):
            pass

    tally = Least()
    tally.shift(5.0)
    tally.carry_over(Least())
    assert tally.evidence(0.0) == (0, 0)
    assert tally.quiet_until == -float("inf")
    assert tally.record(Kind.SUCCESS, 2.0, 0.0)
    with pytest.raises(TypeError):
        Tally()
    with pytest.raises(TypeError):
        TripRule()
