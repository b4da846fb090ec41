"""A client that blocks its own event loop: the answers are there, but nobody has read them yet."""

from __future__ import annotations

from asyncio import get_running_loop

import pytest

from seawall import CircuitBreaker, Pipeline
from tests.effectiveness.loop import SimulationLoop
from tests.effectiveness.simulation import FAILED, REFUSED, simulate
from tests.effectiveness.tables import show
from tests.effectiveness.traffic import poisson, steady

POLICIES = {"standard": Pipeline.standard, "breaker": CircuitBreaker}
# Turns of the loop that an answer takes from the socket to the caller; each caller that comes takes
# some time too, so that what has piled up is not worked off in no time.
TURNS = 6
SECONDS_PER_CALLER = 0.0005
# Calls a second, and seconds of a call.
TRAFFIC = [(100, 0.02), (100, 0.1), (30, 0.4), (300, 0.1), (100, 1.0), (1000, 0.05), (20, 3.0)]
# Not as long as the standard pipeline's timeout of an attempt: that would be a failure indeed.
BLOCKS = [0.3, 1.2, 1.5, 3.0, 6.0]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES.keys()),
]


def blocked(make, rate, latency, block, *, often=3, every=20.0, seed=1):
    """Run steady traffic in which nothing at all runs for ``block`` seconds, now and then."""
    length = every * (often + 1)
    busy = steady(latency, spread=0.3)
    blocks = [every * (number + 1) for number in range(often)]

    def behavior(now, random):
        # The first caller after the given time holds the loop up.
        loop = get_running_loop()
        assert isinstance(loop, SimulationLoop)
        loop.now += SECONDS_PER_CALLER
        if blocks and now >= blocks[0]:
            blocks.pop(0)
            loop.now += block
        return busy(now, random)

    return simulate(make, poisson(rate, length), behavior, seed=seed, turns=TURNS)


@pytest.mark.parametrize("rate, latency", TRAFFIC)
def test_a_blocked_loop_is_no_silence(make, rate, latency):
    """However long the client itself was blocked, no call is refused, and nothing trips."""
    rows = []
    for block in BLOCKS:
        runs = [blocked(make, rate, latency, block, seed=seed) for seed in (1, 2, 3)]
        counts = [sum(run.count(what) for run in runs) for what in (REFUSED, FAILED)]
        rows.append([block, *counts, sum(run.trips for run in runs)])
    show(f"{rate}/s of {latency} s", ["block", "refused", "failed", "trips"], rows)
    assert all(row[1:] == [0, 0, 0] for row in rows)
