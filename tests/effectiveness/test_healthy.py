"""Healthy dependencies, also slow ones, are never cut off by what is on by default."""

from __future__ import annotations

import pytest

from seawall import CircuitBreaker, Pipeline, State
from tests.effectiveness.simulation import ENDED, FAILED, REFUSED, SERVED, simulate
from tests.effectiveness.tables import show
from tests.effectiveness.traffic import both, bursts, changing, mixed, poisson, steady

FAST = steady(0.02)


def ending():
    """The breaker that may end calls: it must find no reason to."""
    return CircuitBreaker(end_stalled=True)


POLICIES = {"standard": Pipeline.standard, "breaker": CircuitBreaker, "end_stalled": ending}

# Calls a second, and for how long. The long ones have the rates of other people's traffic too.
SHORT = [(1, 400.0), (5, 120.0), (20, 60.0), (100, 15.0)]
LONG = [
    (0.2, 3600.0),
    (1, 3600.0),
    (2, 1800.0),
    (5, 1200.0),
    (20, 600.0),
    (50, 300.0),
    (100, 200.0),
]
SEEDS, MANY_SEEDS = (1, 2, 3), (11, 12, 13, 14)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES.keys()),
    pytest.mark.parametrize(
        "rates, seeds",
        [(SHORT, SEEDS), pytest.param(LONG, MANY_SEEDS, marks=pytest.mark.soak)],
        ids=["short", "long"],
    ),
]

HEAD = ["calls/s", "seconds", "seeds", "calls", "served", "failed", "refused", "ended", "trips"]


def row(rate, length, runs):
    calls = sum(len(run.calls) for run in runs)
    outcomes = [sum(run.count(kind) for run in runs) for kind in (SERVED, FAILED, REFUSED, ENDED)]
    return [rate, length, len(runs), calls, *outcomes, sum(run.trips for run in runs)]


def untouched(title, make, cases, seeds, *, or_nearly=False):
    """Run the cases, each a name, a length, arrivals and a behavior, and see nothing happen.

    Or nearly nothing: one call in a hundred lost at most, and two trips in an hour.
    """
    rows = []
    for name, length, arrivals, behavior in cases:
        runs = [simulate(make, arrivals, behavior, seed=seed) for seed in seeds]
        rows.append(row(name, length, runs))
    show(title, HEAD, rows)
    for _, length, count, calls, _, _, refused, ended, trips in rows:
        if or_nearly:
            assert refused + ended <= 0.01 * calls
            assert trips <= 2 * max(1.0, count * length / 3600)
        else:
            assert (refused, ended, trips) == (0, 0, 0)


@pytest.mark.parametrize("latency", [5.0, 2.0, 8.0])
def test_a_cold_start(make, rates, seeds, latency):
    """From the very first call on, calls of 5 s (also 2 or 8) are served, every one."""
    untouched(
        f"cold start at {latency} s a call",
        make,
        [(rate, length, poisson(rate, length), steady(latency)) for rate, length in rates],
        seeds,
    )


def test_a_cold_start_of_mixed_latencies(make, rates, seeds):
    """Neither does it matter that the first calls take anything from 0.5 to 9.5 s."""
    untouched(
        "cold start at 0.5 to 9.5 s a call",
        make,
        [(rate, length, poisson(rate, length), steady(5.0, spread=0.9)) for rate, length in rates],
        seeds,
    )


@pytest.mark.parametrize("share, slow", [(0.95, 5.0), (0.8, 5.0), (0.5, 9.0), (0.99, 9.5)])
def test_a_mix_of_fast_and_slow(make, rates, seeds, share, slow):
    """95 % at 20 ms and 5 % at 5 s, and other mixes: every call is served."""
    behavior = mixed(share, FAST, steady(slow))
    # Where half of 5 calls a second are slow, chance leaves the fast ones out for q = 3 s, while
    # eight slow ones are in flight: once or twice in an hour.
    or_nearly = share == 0.5 and rates is LONG
    untouched(
        f"{share:.0%} at 20 ms, the rest at {slow} s",
        make,
        [(rate, length, poisson(rate, length), behavior) for rate, length in rates],
        seeds,
        or_nearly=or_nearly,
    )


