"""A server with a queue that loses most of its capacity for a while, or begins again cold.

Twenty workers take 20 ms a request on average: 1,000 a second. Each attempt may take 1 s. A queue
of more than a second is answered too late, all of it, for as long as it lasts; the server works on
what nobody waits for any more, and retries make the queue longer: overload that outlasts its cause.

Of a fault in which the server takes a fifth, a client can serve a fifth at best: that is the bound.
"""

from __future__ import annotations

from functools import partial
from math import inf

import pytest

from tests.effectiveness.fifo_server import FifoServer
from tests.effectiveness.rows import goodput, in_time, means, naive, policy, recovery, refused
from tests.effectiveness.simulation import simulate_server
from tests.effectiveness.traffic import poisson

WORKERS, SECONDS = 20, 0.02
TIMEOUT = 1.0
BEGIN = 20.0
SEEDS = (1, 2, 3)
OTHER_SEEDS = (21, 22, 23)

pytestmark = pytest.mark.slow


def weak(left, fault):
    """Return a server with this share of its capacity for so many seconds."""

    def seconds(server, now):
        slower = BEGIN <= now < BEGIN + fault
        return server.random.expovariate((left if slower else 1.0) / SECONDS)

    return partial(FifoServer, workers=WORKERS, seconds=seconds)


def cold(warm_after, crash_above=inf):
    """Return a server that begins again with a cold cache: a fifth of its capacity at first."""

    def seconds(server, now):
        hits = min(1.0, server.worked / warm_after) if server.lives else 1.0
        return server.random.expovariate(1 / (SECONDS * (5 - 4 * hits)))

    return partial(
        FifoServer, workers=WORKERS, seconds=seconds, crash_above=crash_above, restart_at=BEGIN
    )


# Overload that outlasts its cause.


def metastable(make, seeds, *, rate=800, left=0.2, fault=10.0, end=125.0):
    rows = []
    for seed in seeds:
        run = simulate_server(make, poisson(rate, end), weak(left, fault), seed=seed)
        rows.append(
            {
                "goodput": goodput(run, 0.0, end),
                "in fault": goodput(run, BEGIN, BEGIN + fault),
                "recovery": recovery(run, BEGIN + fault, end),
                "refused before": refused(run, 0.0, BEGIN),
                "refused after": refused(run, BEGIN + fault, end),
                "amplification": len(run.sent) / len(run.calls),
                "trips": run.trips,
                "peak": run.peak,
            }
        )
    return rows


def bound(rate, left, fault, end):
    """The share that could be served at best, if every call was served that can be."""
    capacity = left * WORKERS / SECONDS
    return 1 - fault * max(0.0, rate - capacity) / (rate * end)


def test_an_adaptive_limit_keeps_overload_from_lasting():
    """A hundredth from the bound, healthy as soon as the server is, and nobody refused then."""
    rows = metastable(policy("adaptive", TIMEOUT), SEEDS)
    result = means("metastable, adaptive", SEEDS, rows)
    assert result["goodput"] >= 0.93
    assert bound(800, 0.2, 10.0, 125.0) == pytest.approx(0.94)
    assert max(row["recovery"] for row in rows) <= 2.0
    assert max(row["refused after"] + row["refused before"] for row in rows) <= 150


@pytest.mark.parametrize(
    "rate, left, fault",
    [
        (500, 0.2, 10.0),
        (900, 0.5, 20.0),
        (650, 0.1, 5.0),
        pytest.param(
            800,
            0.05,
            30.0,
            marks=[
                pytest.mark.soak,
                pytest.mark.xfail(
                    reason="the limit has come down to 1 and grows by .8 a second: it recovers "
                    "after 15 s, with 4,800 refused, and a goodput of .608 of .688"
                ),
            ],
        ),
        pytest.param(300, 0.1, 60.0, marks=pytest.mark.soak),
    ],
)
def test_it_does_so_at_other_rates_and_lengths(rate, left, fault):
    """At rates, depths and lengths of fault, and seeds, that nothing was tuned on."""
    end = 60.0 + fault
    make = policy("adaptive", TIMEOUT)
    rows = metastable(make, OTHER_SEEDS, rate=rate, left=left, fault=fault, end=end)
    title = f"{rate}/s, {left:.0%} of capacity for {fault:g} s, adaptive"
    result = means(title, OTHER_SEEDS, rows)
    assert result["goodput"] >= bound(rate, left, fault, end) - 0.01 * 125 / end
    assert max(row["recovery"] for row in rows) <= 2.0
    assert max(row["refused after"] + row["refused before"] for row in rows) <= 150


