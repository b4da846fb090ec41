"""Bulkhead: how many run, who waits, and who is refused."""

from __future__ import annotations

import asyncio
import random
from math import inf

import anyio
import pytest

from seawall import (
    Bulkhead,
    BulkheadFullError,
    CallTimeoutError,
    CircuitBreaker,
    CircuitOpenError,
    Pipeline,
    Timeout,
)
from tests.doubles import Held, Script, turns, virtual
from tests.virtual_time import run

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


async def test_at_most_so_many_run_at_a_time():
    """The limit is reached and never passed; the others wait."""
    bulkhead, held = Bulkhead(3, queue=inf), Held()
    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(bulkhead.execute, held)
        await turns()
        assert (held.inside, bulkhead.in_flight, bulkhead.waiting) == (3, 3, 7)
        while held.inside:
            held.let_go()
            await turns()
    assert (held.most, held.calls) == (3, 10)
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


async def test_without_a_queue_it_refuses_at_once():
    """By default nobody waits, and the refusal says who refused which key."""
    bulkhead, held = Bulkhead(1), Held()
    async with anyio.create_task_group() as group:
        group.start_soon(bulkhead.execute, held)
        await turns()
        begun = anyio.current_time()
        with pytest.raises(BulkheadFullError) as caught:
            await bulkhead.bind(key="host").execute(held)
        assert anyio.current_time() == begun
        held.let_go()
    assert caught.value.policy is bulkhead
    assert caught.value.key == "host"
    assert caught.value.retry_after is None
    assert held.calls == 1


async def test_the_queue_is_bounded():
    """Who finds the queue full is refused; a place that is left can be taken."""
    bulkhead, held = Bulkhead(1, queue=2), Held()
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(bulkhead.execute, held)
        await turns()
        with pytest.raises(BulkheadFullError):
            await bulkhead.execute(held)
        assert bulkhead.waiting == 2
        held.let_go()
        await turns()
        group.start_soon(bulkhead.execute, held)
        await turns()
        assert bulkhead.waiting == 2
        for _ in range(3):
            held.let_go()
            await turns()
    assert held.calls == 4


async def test_the_order_of_arrival_is_kept():
    """First come, first served."""
    bulkhead = Bulkhead(1, queue=inf)
    order = []

    async def work(number):
        order.append(number)
        await anyio.sleep(1)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(bulkhead.execute, work, number)
            await turns(3)
    assert order == list(range(10))


async def test_a_wait_is_bounded_by_max_wait():
    """Who has waited for ``max_wait`` is refused, and leaves the queue."""
    bulkhead, held = Bulkhead(1, queue=5, max_wait=2), Held()
    async with anyio.create_task_group() as group:
        group.start_soon(bulkhead.execute, held)
        await turns()
        begun = anyio.current_time()
        with pytest.raises(BulkheadFullError):
            await bulkhead.execute(held)
        assert anyio.current_time() - begun == pytest.approx(2)
        assert bulkhead.waiting == 0
        held.let_go()
    assert held.calls == 1
    assert await bulkhead.execute(Script("fine")) == "fine"


async def test_a_max_wait_of_zero_refuses_at_once():
    """With ``max_wait=0`` the queue is of no use."""
    bulkhead, held = Bulkhead(1, queue=5, max_wait=0), Held()
    async with anyio.create_task_group() as group:
        group.start_soon(bulkhead.execute, held)
        await turns()
        with pytest.raises(BulkheadFullError):
            await bulkhead.execute(held)
        held.let_go()


async def test_a_slot_in_time_is_a_slot():
    """A call that gets its slot before ``max_wait`` runs as long as it likes."""
    bulkhead = Bulkhead(1, queue=1, max_wait=2)
    async with anyio.create_task_group() as group:
        group.start_soon(bulkhead.execute, anyio.sleep, 1.5)
        await turns()
        await bulkhead.execute(anyio.sleep, 10)
    assert bulkhead.in_flight == 0


