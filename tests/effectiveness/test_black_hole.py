"""A dependency that swallows what it is sent: no answer, no error, while calls time out after 30 s.

"Blocked" are callers that wait, at one time. "Amplification" is the number of attempts that reached
the dependency in the fault, divided by the number of calls that arrived in it. "Recovery" is the
time from the end of the fault to the first answer of a call after which none is lost any more. What
was swallowed is never answered, also not after the fault.
"""

from __future__ import annotations

from functools import partial
from math import inf
from statistics import fmean

import pytest

from seawall import CircuitBreaker, Pipeline, Retry, State, Timeout
from tests.effectiveness.simulation import ENDED, REFUSED, simulate
from tests.effectiveness.tables import show
from tests.effectiveness.traffic import changing, poisson, silent, steady

TIMEOUT = 30.0
FAILURES_TO_TRIP = 8
SEEDS = (1, 2, 3)
LENGTHS = [60.0, 100.0, pytest.param(75.0, marks=pytest.mark.soak)]

pytestmark = pytest.mark.slow


def protected(timeout=TIMEOUT, **breaker):
    return Pipeline(Timeout(timeout), Retry(3), CircuitBreaker(**breaker), Timeout(timeout))


def unprotected(timeout=TIMEOUT):
    return Pipeline(Timeout(timeout), Retry(3), Timeout(timeout))


def black_hole(make, rate, fault, seed, *, latency=0.02, spread=0.0, calm=15.0):
    """One run: a healthy time, the fault, and a healthy time again."""
    begin = max(20.0, 128 / rate)
    end = begin + fault
    answers = steady(latency, spread=spread)
    patience = []

    def watched():
        policies.append(make())
        return policies[0]

    def swallow(now, random):
        if not patience:
            breakers = [each for each in policies[0].policies if isinstance(each, CircuitBreaker)]
            patience.append(breakers[0].snapshot().patience if breakers else inf)
        return silent(now, random)

    policies = []
    run = simulate(
        watched,
        poisson(rate, end + calm),
        changing(answers, (begin, swallow), (end, answers)),
        seed=seed,
    )
    opened = next((time for time, state in run.states if state is State.OPEN), None)
    calls, sent = run.arrived(begin, end), run.attempts(begin, end)
    return {
        "calls": calls,
        "patience": patience[0],
        "trip after": None if opened is None else opened - begin,
        "peak": run.peak,
        "sent": sent,
        "amplification": sent / calls,
        "recovery": run.recovery(end),
        "refused late": run.count(REFUSED, end),
        "ended": run.count(ENDED),
        "trips": run.trips,
    }


def measure(title, make, rate, fault, seeds=SEEDS, **more):
    """Run all seeds, show them, and return the mean of each figure."""
    runs = [black_hole(make, rate, fault, seed, **more) for seed in seeds]
    means = {
        name: None if runs[0][name] is None else float(fmean(run[name] for run in runs))
        for name in runs[0]
    }
    show(
        f"{title}: {fault:g} s of silence at {rate:g}/s",
        ["seed", *means],
        [
            *([seed, *run.values()] for seed, run in zip(seeds, runs, strict=True)),
            ["mean", *means.values()],
        ],
    )
    means["longest recovery"] = max(run["recovery"] for run in runs)
    means["most trips"] = max(run["trips"] for run in runs)
    return means


def peak_on_paper(rate, patience, timeout):
    """What comes until eight calls are stalled, and a probe at the end of each lease after it."""
    until_trip = patience + FAILURES_TO_TRIP / rate
    probes, lease, now = 0, patience, until_trip + 1.0
    while now < timeout:
        probes += 1
        now += min(lease, 30.0) + 1 / rate
        lease *= 2
    return rate * until_trip + probes


@pytest.mark.parametrize("fault", LENGTHS)
def test_it_is_left_alone_and_comes_back(fault):
    """With 30 s timeouts at 100/s, 3 % of the calls are sent, and recovery is within a timeout."""
    result = measure("default", protected, 100, fault)
    assert result["amplification"] <= 0.03
    assert result["longest recovery"] <= TIMEOUT
    assert result["most trips"] == 1


