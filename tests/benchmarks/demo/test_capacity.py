"""The capacity of a server: workers and a bounded queue."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.demo.capacity import Capacity, Full


async def waiting(capacity, count):
    tasks = [asyncio.create_task(capacity.take()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


@pytest.mark.asyncio
async def test_order():
    """Those who wait are served in the order of their arrival."""
    capacity = Capacity(workers=1, queue=2)
    await capacity.take()
    first, second = await waiting(capacity, 2)
    capacity.give_back()
    await first
    assert not second.done()
    capacity.give_back()
    await second
    assert (capacity.busy, capacity.queued) == (1, 0)


@pytest.mark.asyncio
async def test_bound():
    """Whoever would make the queue longer than its bound is turned away."""
    capacity = Capacity(workers=1, queue=1)
    await capacity.take()
    (waiter,) = await waiting(capacity, 1)
    with pytest.raises(Full):
        await capacity.take()
    capacity.give_back()
    await waiter


@pytest.mark.asyncio
async def test_more_workers_come():
    """When the number of workers has grown, the next one that is free lets in all that now fit."""
    capacity = Capacity(workers=1, queue=5)
    await capacity.take()
    waiters = await waiting(capacity, 3)
    capacity.workers = 3
    capacity.give_back()
    await asyncio.gather(*waiters)
    assert capacity.busy == 3


@pytest.mark.asyncio
async def test_cancelled():
    """A waiter that is cancelled leaves the queue, and passes on a turn that it has just got."""
    capacity = Capacity(workers=1, queue=2)
    await capacity.take()
    gone, granted = await waiting(capacity, 2)
    gone.cancel()
    await asyncio.sleep(0)
    assert capacity.queued == 1
    capacity.give_back()
    granted.cancel()
    await asyncio.gather(gone, granted, return_exceptions=True)
    assert (capacity.busy, capacity.queued) == (0, 0)
