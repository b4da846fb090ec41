"""What a tutorial chapter on circuit breakers shows, in its own terms, done with this library.

One example for each of its breaker sections. Time is virtual.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys

import pytest

from seawall import (
    AdaptiveFailureCount,
    Bulkhead,
    BulkheadFullError,
    Calls,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    ConsecutiveFailures,
    FailureCount,
    FailureRate,
    Fallback,
    Keyed,
    LastGood,
    Pipeline,
    Retry,
    SlowCallRate,
    State,
    Timeout,
    presets,
)
from seawall.events import (
    CircuitClosed,
    CircuitEvent,
    CircuitHalfOpened,
    CircuitOpened,
    FallbackUsed,
)
from tests.virtual_time import run


class Service:
    """A service over a network, which is healthy, down or slow."""

    def __init__(self):
        self.error: Exception | None = None
        self.delay = 0.02
        self.calls = 0

    async def __call__(self, *args):
        self.calls += 1
        await asyncio.sleep(self.delay)
        if self.error is not None:
            raise self.error
        return "answer"


async def attempt(policy, *call):
    """Return the answer, or the type of the error."""
    try:
        return await policy.execute(*call)
    except Exception as error:
        return type(error)


def test_three_states_fail_fast_and_a_lazy_test():
    """Closed, then open without touching the service, then half-open by the first call later."""

    async def main():
        service = Service()
        breaker = CircuitBreaker(5, open_for=60.0)
        service.error = ConnectionError()
        for _ in range(5):
            assert await attempt(breaker, service) is ConnectionError
        assert breaker.state is State.OPEN
        assert await attempt(breaker, service) is CircuitOpenError
        assert service.calls == 5
        await asyncio.sleep(60)
        assert breaker.state is State.OPEN
        service.error = None
        probe = asyncio.create_task(breaker.execute(service))
        await asyncio.sleep(0.001)
        assert breaker.state is State.HALF_OPEN
        assert await probe == "answer"
        assert breaker.state is State.CLOSED

    run(main())


def test_the_python_breaker():
    """Threshold, recovery timeout, expected exception, success threshold, decorator, statistics."""

    async def main():
        service = Service()
        breaker = CircuitBreaker(
            FailureCount(3, 10.0), open_for=30.0, close_after=2, failures=ConnectionError
        )

        @breaker
        async def fetch(url):
            return await service(url)

        service.error = KeyError("not counted")
        for _ in range(5):
            with pytest.raises(KeyError):
                await fetch("/")
        service.error = ConnectionError()
        for _ in range(3):
            with pytest.raises(ConnectionError):
                await fetch("/")
        with pytest.raises(CircuitOpenError):
            await fetch("/")
        statistics = breaker.snapshot()
        assert statistics.state is State.OPEN
        assert (statistics.calls, statistics.successes, statistics.failures) == (8, 5, 3)
        assert statistics.rejected == 1
        assert (statistics.window_failures, statistics.cause) == (3, "ConnectionError")
        assert statistics.since == pytest.approx(0.0)
        assert statistics.retry_after == pytest.approx(30.0)
        await asyncio.sleep(30)
        service.error = None
        assert await fetch("/") == "answer"
        assert breaker.state is State.HALF_OPEN
        assert await fetch("/") == "answer"
        assert breaker.state is State.CLOSED

    run(main())


def test_the_go_breaker():
    """A callback on each change of state, statistics, and a typed error that tells why."""

    async def main():
        service = Service()
        service.error = ConnectionError()
        changes = []
        breaker = CircuitBreaker(1, open_for=5.0, name="payments")

        def on_state_change(event):
            if isinstance(event, CircuitEvent):
                changes.append((event.name, event.before, event.after))

        breaker.subscribe(on_state_change)
        await attempt(breaker, service)
        with pytest.raises(CircuitOpenError) as refused:
            await breaker.execute(service)
        error = refused.value
        assert (error.name, error.state, error.cause) == ("payments", "open", "ConnectionError")
        assert error.retry_after == pytest.approx(5.0)
        await asyncio.sleep(5)
        service.error = None
        await breaker.execute(service)
        assert changes == [
            ("payments", "closed", "open"),
            ("payments", "open", "half_open"),
            ("payments", "half_open", "closed"),
        ]

    run(main())


def test_the_javascript_breaker():
    """``execute(fn)``, events by their kind, and ``reset()``."""

    async def main():
        service = Service()
        service.error = ConnectionError()
        heard = []
        breaker = CircuitBreaker(2, open_for=5.0)
        breaker.subscribe(lambda event: heard.append(type(event)))
        for _ in range(2):
            await attempt(breaker, service)
        assert CircuitOpened in heard
        assert CircuitHalfOpened not in heard
        breaker.reset()
        assert CircuitClosed in heard
        service.error = None
        assert await breaker.execute(service) == "answer"

    run(main())


def test_resilience4j_rates_over_a_count_window():
    """Failure rate and slow-call rate over the last calls, a minimum of calls, several probes."""

    async def main():
        service = Service()
        breaker = CircuitBreaker(
            FailureRate(0.5, Calls(10), minimum_calls=10)
            | SlowCallRate(0.8, slower_than=2.0, window=Calls(10), minimum_calls=10),
            open_for=10.0,
            probes=3,
            close_after=3,
            ignore=ValueError,
            # Silence would see the slow service sooner than the rate does.
            stalls=False,
        )
        service.delay = 2.5
        for _ in range(9):
            assert await attempt(breaker, service) == "answer"
        assert breaker.state is State.CLOSED
        await breaker.execute(service)
        assert breaker.state is State.OPEN
        service.delay = 0.02
        await asyncio.sleep(10)
        probes = [attempt(breaker, service) for _ in range(5)]
        answers = await asyncio.gather(*probes)
        assert answers.count("answer") == 3
        assert answers.count(CircuitOpenError) == 2
        assert breaker.state is State.CLOSED
        service.error = ValueError()
        for _ in range(20):
            await attempt(breaker, service)
        assert breaker.state is State.CLOSED

    run(main())


def test_resilience4j_recovers_by_exception():
    """CallNotPermitted from the cache, a timeout by the default, any other by a message.

    In a row, the one for any other outermost. Each gets what the call got, and sees the error.
    """

    async def main():
        service, cache = Service(), {7: "cached answer"}

        def from_cache(user):
            return cache[user]

        def default(user):
            return f"default for {user}"

        def message(user):
            return f"sorry: {type(sys.exception()).__name__}"

        breaker = CircuitBreaker(1, open_for=10.0)
        recovers = Pipeline(
            Fallback(message),
            Fallback(default, on=CallTimeoutError),
            Fallback(from_cache, on=CircuitOpenError),
            breaker,
            Timeout(1),
        )(service.__call__)
        assert await recovers(7) == "answer"
        service.delay = 5.0
        assert await recovers(7) == "default for 7"
        assert await recovers(7) == "cached answer"
        # Nothing is cached for this one, so the next fallback has the word.
        assert await recovers(8) == "sorry: KeyError"
        breaker.reset()
        service.delay, service.error = 0.02, ConnectionError()
        assert await recovers(7) == "sorry: ConnectionError"

    run(main())


def test_a_fallback_to_another_model_or_region():
    """The same question goes to the next one, with a circuit for each; then there is a default."""

    async def main():
        services = {name: Service() for name in ("large", "small")}
        heard = []

        def model(name):
            @CircuitBreaker(3, open_for=30.0, name=name)
            async def ask(prompt):
                return f"{name}: {await services[name](prompt)} to {prompt}"

            return ask

        ask = Pipeline(Fallback(value="no model answers"), Fallback(model("small")))
        ask.subscribe(lambda event: heard.append(type(event)))
        ask = ask(model("large"))
        assert await ask("why") == "large: answer to why"
        services["large"].error = ConnectionError()
        for _ in range(5):
            assert await ask("why") == "small: answer to why"
        assert services["large"].calls == 4
        services["small"].error = ConnectionError()
        assert await ask("why") == "no model answers"
        assert heard.count(FallbackUsed) == 5 + 2

    run(main())


@pytest.mark.parametrize(
    "rule",
    [
        ConsecutiveFailures(5),
        FailureCount(5, 60.0),
        FailureRate(0.5, 60.0, minimum_calls=10),
        FailureCount(5, 60.0) & FailureRate(0.5, 60.0, minimum_calls=10),
        FailureCount(50, 60.0) | FailureRate(0.5, 60.0, minimum_calls=10),
    ],
    ids=["in a row", "count", "rate", "both", "hybrid"],
)
def test_ways_to_detect(rule):
    """By failures in a row, by count, by rate in a sliding window, and the hybrids of them."""

    async def main():
        service = Service()
        breaker = CircuitBreaker(rule)
        for number in range(8):
            service.error = ConnectionError() if number % 4 == 0 else None
            await attempt(breaker, service)
        assert breaker.state is State.CLOSED
        service.error = ConnectionError()
        for _ in range(12):
            await attempt(breaker, service)
        assert breaker.state is State.OPEN

    run(main())


def test_one_breaker_for_each_endpoint():
    """A dead endpoint cuts off itself alone."""

    async def main():
        dead, healthy = Service(), Service()
        dead.error = ConnectionError()
        services = {"/dead": dead, "/healthy": healthy}

        async def fetch(path):
            return await services[path]()

        breakers = Keyed(lambda path: CircuitBreaker(3, name=path), key=lambda path: path)
        for _ in range(4):
            await attempt(breakers, fetch, "/dead")
        assert await attempt(breakers, fetch, "/dead") is CircuitOpenError
        assert await attempt(breakers, fetch, "/healthy") == "answer"
        states = {key: seen.state for key, seen in breakers.snapshot().keys.items()}
        assert states == {"/dead": State.OPEN, "/healthy": State.CLOSED}

    run(main())


def test_a_fallback_to_what_was_cached():
    """While the circuit is open, callers get the last answer."""

    async def main():
        service, cache = Service(), {}

        async def from_cache(user):
            return cache[user]

        pipeline = Pipeline(Fallback(from_cache), CircuitBreaker(2))

        async def fetch(user):
            cache[user] = f"{await service()} for {user}"
            return cache[user]

        assert await pipeline.execute(fetch, 7) == "answer for 7"
        service.error = ConnectionError()
        for _ in range(5):
            assert await pipeline.execute(fetch, 7) == "answer for 7"
        assert service.calls == 3

    run(main())


def test_a_fallback_to_the_last_answer():
    """The same without a cache of one's own: old for a while, and then no more."""

    async def main():
        service, breaker = Service(), CircuitBreaker(2, open_for=600.0)
        last_good = LastGood(300.0, mark=lambda answer, age: f"{answer}, {age:.0f} s old")
        pipeline = Pipeline(Fallback(value="no data"), last_good, breaker)
        assert await pipeline.execute(service, 7) == "answer"
        service.error = ConnectionError()
        for _ in range(2):
            assert await pipeline.execute(service, 7) == "answer, 0 s old"
        assert breaker.state is State.OPEN
        await asyncio.sleep(120)
        assert await pipeline.execute(service, 7) == "answer, 120 s old"
        assert await pipeline.execute(service, 8) == "no data"
        await asyncio.sleep(181)
        assert await pipeline.execute(service, 7) == "no data"
        assert service.calls == 3

    run(main())


