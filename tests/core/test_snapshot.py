"""Snapshots: what each policy is doing now, as plain records."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys
import threading
from collections import Counter
from math import inf

import anyio
import pytest

from seawall import (
    AdaptiveLimit,
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    FailureRate,
    Fallback,
    Hedge,
    Keyed,
    LastGood,
    LoadShedder,
    Percentile,
    Pipeline,
    Policy,
    RateLimitedError,
    RateLimiter,
    Retry,
    RetryBudget,
    State,
    Timeout,
)
from seawall.core.snapshot import PipelineSnapshot, Snapshot
from seawall.policies.adaptive_limit.adaptive_limit import AdaptiveLimitSnapshot
from seawall.policies.bulkhead.snapshot import BulkheadSnapshot
from seawall.policies.circuit.snapshot import CircuitSnapshot
from seawall.policies.fallback import FallbackSnapshot
from seawall.policies.hedge import HedgeSnapshot
from seawall.policies.keyed import KeyedSnapshot
from seawall.policies.last_good import LastGoodSnapshot
from seawall.policies.load_shedder.load_shedder import LoadShedderSnapshot
from seawall.policies.rate_limiter.snapshot import RateLimiterSnapshot
from seawall.policies.retry.snapshot import RetrySnapshot
from seawall.policies.timeout.snapshot import TimeoutSnapshot
from tests.doubles import Held, Script, turns, virtual
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def fails():
    raise OSError("made up")


async def answers():
    return "fine"


class Plain(Policy):
    async def run(self, call, proceed):
        return await proceed(call)


POLICIES = {
    CircuitSnapshot: lambda: CircuitBreaker(1, open_for=5.0, name="n", parent=CircuitBreaker()),
    AdaptiveLimitSnapshot: AdaptiveLimit,
    LoadShedderSnapshot: lambda: LoadShedder(max_reject=1e-9),
    BulkheadSnapshot: lambda: Bulkhead(2, queue=inf),
    RateLimiterSnapshot: lambda: RateLimiter(None, burst=5),
    RetrySnapshot: lambda: Retry(2, backoff=0.0),
    TimeoutSnapshot: lambda: Timeout(5.0),
    FallbackSnapshot: lambda: Fallback(value=1),
    HedgeSnapshot: lambda: Hedge(Percentile(0.9)),
    LastGoodSnapshot: lambda: LastGood(60),
    KeyedSnapshot: lambda: Keyed(lambda key: Pipeline(CircuitBreaker(1)), key=lambda: ("h", 443)),
    PipelineSnapshot: lambda: Pipeline(
        Pipeline(Plain()), CircuitBreaker(1).bind(key="k"), Timeout(1.0), name="p"
    ),
    Snapshot: Plain,
}


@pytest.mark.parametrize("kind", POLICIES)
async def test_every_policy_has_one(kind):
    """It is a frozen record, named like its policy, and strict JSON takes it."""
    policy = POLICIES[kind]()
    for use in (answers, fails):
        try:
            await policy.execute(use)
        except OSError:
            pass
        snapshot = policy.snapshot()
        assert type(snapshot) is kind
        assert (snapshot.policy, snapshot.name) == (type(policy).__name__, policy.name)
        written = snapshot.as_dict()
        assert json.loads(json.dumps(written, allow_nan=False)) == written
        assert list(written) == ["type", *(field.name for field in dataclasses.fields(kind))]
        assert written["type"] == kind.__name__
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.policy = "another"
    assert not hasattr(snapshot, "__dict__")
    explained = "".join(parent.__doc__ or "" for parent in kind.__mro__)
    assert [f.name for f in dataclasses.fields(kind) if f"{f.name}: " not in explained] == []


@pytest.mark.parametrize("kind", POLICIES)
async def test_taking_one_changes_nothing(kind):
    """Two in a row are equal, whatever has happened before."""
    policy = POLICIES[kind]()
    assert policy.snapshot() == policy.snapshot()
    for use in (answers, fails, answers):
        try:
            await policy.execute(use)
        except (OSError, CircuitOpenError):
            pass
        assert policy.snapshot() == policy.snapshot()


@pytest.mark.parametrize("kind", POLICIES)
def test_it_can_be_taken_anywhere(kind):
    """Without a loop, from another thread, and from another loop that runs at the same time."""
    policy = POLICIES[kind]()
    before = policy.snapshot()

    def in_a_thread(take):
        taken = []
        thread = threading.Thread(target=lambda: taken.append(take()))
        thread.start()
        thread.join(60)
        return taken

    async def from_a_loop():
        return policy.snapshot()

    async def main():
        assert policy.snapshot() == before
        try:
            await policy.execute(fails)
        except OSError:
            pass
        own = policy.snapshot()
        assert in_a_thread(policy.snapshot) == [own]
        assert in_a_thread(lambda: asyncio.run(from_a_loop())) == [own]
        return own

    last = run(main())
    assert policy.snapshot() == last
    # Another loop, whose time is another one: nothing has passed until a call comes.
    assert run(from_a_loop(), start=9.0) == last


# The circuit.


async def test_what_a_circuit_counts():
    """Each call is counted once, as what it was judged to be, or as in flight, or as rejected."""
    breaker = CircuitBreaker(FailureRate(0.5, window=30.0, minimum_calls=4), open_for=5.0, name="n")
    fresh = breaker.snapshot()
    assert (fresh.state, fresh.since, fresh.retry_after, fresh.rate) == (
        State.CLOSED,
        None,
        0.0,
        None,
    )
    assert (fresh.opened, fresh.cause, fresh.patience, fresh.calls) == (0, None, None, 0)
    held = Held()
    async with anyio.create_task_group() as group:
        group.start_soon(breaker.execute, held)
        await turns()
        for outcome in ("fine", "fine", TypeError("neutral"), OSError):
            try:
                await breaker.execute(Script(outcome))
            except (OSError, TypeError):
                pass
        now = breaker.snapshot()
        assert (now.calls, now.successes, now.failures, now.neutral, now.in_flight) == (
            5,
            2,
            1,
            1,
            1,
        )
        assert (now.window_calls, now.window_failures, now.rate) == (3, 1, 1 / 3)
        with pytest.raises(OSError, match="made up"):
            await breaker.execute(fails)
        await anyio.sleep(2.0)
        with pytest.raises(CircuitOpenError):
            await breaker.execute(answers)
        now = breaker.snapshot()
        assert (now.state, now.since, now.retry_after) == (State.OPEN, 2.0, 3.0)
        assert (now.rejected, now.opened, now.cause) == (1, 1, "OSError")
        assert (now.calls, now.failures, now.in_flight) == (6, 2, 1)
        held.let_go()
    now = breaker.snapshot()
    assert (now.calls, now.successes, now.in_flight) == (6, 3, 0)
    await anyio.sleep(4.0)
    assert breaker.snapshot().retry_after == 0.0
    assert await breaker.execute(answers) == "fine"
    now = breaker.snapshot()
    assert (now.state, now.since, now.calls, now.successes) == (State.CLOSED, 0.0, 7, 4)
    # What opened it last stays known.
    assert (now.opened, now.cause) == (1, "OSError")


async def test_what_the_shadow_mode_counts():
    """How many calls would have been refused, and how many of those succeeded."""
    parent = CircuitBreaker(name="above")
    breaker = CircuitBreaker(1, open_for=50.0, shadow=True, parent=parent)
    for outcome in (OSError, "fine", "fine", OSError):
        try:
            await breaker.execute(Script(outcome))
        except OSError:
            pass
    now = breaker.snapshot()
    assert (now.shadow, now.state, now.parent) == (True, State.OPEN, "above")
    assert (now.would_refuse, now.would_refuse_succeeded, now.rejected) == (3, 2, 0)
    assert (now.calls, now.successes, now.failures) == (4, 2, 2)


async def test_an_isolated_circuit_does_not_know_when():
    """``retry_after`` is ``None`` then, in JSON too, and the state is its plain word."""
    breaker = CircuitBreaker()
    breaker.isolate()
    written = breaker.snapshot().as_dict()
    assert (written["state"], written["retry_after"], written["since"]) == ("isolated", None, 0.0)


# The others.


async def test_what_a_bulkhead_shows():
    """Who runs, who waits, who was refused; a queue without end is ``None`` in JSON."""
    bulkhead = Bulkhead(1, queue=1)
    held = Held()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(bulkhead.execute, held)
            await turns()
        with pytest.raises(BulkheadFullError):
            await bulkhead.execute(held)
        now = bulkhead.snapshot()
        assert (now.limit, now.in_flight, now.waiting, now.queue, now.rejected) == (1, 1, 1, 1, 1)
        group.cancel_scope.cancel()
    now = bulkhead.snapshot()
    assert (now.in_flight, now.waiting, now.rejected) == (0, 0, 1)
    assert Bulkhead(1, queue=inf).snapshot().as_dict()["queue"] is None


async def test_what_a_rate_limiter_shows():
    """What may be taken now, who waits, how long the pause lasts, and what it has refused."""
    limiter = RateLimiter(2, per=4.0, burst=3, max_wait=4.5)

    class Throttled(Exception):
        status_code = 429

        class response:  # noqa: N801 - as clients have it
            status_code = 429
            headers = {"retry-after": "3"}  # noqa: RUF012

    start = limiter.snapshot()
    assert (start.rate, start.per, start.burst, start.available) == (2, 4.0, 3, 3)
    for _ in range(3):
        await limiter.execute(answers)
    await anyio.sleep(1)
    assert limiter.snapshot().available == pytest.approx(0.5)
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(limiter.execute, answers)
        await turns()
        with pytest.raises(RateLimitedError):
            await limiter.execute(answers)
        assert (limiter.snapshot().waiting, limiter.snapshot().rejected) == (2, 1)
    await anyio.sleep(2)
    with pytest.raises(Throttled):
        await limiter.execute(Script(Throttled))
    await anyio.sleep(1)
    end = limiter.snapshot()
    assert (end.waiting, end.rejected, end.throttled) == (0, 1, 1)
    assert end.paused_for == pytest.approx(2)
    assert end.available == pytest.approx(0.5)
    assert RateLimiter(None).snapshot().available == inf


async def test_what_a_timeout_shows():
    """How many calls run inside, and how many it has ended."""
    timeout = Timeout(2.0)
    async with anyio.create_task_group() as group:
        group.start_soon(timeout.execute, anyio.sleep, 1.0)
        await turns()
        assert timeout.snapshot().in_flight == 1
    with pytest.raises(CallTimeoutError):
        await timeout.execute(anyio.sleep, 5.0)
    now = timeout.snapshot()
    assert (now.seconds, now.in_flight, now.timed_out) == (2.0, 0, 1)


async def test_what_a_retry_shows():
    """How often it has retried, and what the budget has left, with what has dripped in since."""
    retry = Retry(3, backoff=0.0, budget=RetryBudget(0.1, capacity=4, floor=0.5))
    assert (retry.snapshot().budget_left, retry.snapshot().budget_capacity) == (4, 4)
    for _ in range(2):
        with pytest.raises(OSError, match="made up"):
            await retry.execute(fails)
    now = retry.snapshot()
    assert (now.attempts, now.retries, now.budget_left) == (3, 4, 0.0)
    await anyio.sleep(3.0)
    assert retry.snapshot().budget_left == 1.5
    # That is what it pays with.
    with pytest.raises(OSError, match="made up"):
        await retry.execute(fails)
    assert retry.snapshot().budget_left == 0.5
    await anyio.sleep(100.0)
    assert retry.snapshot().budget_left == 4
    unlimited = Retry(budget=None).snapshot()
    assert (unlimited.budget_left, unlimited.budget_capacity) == (None, None)


def test_a_budget_does_not_drip_between_two_loops():
    """What is left is shown by the clock that the budget goes by; between two it stands still."""
    retry = Retry(2, backoff=0.0, budget=RetryBudget(0.0, capacity=2, floor=0.5))

    async def spend():
        for _ in range(2):
            with pytest.raises(OSError, match="made up"):
                await retry.execute(fails)
        return retry.snapshot().budget_left

    async def show():
        return retry.snapshot().budget_left

    assert run(spend(), start=10.0) == 0.0
    assert retry.snapshot().budget_left == 0.0
    assert run(show(), start=1000.0) == 0.0


def test_a_budget_is_read_by_its_own_clock():
    """By another clock, whose times say nothing here, it has what it had last."""
    clock = object()
    budget = RetryBudget(capacity=4, floor=0.5)
    assert budget.left(clock, 5.0) == 4
    budget.follow(clock, 10.0)
    assert budget.spend(10.0)
    assert budget.spend(10.0)
    assert budget.left(clock, 11.0) == 2.5
    assert budget.left(clock, 9.0) == 2.0
    assert budget.left(object(), 1000.0) == 2.0
    assert budget.tokens == 2.0


async def test_what_a_pipeline_shows():
    """A snapshot for each policy, the outermost first, in pipelines in pipelines as well."""
    pipeline = Pipeline(
        Fallback(value=1),
        Pipeline(Retry(1), CircuitBreaker(name="db").bind(key="k"), name="inner"),
        Bulkhead(3).bind(timeout=1.0),
        name="outer",
    )
    await pipeline.execute(fails)
    now = pipeline.snapshot()
    assert (now.name, [type(each) for each in now.policies]) == (
        "outer",
        [FallbackSnapshot, PipelineSnapshot, BulkheadSnapshot],
    )
    assert now.policies[0].used == 1
    inner = now.policies[1]
    assert [each.name for each in inner.policies] == [None, "db"]
    assert inner.policies[1].failures == 1
    written = now.as_dict()
    assert written["policies"][1]["policies"][1]["failures"] == 1
    assert pipeline.bind(key="k").snapshot() == now


async def test_what_keyed_shows():
    """A snapshot for each key, the longest unused first; in JSON, keys are strings."""
    keyed = Keyed(lambda key: CircuitBreaker(1), max_keys=3)
    for key in [("h", 80), "b", 7, "b"]:
        try:
            await keyed.bind(key=key).execute(fails)
        except (OSError, CircuitOpenError):
            pass
    now = keyed.snapshot()
    assert (now.max_keys, list(now.keys)) == (3, [("h", 80), 7, "b"])
    assert list(now.keys) == list(keyed)
    assert now.keys["b"].rejected == 1
    assert list(now.as_dict()["keys"]) == ["('h', 80)", "7", "b"]
    # It stays what it was.
    await keyed.bind(key="new").execute(answers)
    assert "new" not in now.keys


def test_it_costs_the_same_after_many_calls():
    """Taking one runs through nothing that grows with the calls that there were."""

    def cost(pipeline):
        entered = Counter()

        def profile(frame, event, argument):
            entered[event] += 1

        sys.setprofile(profile)
        try:
            pipeline.snapshot()
        finally:
            sys.setprofile(None)
        return entered["call"] + entered["c_call"]

    async def main():
        pipeline = Pipeline(
            Timeout(30.0),
            Retry(2, backoff=0.0),
            CircuitBreaker(FailureRate(0.9, window=30.0, minimum_calls=10_000)),
            Bulkhead(1000),
        )

        async def call_so_often(count):
            for number in range(count):
                try:
                    await pipeline.execute(fails if number % 3 == 0 else answers)
                except OSError:
                    pass

        await call_so_often(100)
        few = cost(pipeline)
        await call_so_often(3_000)
        held = Held()
        waiting = [asyncio.create_task(pipeline.execute(held)) for _ in range(500)]
        await turns()
        many = cost(pipeline)
        held.let_go()
        await asyncio.gather(*waiting)
        return few, many

    few, many = run(main())
    assert 0 < many <= few + 5
