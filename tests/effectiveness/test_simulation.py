"""What the other tests stand on: the simulation itself."""

from __future__ import annotations

import asyncio
from random import Random
from statistics import fmean

import pytest

from seawall import CircuitBreaker, Pipeline, Timeout
from tests.effectiveness.loop import Stuck, run
from tests.effectiveness.simulation import ENDED, FAILED, SERVED, simulate
from tests.effectiveness.traffic import bursts, changing, poisson, silent, steady


def outcomes(run):
    return [(call.arrival, call.end, call.outcome) for call in run.calls]


def test_a_seed_stands_for_one_run():
    """A run is the same each time, and another one with another seed."""

    def one(seed):
        behavior = changing(steady(0.1, errors=0.3), (20.0, steady(0.1, errors=1.0)))
        return outcomes(simulate(CircuitBreaker, poisson(20, 60.0), behavior, seed=seed))

    assert one(1) == one(1)
    assert one(1) != one(2)


def test_callers_do_not_wait_for_each_other():
    """The calls come at their rate however slow the answers are, as Little's law has it."""
    run = simulate(lambda: Timeout(60.0), poisson(50, 200.0), steady(4.0), seed=1)
    assert len(run.calls) == pytest.approx(50 * 200, rel=0.05)
    assert run.peak == pytest.approx(50 * 4, rel=0.25)
    assert run.count(SERVED) == len(run.calls)
    assert fmean(call.end - call.arrival for call in run.calls) == pytest.approx(4.0)


def test_what_becomes_of_the_calls():
    """A call is served, fails, or is ended; what is swallowed was sent and is abandoned."""
    behavior = changing(steady(0.1), (10.0, steady(0.1, errors=1.0)), (20.0, silent))
    run = simulate(lambda: Timeout(2.0), poisson(10, 30.0), behavior, seed=1)
    assert run.count(SERVED) == run.arrived(0.0, 10.0) == run.attempts(0.0, 10.0)
    assert run.count(FAILED) == run.arrived(10.0, 20.0)
    assert run.count(ENDED) == run.arrived(20.0, 30.0) == run.abandoned
    assert run.trips == 0


def test_recovery_is_counted_from_the_end_of_a_fault():
    """It ends with the first answer after which no new call is lost."""
    behavior = changing(steady(0.1), (10.0, steady(0.1, errors=1.0)), (20.0, steady(0.5)))
    run = simulate(Pipeline, poisson(10, 30.0), behavior, seed=1)
    first = run.since(20.0)[0]
    assert run.recovery(20.0) == pytest.approx(first.arrival + 0.5 - 20.0)
    assert run.recovery(15.0) == pytest.approx(first.arrival + 0.5 - 15.0)


def test_bursts():
    """So many calls at a time."""
    times = list(bursts(30, 60.0, 600.0)(Random(1)))
    assert len(times) == 30 * len(set(times))


def test_an_endless_wait_is_noticed():
    """A simulation in which nothing can happen any more does not hang."""

    async def wait():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck):
        run(wait())