@pytest.mark.parametrize("fault", LENGTHS)
@pytest.mark.parametrize("lease", [None, 5.0])
def test_few_callers_are_blocked(fault, lease):
    """At most 120 callers are blocked at a time, where 3,000 would be."""
    result = measure(f"probe_lease={lease}", partial(protected, probe_lease=lease), 100, fault)
    assert result["peak"] <= 120
    assert result["longest recovery"] <= TIMEOUT


@pytest.mark.parametrize("fault", LENGTHS)
def test_stalled_calls_are_ended(fault):
    """With `end_stalled` at most 120 callers are blocked, and it recovers within 6 s."""
    result = measure("end_stalled", partial(protected, end_stalled=True), 100, fault)
    assert result["peak"] <= 120
    assert result["amplification"] <= 0.03
    assert result["longest recovery"] <= 6.0


# Calls a second, seconds of silence, timeout, latency and its spread.
OTHERS = [
    (20, 45.0, 30.0, 0.02, 0.5),
    (50, 90.0, 30.0, 0.2, 0.5),
    (5, 60.0, 30.0, 0.1, 0.5),
    (100, 20.0, 10.0, 0.05, 0.0),
    pytest.param(250, 40.0, 30.0, 0.02, 0.0, marks=pytest.mark.soak),
    (30, 60.0, 30.0, 1.0, 0.5),
]


@pytest.mark.parametrize("rate, fault, timeout, latency, spread", OTHERS)
def test_the_peak_follows_from_the_patience(rate, fault, timeout, latency, spread):
    """At other rates and latencies too: what comes within q, eight calls, and a few probes."""
    make = partial(protected, timeout)
    title = f"timeout {timeout:g} s, {latency:g} s a call"
    result = measure(title, make, rate, fault, latency=latency, spread=spread)
    paper = peak_on_paper(rate, result["patience"], timeout)
    show("", ["peak", "on paper", "unprotected"], [[result["peak"], paper, rate * timeout]])
    assert result["peak"] == pytest.approx(paper, rel=0.15)
    assert result["longest recovery"] <= timeout
    assert result["most trips"] == 1


@pytest.mark.parametrize("rate, fault, timeout, latency, spread", OTHERS)
def test_ended_calls_at_other_rates(rate, fault, timeout, latency, spread):
    """With `end_stalled`, whatever the rate, those who wait are those of the first q seconds."""
    make = partial(protected, timeout, end_stalled=True)
    title = f"end_stalled, timeout {timeout:g} s, {latency:g} s a call"
    result = measure(title, make, rate, fault, latency=latency, spread=spread)
    assert result["peak"] <= rate * result["patience"] + FAILURES_TO_TRIP + 4 * rate**0.5
    assert result["longest recovery"] <= 6.0 + 20 / rate


def test_what_it_would_be_without():
    """Without a breaker, Little's law holds: 30 s of callers are blocked, 3,000 at 100/s."""
    result = measure("no breaker", unprotected, 100, 60.0, seeds=(1, 2, 3))
    assert result["peak"] == pytest.approx(100 * TIMEOUT, rel=0.05)


@pytest.mark.soak
@pytest.mark.parametrize("fault, blocked", [(60.0, 6000), (100.0, 9000)])
def test_what_naive_retries_would_do(fault, blocked):
    """Three attempts of 30 s each block 6,000 callers in a minute of silence, 9,000 in 100 s."""

    def naive():
        return Pipeline(Retry(3, budget=None), Timeout(TIMEOUT))

    result = measure("naive retries", naive, 100, fault, seeds=(1, 2, 3), calm=120.0)
    assert result["peak"] == pytest.approx(blocked, rel=0.05)


@pytest.mark.soak
def test_what_it_would_be_without_silence():
    """A breaker that waits for results lets as many callers be blocked as none at all."""
    make = partial(protected, stalls=False)
    result = measure("stalls=False", make, 100, 60.0, seeds=(1, 2, 3))
    assert result["peak"] == pytest.approx(100 * TIMEOUT, rel=0.05)
