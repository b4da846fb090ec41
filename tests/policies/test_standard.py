"""``Pipeline.standard()``: the policies, their order, and that they do no harm."""

from __future__ import annotations

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Pipeline,
    Retry,
    State,
    Timeout,
)
from tests.doubles import Held, Script, turns, virtual

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def kinds(pipeline):
    return [type(policy) for policy in pipeline.policies]


def test_the_order():
    """Timeout, Retry, CircuitBreaker, then a Bulkhead if a limit is given, then Timeout."""
    assert kinds(Pipeline.standard()) == [Timeout, Retry, CircuitBreaker, Timeout]
    limited = Pipeline.standard(limit=7)
    assert kinds(limited) == [Timeout, Retry, CircuitBreaker, Bulkhead, Timeout]
    assert limited.find(Bulkhead).limit == 7


def test_the_defaults():
    """30 s for the call, 10 s for each of 3 attempts, no limit, no name."""
    total, retry, breaker, attempt = Pipeline.standard().policies
    assert (total.seconds, retry.attempts, attempt.seconds) == (30.0, 3, 10.0)
    assert breaker.state is State.CLOSED
    assert Pipeline.standard().name is None


def test_the_settings():
    """Each argument is where it belongs, and the name is on each policy."""
    pipeline = Pipeline.standard(timeout=5, attempts=2, attempt_timeout=1, limit=4, name="db")
    total, retry, breaker, bulkhead, attempt = pipeline.policies
    assert (total.seconds, retry.attempts, bulkhead.limit, attempt.seconds) == (5, 2, 4, 1)
    assert {policy.name for policy in (pipeline, total, retry, breaker, bulkhead, attempt)} == {
        "db"
    }


def test_the_limit_may_be_a_policy():
    """Any policy may be the limit; it is taken as it is."""
    limit = Bulkhead(3, queue=10)
    assert Pipeline.standard(limit=limit, name="db").find(Bulkhead) is limit
    assert limit.name is None


@pytest.mark.parametrize(
    "name,value,kind",
    [
        ("timeout", 0, ValueError),
        ("timeout", "30", TypeError),
        ("timeout", None, TypeError),
        ("attempts", 0, ValueError),
        ("attempts", 2.5, TypeError),
        ("attempt_timeout", -1, ValueError),
        ("attempt_timeout", None, TypeError),
        ("limit", 0, ValueError),
        ("limit", "5", TypeError),
        ("limit", True, TypeError),
        ("limit", Bulkhead, TypeError),
        ("name", 5, TypeError),
    ],
)
def test_a_wrong_argument_is_named(name, value, kind):
    """The error names the argument of ``standard``, its value and what is allowed."""
    with pytest.raises(kind) as caught:
        Pipeline.standard(**{name: value})
    text = str(caught.value)
    assert text.startswith(f"{name} must be ")
    assert text.endswith(f"not {value!r}")


def test_nothing_is_shared():
    """Two standard pipelines have no policy and no budget in common."""
    first, second = Pipeline.standard(limit=1), Pipeline.standard(limit=1)
    assert not set(first.policies) & set(second.policies)
    assert first.find(Retry).budget is not second.find(Retry).budget


async def test_a_healthy_dependency_notices_nothing():
    """A thousand calls at once all get through: no default refuses what a bare call would do."""
    pipeline, held = Pipeline.standard(), Held()
    async with anyio.create_task_group() as group:
        for _ in range(1000):
            group.start_soon(pipeline.execute, held)
        await turns()
        assert held.inside == 1000
        held.let_go()


async def test_a_hung_attempt_is_tried_again():
    """Each attempt has its own timeout, and the call has the whole."""
    calls = 0

    async def hangs_once():
        nonlocal calls
        calls += 1
        if calls == 1:
            await anyio.sleep(3600)
        return "fine"

    begun = anyio.current_time()
    assert await Pipeline.standard().execute(hangs_once) == "fine"
    assert 10 <= anyio.current_time() - begun <= 10.2
    with pytest.raises(CallTimeoutError) as caught:
        await Pipeline.standard().execute(anyio.sleep, 3600)
    assert caught.value.seconds in (10.0, 30.0)
    assert anyio.current_time() - begun <= 10.2 + 30.0 + 0.001


async def test_a_dead_dependency_is_cut_off():
    """After eight failures in a row the calls are refused, and after a while one asks again."""
    pipeline, script = Pipeline.standard(name="db"), Script(OSError)
    for _ in range(8):
        with pytest.raises(OSError):
            await pipeline.execute(script)
    before = script.calls
    with pytest.raises(CircuitOpenError) as caught:
        await pipeline.execute(script)
    assert caught.value.name == "db"
    assert script.calls == before
    assert caught.value.retry_after > 0
    await anyio.sleep(caught.value.retry_after)
    assert await pipeline.execute(Script("fine")) == "fine"
    assert pipeline.find(CircuitBreaker).state is State.CLOSED


async def test_the_limit_counts_attempts():
    """A bulkhead that is full refuses, and says its name."""
    pipeline, held = Pipeline.standard(limit=1, name="db"), Held()
    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.execute, held)
        await turns()
        with pytest.raises(BulkheadFullError) as caught:
            await pipeline.execute(held)
        assert caught.value.name == "db"
        held.let_go()
    assert pipeline.find(CircuitBreaker).state is State.CLOSED
