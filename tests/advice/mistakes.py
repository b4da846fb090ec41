"""Mistakes that ``lint()`` finds, each beside what is nearly the same and sound."""

from __future__ import annotations

from math import inf

from seawall import (
    AdaptiveFailureCount,
    AdaptiveLimit,
    Bulkhead,
    BulkheadFullError,
    Calls,
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    Cusum,
    FailureCount,
    FailureRate,
    Fallback,
    Hedge,
    Keyed,
    LastGood,
    LoadShedder,
    LoadShedError,
    Percentile,
    Pipeline,
    Policy,
    RateLimitedError,
    RateLimiter,
    RejectedError,
    Retry,
    SlowCallRate,
    Timeout,
    TripRule,
    constant,
    exponential,
    linear,
    presets,
)


class Announce(Policy):
    """Tells of each attempt."""

    async def run(self, call, proceed):
        return await proceed(call)


class Nested(Pipeline):
    async def run(self, call, proceed):
        return await super().run(call, proceed)


class Never(TripRule):
    """A rule of one's own."""

    def start(self):
        return ConsecutiveFailures(10**9).start()


def shared(policy):
    return Keyed(lambda key: policy)


def own():
    return Keyed(lambda key: CircuitBreaker(name=key))


PARENT = CircuitBreaker(name="parent")
RATE_AND_LATENCY = {"requests_per_second": 100, "latency": 0.2}
FLEET = {"clients": 10, "capacity": 100}