@pytest.mark.soak
def test_it_recovers_after_a_deep_fault():
    """From a limit of 1, at a twentieth of the capacity for 30 s, within 20 s."""
    make = policy("adaptive", TIMEOUT)
    rows = metastable(make, OTHER_SEEDS, rate=800, left=0.05, fault=30.0, end=90.0)
    means("800/s, 5 % of capacity for 30 s, adaptive", OTHER_SEEDS, rows)
    assert max(row["recovery"] for row in rows) <= 20.0


def test_naive_retries_make_it_last():
    """Three attempts of 800 calls a second are 2,400: it never recovers."""
    rows = metastable(policy("naive", TIMEOUT), SEEDS[:1], end=70.0)
    result = means("metastable, naive retries", SEEDS[:1], rows)
    assert result["recovery"] == 40.0


@pytest.mark.parametrize("name", ["none", "classic", "standard", "shedding"])
def test_others_recover_later_or_lose_more(name):
    """The limit is what keeps the queue short: none of the others comes as near to the bound."""
    rows = metastable(policy(name, TIMEOUT), SEEDS)
    result = means(f"metastable, {name}", SEEDS, rows)
    assert result["goodput"] < 0.93
    if name == "standard":
        # The circuit sees the overload only once the queue is a second long.
        assert result["goodput"] >= 0.91
        assert max(row["recovery"] for row in rows) <= 2.0
    else:
        assert min(row["recovery"] for row in rows) >= 15.0


# Where naive retries never recover.

LOADS = [0.25, 0.4, 0.6, 0.8, 0.95]


@pytest.mark.parametrize("load", LOADS)
def test_an_adaptive_limit_recovers_at_every_load(load):
    """After 10 s at a tenth of the capacity, within 15 s, up to 95 % load; it takes a second."""
    make = policy("adaptive", TIMEOUT)
    rows = metastable(make, SEEDS, rate=1000 * load, left=0.1, end=60.0)
    means(f"boundary at load {load:g}, adaptive", SEEDS, rows)
    assert max(row["recovery"] for row in rows) <= 15.0


@pytest.mark.parametrize("load", [0.7, 0.9, 0.95])
def test_so_it_does_at_other_seeds(load):
    """And loads."""
    make = policy("adaptive", TIMEOUT)
    rows = metastable(make, OTHER_SEEDS, rate=1000 * load, left=0.1, end=50.0)
    means(f"boundary at load {load:g}, adaptive", OTHER_SEEDS, rows)
    assert max(row["recovery"] for row in rows) <= 15.0


@pytest.mark.parametrize(
    "attempts, load, recovers",
    [
        (2, 0.4, True),
        (2, 0.6, False),
        (3, 0.25, True),
        (3, 0.4, False),
        pytest.param(4, 0.2, True, marks=pytest.mark.soak),
        pytest.param(4, 0.3, False, marks=pytest.mark.soak),
    ],
)
def test_naive_retries_recover_only_below_one_over_the_attempts(attempts, load, recovers):
    """Retries at once, A attempts each: above a load of 1/A what they send exceeds the capacity."""
    make = partial(naive, TIMEOUT, attempts)
    end = 110.0 if recovers else 70.0
    rows = metastable(make, SEEDS[:1], rate=1000 * load, left=0.1, end=end)
    result = means(f"boundary at load {load:g}, {attempts} attempts", SEEDS[:1], rows)
    assert (result["recovery"] < end - BEGIN - 10.0) is recovers