async def test_an_enclosing_timeout_ends_the_wait():
    """It is a ``CallTimeoutError``, and the place in the queue is free."""
    bulkhead, held = Bulkhead(1, queue=1), Held()
    async with anyio.create_task_group() as group:
        group.start_soon(bulkhead.execute, held)
        await turns()
        with pytest.raises(CallTimeoutError):
            await Pipeline(Timeout(1), bulkhead).execute(held)
        assert bulkhead.waiting == 0
        held.let_go()
    assert bulkhead.in_flight == 0


@pytest.mark.parametrize("error", [OSError("made up"), KeyboardInterrupt(), GeneratorExit()])
async def test_a_slot_comes_back_whatever_is_raised(error):
    """Errors and interrupts give the slot back, and pass as they are."""
    bulkhead = Bulkhead(1)
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            await bulkhead.execute(Script(error))
        assert caught.value is error
        assert bulkhead.in_flight == 0


async def test_a_slot_comes_back_when_the_caller_leaves():
    """A cancelled call frees its slot at once, for the one that waits."""
    bulkhead, held = Bulkhead(1, queue=1), Held()
    async with anyio.create_task_group() as group:
        with anyio.move_on_after(1):
            group.start_soon(anyio.sleep, 0)
            async with anyio.create_task_group() as inner:
                inner.start_soon(bulkhead.execute, held)
                await turns()
        assert bulkhead.in_flight == 0
        assert await bulkhead.execute(Script("fine")) == "fine"


async def test_who_is_cancelled_in_the_tick_of_its_grant_passes_the_slot_on():
    """A slot is handed over at once, and from a dead hand to the next living one."""
    bulkhead, first, rest = Bulkhead(1, queue=5), Held(), Script("fine")
    scopes = []

    async def wait():
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            await bulkhead.execute(rest)

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as holding:
            async with anyio.create_task_group() as inner:
                inner.start_soon(bulkhead.execute, first)
                await turns()
                for _ in range(3):
                    group.start_soon(wait)
                    await turns()
                scopes[0].cancel()
                holding.cancel()
        await turns()
    assert rest.calls == 2
    assert (bulkhead.in_flight, bulkhead.waiting) == (0, 0)


# Rule 5 of the circuit: who waits when it opens is refused.


@pytest.mark.parametrize("how", ["trips", "is tripped", "is isolated"])
async def test_who_waits_when_the_circuit_opens_is_refused(how):
    """They never reached the dependency; the slots go to nobody, and none is lost."""
    breaker, bulkhead = CircuitBreaker(1, open_for=5, name="db"), Bulkhead(2, queue=9)
    pipeline = Pipeline(breaker, bulkhead)
    refused: list[CircuitOpenError] = []
    late, gate = Script("never"), anyio.Event()

    async def failing():
        await gate.wait()
        raise OSError("made up")

    async def first():
        with pytest.raises(OSError, match="made up"):
            await pipeline.execute(failing)

    async def waits(key):
        with pytest.raises(CircuitOpenError) as caught:
            await pipeline.bind(key=key).execute(late)
        refused.append(caught.value)

    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(first)
        await turns()
        for key in range(4):
            group.start_soon(waits, key)
        await turns()
        assert bulkhead.waiting == 4
        if how == "is tripped":
            breaker.trip()
        elif how == "is isolated":
            breaker.isolate()
        else:
            gate.set()
        await turns()
        assert len(refused) == 4
        assert bulkhead.waiting == 0
        gate.set()
    assert late.calls == 0
    assert bulkhead.in_flight == 0
    assert sorted(error.key for error in refused) == [0, 1, 2, 3]
    assert {error.policy for error in refused} == {breaker}
    assert {error.name for error in refused} == {"db"}
    assert len({id(error) for error in refused}) == 4
    expected = None if how == "is isolated" else pytest.approx(5)
    assert all(error.retry_after == expected for error in refused)


async def test_the_refusal_names_the_circuit_that_opened():
    """Of two circuits around a bulkhead, the refusal is of the one that opened."""
    outer, inner = CircuitBreaker(name="outer"), CircuitBreaker(name="inner")
    for opening in (outer, inner):
        bulkhead, held = Bulkhead(1, queue=1), Held()
        pipeline = Pipeline(outer, inner, bulkhead)
        caught = []

        async def waits(pipeline=pipeline, held=held, caught=caught):
            with pytest.raises(CircuitOpenError) as raised:
                await pipeline.execute(held)
            caught.append(raised.value)

        async with anyio.create_task_group() as group:
            group.start_soon(pipeline.execute, held)
            await turns()
            group.start_soon(waits)
            await turns()
            opening.trip()
            await turns()
            held.let_go()
        assert [(error.policy, error.name) for error in caught] == [(opening, opening.name)]
        opening.reset()