@pytest.mark.parametrize("spread", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("size", [30, pytest.param(100, marks=pytest.mark.soak)])
def test_bursts_of_slow_calls(make, rates, seeds, size, spread):
    """Bursts of 30 or 100 calls of 5 s, after which nobody calls for a while, are served."""
    length = 240.0 if rates is SHORT else 1800.0
    untouched(
        f"bursts of {size} × 5 s within {spread} s",
        make,
        [
            (f"{size}/{every}s", length, bursts(size, every, length, spread=spread), steady(5.0))
            for every in (3.0, 12.0, 60.0, 200.0)
        ],
        seeds,
    )


@pytest.mark.parametrize("spread", [0.0, 2.0])
def test_bursts_of_slow_calls_among_fast_ones(make, rates, seeds, spread):
    """Bursts of 30 calls of 5 s are served beside a steady traffic of fast calls."""
    # Which call is slow must not depend on the policies: those that come with a burst are.
    cases = []
    for rate, length in rates:
        burst_times = set()

        def slow_times(random, length=length, seen=burst_times):
            for time in bursts(30, 30.0, length, spread=spread)(random):
                seen.add(time)
                yield time

        def behavior(now, random, seen=burst_times):
            return (steady(5.0) if now in seen else FAST)(now, random)

        # The fast calls are there for as long as a slow one runs.
        fast = poisson(rate, length + spread + 6.0)
        cases.append((rate, length, both(fast, slow_times), behavior))
    # Chance leaves the fast ones out for q: at 2 to 5 calls a second, at one burst in 150.
    title = f"bursts of 30 × 5 s within {spread} s beside 20 ms"
    untouched(title, make, cases, seeds, or_nearly=rates is LONG)


@pytest.mark.parametrize("latency", [5.0, 2.0, 8.0])
def test_a_shift_for_good(make, rates, seeds, latency):
    """20 ms that become 5 s for good (also 2 or 8): one trip at most, and it recovers for good."""
    rows = []
    every_run = []
    for rate, length in rates:
        shift = max(10.0, 80 / rate)
        behavior = changing(FAST, (shift, steady(latency)))
        arrivals = poisson(rate, shift + max(length, 40.0))
        runs = [simulate(make, arrivals, behavior, seed=seed) for seed in seeds]
        out = max(run.recovery(shift) for run in runs)
        rows.append([*row(rate, length, runs), max(run.trips for run in runs), out])
        every_run += runs
    show(f"20 ms become {latency} s for good", [*HEAD, "most trips", "longest recovery"], rows)
    for run in every_run:
        assert run.trips <= 1
        assert run.states[-1][1] is State.CLOSED


@pytest.mark.parametrize("spread", [2.0, 4.0])
def test_slow_bursts_in_place_of_fast_traffic(make, rates, seeds, spread):
    """30 s of fast calls, and then only 30 calls of 5 s, again and again: it trips at most once."""
    rows, every_run = [], []
    for rate, length in rates:
        if rate < 20:
            continue
        burst_times = set()
        rounds = max(3, int(length / 50))

        def times(random, rate=rate, rounds=rounds, seen=burst_times):
            for start in range(0, 50 * rounds, 50):
                yield from poisson(rate, start + 30.0, start=start)(random)
                slow = sorted(start + 30.5 + random.random() * spread for _ in range(30))
                seen.update(slow)
                yield from slow

        def behavior(now, random, seen=burst_times):
            return (steady(5.0) if now in seen else FAST)(now, random)

        runs = [simulate(make, times, behavior, seed=seed) for seed in seeds]
        rows.append(row(rate, 50.0 * rounds, runs))
        every_run += runs
    show(f"30 s of 20 ms, then 30 × 5 s within {spread} s", HEAD, rows)
    for run in every_run:
        assert run.trips <= 1
        assert run.count(REFUSED, 100.0) == 0