def test_adaptive_thresholds():
    """While nearly all goes well the threshold rises by half, while much fails it falls by 30 %."""

    async def failures_to_trip(failures_before):
        service = Service()
        breaker = CircuitBreaker(AdaptiveFailureCount(10, Calls(100)))
        for number in range(100):
            service.error = ConnectionError() if number < failures_before else None
            await attempt(breaker, service)
        assert breaker.state is State.CLOSED
        await asyncio.gather(*(attempt(breaker, service) for _ in range(100)))
        service.error = ConnectionError()
        needed = 0
        while breaker.state is State.CLOSED:
            needed += 1
            await attempt(breaker, service)
        return needed

    assert run(failures_to_trip(0)) == 23
    assert run(failures_to_trip(8)) < 23


def test_hierarchical_breakers():
    """An open parent blocks all children, and several failing children open the parent."""

    async def main():
        services = {name: Service() for name in ("orders", "users", "stock")}
        region = CircuitBreaker(6, open_for=30.0, name="region")
        breakers = {name: CircuitBreaker(4, name=name, parent=region) for name in services}
        for name in ("orders", "users"):
            services[name].error = ConnectionError()
            for _ in range(3):
                await attempt(breakers[name], services[name])
        assert region.state is State.OPEN
        with pytest.raises(CircuitOpenError) as refused:
            await breakers["stock"].execute(services["stock"])
        assert refused.value.name == "region"
        assert services["stock"].calls == 0

    run(main())