# What is found, and beside it what is nearly the same and sound.
CASES = {
    "SW101": [
        (CircuitBreaker(1, open_for=10.5), CircuitBreaker(1, open_for=10.0)),
        (CircuitBreaker(1, open_for=300), CircuitBreaker(2, open_for=300)),
        (CircuitBreaker(1, open_for=60), CircuitBreaker(1)),
        (
            CircuitBreaker(FailureCount(1, 10.0), open_for=60),
            CircuitBreaker(FailureCount(2, 10.0), open_for=60),
        ),
        (
            CircuitBreaker(FailureRate(0.5, 30.0, 1), open_for=60),
            CircuitBreaker(FailureRate(0.5, 30.0, 2), open_for=60),
        ),
        (
            CircuitBreaker(FailureRate(0.5, Calls(1)), open_for=60),
            CircuitBreaker(FailureRate(0.5, Calls(2)), open_for=60),
        ),
        (
            CircuitBreaker(ConsecutiveFailures(1) | FailureRate(0.5), open_for=60),
            CircuitBreaker(ConsecutiveFailures(1) & FailureRate(0.5), open_for=60),
        ),
        (CircuitBreaker(1, open_for=60), CircuitBreaker(Never(), open_for=60)),
        (CircuitBreaker(1, open_for=60), CircuitBreaker(Cusum(), open_for=60)),
    ],
    "SW103": [
        (CircuitBreaker(probes=11), CircuitBreaker(probes=10)),
        (
            Pipeline(CircuitBreaker(probes=5), Bulkhead(5)),
            Pipeline(CircuitBreaker(probes=5), Bulkhead(6)),
        ),
        (
            Pipeline(CircuitBreaker(probes=2), Bulkhead(1)),
            Pipeline(CircuitBreaker(probes=1), Bulkhead(1)),
        ),
    ],
    "SW104": [
        (
            Pipeline(CircuitBreaker(SlowCallRate(0.5, slower_than=2.1)), Timeout(2)),
            Pipeline(CircuitBreaker(SlowCallRate(0.5, slower_than=2.0)), Timeout(2)),
        ),
        (
            Pipeline(CircuitBreaker(SlowCallRate(0.5, slower_than=5)), Timeout(9), Timeout(2)),
            Pipeline(Timeout(2), CircuitBreaker(SlowCallRate(0.5, slower_than=5))),
        ),
        (
            Pipeline(CircuitBreaker(SlowCallRate(0.5, 5) & ConsecutiveFailures(8)), Timeout(2)),
            Pipeline(CircuitBreaker(SlowCallRate(0.5, 5) | ConsecutiveFailures(8)), Timeout(2)),
        ),
    ],
    "SW105": [
        (Pipeline(CircuitBreaker(), own()), Pipeline(own(), CircuitBreaker())),
        (Pipeline(CircuitBreaker(), Timeout(2), own()), Pipeline(Bulkhead(5), own())),
        (Pipeline(AdaptiveLimit(), own()), Pipeline(own(), AdaptiveLimit())),
        (
            Pipeline(RateLimiter(None), own()),
            Pipeline(RateLimiter(5, max_wait=1), own()),
        ),
    ],
    "SW107": [
        (Pipeline(CircuitBreaker(), Retry(3)), Pipeline(Retry(3), CircuitBreaker())),
        (
            Pipeline(CircuitBreaker(), Announce(), Pipeline(Retry(2))),
            Pipeline(CircuitBreaker(), Announce(), Pipeline(Retry(1))),
        ),
        (
            Pipeline(CircuitBreaker(), Retry(3, on=(RejectedError, OSError))),
            Pipeline(CircuitBreaker(), Retry(3, on=(RejectedError, CircuitOpenError))),
        ),
        (Pipeline(LoadShedder(), Retry(3)), Pipeline(Retry(3), LoadShedder())),
    ],
    "SW201": [
        (Pipeline(Timeout(10), Timeout(10)), Pipeline(Timeout(10), Timeout(9.9))),
        (
            Pipeline(Timeout(10), Retry(3), Timeout(12)),
            Pipeline(Timeout(10), Retry(3), Timeout(3)),
        ),
        (
            Pipeline(Timeout(30), Timeout(5), CircuitBreaker(), Timeout(8)),
            Pipeline(Timeout(30), Timeout(8), CircuitBreaker(), Timeout(5)),
        ),
    ],
    "SW202": [
        (
            Pipeline(Timeout(10), Retry(3), Timeout(3.4)),
            Pipeline(Timeout(10), Retry(3), Timeout(3.3)),
        ),
        (
            Pipeline(Timeout(10), Retry(3, backoff=0.51), Timeout(3)),
            Pipeline(Timeout(10), Retry(3, backoff=0.5), Timeout(3)),
        ),
        (
            Pipeline(Timeout(10), Retry(3, backoff=exponential(1, jitter="equal")), Timeout(3)),
            Pipeline(Timeout(10), Retry(3, backoff=exponential(1)), Timeout(3)),
        ),
        (
            Pipeline(Timeout(10), Retry(2), CircuitBreaker(), Timeout(8), Timeout(6)),
            Pipeline(Timeout(10), Retry(1), CircuitBreaker(), Timeout(8), Timeout(6)),
        ),
        (
            Pipeline(Timeout(10), Retry(5), Timeout(3)),
            Pipeline(Retry(5), Timeout(3)),
        ),
    ],
    "SW203": [
        (Pipeline(Timeout(30), Retry(3)), Pipeline(Timeout(30), Retry(3), Timeout(10))),
        (Pipeline(Timeout(30), Retry(2)), Pipeline(Timeout(30), Retry(1))),
        (Pipeline(Timeout(30), Retry(2)), Pipeline(Retry(2), Timeout(30))),
        (Pipeline(Timeout(30), Retry(2)), Pipeline(Timeout(30), Retry(2, on=CircuitOpenError))),
        (Pipeline(Timeout(30), Retry(2)), Pipeline(Timeout(30), Retry(2), own())),
        (Pipeline(Timeout(30), own(), Retry(2)), Pipeline(Retry(2)).bind(timeout=30)),
    ],
    "SW301": [
        (Pipeline(Retry(3), Retry(3)), Pipeline(Retry(3), Retry(1))),
        (
            Pipeline(Retry(3), Timeout(5), presets.cache()),
            Pipeline(Retry(3), Timeout(5), presets.cache(attempts=1)),
        ),
        (
            Pipeline(Retry(3, on=(CircuitOpenError, OSError)), Retry(3)),
            Pipeline(Retry(3, on=CircuitOpenError), Retry(3)),
        ),
        (Pipeline(Retry(3), Retry(3, on=OSError)), Pipeline(Retry(3, on=CircuitOpenError))),
    ],
    "SW302": [
        (Retry(3, budget=None), Retry(3)),
        (Retry(2, budget=None), Retry(1, budget=None)),
        (Retry(2, budget=None), Retry(2, budget=None, on=CircuitOpenError)),
        (Retry(2, budget=None, on=lambda error: True), Retry(2, on=lambda error: True)),
    ],
    "SW303": [
        (Retry(3, backoff=0), Retry(3, backoff=0.001)),
        (Retry(3, backoff=linear(0)), Retry(3, backoff=linear(0.1))),
        (Retry(3, backoff=constant(0)), Retry(1, backoff=constant(0))),
        (Retry(3, backoff=constant(0)), Retry(3, backoff=lambda failed, last: 0.0)),
    ],
    "SW311": [
        (Hedge(0.2, budget=None), Hedge(0.2)),
        (Hedge(Percentile(0.9), budget=None), Hedge(Percentile(0.9))),
    ],
    "SW312": [
        (Pipeline(Hedge(0.2), Retry(3)), Pipeline(Retry(3), Hedge(0.2))),
        (Pipeline(Hedge(0.2), Retry(2)), Pipeline(Hedge(0.2), Retry(1))),
    ],
    "SW313": [
        (Pipeline(Hedge(1.0), Timeout(1)), Pipeline(Hedge(0.9), Timeout(1))),
        (
            Pipeline(Timeout(1), Hedge(1.0)),
            Pipeline(Hedge(1.0), Bulkhead(5, queue=5, max_wait=1), Timeout(1)),
        ),
        (
            Pipeline(Hedge(Percentile(0.9, at_least=2)), Timeout(1)),
            Pipeline(Hedge(Percentile(0.9, at_most=2)), Timeout(1)),
        ),
    ],
    "SW401": [
        (Bulkhead(10, queue=5), Bulkhead(10, queue=5, max_wait=1)),
        (Bulkhead(10, queue=5), Bulkhead(10)),
        (Bulkhead(10, queue=inf, max_wait=inf), Bulkhead(10, queue=inf, max_wait=0)),
        (
            Pipeline(Bulkhead(10, queue=5), Timeout(1)),
            Pipeline(Timeout(1), Bulkhead(10, queue=5)),
        ),
        (Bulkhead(10, queue=5), Bulkhead(10, queue=5).bind(timeout=3)),
        (Pipeline(Bulkhead(10, queue=5), own()), Pipeline(own(), Bulkhead(10, queue=5))),
        (RateLimiter(5), RateLimiter(5, max_wait=1)),
        (RateLimiter(5, max_wait=inf), RateLimiter(5, max_wait=0)),
        (Pipeline(RateLimiter(5), Timeout(1)), Pipeline(Timeout(1), RateLimiter(5))),
        (RateLimiter(5), RateLimiter(None)),
        (AdaptiveLimit(max_wait=None), AdaptiveLimit()),
    ],
    "SW403": [
        (Pipeline(Bulkhead(10), Retry(3)), Pipeline(Retry(3), Bulkhead(10))),
        (Pipeline(Bulkhead(10), Retry(2)), Pipeline(Bulkhead(10), Retry(1))),
        (Pipeline(AdaptiveLimit(), Retry(3)), Pipeline(Retry(3), AdaptiveLimit())),
        (
            Pipeline(Bulkhead(5), RateLimiter(5, max_wait=1)),
            Pipeline(Bulkhead(5), RateLimiter(5, max_wait=0)),
        ),
        (
            Pipeline(AdaptiveLimit(), RateLimiter(None)),
            Pipeline(RateLimiter(None), AdaptiveLimit()),
        ),
    ],
    "SW406": [
        (
            Pipeline(Bulkhead(10, queue=5, max_wait=1), CircuitBreaker()),
            Pipeline(Bulkhead(10), CircuitBreaker()),
        ),
        (
            Pipeline(Timeout(5), Bulkhead(10, queue=inf), CircuitBreaker()),
            Pipeline(Timeout(5), CircuitBreaker(), Bulkhead(10, queue=inf)),
        ),
        (
            Pipeline(AdaptiveLimit(), CircuitBreaker()),
            Pipeline(AdaptiveLimit(max_wait=0), CircuitBreaker()),
        ),
        (
            Pipeline(AdaptiveLimit(), CircuitBreaker()),
            Pipeline(RateLimiter(5, max_wait=1), CircuitBreaker()),
        ),
    ],
    "SW502": [
        (
            Pipeline(Retry(3), Fallback(value=1)),
            Pipeline(Fallback(value=1), Retry(3)),
        ),
        (
            Pipeline(CircuitBreaker(), Fallback(value=1, on=(KeyError, Exception))),
            Pipeline(CircuitBreaker(), Fallback(value=1, on=(KeyError, OSError))),
        ),
        (
            Pipeline(Fallback(value=2), Retry(3), CircuitBreaker(), Fallback(value=1)),
            Pipeline(Fallback(value=2), Fallback(value=1), Retry(3), CircuitBreaker()),
        ),
        (Pipeline(Retry(2), Fallback(value=1)), Pipeline(Retry(1), Fallback(value=1))),
        (Pipeline(Retry(2), LastGood(60)), Pipeline(LastGood(60), Retry(2))),
        (
            Pipeline(AdaptiveLimit(), Fallback(value=1)),
            Pipeline(Fallback(value=1), AdaptiveLimit()),
        ),
        (Pipeline(LoadShedder(), LastGood(60)), Pipeline(LastGood(60), LoadShedder())),
        (
            Pipeline(RateLimiter(None), Fallback(value=1)),
            Pipeline(RateLimiter(None), Fallback(value=1, on=OSError)),
        ),
    ],
    "SW106": [
        (Pipeline(LoadShedder(), CircuitBreaker()), Pipeline(CircuitBreaker(), LoadShedder())),
        (
            Pipeline(LoadShedder(), Timeout(5), CircuitBreaker()),
            Pipeline(LoadShedder(), Timeout(5), CircuitBreaker(shadow=True)),
        ),
    ],
    "SW205": [
        (
            Pipeline(Timeout(30), Retry(3), Timeout(9), RateLimiter(5)),
            Pipeline(Timeout(30), Retry(3), Timeout(9), RateLimiter(5, max_wait=8)),
        ),
        (
            Pipeline(Retry(3), Timeout(9), RateLimiter(None)),
            Pipeline(Retry(3), Timeout(9), RateLimiter(None, max_pause=0)),
        ),
        (
            Pipeline(Retry(3), Timeout(9), AdaptiveLimit(max_wait=None)),
            Pipeline(Retry(1), Timeout(9), AdaptiveLimit(max_wait=None)),
        ),
        (
            Pipeline(Retry(3), Timeout(9), Bulkhead(5, queue=5)),
            Pipeline(Retry(3), Timeout(9), Bulkhead(5, queue=5), Timeout(8)),
        ),
        (
            Pipeline(Retry(3), Timeout(9), CircuitBreaker(), Bulkhead(5, queue=5, max_wait=9)),
            Pipeline(Retry(3), Timeout(9), CircuitBreaker(), Bulkhead(5)),
        ),
    ],
    "SW314": [
        (Hedge(0), Hedge(0.001)),
    ],
    "SW404": [
        (
            Pipeline(Timeout(9), RateLimiter(5), Retry(3), Timeout(1)),
            Pipeline(Timeout(9), Retry(3), RateLimiter(5), Timeout(1)),
        ),
        (
            Pipeline(RateLimiter(None), Retry(2)),
            Pipeline(RateLimiter(None), Retry(1)),
        ),
        (
            Pipeline(RateLimiter(None), Retry(2)),
            Pipeline(RateLimiter(None), Retry(2, on=CircuitOpenError)),
        ),
        (Pipeline(AdaptiveLimit(), Hedge(0.2)), Pipeline(Hedge(0.2), AdaptiveLimit())),
        (Pipeline(RateLimiter(None), Hedge(0.2)), Pipeline(CircuitBreaker(), Hedge(0.2))),
    ],
    "SW407": [
        (RateLimiter(100, max_wait=1), RateLimiter(99, max_wait=1)),
        (RateLimiter(6000, 60, max_wait=1), RateLimiter(6000, 61, max_wait=1)),
        (RateLimiter(1000, max_wait=1), RateLimiter(1000, burst=2, max_wait=1)),
        (RateLimiter(1000, max_wait=1), RateLimiter(1000, max_wait=0)),
        (
            RateLimiter(500, burst=5, cost=5, max_wait=1),
            RateLimiter(499, burst=5, cost=5, max_wait=1),
        ),
        (RateLimiter(1000, max_wait=1), RateLimiter(1000, cost=len, max_wait=1)),
        (RateLimiter(1000, max_wait=1), RateLimiter(1000, actual=len, max_wait=1)),
        (RateLimiter(1000, max_wait=1), RateLimiter(1000, cost=0, max_wait=1)),
    ],
    "SW408": [
        (LoadShedder(1.2), LoadShedder(1.25)),
    ],
    "SW409": [
        (LoadShedder(window=61), LoadShedder(window=60)),
    ],
    "SW503": [
        (Pipeline(Timeout(5), Fallback(value=1)), Pipeline(Fallback(value=1), Timeout(5))),
        (
            Pipeline(Timeout(5), Fallback(value=1, on=TimeoutError)),
            Pipeline(Timeout(5), Fallback(value=1, on=ConnectionError)),
        ),
        (Pipeline(Timeout(5), LastGood(60)), Pipeline(Timeout(5), LastGood(60), Timeout(2))),
        (
            Pipeline(Timeout(5), Fallback(value=1)),
            Pipeline(LastGood(60), Timeout(5), Fallback(value=1)),
        ),
        (Pipeline(Timeout(5), Fallback(value=1)), Pipeline(Timeout(5), Fallback(value=1), own())),
        (Pipeline(Timeout(5), Fallback(value=1)), Fallback(value=1).bind(timeout=5)),
    ],
}

