"""One of ten shards is down for a minute: ten processes ask all of them, 400 calls a second.

Nine tenths can be served: that is the bound. A circuit for each shard leaves the one that is down
alone and serves the others; one circuit for all of them sees a tenth of the calls fail, and either
does nothing or cuts off what is healthy.
"""

from __future__ import annotations

import random as chance
from asyncio import get_running_loop
from random import Random

import pytest

from seawall import CircuitBreaker, Keyed, Pipeline, RejectedError, Retry, Timeout, exponential
from tests.effectiveness.rows import SLO, in_time, means
from tests.effectiveness.simulation import REFUSED, simulate_server
from tests.effectiveness.traffic import Dependency, changing, poisson, steady

SHARDS, PROCESSES, SICK = 10, 10, 3
BEGIN, TIMEOUT = 20.0, 1.0
UP, DOWN = steady(0.02), steady(0.005, errors=1.0)
SEEDS = (1, 2, 3)
OTHER_SEEDS = (71, 72, 73)

pytestmark = pytest.mark.slow


class Shards:
    """Ten dependencies, of which one is down for a while."""

    def __init__(self, random, fault_ends):
        self.sent, self.abandoned = [], 0
        sick = changing(UP, (BEGIN, DOWN), (fault_ends, UP))
        self.all = [Dependency(sick if n == SICK else UP, random) for n in range(SHARDS)]
        for each in self.all:
            each.sent = self.sent


class Fleet:
    """Ten processes, each with policies of its own; a call goes to one of them, for some shard.

    Attributes:
        wrong: refused calls to a shard that was up.
    """

    def __init__(self, make, fault_ends):
        self.wrong = 0
        self._fault_ends = fault_ends
        self._processes = [make() for _ in range(PROCESSES)]
        self._random = Random(f"fleet {chance.random()}")

    async def execute(self, shards):
        shard, process = self._random.randrange(SHARDS), self._random.choice(self._processes)
        try:
            await process.bind(key=shard).execute(shards.all[shard])
        except RejectedError:
            down = shard == SICK and BEGIN <= get_running_loop().time() < self._fault_ends
            self.wrong += not down
            raise


def around(*policies):
    return Pipeline(Timeout(30), Retry(3, backoff=exponential(0.1)), *policies, Timeout(TIMEOUT))


def keyed():
    return around(Keyed(lambda shard: CircuitBreaker()))


def shared():
    return around(CircuitBreaker())


def touchy():
    return around(CircuitBreaker(0.05, open_for=30.0))


def naive():
    return Pipeline(Retry(3, backoff=0, budget=None), Timeout(TIMEOUT))


def none():
    return Timeout(TIMEOUT)


def one_is_down(make, seeds, *, rate=400, fault=60.0):
    rows, ends = [], BEGIN + fault
    for seed in seeds:
        run = simulate_server(
            lambda: Fleet(make, ends),
            poisson(rate, ends + 30.0),
            lambda random: Shards(random, ends),
            seed=seed,
        )
        calls, served = in_time(run, BEGIN, ends, SLO)
        rows.append(
            {
                "in fault": served / calls,
                "wrongly refused": run.policy.wrong,
                "amplification": run.attempts(BEGIN, ends) / calls,
                "refused": run.count(REFUSED),
            }
        )
    return means(f"one bad shard of {SHARDS}, {rate}/s, {make.__name__}", seeds, rows)


def test_a_circuit_for_each_shard_serves_the_others():
    """What can be served is; at most 200 calls are wrongly refused, and the sick shard rests."""
    result = one_is_down(keyed, SEEDS)
    assert result["in fault"] >= 0.895
    assert result["wrongly refused"] <= 200
    assert result["amplification"] <= 0.92


@pytest.mark.parametrize("rate, fault", [(200, 60.0), (800, 30.0), (400, 200.0)])
def test_so_it_does_at_other_rates_and_lengths(rate, fault):
    """With fewer calls, those that trip ten circuits are a larger share."""
    result = one_is_down(keyed, OTHER_SEEDS, rate=rate, fault=fault)
    assert result["in fault"] >= 0.895
    assert result["wrongly refused"] <= 200
    assert result["amplification"] <= 0.93


def test_one_circuit_for_all_shards():
    """By the default rule it sees nothing, and a rule that does cuts off what is healthy."""
    blind = one_is_down(shared, SEEDS)
    assert blind["refused"] == 0
    assert blind["amplification"] > 1.05
    result = one_is_down(touchy, SEEDS)
    assert result["wrongly refused"] > 20_000
    assert result["in fault"] < 0.3


@pytest.mark.parametrize("make, load", [(none, 0.99), (naive, 1.15)])
def test_without_a_circuit_it_never_rests(make, load):
    """As many calls are served, while the shard that is down gets all of them, or three times."""
    result = one_is_down(make, SEEDS)
    assert result["in fault"] >= 0.895
    assert result["amplification"] >= load
