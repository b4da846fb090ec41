"""Waiting for a turn: in order, once, and passed on by who cannot use it."""

from __future__ import annotations

import asyncio
import random

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seawall import Call
from seawall.core.waiting import Slots, Waiter
from tests.doubles import turns, virtual
from tests.virtual_time import VirtualLoop, run


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Both event loops, in virtual time."""
    return virtual(request.param)


def new_call() -> Call:
    call = Call()
    call.begin(lambda: None)
    return call


class Ticket:
    """A ticket that hears of waits."""

    def __init__(self, outer=None):
        self.outer = outer
        self.waiter = None
        self.heard = []

    def waits(self, waiter):
        self.waiter = waiter
        self.heard.append("waits")

    def goes_on(self, waiter, now):
        self.waiter = None
        self.heard.append("goes on")


@pytest.mark.anyio
async def test_a_turn_may_be_granted_before_it_is_waited_for():
    """Who is granted a turn at once does not wait."""
    waiter = Waiter()
    waiter.grant()
    assert await new_call().turn(waiter)


@pytest.mark.anyio
async def test_a_turn_that_is_not_granted_in_time():
    """A wait ends at its time, and says that there was no turn."""
    begun = anyio.current_time()
    assert not await new_call().turn(Waiter(), begun + 2)
    assert anyio.current_time() == pytest.approx(begun + 2)


@pytest.mark.anyio
async def test_a_time_that_has_passed_is_no_turn():
    """A wait until a time that is past ends at once."""
    begun = anyio.current_time()
    assert not await new_call().turn(Waiter(), begun - 1)
    assert anyio.current_time() == begun


@pytest.mark.anyio
@pytest.mark.parametrize("granted", [False, True])
async def test_a_refusal_outranks_a_grant(granted):
    """A waiter that is refused raises the error, also where it was granted its turn before."""
    waiter, error = Waiter(), OSError("refused")
    caught = []

    async def wait():
        try:
            await new_call().turn(waiter)
        except OSError as raised:
            caught.append(raised)

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await turns()
        if granted:
            waiter.grant()
        waiter.refuse(error)
    assert caught == [error]
    assert waiter.error is None


@pytest.mark.anyio
async def test_all_tickets_of_the_call_hear_of_the_wait():
    """Each circuit that admitted the call knows that it waits, and when it goes on."""
    outer = Ticket()
    inner = Ticket(outer)
    call = new_call()
    call.ticket = inner
    waiter = Waiter()
    waiter.grant()
    await call.turn(waiter)
    assert not await call.turn(Waiter(), anyio.current_time() + 1)
    with anyio.move_on_after(1):
        await call.turn(Waiter())
    for ticket in (inner, outer):
        assert ticket.heard == ["waits", "goes on"] * 3
        assert ticket.waiter is None


# Slots.


@pytest.mark.anyio
async def test_slots_are_granted_in_order_of_arrival():
    """The longest waiting gets the next slot, and nobody overtakes."""
    slots = Slots(1)
    order = []

    async def work(number):
        if not slots.take():
            assert await slots.wait(new_call(), float("inf"))
        order.append(number)
        await anyio.sleep(1)
        slots.release()

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(work, number)
            await turns(3)
    assert order == list(range(20))
    assert slots.in_flight == 0


@pytest.mark.anyio
async def test_nobody_takes_a_slot_past_the_queue():
    """While somebody waits, ``take`` gives nothing, even in the tick in which a slot is free."""
    slots = Slots(1)
    assert slots.take()
    async with anyio.create_task_group() as group:
        group.start_soon(slots.wait, new_call(), float("inf"))
        await turns()
        slots.release()
        assert not slots.take()
    assert slots.in_flight == 1


@pytest.mark.anyio
async def test_who_is_cancelled_in_the_tick_of_its_grant_passes_the_slot_on():
    """The next in the queue gets it, and when all are cancelled it is free."""
    slots = Slots(1)
    scopes, got = [], []

    async def wait(number):
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            if await slots.wait(new_call(), float("inf")):
                got.append(number)

    assert slots.take()
    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(wait, number)
            await turns()
        scopes[0].cancel()
        slots.release()
        await turns()
        assert got == [1]
        assert slots.in_flight == 1
        scopes[2].cancel()
        slots.release()
        await turns()
    assert got == [1]
    assert slots.in_flight == 0
    assert not slots.queue


def test_a_task_that_is_cancelled_after_its_grant_passes_the_slot_on():
    """The same where the grant comes first and the cancellation in the same tick."""

    async def main():
        slots = Slots(1)
        assert slots.take()
        first, second = [
            asyncio.create_task(slots.wait(new_call(), until)) for until in (float("inf"), 2000.0)
        ]
        await asyncio.sleep(0)
        slots.release()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second
        assert (slots.in_flight, len(slots.queue)) == (1, 0)

    run(main())


def test_a_grant_in_the_tick_in_which_the_wait_ends_is_a_grant():
    """Whether the grant or the time comes first, the slot is used or free, never lost."""

    async def main(early):
        loop = asyncio.get_running_loop()
        slots = Slots(1)
        assert slots.take()
        until = loop.time() + 1
        if early:
            loop.call_at(until, slots.release)
        waiting = asyncio.create_task(slots.wait(new_call(), until))
        await asyncio.sleep(0)
        if not early:
            loop.call_at(until, slots.release)
        granted = await waiting
        assert slots.in_flight == granted
        assert not slots.queue
        return granted

    assert run(main(early=True))
    run(main(early=False))


@pytest.mark.anyio
async def test_the_limit_may_change_while_slots_are_held():
    """A lower limit takes nothing away; a higher one is granted at once."""
    slots = Slots(3)
    for _ in range(3):
        assert slots.take()
    granted = []

    async def wait():
        granted.append(await slots.wait(new_call(), float("inf")))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(wait)
        await turns()
        slots.limit = 1
        slots.release()
        slots.release()
        await turns()
        assert (slots.in_flight, granted) == (1, [])
        slots.limit = 3
        assert not slots.take()
        slots.grant()
        await turns()
        assert (slots.in_flight, granted) == (3, [True, True])
        slots.release()


def test_a_slot_may_come_back_after_its_loop_is_closed():
    """A finalizer that gives a slot back when all is over disturbs nobody."""
    slots = Slots(1)
    calls = []

    async def main():
        assert slots.take()
        waiting = slots.wait(new_call(), float("inf"))
        waiting.send(None).add_done_callback(calls.append)
        calls.append(waiting)

    run(main())
    slots.release()
    calls.pop().close()
    assert slots.in_flight == 0
    assert not slots.queue


@given(seed=st.integers(0, 2**32), limit=st.integers(1, 4), tasks=st.integers(2, 25))
@settings(max_examples=60)
def test_under_any_load_slots_are_neither_lost_nor_doubled(seed, limit, tasks):
    """With cancels, timeouts and refusals at random steps of the loop, the count is always right.

    Cancels come before any callback that the loop runs, so also in the tick of a grant.
    """
    chance = random.Random(seed)
    slots = Slots(limit)
    inside = 0
    waiters = []

    class Watch(Ticket):
        def waits(self, waiter):
            super().waits(waiter)
            waiters.append(self)

    async def work():
        nonlocal inside
        await asyncio.sleep(chance.choice([0, 0, 0.5, 1]))
        call = new_call()
        call.ticket = Watch()
        until = chance.choice([float("inf"), call.now() + chance.choice([0.5, 1, 1.5])])
        if not slots.take() and not await slots.wait(call, until):
            return
        inside += 1
        try:
            assert inside <= slots.in_flight <= limit
            await asyncio.sleep(chance.choice([0, 0.5, 1]))
        finally:
            inside -= 1
            slots.release()

    async def main():
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        running = [asyncio.ensure_future(work()) for _ in range(tasks)]

        def step():
            if chance.random() < 0.05:
                chance.choice(running).cancel()
            elif chance.random() < 0.03 and waiters:
                waiter = chance.choice(waiters).waiter
                if waiter is not None:
                    waiter.refuse(OSError("refused"))

        loop.on_step = step
        results = await asyncio.gather(*running, return_exceptions=True)
        loop.on_step = None
        wrong = [
            result
            for result in results
            if result is not None and not isinstance(result, (OSError, asyncio.CancelledError))
        ]
        assert wrong == []

    async def guarded():
        main_task = asyncio.ensure_future(main())
        await main_task

    run(guarded())
    assert (inside, slots.in_flight, len(slots.queue)) == (0, 0, 0)