# The same where facts are needed: the facts, what is found beside them, and what is not.
WITH_FACTS = {
    "SW102": [
        ({"restart_seconds": 15}, CircuitBreaker(open_for=14), CircuitBreaker(open_for=15)),
        ({"restart_seconds": 15}, CircuitBreaker(open_for=2), CircuitBreaker()),
        (
            {"restart_seconds": 15},
            CircuitBreaker(open_for=2, max_open_for=14),
            CircuitBreaker(open_for=2, max_open_for=15),
        ),
    ],
    "SW103": [
        (RATE_AND_LATENCY, CircuitBreaker(probes=11), CircuitBreaker(probes=9)),
        (
            {"requests_per_second": 20, "latency": 0.1},
            CircuitBreaker(probes=2),
            CircuitBreaker(probes=1),
        ),
    ],
    "SW104": [
        (
            {"requests_per_second": 1},
            CircuitBreaker(FailureRate(0.5, 30.0, 31)),
            CircuitBreaker(FailureRate(0.5, 30.0, 30)),
        ),
        (
            {"requests_per_second": 1},
            CircuitBreaker(FailureRate(0.5, 30.0, 31)),
            CircuitBreaker(FailureRate(0.5, Calls(500), 100)),
        ),
        (
            {"requests_per_second": 0.1},
            CircuitBreaker(FailureCount(5, 40.0)),
            CircuitBreaker(FailureCount(5, 50.0)),
        ),
        (
            {"requests_per_second": 0.1},
            CircuitBreaker(AdaptiveFailureCount(10, 40.0)),
            CircuitBreaker(AdaptiveFailureCount(10, 40.0, minimum=4)),
        ),
        (
            {"requests_per_second": 0.1},
            CircuitBreaker(SlowCallRate(0.5, 1.0, minimum_calls=4)),
            CircuitBreaker(SlowCallRate(0.5, 1.0, minimum_calls=3)),
        ),
        (
            {"requests_per_second": 0.1},
            CircuitBreaker(FailureRate(0.5) | FailureCount(20, 60.0)),
            CircuitBreaker(FailureRate(0.5) | FailureCount(5, 60.0)),
        ),
        ({"requests_per_second": 0.1}, CircuitBreaker(0.5), CircuitBreaker()),
        ({"requests_per_second": 0.1}, CircuitBreaker(0.5), CircuitBreaker(Never())),
    ],
    "SW105": [
        ({"keys": ["a", "b"]}, CircuitBreaker(), own()),
        ({"keys": ["a", "b"]}, shared(CircuitBreaker()), shared(Bulkhead(5))),
        (
            {"keys": ["a", "b"]},
            shared(Pipeline(Retry(2), CircuitBreaker())),
            Keyed(lambda key: CircuitBreaker(parent=PARENT)),
        ),
        ({"keys": ["a", "b"]}, AdaptiveLimit(), Keyed(lambda key: AdaptiveLimit())),
        ({"keys": ["a", "b"]}, shared(LoadShedder()), shared(Bulkhead(5))),
        ({"keys": ["a", "b"]}, RateLimiter(None), RateLimiter(5, max_wait=1)),
    ],
    "SW108": [
        ({"latency": 0.5}, CircuitBreaker(probe_lease=0.5), CircuitBreaker(probe_lease=0.6)),
        ({"latency": 0.5}, CircuitBreaker(probe_lease=0.1), CircuitBreaker()),
    ],
    "SW109": [
        (
            {"requests_per_second": 100},
            CircuitBreaker(FailureCount(99, 10.0)),
            CircuitBreaker(FailureCount(100, 10.0)),
        ),
        (
            {"requests_per_second": 1},
            CircuitBreaker(FailureCount(4, 10.0)),
            CircuitBreaker(FailureCount(5, 10.0)),
        ),
        (
            {"requests_per_second": 100},
            CircuitBreaker(FailureRate(0.5) | FailureCount(5, 10.0)),
            CircuitBreaker(FailureRate(0.5) & FailureCount(5, 10.0)),
        ),
        (
            {"requests_per_second": 100},
            CircuitBreaker(FailureCount(9, 20.0) & FailureCount(5, 10.0)),
            CircuitBreaker(FailureCount(5, Calls(10)) & FailureCount(5, 10.0)),
        ),
    ],
    "SW204": [
        ({"latency": 0.5}, Timeout(0.5), Timeout(0.6)),
        (
            {"latency": 5},
            Pipeline(Timeout(30), Retry(3), Timeout(4)),
            Pipeline(Timeout(30), Retry(3), Timeout(6)),
        ),
    ],
    "SW304": [
        ({"clients": 2}, Retry(3, backoff=1), Retry(3, backoff=exponential(1))),
        (
            {"clients": 2},
            Retry(3, backoff=exponential(1, jitter=None)),
            Retry(3, backoff=exponential(1, jitter="equal")),
        ),
        ({"clients": 2}, Retry(3, backoff=linear(1)), Retry(3, backoff=lambda failed, last: 1.0)),
    ],
    "SW314": [
        ({"latency": 0.5}, Hedge(0.5), Hedge(0.6)),
        ({"latency": 0.5}, Hedge(0.5), Hedge(Percentile(0.9))),
    ],
    "SW402": [
        (FLEET, Pipeline(Bulkhead(20), Timeout(2)), Pipeline(Bulkhead(19), Timeout(2))),
        (FLEET, Pipeline(Timeout(2), Bulkhead(20)), Pipeline(Timeout(2.1), Bulkhead(20))),
        (FLEET, Pipeline(Timeout(2), Bulkhead(20)), Bulkhead(20)),
        (
            {"capacity": 100},
            Pipeline(Bulkhead(200), Timeout(2)),
            Pipeline(Bulkhead(199), Timeout(2)),
        ),
        (FLEET, Pipeline(AdaptiveLimit(20), Timeout(2)), Pipeline(AdaptiveLimit(19), Timeout(2))),
        (FLEET, RateLimiter(11, max_wait=1), RateLimiter(10, max_wait=1)),
        (
            FLEET,
            RateLimiter(1200, 60, cost=1, max_wait=1),
            RateLimiter(1200, 60, burst=2, cost=2, max_wait=1),
        ),
        (FLEET, RateLimiter(11, max_wait=1), RateLimiter(11, cost=len, max_wait=1)),
    ],
    "SW405": [
        (RATE_AND_LATENCY, Bulkhead(19), Bulkhead(20)),
        (RATE_AND_LATENCY, AdaptiveLimit(maximum=19), AdaptiveLimit(maximum=20)),
    ],
    "SW501": [
        ({"user_facing": True}, CircuitBreaker(), CircuitBreaker(shadow=True)),
        ({"user_facing": True}, Bulkhead(5), Timeout(5)),
        ({"user_facing": True}, CircuitBreaker(), Pipeline(LastGood(60), CircuitBreaker())),
        (
            {"user_facing": True},
            Pipeline(Fallback(value=1, on=(OSError, KeyError)), CircuitBreaker()),
            Pipeline(Fallback(value=1, on=(OSError, RejectedError)), CircuitBreaker()),
        ),
        (
            {"user_facing": True},
            Pipeline(CircuitBreaker(), Bulkhead(5), Fallback(value=1, on=OSError)),
            Pipeline(Fallback(value=1), CircuitBreaker(), Bulkhead(5)),
        ),
        ({"user_facing": True}, CircuitBreaker(), Pipeline(own(), CircuitBreaker())),
        (
            {"user_facing": True},
            RateLimiter(5, max_wait=1),
            Pipeline(Fallback(value=1, on=RateLimitedError), RateLimiter(5, max_wait=1)),
        ),
        (
            {"user_facing": True},
            AdaptiveLimit(),
            Pipeline(Fallback(value=1, on=BulkheadFullError), AdaptiveLimit()),
        ),
        (
            {"user_facing": True},
            LoadShedder(),
            Pipeline(Fallback(value=1, on=LoadShedError), LoadShedder()),
        ),
    ],
    "SW408": [
        ({"requests_per_second": 0.9}, LoadShedder(), LoadShedder(window=20)),
        ({"requests_per_second": 0.9}, LoadShedder(), Pipeline(Retry(2))),
    ],
}