def test_the_trinity():
    """Breaker, retry and timeout in one; while the circuit is open nothing is retried."""

    async def main():
        service = Service()
        pipeline = Pipeline(
            Timeout(30), Retry(3, backoff=0.1, budget=None), CircuitBreaker(2), Timeout(1)
        )
        service.error = ConnectionError()
        assert await attempt(pipeline, service) is ConnectionError
        assert service.calls == 3
        assert await attempt(pipeline, service) is ConnectionError
        calls = service.calls
        began = asyncio.get_running_loop().time()
        assert await attempt(pipeline, service) is CircuitOpenError
        assert service.calls == calls
        assert asyncio.get_running_loop().time() == began

    run(main())


def test_breaker_and_bulkhead():
    """A full bulkhead refuses, and that is no failure of the service."""

    async def main():
        service = Service()
        service.delay = 1.0
        breaker = CircuitBreaker(1)
        pipeline = Pipeline(breaker, Bulkhead(10))
        answers = await asyncio.gather(*(attempt(pipeline, service) for _ in range(15)))
        assert answers.count("answer") == 10
        assert answers.count(BulkheadFullError) == 5
        assert breaker.state is State.CLOSED

    run(main())


def test_the_hystrix_command():
    """A timeout of 1 s, half of 20 calls, 5 s of sleep, and a fallback."""

    async def main():
        service = Service()
        service.delay = 3.0
        command = Pipeline(Fallback(value="fallback"), presets.hystrix(name="orders", limit=None))
        answers = await asyncio.gather(*(command.execute(service) for _ in range(20)))
        assert set(answers) == {"fallback"}
        assert command.find(CircuitBreaker).state is State.OPEN
        assert command.find(CircuitBreaker).snapshot().retry_after == pytest.approx(5.0)
        assert await command.execute(service) == "fallback"
        assert service.calls == 20

    run(main())


