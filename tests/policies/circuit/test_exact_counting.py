"""Windows and rules against exact counting, over a million random events."""

from __future__ import annotations

from math import ulp
from random import Random

import pytest

from seawall.core.verdict import Kind
from seawall.policies.circuit.rules import FailureCount, FailureRate
from seawall.policies.circuit.slow_calls import SlowCallRate
from seawall.policies.circuit.windows import BUCKETS, Calls, CallWindow, TimeWindow

GOOD, BAD = Kind.SUCCESS, Kind.FAILURE
DAY = 86_400.0
EVENTS = 50_000


class Exact:
    """All calls ever, and how many of them a window may and must count."""

    def __init__(self, window):
        self.window = window
        self.of_calls = isinstance(window, Calls)
        self.times = []
        # bad[n] is how many of the first n calls were bad.
        self.bad = [0]
        self.young = self.kept = 0

    def add(self, now, bad):
        self.times.append(now)
        self.bad.append(self.bad[-1] + bad)

    def check(self, now, bad, calls):
        """Check that a window that counts so many counts the latest, and those that it should."""
        times, total = self.times, len(self.times)
        if self.of_calls:
            assert calls == min(total, self.window.count)
        else:
            # Times are sums of random floats: the edges are only as exact as these.
            tolerance = 100 * ulp(now)
            young = now - self.window + tolerance
            while times[self.young] <= young:
                self.young += 1
            kept = now - self.window * (1 + 1 / BUCKETS) - tolerance
            while times[self.kept] <= kept:
                self.kept += 1
            assert total - self.young <= calls <= total - self.kept
        assert bad == self.bad[-1] - self.bad[total - calls]


def events(seed, unit):
    """Make calls as (now, failed, duration), with gaps about the unit, of 0 and of days."""
    random = Random(seed).random
    now = random() * DAY
    for _ in range(EVENTS):
        dice = random()
        if dice < 0.0002:
            now += (1 + 29 * random()) * DAY
        elif dice < 0.001:
            now += (0.5 + random()) * unit * 100
        elif dice < 0.8:
            now += 2.5 * random() * unit
        # Else time stands still.
        yield now, random() < 0.4, 2.0 * random()


WINDOWS = [0.001, 0.05, 0.7, 30.0, 3600.0, Calls(1), Calls(7), Calls(100), Calls(20_000)]


def window_runs():
    for seed, spec in enumerate(WINDOWS):
        of_calls = isinstance(spec, Calls)
        window = CallWindow(spec.count) if of_calls else TimeWindow(spec)
        exact = Exact(spec)
        for now, failed, _ in events(seed, 1.0 if of_calls else spec / 50):
            window.record(now, bad=failed)
            exact.add(now, failed)
            exact.check(now, window.bad, window.calls)


RULES = [
    FailureCount(12, 0.05),
    FailureCount(25, 30.0),
    FailureCount(12, Calls(25)),
    FailureRate(0.5, 0.05),
    FailureRate(0.45, 30.0),
    FailureRate(0.5, Calls(30), 10),
    FailureRate(0.5, Calls(5)),
    SlowCallRate(0.5, 1.2, 0.05),
    SlowCallRate(0.45, 1.2, 30.0),
    SlowCallRate(0.5, 1.2, Calls(30), 10),
    SlowCallRate(0.5, 1.2, Calls(5)),
]


def holds(rule, bad, calls):
    """Say what the sentence of the rule says of these counts."""
    if isinstance(rule, FailureCount):
        return bad >= rule.n
    minimum = rule.minimum_calls
    if isinstance(rule.window, Calls):
        minimum = min(minimum, rule.window.count)
    return calls >= minimum and bad / calls >= rule.ratio


def rule_runs():
    for seed, rule in enumerate(RULES, 100):
        tally, exact = rule.start(), Exact(rule.window)
        slower_than = getattr(rule, "slower_than", None)
        of_calls = isinstance(rule.window, Calls)
        held = 0
        for now, failed, duration in events(seed, 1.0 if of_calls else rule.window / 50):
            bad = failed if slower_than is None else duration > slower_than
            answer = tally.record(BAD if failed else GOOD, duration, now)
            evidence = tally.evidence(now)
            exact.add(now, bad)
            exact.check(now, *evidence)
            assert answer == (bad and holds(rule, *evidence))
            held += answer
        # A rule that always or never holds would prove little.
        assert EVENTS // 1000 < held < EVENTS // 2


@pytest.mark.slow
def test_a_million_events_are_counted_exactly():
    """Each window counts the latest calls, as many as promised, and each rule says what it says."""
    assert EVENTS * (len(WINDOWS) + len(RULES)) == 10**6
    window_runs()
    rule_runs()