# A cold cache.

WARM_AFTER = 5000


def begun_again(make, seeds, *, rate=800, warm_after=WARM_AFTER, crash_above=inf, end=55.0):
    rows = []
    for seed in seeds:
        serve = cold(warm_after, crash_above)
        run = simulate_server(make, poisson(rate, end), serve, seed=seed)
        calls, served = in_time(run, BEGIN, end)
        rows.append(
            {
                "goodput": served / calls,
                "lost": (calls - served) / rate,
                "recovery": recovery(run, BEGIN, end),
                "crashes": len(run.dependency.crashes),
                "trips": run.trips,
                "refused": refused(run, BEGIN, end),
            }
        )
    return rows


def best(rate, warm_after):
    """Return the seconds of traffic lost at best, and after how many seconds no more are lost.

    The server is busy all the time, and what it answers has arrived a second ago at most. Once it
    is fast enough for the traffic, all that has arrived within the last second is served.
    """
    now = done = 0.0
    step = 0.001
    capacity = 0.0
    while capacity < rate:
        capacity = WORKERS / SECONDS / (5 - 4 * min(1.0, done / warm_after))
        now += step
        done += step * capacity
    recovered = now - TIMEOUT
    return recovered - done / rate, recovered


def test_the_bound_is_that_of_the_scenario():
    """The figures that are published for it: recovery after 13.7 s, .776 of 35 s served."""
    lost, recovered = best(800, WARM_AFTER)
    assert recovered == pytest.approx(13.7, abs=0.1)
    assert lost == pytest.approx(35 * (1 - 0.776), abs=0.1)


@pytest.mark.parametrize("crash_above", [inf, 600], ids=["survives", "may crash"])
def test_an_adaptive_limit_lets_a_cache_warm_up(crash_above):
    """At most 3.8 s of traffic more are lost than must be; within 17 s; and it never crashes."""
    rows = begun_again(policy("adaptive", TIMEOUT), SEEDS, crash_above=crash_above)
    result = means(f"cold cache, crash above {crash_above}, adaptive", SEEDS, rows)
    assert result["lost"] <= 35 * (1 - 0.776) + 3.8
    assert max(row["recovery"] for row in rows) <= 17.0
    assert [row["crashes"] for row in rows] == [0] * len(rows)


@pytest.mark.parametrize(
    "rate, warm_after",
    [(600, 5000), (900, 3000), pytest.param(700, 8000, marks=pytest.mark.soak)],
)
def test_so_it_does_at_other_rates(rate, warm_after):
    """At rates, caches and seeds that nothing was tuned on; as far from the bound at most."""
    make = policy("adaptive", TIMEOUT)
    lost, recovered = best(rate, warm_after)
    end = BEGIN + recovered + 25.0
    rows = begun_again(
        make, OTHER_SEEDS, rate=rate, warm_after=warm_after, crash_above=600, end=end
    )
    title = (
        f"cold cache, {rate}/s, warm after {warm_after}, adaptive; at best {lost:.1f} s are lost"
    )
    result = means(title, OTHER_SEEDS, rows)
    assert result["lost"] <= lost + 3.8
    assert max(row["recovery"] for row in rows) <= recovered + 3.3
    assert [row["crashes"] for row in rows] == [0] * len(rows)


@pytest.mark.parametrize("name", ["none", "naive", "classic", "standard", "shedding"])
def test_without_one_it_crashes_again(name):
    """A circuit opens after the queue is full, a retry fills it sooner."""
    rows = begun_again(policy(name, TIMEOUT), SEEDS, crash_above=600)
    result = means(f"crash loop, {name}", SEEDS, rows)
    assert min(row["crashes"] for row in rows) >= 1
    assert result["goodput"] < 0.776 - 3.8 / 35