async def test_who_got_its_slot_before_the_trip_goes_on():
    """The trip concerns only who still waits: what runs inside is left alone."""
    breaker, bulkhead, held = CircuitBreaker(1), Bulkhead(2, queue=1), Held()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(Pipeline(breaker, bulkhead).execute, held)
        await turns()
        breaker.trip()
        await turns()
        assert held.inside == 2
        held.let_go()


async def test_a_shadow_refuses_nobody_who_waits():
    """In shadow mode a trip lets those who wait have their turn."""
    breaker, bulkhead, held = CircuitBreaker(1, shadow=True), Bulkhead(1, queue=1), Held()
    async with anyio.create_task_group() as group:
        for _ in range(2):
            group.start_soon(Pipeline(breaker, bulkhead).execute, held)
        await turns()
        breaker.trip()
        for _ in range(2):
            held.let_go()
            await turns()
    assert held.calls == 2


async def test_a_circuit_inside_a_bulkhead_refuses_nobody_who_waits_outside():
    """Who waits outside of the circuit has not been admitted by it, and asks it in its turn."""
    breaker, bulkhead, held = CircuitBreaker(1, open_for=5), Bulkhead(1, queue=1), Held()
    pipeline = Pipeline(bulkhead, breaker)
    refused = []

    async def waits():
        with pytest.raises(CircuitOpenError):
            await pipeline.execute(held)
        refused.append(1)

    async with anyio.create_task_group() as group:
        group.start_soon(pipeline.execute, held)
        await turns()
        group.start_soon(waits)
        await turns()
        breaker.trip()
        await turns()
        assert refused == []
        held.let_go()
    assert refused == [1]
    assert bulkhead.in_flight == 0


# Load.


@pytest.mark.parametrize("seed", range(12))
async def test_under_random_load_the_limit_holds(seed):
    """With timeouts, cancels, failures and trips, never more than the limit run, and all ends."""
    chance = random.Random(seed)
    limit = chance.choice([1, 2, 5])
    bulkhead = Bulkhead(limit, queue=chance.choice([0, 3, inf]), max_wait=chance.choice([None, 1]))
    breaker = CircuitBreaker(3, open_for=0.5)
    pipeline = Pipeline(Timeout(2), breaker, bulkhead)
    inside = most = 0

    async def work():
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        try:
            await anyio.sleep(chance.choice([0, 0.1, 0.5, 1, 5]))
            if chance.random() < 0.3:
                raise OSError("made up")
        finally:
            inside -= 1

    async def caller():
        await anyio.sleep(chance.random() * 5)
        with anyio.move_on_after(chance.choice([0.3, 1, 50])):
            try:
                await pipeline.execute(work)
            except (OSError, BulkheadFullError, CircuitOpenError):
                pass

    async with anyio.create_task_group() as group:
        for _ in range(150):
            group.start_soon(caller)
    assert most == limit
    assert (inside, bulkhead.in_flight, bulkhead.waiting) == (0, 0, 0)


def test_it_serves_one_loop_after_another():
    """Slots that were held on a loop that is gone are free on the next one."""
    bulkhead = Bulkhead(1, queue=1)

    async def main():
        return await asyncio.gather(*[bulkhead.execute(asyncio.sleep, 1, n) for n in range(2)])

    assert run(main()) == [0, 1]
    assert run(main(), start=5.0) == [0, 1]


@pytest.mark.parametrize(
    "bulkhead,text",
    [
        (Bulkhead(3), "Bulkhead(3)"),
        (Bulkhead(3, queue=inf, max_wait=0.5), "Bulkhead(3, queue=inf, max_wait=0.5)"),
    ],
)
def test_it_shows_its_settings(bulkhead, text):
    """The repr is what was asked for."""
    assert repr(bulkhead) == text
