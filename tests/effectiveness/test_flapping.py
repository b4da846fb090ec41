"""A dependency that is up for 10 s and down for 10 s, again and again; down, it fails at once.

Half of the calls can be served. To serve nearly all of that takes no more than to ask each time;
the point of a circuit is to do so while it hardly asks a dependency that is down.
"""

from __future__ import annotations

import pytest

from tests.effectiveness.rows import POLICIES, goodput, means, policy
from tests.effectiveness.simulation import simulate
from tests.effectiveness.traffic import poisson, steady

UP, DOWN = steady(0.02), steady(0.005, errors=1.0)
TIMEOUT = 1.0
SEEDS = (1, 2, 3)

pytestmark = pytest.mark.slow


def flapping(period):
    return lambda now, random: (UP if now % (2 * period) < period else DOWN)(now, random)


def flap(name, rate, period, seeds):
    end = 20 * period
    rows = []
    for seed in seeds:
        run = simulate(policy(name, TIMEOUT), poisson(rate, end), flapping(period), seed=seed)
        amplification = len(run.sent) / len(run.calls)
        rows.append({"goodput": goodput(run, 0.0, end), "amplification": amplification})
    return means(f"flapping each {period:g} s at {rate}/s, {name}", seeds, rows)


@pytest.mark.parametrize("name", ["standard", "adaptive"])
@pytest.mark.parametrize(
    "rate, period, seeds",
    [(100, 10.0, SEEDS), (20, 10.0, SEEDS), (50, 15.0, (41, 42, 43)), (200, 10.0, (41, 42, 43))],
)
def test_it_is_served_while_it_is_up(name, rate, period, seeds):
    """At least .40 of .5, for .58 attempts a call."""
    result = flap(name, rate, period, seeds)
    assert result["goodput"] >= 0.40
    assert result["amplification"] <= 0.58


@pytest.mark.parametrize(
    "name", [name for name in POLICIES if name not in {"standard", "adaptive"}]
)
def test_others(name):
    """Without a circuit goodput is as good, for two or three times the load; or it is bad."""
    result = flap(name, 100, 10.0, SEEDS)
    assert result["goodput"] < 0.40 or result["amplification"] > 0.58