def test_the_resilience4j_decorators():
    """Breaker, retry and a fallback for listed exceptions, around one function."""

    async def main():
        service = Service()
        decorated = Pipeline(
            Fallback(value="fallback", on=(ConnectionError, CircuitOpenError)),
            Retry(3, backoff=0.5),
            presets.resilience4j(name="backend"),
        )(service.__call__)
        assert await decorated() == "answer"
        service.error = ConnectionError()
        assert await decorated() == "fallback"
        assert service.calls == 4
        service.error = KeyError()
        with pytest.raises(KeyError):
            await decorated()

    run(main())


def test_the_spring_cloud_factory():
    """Named breakers from one default configuration, with a time limit of 4 s, and a fallback."""

    async def main():
        service = Service()
        factory = Keyed(
            lambda name: Pipeline(
                CircuitBreaker(2, open_for=10.0, name=name), Timeout(4), name=name
            )
        )

        async def run_named(name, call, fallback):
            return await Pipeline(Fallback(value=fallback), factory).bind(key=name).execute(call)

        assert await run_named("slow", service, "default") == "answer"
        service.delay = 10.0
        for _ in range(3):
            assert await run_named("slow", service, "default") == "default"
        assert service.calls == 3
        service.delay = 0.02
        assert await run_named("quick", service, "default") == "answer"
        assert set(factory) == {"slow", "quick"}

    run(main())


@pytest.mark.parametrize(
    "preset, failures",
    [("rest_api", 10), ("database", 5), ("internal_service", 15), ("cache", 30), ("ml_service", 5)],
)
def test_settings_by_kind_of_service(preset, failures):
    """Each kind opens after as many failures in a row as the chapter's table says."""

    async def main():
        service = Service()
        service.error = ConnectionError()
        pipeline = getattr(presets, preset)(attempts=1)
        breaker = pipeline.find(CircuitBreaker)
        for number in range(failures):
            assert breaker.state is State.CLOSED, number
            await attempt(pipeline, service)
        assert breaker.state is State.OPEN

    run(main())


def test_the_formulas():
    """Twice the restart is how long to stay open; a tenth of the calls, or five, is the limit."""
    assert presets.open_time(deployment=10, startup=15, warm_up=5) == 60
    assert presets.failure_threshold(rate=100, window=10) == 100
    assert presets.failure_threshold(rate=1, window=10) == 5


def test_half_open_cannot_be_skipped():
    """Of a hundred callers who come back at once, one tries, and the others are refused."""

    async def main():
        service = Service()
        service.error = ConnectionError()
        breaker = CircuitBreaker(1, open_for=5.0)
        await attempt(breaker, service)
        await asyncio.sleep(5)
        service.error = None
        answers = await asyncio.gather(*(attempt(breaker, service) for _ in range(100)))
        assert answers.count("answer") == 1
        assert answers.count(CircuitOpenError) == 99

    run(main())


def test_chaos():
    """At one failure in five nobody is cut off; at nine in ten the circuit opens."""

    async def main(share):
        chance = random.Random(7)
        service = Service()
        breaker = CircuitBreaker()
        for _ in range(500):
            service.error = ConnectionError() if chance.random() < share else None
            await attempt(breaker, service)
        return breaker.snapshot()

    assert run(main(0.2)).opened == 0
    assert run(main(0.9)).opened > 0


def test_the_checklist_logs_transitions_with_context(caplog):
    """Each change of state is logged with the name, the cause and the numbers."""
    caplog.set_level(logging.INFO, logger="seawall")

    async def main():
        service = Service()
        service.error = ConnectionError()
        breaker = CircuitBreaker(2, open_for=5.0, name="payments")
        for _ in range(2):
            await attempt(breaker, service)
        await asyncio.sleep(5)
        service.error = None
        await breaker.execute(service)

    run(main())
    records = [record for record in caplog.records if record.name == "seawall"]
    assert [record.levelname for record in records] == ["WARNING", "INFO", "INFO"]
    opened = records[0]
    assert (opened.seawall_name, opened.seawall_cause) == ("payments", "ConnectionError")
    assert (opened.seawall_failures, opened.seawall_open_for) == (2, 5.0)
    assert "payments" in opened.getMessage()
